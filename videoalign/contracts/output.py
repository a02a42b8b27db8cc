"""Outputs appear whole or not at all, and never in another run's folder."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
import shutil
import tempfile
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from videoalign.contracts.people import Said, said_in
from videoalign.errors import OutputError

RUN_FILE = "run.json"
LOCK_FILE, HOLDER_FILE = "run.lock", "run.holder.json"
"""In a folder while a run is there; see `contracts.holding`."""

PART_NAME = re.compile(r"\..+\.[0-9a-f]{8}\.part(\..+)?")
"""Names of files that `whole_file` writes aside."""


@contextmanager
def whole_file(path: str | Path) -> Iterator[Path]:
    """A path beside ``path`` to write to; it takes the name when the block ends well and is removed otherwise.

    Raises:
        OutputError: the disk is full or the place cannot be written.
    """
    path = Path(path)
    aside = path.with_name(f".{path.stem}.{uuid.uuid4().hex[:8]}.part{path.suffix}")
    with plain_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            yield aside
            os.replace(aside, path)
        finally:
            aside.unlink(missing_ok=True)


@contextmanager
def whole_folder(path: str | Path, *, said: Said = said_in) -> Iterator[Path]:
    """A folder beside ``path`` to fill; it takes the name (replacing an old one) when the block ends well.

    An empty one that cannot be replaced, since one stands in it or it is where a disk is mounted, is filled instead.

    Args:
        path: of the folder; of a link, the folder that it leads to.
        said: tells what people said in the old folder, which is then not replaced.

    Raises:
        OutputError: people said something in the old folder, a link that leads nowhere, the disk is full or the place
            cannot be written.
    """
    given, path = Path(path), Path(os.path.realpath(path))
    if given.is_symlink() and not path.exists():
        raise OutputError(f"--out: {given} is a link to {path}, which is not there; make it, or give another folder.")
    require_nothing_said(path, said)
    aside = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}.part")
    with plain_errors(path):
        try:
            aside.mkdir(parents=True)
            yield aside
            require_nothing_said(path, said)
            if path.is_dir() and (path.is_mount() or path.samefile(".")) and not any(path.iterdir()):
                for part in sorted(aside.iterdir()):
                    shutil.move(part, path / part.name)
            elif path.exists():
                old = aside.with_suffix(".old")
                os.replace(path, old)
                os.replace(aside, path)
                shutil.rmtree(old)
            else:
                os.replace(aside, path)
        finally:
            shutil.rmtree(aside, ignore_errors=True)


@contextmanager
def files_of_folder(folder: str | Path, *, last: str) -> Iterator[Path]:
    """A folder to fill, whose files and folders move into ``folder``, beside others there, when the block ends well.

    The file ``last`` is what makes the others count: an old one is removed before anything moves, and the new one moves
    after all others.

    Raises:
        OutputError: the disk is full or the place cannot be written.
    """
    folder = Path(folder)
    with plain_errors(folder), tempfile.TemporaryDirectory(prefix=".", suffix=".part", dir=folder) as made:
        aside = Path(made)
        yield aside
        (folder / last).unlink(missing_ok=True)
        for part in sorted(aside.iterdir(), key=lambda part: part.name == last):
            if (folder / part.name).is_dir():
                shutil.rmtree(folder / part.name)
            os.replace(part, folder / part.name)


def require_nothing_said(path: Path, said: Said = said_in) -> None:
    """Checks that a folder may be removed.

    Raises:
        OutputError: people said something there.
    """
    if path.is_dir() and (what := said(path)) is not None:
        raise OutputError(f"--out: {path} is not replaced, since {what}; give another folder, or move this one away.")


def write_json(path: str | Path, value: Any) -> None:
    """``value`` as indented JSON, whole or not at all; NaN is refused."""
    with whole_file(path) as aside:
        aside.write_text(json.dumps(value, indent=2, allow_nan=False) + "\n", encoding="utf-8")


def claim_folder(path: str | Path, identity: Mapping[str, Any], *, fresh: bool = False, said: Said = said_in) -> Path:
    """Makes ``path`` the output folder of the run with this identity, or confirms that it already is.

    Args:
        path: the folder; made when absent.
        identity: settings and inputs that decide the result; a run with the same ones resumes.
        fresh: empty the folder first, when it belongs to a run of ours and holds nothing that people said.
        said: tells what people said in the folder.

    Raises:
        OutputError: the folder belongs to another run, holds files that are no run's or, with ``fresh``, something that
            people said, or cannot be written.
    """
    path = Path(path)
    want = json.loads(json.dumps(identity, sort_keys=True, default=str))
    mark = path / RUN_FILE
    if path.exists() and not path.is_dir():
        raise OutputError(f"--out: {path} is a file; give a folder.")
    if path.is_dir() and (there := [one for one in path.iterdir() if one.name not in (LOCK_FILE, HOLDER_FILE)]):
        if not mark.is_file():
            raise OutputError(f"--out: {path} holds files that are no run of videoalign; give a new or empty folder.")
        have = json.loads(mark.read_text(encoding="utf-8"))
        if fresh:
            require_nothing_said(path, said)
            for one in there:
                shutil.rmtree(one) if one.is_dir() and not one.is_symlink() else one.unlink()
        elif have != want:
            changed = _differing(have, want)
            parts = sorted({name.partition(".")[0] for name in changed})
            inner = f": {', '.join(changed)}" if changed != parts else ""
            raise OutputError(
                f"--out: {path} belongs to another run (differs in {', '.join(parts)}){inner}; give another folder."
            )
    if not mark.is_file():
        write_json(mark, want)
    return path


def _differing(have: Any, want: Any, name: str = "") -> list[str]:
    """Where two identities differ, by dotted name."""
    if have == want:
        return []
    if not (isinstance(have, dict) and isinstance(want, dict)):
        return [name]
    inner = (_differing(have.get(key), want.get(key), f"{name}.{key}" if name else key) for key in {*have, *want})
    return sorted(place for places in inner for place in places)


def fingerprint(value: Any) -> str:
    """A short hash of anything that JSON can hold."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, default=str).encode()).hexdigest()[:16]


@contextmanager
def plain_errors(path: Path) -> Iterator[None]:
    """Turns a full disk and a place that cannot be written into `OutputError`; other errors pass.

    Libraries written in Rust (safetensors, tokenizers) raise no OSError but tell its number in their text.
    """
    try:
        yield
    except OutputError:
        raise
    except Exception as error:
        told = re.search(r"\(os error (\d+)\)", str(error))
        number = error.errno if isinstance(error, OSError) else int(told[1]) if told else None
        if number in (errno.ENOSPC, errno.EDQUOT):
            raise OutputError(
                f"{path}: the disk is full; nothing was written. Free some space and run again."
            ) from error
        if number is not None and (number in _NO_PLACE or _is_at(path, error)):
            raise OutputError(f"{path}: cannot be written ({os.strerror(number)}). Choose another place.") from error
        raise


_NO_PLACE = (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENAMETOOLONG)


def _is_at(path: Path, error: Exception) -> bool:
    """Whether an error is of the output's own place, rather than of something that was read for it."""
    name = getattr(error, "filename", None)
    if not isinstance(name, str | bytes | Path):
        return False
    place, own = Path(os.path.abspath(os.fsdecode(name))), Path(os.path.abspath(path))
    return place in (own, *own.parents) or (place.parent == own.parent and PART_NAME.fullmatch(place.name) is not None)
