"""A folder on this machine that is what is at an address, and its way back there."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import Any, TypeVar

from filelock import FileLock

from videoalign.contracts.digests import bytes_digest, file_digest
from videoalign.contracts.output import HOLDER_FILE, LOCK_FILE, RUN_FILE, plain_errors, whole_file, write_json
from videoalign.contracts.records import INFO_FILE
from videoalign.errors import DataError, OutputError, ServerError
from videoalign.stores.cache import cache_folder, keep_file, short_name
from videoalign.stores.lease import LOCK_NAME, OWN_FOLDER
from videoalign.stores.manifest import MANIFEST_NAME, Entry, Manifest, manifest_digest, read_manifest
from videoalign.stores.remote import Remote

Known = tuple[int, int, str]
"""Size, time and state of a file."""

Item = TypeVar("Item")
Given = TypeVar("Given")

STREAMS = 8
"""Files that come or go at once."""

CLIPS = "clips"
SIGNS = {INFO_FILE, RUN_FILE, "adapter_config.json", "model_index.json", "reward.json"}
"""One of them is in every folder that a command writes to."""
_NO_ARTEFACTS = (LOCK_FILE, HOLDER_FILE, "digests.json", MANIFEST_NAME)
_PICTURES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff")
"""What prompts are asked with; it stands among the clips and is small."""


def mirror_place(address: str, *, writes: bool) -> Path:
    """The folder in which the mirror of an address is; whoever writes there has one of his own."""
    name = PurePosixPath(address.rstrip("/").partition("://")[2]).name or "folder"
    return cache_folder() / "folders" / short_name(address.rstrip("/")) / ("work" if writes else "read") / name


class Mirror:
    """What is at an address, in a folder on this machine.

    Args:
        remote: the place.
        path: of the folder, see `mirror_place`.
        without: names right below it that are left where they are: ``clips``, of which those that are asked for come
            one by one, and ``latents``.
    """

    def __init__(self, remote: Remote, path: Path, without: Sequence[str] = ()) -> None:
        self.remote, self.path, self.without = remote, path, tuple(without)
        self.manifest = Manifest({})
        self._state_file = path.parent / "state.json"

    def left_there(self, name: str) -> bool:
        """Whether a file is not in the folder but stays at the address until it is asked for."""
        first, _, rest = name.partition("/")
        return bool(rest) and first in self.without and not (first == CLIPS and name.lower().endswith(_PICTURES))

    def require_ours(self) -> None:
        """Checks that what is written to is empty, or a dataset, a run or a model; other things are not even fetched.

        Raises:
            OutputError: something else is there.
        """
        found = read_manifest(self.remote)
        if found.files and not found.digest and not found.files.keys() & SIGNS:
            raise OutputError(
                f"{self.remote.address}: holds {len(found.files)} objects that are no dataset and no run of "
                f"videoalign, such as '{min(found.files)}'; give an empty place."
            )

    def pull(self, *, keep_work: bool) -> None:
        """Makes the folder what is at the address.

        Args:
            keep_work: leave what a run that stopped had changed here, if nobody wrote there since.

        Raises:
            DataError: what is there cannot be read.
            ServerError: the store does not answer.
            OutputError: the disk of this machine is full.
        """
        self.path.mkdir(parents=True, exist_ok=True)
        with plain_errors(self.path), FileLock(self.path.parent / "sync.lock"):
            for _ in range(3):
                self.manifest = read_manifest(self.remote)
                try:
                    return self._pull(keep_work)
                except (FileNotFoundError, ServerError) as error:
                    if manifest_digest(self.remote) != self.manifest.digest:
                        continue  # it was replaced while it was read
                    if isinstance(error, ServerError):
                        raise
                    raise DataError(f"{self.remote.address}: a file that it names is not there ({error}).") from None
        raise DataError(f"{self.remote.address}: is written anew again and again while it is read; wait for that run.")

    def push(self, require: Callable[[], None]) -> None:
        """Makes what is at the address what is in the folder: first the files, then the manifest that names them.

        Args:
            require: raises when this run may not write there any more.

        Raises:
            OutputError: another run wrote there meanwhile.
            ServerError: the store does not answer; what it has is still what it was.
        """
        known, here = self._state(), dict(self._here())
        changed = dict(self._changed(here, known))
        old = self.manifest.files
        gone = {name for name in known if name in old and name not in here and not self.left_there(name)}
        if not changed and not gone:
            self._finish(here)
            return
        if not self.manifest.digest:
            self._write(old, known)  # what is half there does not count
        parked = {name: f"{OWN_FOLDER}/{digest}" for name, digest in changed.items() if name in old}
        _each(lambda name: self.remote.put(self.path / name, parked.get(name, name)), changed)
        new = {name: Entry(here[name][0], digest, at=parked.get(name, "")) for name, digest in changed.items()}
        require()
        if manifest_digest(self.remote) != self.manifest.digest:
            raise OutputError(
                f"{self.remote.address}: was written by another run meanwhile; run the same command again."
            )
        files = {name: entry for name, entry in old.items() if name not in gone} | new
        self._write(files, self._rows(here, files), stale=gone)
        self._finish(here)

    def _pull(self, keep_work: bool) -> None:
        known, here, files = self._state(), dict(self._here()), self.manifest.files
        same = {name for name, seen in here.items() if name in files and known.get(name) == (*seen, files[name].state)}
        if keep_work and self.manifest.digest in self._bases():
            missing = files.keys() - known.keys() - here.keys()
        else:
            missing = files.keys() - same
            self._clear(same)
        wanted = [name for name in files if name in missing and not self.left_there(name)]
        for name in wanted:
            if self.path.resolve() not in (self.path / name).resolve().parents:
                raise DataError(f"{self.remote.named(MANIFEST_NAME)}: names '{name}', which is outside of the folder.")
        _each(self._get, wanted)
        if wanted or self.manifest.digest not in self._bases():
            whole = same.union(wanted)
            self._remember(self._rows({name: seen for name, seen in self._here() if name in whole}, files))

    def _get(self, name: str) -> None:
        entry = self.manifest.files[name]
        with whole_file(self.path / name) as aside:
            self.remote.get(entry.at or name, os.fspath(aside), size=entry.size, digest=entry.digest)

    def _settle(self, known: Mapping[str, Known]) -> None:
        """Brings what was replaced under its own name, for tools that know no manifest, and removes what counts no
        more."""
        files = self.manifest.files
        _each(lambda name: self.remote.copy(files[name].at, name), [name for name, entry in files.items() if entry.at])
        settled = {name: entry._replace(at="") for name, entry in files.items()}
        parked = {f"{OWN_FOLDER}/{name}" for name in self.remote.find(OWN_FOLDER)} - {LOCK_NAME}
        if parked:
            self._write(settled, known, stale=parked.union(self.manifest.stale))
        _each(self.remote.remove, self.manifest.stale)
        self._write(settled, known)

    def _finish(self, here: dict[str, tuple[int, int]]) -> None:
        """Settles, remembers what is published, and lets go of clips that are."""
        if self.manifest.left_over:
            self._settle(self._state())
        files = self.manifest.files
        for name in [one for one in here if one in files and self.left_there(one) and one.startswith(f"{CLIPS}/")]:
            keep_file(self.path / name, files[name].digest)
            del here[name]
        self._remember(self._rows(here, files))

    def _here(self) -> Iterator[tuple[str, tuple[int, int]]]:
        """Size and time of every file that is a run's work."""
        for parent, folders, names in os.walk(self.path):
            folders[:] = [one for one in folders if not one.startswith(".")]
            for name in names:
                if not name.startswith(".") and name not in _NO_ARTEFACTS:
                    file = os.path.join(parent, name)
                    try:
                        told = os.stat(file)
                    except FileNotFoundError:
                        continue  # written aside, and renamed meanwhile
                    yield os.path.relpath(file, self.path).replace(os.sep, "/"), (told.st_size, told.st_mtime_ns)

    def _changed(self, here: dict[str, tuple[int, int]], known: Mapping[str, Known]) -> Iterator[tuple[str, str]]:
        """Name and digest of each file that is other than what is at the address."""
        for name, seen in here.items():
            there = self.manifest.files.get(name)
            if there is not None and known.get(name) == (*seen, there.state):
                continue
            digest = file_digest(self.path / name)
            if there is None or there.digest != digest:
                yield name, digest

    def _state(self) -> dict[str, Known]:
        """Size, time and state of each file as it was published or fetched."""
        return {name: tuple(row) for name, row in self._read_state().get("files", {}).items()}

    def _bases(self) -> list[str]:
        """`Manifest.digest` of what the folder was made from, and of what this machine was about to put there."""
        return list(self._read_state().get("bases", ()))

    def _read_state(self) -> dict[str, Any]:
        try:
            return dict(json.loads(self._state_file.read_text(encoding="utf-8")))
        except (OSError, ValueError):
            return {}

    def _remember(self, files: Mapping[str, Known]) -> None:
        write_json(self._state_file, {"bases": [self.manifest.digest], "files": files})

    def _write(self, files: Mapping[str, Entry], known: Mapping[str, Known], stale: Iterable[str] = ()) -> None:
        """Puts the manifest, and remembers what is ``known`` to be there then; a kill in between is no matter."""
        new = Manifest(files, stale=tuple(sorted(stale)))
        content = new.content()
        digest = bytes_digest(content)
        write_json(self._state_file, {"bases": [self.manifest.digest, digest], "files": self._state()})
        self.remote.write(MANIFEST_NAME, content)
        self.manifest = replace(new, digest=digest)
        self._remember(known)

    def _rows(self, here: Mapping[str, tuple[int, int]], files: Mapping[str, Entry]) -> dict[str, Known]:
        return {name: (*seen, files[name].state) for name, seen in here.items() if name in files}

    def _clear(self, same: Collection[str]) -> None:
        """Removes all but these files, and folders that are empty then."""
        for parent, folders, names in os.walk(self.path, topdown=False):
            for name in names:
                file = Path(parent, name)
                if file.relative_to(self.path).as_posix() not in same:
                    file.unlink()
            for name in folders:
                with suppress(OSError):
                    Path(parent, name).rmdir()


def _each(action: Callable[[Item], Given], items: Iterable[Item]) -> None:
    with ThreadPoolExecutor(STREAMS) as pool:
        waiting = [pool.submit(action, item) for item in items]
        try:
            for one in waiting:
                one.result()
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
