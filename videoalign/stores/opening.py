"""The border: addresses that a command was given become folders here, and what it made there goes back."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from videoalign.contracts.digests import file_digest
from videoalign.contracts.holding import Holder
from videoalign.contracts.output import fingerprint
from videoalign.errors import DataError, ServerError, VideoAlignError
from videoalign.stores.cache import UNPUBLISHED, file_at_hand, in_use, make_room
from videoalign.stores.lease import StoreLease, writer_at
from videoalign.stores.manifest import Entry
from videoalign.stores.mirror import Mirror, mirror_place
from videoalign.stores.remote import Remote, open_system, patiently

PUBLISH_SECONDS = 300.0
"""Between two times that a long run publishes what it has so far; more where publishing takes long."""


@dataclass
class Request:
    """A folder at an address that a command wants."""

    address: str
    writes: bool = False
    without: tuple[str, ...] = ()
    """See `Mirror`."""

    @property
    def path(self) -> Path:
        """Where it will be on this machine."""
        return mirror_place(self.address, writes=self.writes)


@dataclass
class _Open:
    """A folder that is open."""

    mirror: Mirror
    lease: StoreLease | None
    published: float = field(default_factory=time.monotonic)
    pause: float = PUBLISH_SECONDS

    def publish(self) -> None:
        started = time.monotonic()
        if self.lease is not None:
            self.mirror.push(self.lease.require)
        self.published = time.monotonic()
        self.pause = max(PUBLISH_SECONDS, 10 * (self.published - started))


_OPEN: dict[str, _Open] = {}
"""By the path of the mirror."""
_ASKED: list[Request] = []
_NAMES: dict[str, str] = {}
"""Addresses of what the command was given, by the path of the mirror."""


@contextmanager
def opened(requests: Sequence[Request]) -> Iterator[None]:
    """Folders at addresses, each at its `Request.path` while the block runs; what changed in those that are written is
    published when it ends, also with an error, as what stays in a folder on a disk.

    Of processes that train together the first one publishes.

    Raises:
        DataError: an address that cannot be read.
        OutputError: another run writes at one of them, or the disk of this machine is full.
        ServerError: a store does not answer.
    """
    with ExitStack() as stack:
        for request in _joined(requests):
            stack.enter_context(_opened(request))
        yield


@contextmanager
def _opened(request: Request) -> Iterator[None]:
    remote, path = Remote(request.address), request.path
    marked = path.parent / UNPUBLISHED
    with ExitStack() as stack:
        stack.enter_context(in_use(path.parent))
        lease = None
        if request.writes and os.environ.get("RANK", "0") == "0":
            lease = StoreLease(remote)
            stack.callback(lease.release)
        mirror = Mirror(remote, path, request.without)
        if request.writes:
            mirror.require_ours()
        mirror.pull(keep_work=request.writes and marked.exists())
        _OPEN[str(path)] = one = _Open(mirror, lease)
        stack.callback(_OPEN.pop, str(path))
        if lease is None:
            yield
            return
        marked.touch()
        try:
            yield
        except BaseException:
            try:
                one.publish()
                marked.unlink()
            except VideoAlignError:
                pass  # the first error is told; what was made is kept here, and the same command goes on with it
            raise
        one.publish()
        marked.unlink()
    make_room()


def publish_due() -> None:
    """Publishes what open folders hold by now, where that was long ago; to be called where a run that is killed would
    go on well.

    Raises:
        OutputError: another run took a folder over.
    """
    for one in _OPEN.values():
        if one.lease is not None and time.monotonic() - one.published > one.pause:
            try:
                one.publish()
            except ServerError:
                one.published = time.monotonic()  # the next time, or the end, may do


def request(address: str, *, writes: bool = False, without: Sequence[str] = ()) -> Path:
    """Asks for a folder at an address, and gives where it will be; `asked_for` hands on what was asked for."""
    one = Request(address, writes, tuple(without))
    _ASKED.append(one)
    return one.path


def asked_for() -> list[Request]:
    """What was asked for since the last call."""
    found = _ASKED.copy()
    _ASKED.clear()
    _NAMES.clear()
    _NAMES.update({str(one.path): one.address.rstrip("/") for one in found})
    return found


def as_given(text: str | Path) -> str:
    """A text with addresses in place of the mirrors' paths, as the user named them; a path likewise."""
    told = str(text)
    for path, address in _NAMES.items():
        told = told.replace(path, address)
    return told


def origin_of(folder: str | Path) -> Mirror | None:
    """The mirror that a folder is; None for any other folder."""
    one = _OPEN.get(str(folder))
    return None if one is None else one.mirror


def entry_of(address: str) -> Entry | None:
    """What is known of a file at an address from the folder that is open; None where no such folder is."""
    mirror, name = _folder_of(address)
    return None if mirror is None else mirror.manifest.files.get(name)


def holder_at(folder: str | Path) -> Holder | None:
    """The run that writes at the address that a folder is the mirror of; None where none does."""
    mirror = origin_of(folder)
    return None if mirror is None else writer_at(mirror.remote)


@contextmanager
def copy_at_hand(address: str, suffix: str) -> Iterator[str]:
    """See `file_at_hand`; what is known of the file from an open folder is held against it.

    Raises:
        ServerError: its store does not answer for now, which says nothing of the file.
        DataError: a file on the web cannot be fetched.
    """
    mirror, name = _folder_of(address)
    entry = None if mirror is None else mirror.manifest.files.get(name)
    if mirror is None or entry is None:
        with file_at_hand(address, suffix, fault=_fault(address)) as path:
            yield path
        return
    held = mirror.remote.named(entry.at or name)
    with file_at_hand(held, suffix, size=entry.size, digest=entry.digest, fault=ServerError) as path:
        yield path


def stored_content(address: str) -> str:
    """What stands for the content of a file at an address: of one in an open folder its `file_digest`, as of a file on
    a disk; of another what the store says of it, and where it is.

    Raises:
        FileNotFoundError: there is no such file.
        PermissionError: it may not be read.
        ServerError: its store does not answer.
        DataError: a server of the web does not.
    """
    entry = entry_of(address)
    if entry is None:
        system, path = open_system(address)
        version = patiently(address, "looked at", lambda: system.ukey(path), fault=_fault(address))
        return fingerprint([address, version])
    if entry.digest:
        return entry.digest
    with copy_at_hand(address, PurePosixPath(address).suffix) as path:
        return file_digest(path)


def _fault(address: str) -> type[VideoAlignError]:
    """Of an address: on the web each file is of a server of its own, which may be gone for good."""
    return DataError if address.startswith(("http://", "https://")) else ServerError


def _folder_of(address: str) -> tuple[Mirror | None, str]:
    """The open folder that an address is in, and the name there."""
    for one in _OPEN.values():
        start = one.mirror.remote.address + "/"
        if address.startswith(start):
            return one.mirror, address[len(start) :]
    return None, ""


def _joined(requests: Sequence[Request]) -> list[Request]:
    """Each path once, as whoever wants most of it; those that are written first, for they may be refused."""
    found: dict[Path, Request] = {}
    for one in requests:
        have = found.get(one.path)
        if have is not None:
            without = tuple(name for name in have.without if name in one.without)
            one = Request(one.address, one.writes, without)
        found[one.path] = one
    return sorted(found.values(), key=lambda one: not one.writes)
