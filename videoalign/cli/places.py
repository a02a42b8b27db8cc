"""Options and arguments that name a folder: one here, or an address, which becomes one while a command runs."""

from __future__ import annotations

import errno
import os
import re
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from functools import wraps
from pathlib import Path
from typing import IO, Any

import typer

from videoalign.stores.opening import as_given, asked_for, opened, request
from videoalign.video.addresses import is_address, path_of, plain_place, require_local

_WEB = ("http://", "https://")


def local_path(text: str | Path) -> Path:
    """``parser`` of an option or argument that is a path on this machine: an address is told as such. A file that may
    be at an address is a ``str``, which the command hands on as it is.

    Raises:
        BadParameter: an address, or nothing; typer says of which option.
    """
    try:
        return require_local(_typed(text))
    except ValueError as error:
        raise typer.BadParameter(f"{error}.") from None


def read_folder(text: str | Path) -> Path:
    """``parser`` of a folder that a command reads, as a model, an adapter or a reward: here or at an address."""
    return _folder(text)


def read_dataset(text: str | Path) -> Path:
    """``parser`` of a dataset that a command reads: its clips come one by one when they are looked at."""
    return _folder(text, without=("clips", "latents"))


def grown_dataset(text: str | Path) -> Path:
    """``parser`` of a dataset to which a command adds, as scores."""
    return _folder(text, writes=True, without=("clips", "latents"))


def latents_dataset(text: str | Path) -> Path:
    """``parser`` of a dataset to which a command adds, and of which it needs the latents."""
    return _folder(text, writes=True, without=("clips",))


def made_folder(text: str | Path) -> Path:
    """``parser`` of a folder that a command makes, or goes on with."""
    return _folder(text, writes=True)


def read_model(text: str) -> str:
    """``parser`` of a model or a judge: a name, a folder, a hub id, or an address."""
    return str(_folder(text)) if _is_store(text) else text


def read_target(text: str) -> str:
    """``parser`` of a dataset or a table: a table at an address, which its ending tells, is read there."""
    return text if path_of(text).suffix else read_model(text)


def read_model_with_adapter(text: str) -> str:
    """``parser`` of ``M[:A]``: as `read_model`, both of them."""
    parts = re.split(r":(?!//)", text) if "://" in text else [text]
    return ":".join(map(read_model, parts))


def at_border(callback: Callable[..., Any]) -> Callable[..., Any]:
    """A command that finds a folder for each address that it was given, and publishes what it changed there."""

    @wraps(callback)
    def run(**given: Any) -> Any:
        requests = asked_for()
        if not requests:
            return callback(**given)
        with _as_named(), opened(requests):
            return callback(**given)

    return run


@contextmanager
def _as_named() -> Iterator[None]:
    """What is printed meanwhile names addresses as they were given."""
    with redirect_stdout(_Named(sys.stdout)), redirect_stderr(_Named(sys.stderr)):
        yield


class _Named:
    """A stream in which no path of a mirror appears."""

    def __init__(self, stream: IO[str]) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        self._stream.write(as_given(text))
        return len(text)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def _typed(text: str | Path) -> str:
    """A place as it is meant: ``~`` is the home folder also where the shell leaves it, as in ``--out=~/d``.

    Raises:
        BadParameter: nothing, since a variable of the shell that is not set is no wish for the folder that one stands
            in; or a link that leads back to itself.
    """
    place = str(text)
    if not place.strip():
        raise typer.BadParameter("got nothing; give a path, as in ./name, or . for the folder that you are in.")
    if place.startswith("~") and not os.path.lexists(place.partition("/")[0]):
        place = os.path.expanduser(place)
    try:
        os.stat(place)
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise typer.BadParameter(f"{place} is a link that leads back to itself; give another path.") from None
    return place


def _folder(text: str | Path, **how: Any) -> Path:
    place = plain_place(_typed(text))
    if not is_address(place):
        return Path(place)
    if place.startswith(_WEB):
        raise typer.BadParameter(
            f"{place} is an address of the web, which has no folders; wanted a path, s3://, gs:// or hf://."
        )
    if place.partition("://")[2].partition("/")[0] == "":
        raise typer.BadParameter(f"{place} names no bucket and no repository; wanted an address as in s3://bucket/d.")
    return request(place, **how)


def _is_store(text: str) -> bool:
    place = plain_place(text)
    return is_address(place) and not place.startswith(_WEB)
