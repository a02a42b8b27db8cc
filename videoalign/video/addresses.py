"""Where a file is: a path on this machine, or an address that fsspec reads, as https://..., s3://... or file://..."""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import Annotated, BinaryIO
from urllib.parse import quote, unquote

from pydantic import BeforeValidator

from videoalign.errors import DataError
from videoalign.stores.opening import copy_at_hand as stored_copy
from videoalign.stores.remote import fetch

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


@contextmanager
def copy_at_hand(place: str | Path) -> Iterator[str]:
    """The path itself, or for an address that of a copy on this machine, while the block runs. A copy is kept for the
    next time, as far as there is room; see `stores.cache`.

    The address stands for one file, whatever signs are in it: ``*``, ``?`` and ``[`` are no patterns.

    Raises:
        DataError: it cannot be fetched; says which extra is missing, or what the server answered.
        ServerError: it is in a folder that a command was given, whose store does not answer.
        FileNotFoundError: there is no such file.
        PermissionError: it may not be read.
    """
    text = plain_place(place)
    if not is_address(text):
        yield text
        return
    with stored_copy(text, path_of(text).suffix) as path:
        yield path


@contextmanager
def open_bytes(place: str | Path) -> Iterator[BinaryIO]:
    """The bytes of a file; one at an address is fetched anew each time. Errors as of `copy_at_hand`."""
    text = plain_place(place)
    if not is_address(text):
        with open(text, "rb") as file:
            yield file
        return
    with tempfile.NamedTemporaryFile() as target:
        fetch(text, target.name, fault=DataError)
        with open(target.name, "rb") as file:
            yield file
