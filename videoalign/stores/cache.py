"""Copies on this machine of what is at addresses, under a limit of size: what was not used for longest goes first."""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from hashlib import sha256
from pathlib import Path

from videoalign.contracts.output import plain_errors
from videoalign.errors import ConfigError, VideoAlignError
from videoalign.stores.remote import fetch

FOLDER_VARIABLE, LIMIT_VARIABLE = "VIDEOALIGN_CACHE", "VIDEOALIGN_CACHE_GIB"
"""Environment variables: where copies are kept, and how much of them."""
DEFAULT_LIMIT_GIB = 50.0

IN_USE, UNPUBLISHED = "in-use.lock", "unpublished"
"""In the folder of a mirror: locked by whoever works there; there while it holds what is not at the address."""


def cache_folder() -> Path:
    """Where all that can be had again is kept: ``$VIDEOALIGN_CACHE``, else ``videoalign`` in the user's own caches."""
    given = os.environ.get(FOLDER_VARIABLE)
    return Path(given or Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "videoalign").absolute()


def limit_bytes() -> int:
    """How much may be kept: ``$VIDEOALIGN_CACHE_GIB``, else `DEFAULT_LIMIT_GIB`.

    Raises:
        ConfigError: not a number above 0.
    """
    text = os.environ.get(LIMIT_VARIABLE, "") or str(DEFAULT_LIMIT_GIB)
    with suppress(ValueError):
        if 0 < float(text) < float("inf"):
            return int(float(text) * 2**30)
    raise ConfigError(f"{LIMIT_VARIABLE}: got '{text}', wanted a number of GiB above 0.")


def short_name(text: str) -> str:
    """A name of a file or folder that stands for a text."""
    return sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:32]


@contextmanager
def file_at_hand(
    address: str, suffix: str, *, size: int | None = None, digest: str = "", fault: type[VideoAlignError]
) -> Iterator[str]:
    """The path of a copy of the file at an address, while the block runs; it is fetched where no copy is kept.

    A copy of known content serves every process, one of unknown content this one.

    Args:
        address: of the file.
        suffix: of the path.
        size: see `fetch`.
        digest: see `fetch`.
        fault: see `fetch`.

    Raises:
        OutputError: the disk of this machine is full.
        VideoAlignError: see `fetch`; FileNotFoundError and PermissionError likewise.
    """
    kept = cache_folder() / "files" / (f"{digest}{suffix}" if digest else f"{_own()}-{short_name(address)}{suffix}")
    held = os.path.join(_held(cache_folder()).name, f"{os.urandom(8).hex()}{suffix}")
    with plain_errors(kept):
        while True:
            try:
                os.link(kept, held)  # stays readable when another process makes room meanwhile
                break
            except FileNotFoundError:
                fetch(address, held, size=size, digest=digest, fault=fault)
                os.makedirs(kept.parent, exist_ok=True)
                with suppress(FileExistsError):
                    os.link(held, kept)
                _count(os.path.getsize(held))
                break
        with suppress(FileNotFoundError):
            os.utime(kept)
    try:
        yield held
    finally:
        os.unlink(held)


def keep_file(path: Path, digest: str) -> None:
    """Moves a file among the copies; its content is at an address too."""
    kept = cache_folder() / "files" / f"{digest}{path.suffix}"
    kept.parent.mkdir(parents=True, exist_ok=True)
    os.replace(path, kept)
    os.utime(kept)
    _count(os.path.getsize(kept))


def make_room() -> None:
    """Removes what was not used for longest when the copies are over the limit, until they are well within it; what is
    in use, and what is not yet at an address, stays."""
    limit, found = limit_bytes(), [*_files(), *_mirrors()]
    total = sum(size for _, size, _ in found)
    wanted = limit if total <= limit else limit * 9 // 10
    for _, size, path in sorted(found):
        if total <= wanted:
            break
        if _remove(path):
            total -= size
    _room[0] = (limit - total) // 8  # others may fetch as well, and nobody counts all files at each


_room = [0]
"""Bytes that this process may still fetch before it looks how much there is."""


def _count(size: int) -> None:
    _room[0] -= size
    if _room[0] < 0:
        make_room()


def _files() -> Iterator[tuple[float, int, Path]]:
    """Last use, size and path of every kept file."""
    with suppress(FileNotFoundError):
        for file in os.scandir(cache_folder() / "files"):
            with suppress(FileNotFoundError):
                told = file.stat()
                yield told.st_mtime, told.st_size, Path(file.path)


def _mirrors() -> Iterator[tuple[float, int, Path]]:
    """The same of the mirrors of folders."""
    for place in (cache_folder() / "folders").glob("*/*"):
        size = 0
        for parent, _, names in os.walk(place):
            for name in names:
                with suppress(FileNotFoundError):
                    size += os.stat(os.path.join(parent, name)).st_size
        with suppress(FileNotFoundError):
            yield (place / IN_USE).stat().st_mtime, size, place


def _remove(path: Path) -> bool:
    if not path.is_dir():
        path.unlink(missing_ok=True)
        return True
    if (path / UNPUBLISHED).exists():
        return False
    with suppress(OSError), open(path / IN_USE, "a") as file:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        shutil.rmtree(path, ignore_errors=True)
        return True
    return False


@contextmanager
def in_use(place: Path) -> Iterator[None]:
    """Keeps the mirror in a folder while the block runs."""
    while True:
        place.mkdir(parents=True, exist_ok=True)
        with suppress(FileNotFoundError), open(place / IN_USE, "a") as file:
            fcntl.flock(file, fcntl.LOCK_SH)
            os.utime(place / IN_USE)
            if os.fstat(file.fileno()).st_ino == os.stat(place / IN_USE).st_ino:  # not one that was just removed
                yield
                return


@cache
def _own() -> str:
    """Stands for this process."""
    return os.urandom(8).hex()


_HOLDING = threading.Lock()


def _held(folder: Path) -> tempfile.TemporaryDirectory[str]:
    with _HOLDING:  # of threads that come at once, one makes it
        return _made_for_held(folder)


@cache
def _made_for_held(folder: Path) -> tempfile.TemporaryDirectory[str]:
    """For what is read just now; it is removed when the process ends."""
    place = folder / "held"
    place.mkdir(parents=True, exist_ok=True)
    return tempfile.TemporaryDirectory(prefix="p-", dir=place)
