"""One run at a time in a folder: whoever comes second is told who is there; what a killed run left is recognised."""

from __future__ import annotations

import inspect
import json
import multiprocessing
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from functools import wraps
from pathlib import Path
from typing import ParamSpec, TypeVar

from filelock import SoftFileLease, Timeout

from videoalign.contracts.output import HOLDER_FILE, LOCK_FILE, PART_NAME, RUN_FILE, plain_errors, write_json
from videoalign.errors import OutputError

P = ParamSpec("P")
R = TypeVar("R")

LEASE_SECONDS = 30.0
"""A run on another machine that has not been heard of for so long is gone; it is heard of three times as often."""


@dataclass(frozen=True)
class Holder:
    """A run that is in a folder."""

    host: str
    process: int
    started: str
    """By the clock of its host, with the offset from UTC."""

    def __str__(self) -> str:
        return f"process {self.process} on {self.host}, started {self.started}"


def held(function: Callable[P, R]) -> Callable[P, R]:
    """Decorates a run: `hold_folder` of its argument ``out``, unless that is None, while it runs. Of processes that
    train together the first one holds it."""
    signature = inspect.signature(function)

    @wraps(function)
    def run(*args: P.args, **kwargs: P.kwargs) -> R:
        out = signature.bind(*args, **kwargs).arguments.get("out")
        if out is None or os.environ.get("RANK", "0") != "0":
            return function(*args, **kwargs)
        with hold_folder(out):
            return function(*args, **kwargs)

    return run


@contextmanager
def hold_folder(path: str | Path) -> Iterator[None]:
    """Keeps other runs out of a folder, made when absent, while the block runs; a folder that stays empty goes again,
    and so does one that a failed run claimed and put nothing into.

    The mark of a run whose process is dead, on this machine, or not heard of for `LEASE_SECONDS`, on another, is taken
    over.

    Raises:
        OutputError: another run is there: its machine, process and start; or the place cannot be written.
    """
    path = Path(os.path.abspath(path))
    if path.exists() and not path.is_dir():
        yield  # whoever wants a folder there says so
        return
    made = [one for one in (path, *path.parents) if not one.exists()]
    with plain_errors(path):
        lease = _taken(path)
        try:
            if (path / HOLDER_FILE).exists():  # its run was killed
                _sweep(path)
            write_json(path / HOLDER_FILE, asdict(this_process()))
        except BaseException:
            lease.release()
            raise
    claimed, went_well = (path / RUN_FILE).exists(), False
    try:
        yield
        went_well = True
    finally:
        if lease.compromise is None:
            (path / HOLDER_FILE).unlink(missing_ok=True)
            if not (claimed or went_well) and {one.name for one in path.iterdir()} <= {RUN_FILE, LOCK_FILE}:
                (path / RUN_FILE).unlink(missing_ok=True)
        lease.release()
        for folder in made:
            with suppress(OSError):
                folder.rmdir()


def holder_of(path: str | Path) -> Holder | None:
    """The run that is in a folder; None where none is, or where it is gone."""
    mark = Path(path) / LOCK_FILE
    owner = SoftFileLease(mark, lease_duration=LEASE_SECONDS).owner
    if owner is None or _silent(mark):
        return None
    here = owner.hostname.partition("?")[0] == socket.gethostname()
    return None if here and not is_alive(owner.pid) else _told(Path(path))


def _taken(path: Path) -> SoftFileLease:
    mark = path / LOCK_FILE
    lease = SoftFileLease(mark, lease_duration=LEASE_SECONDS)
    wait = 0.0
    while True:
        try:
            path.mkdir(parents=True, exist_ok=True)
            lease.acquire(timeout=wait)
        except (FileExistsError, FileNotFoundError):  # a run that made nothing took the folder away again
            if path.is_file():
                raise
            time.sleep(0.01)
            continue
        except Timeout:
            if not wait and _silent(mark):
                wait = 1.2 * LEASE_SECONDS  # whether it is heard of again
                continue
            told = f"is in use by another run ({_told(path)})"
            raise OutputError(f"{path} {told}; wait for it, stop it, or give another folder.") from None
        return lease


def _sweep(path: Path) -> None:
    """Removes what a killed run had begun to write; see `output.whole_file`."""
    for file in path.rglob(".*.part*"):
        if file.is_file() and PART_NAME.fullmatch(file.name):
            file.unlink(missing_ok=True)


def this_process() -> Holder:
    """What a run of this process says of itself."""
    return Holder(socket.gethostname(), os.getpid(), time.strftime("%Y-%m-%d %H:%M:%S%z"))


def end_with_parent() -> None:
    """Lets this process end when the one that started it has ended, in whatever way: the folder that it works for is
    held no longer, and another run may come. To be called in a process that `multiprocessing` started."""
    parent = multiprocessing.parent_process()
    if parent is None:
        return

    def watch() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=watch, name="ends with its parent", daemon=True).start()


def _told(path: Path) -> Holder:
    with suppress(OSError, ValueError, TypeError):
        return Holder(**json.loads((path / HOLDER_FILE).read_text(encoding="utf-8")))
    owner = SoftFileLease(path / LOCK_FILE, lease_duration=LEASE_SECONDS).owner  # it has just come, or is about to go
    host, process = (owner.hostname, owner.pid) if owner is not None else ("unknown", 0)
    return Holder(host, process, "just now")


def _silent(mark: Path) -> bool:
    """Whether nothing was heard of the holder for long, by the clock of this machine."""
    try:
        return time.time() - mark.stat().st_mtime > LEASE_SECONDS
    except FileNotFoundError:
        return False


def is_alive(process: int) -> bool:
    """Whether there is a process of that number on this machine."""
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
