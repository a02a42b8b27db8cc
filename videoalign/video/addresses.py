"""Where a file is: a path on this machine, or an address that fsspec reads, as https://..., s3://... or file://..."""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache, lru_cache
from hashlib import sha256
from pathlib import Path, PurePosixPath
from typing import Annotated, Any, BinaryIO
from urllib.parse import quote, unquote, urlsplit

from pydantic import BeforeValidator

from videoalign.errors import DataError

EXTRAS = {"http": "http", "https": "http", "s3": "s3", "s3a": "s3", "gs": "gcs", "gcs": "gcs"}
"""The extra of this package that reads addresses of a kind."""

LocalPath = Annotated[Path, BeforeValidator(lambda place: require_local(place))]
"""Type of a setting that names a place on this machine; an address is refused before its ``//`` becomes ``/``."""

_LOCAL = ("file://", "local://")
_WEB = ("http://", "https://")


def is_address(place: str | Path) -> bool:
    """Whether this is an address and no path."""
    return "://" in str(place)


def plain_place(place: str | Path) -> str:
    """The same place; of an address on this machine, as file:///a/b.mp4, the path.

    Such an address may have its signs as they are or in per cent; a file whose name has the very signs comes first.
    """
    text = str(place)
    if not text.startswith(_LOCAL):
        return text
    path = text.partition("://")[2].removeprefix("localhost")
    return path if os.path.lexists(path) else unquote(path)


def require_local(place: str | Path) -> Path:
    """The path of a place on this machine, given as such or as file:///a/b.

    Raises:
        ValueError: an address of another place.
    """
    plain = plain_place(place)
    if is_address(plain):
        raise ValueError(f"{plain} is an address, wanted a path on this machine; copy from or to there by other means")
    return Path(plain)


def path_of(place: str | Path) -> PurePosixPath:
    """The path in an address, without server, query and fragment; of a path, itself.

    Name and ending of a file are read off it.
    """
    text = plain_place(place)
    if not is_address(text):
        return PurePosixPath(text)
    if text.startswith(_WEB):
        return PurePosixPath("/", *map(unquote, unsigned(text).split("/")[3:]))
    return PurePosixPath(text.partition("://")[2].partition("::")[0].partition("?")[0])


def located(path: str, root: str) -> str:
    """Where a path in a table leads: from ``root``, a folder or an address, unless it is absolute or an address itself.

    ``\\`` stands between folders, as Windows writes it, unless there is a file of that very name.
    """
    plain = plain_place(path)
    if is_address(plain) or re.match(r"[A-Za-z]:[\\/]", plain):  # a drive of Windows is nowhere else
        return plain
    root = plain_place(root)
    local = not is_address(root)
    if "\\" in plain and not (local and os.path.lexists(os.path.join(root, plain))):
        plain = plain.replace("\\", "/")
    if local or os.path.isabs(plain):
        return str(Path(os.path.abspath(root)) / plain)
    if root.startswith(_WEB):
        plain = re.sub(r"[?#]", lambda sign: quote(sign[0]), plain)
    return f"{root.rstrip('/')}/{plain}"


def unsigned(place: str) -> str:
    """The same place without what may be a signature: of a web address, without its query and fragment."""
    plain = plain_place(place)
    return re.split(r"[?#]", plain)[0] if plain.startswith(_WEB) else plain


def folder_of(place: str) -> str:
    """The folder or address that a file stands in."""
    head, slash, _ = unsigned(place).rpartition("/")
    return (head or "/") if slash else "."


def local_copy(place: str | Path) -> str:
    """The path itself, or for an address that of a copy on this machine, which is fetched once a process.

    The address stands for one file, whatever signs are in it: ``*``, ``?`` and ``[`` are no patterns.

    Raises:
        DataError: it cannot be fetched; says which extra is missing, or what the server answered.
        FileNotFoundError: there is no such file.
        PermissionError: it may not be read.
    """
    text = plain_place(place)
    return _kept_copy(text) if is_address(text) else text


@contextmanager
def open_bytes(place: str | Path) -> Iterator[BinaryIO]:
    """The bytes of a file; one at an address is fetched anew each time. Errors as of `local_copy`."""
    text = plain_place(place)
    if not is_address(text):
        with open(text, "rb") as file:
            yield file
        return
    with tempfile.NamedTemporaryFile() as target:
        _fetch(text, target.name)
        with open(target.name, "rb") as file:
            yield file


@cache
def _kept_copy(address: str) -> str:
    name = sha256(address.encode("utf-8", "surrogatepass")).hexdigest()
    aside, path = (os.path.join(_folder().name, f"{name}{ending}") for ending in (f".{os.urandom(4).hex()}", ""))
    _fetch(address, aside)
    os.replace(aside, path)
    return path


@lru_cache(maxsize=1)
def _folder() -> tempfile.TemporaryDirectory[str]:
    """For copies; it is removed when the process ends."""
    return tempfile.TemporaryDirectory(prefix="videoalign-")


def _fetch(address: str, target: str) -> None:
    try:
        filesystem, path = _filesystem(address)
        filesystem.get_file(path, target)
    except (FileNotFoundError, PermissionError, DataError):
        raise
    except Exception as error:  # every kind of storage has its own
        raise DataError(
            f"{address}: cannot be fetched from here ({_reason(error)}); fetch it by other means."
        ) from None


def _filesystem(address: str) -> tuple[Any, str]:
    """The file system of an address, and what it calls the file."""
    import fsspec

    kind = address.partition("://")[0]
    try:
        if address.startswith(_WEB):
            return fsspec.filesystem(kind, encoded=True), _as_sent(address)
        filesystem, path = fsspec.url_to_fs(address)
        return filesystem, path
    except ImportError as error:
        extra = EXTRAS.get(kind)
        way_out = f"pip install 'videoalign[{extra}]'" if extra else str(error).rstrip(".")
        raise DataError(f"{address}: what reads {kind}:// is not installed; {way_out}.") from None


def _as_sent(address: str) -> str:
    """A web address with what must not be sent as it is in per cent, and nothing else changed: it may be signed."""
    parts = urlsplit(address)
    kept = "/:@!$&'()*+,;=~%[]"
    path, query = (
        re.sub("%(?![0-9A-Fa-f]{2})", "%25", quote(text, safe=safe))
        for text, safe in ((parts.path, kept), (parts.query, f"{kept}?"))
    )
    return parts._replace(path=path, query=query, fragment="").geturl()


def _reason(error: Exception) -> str:
    status = getattr(error, "status", None)
    if status is not None:
        return f"the server says {status} {getattr(error, 'message', '')}".rstrip()
    return f"{type(error).__name__}: {error}".rstrip(": ")[:200]
