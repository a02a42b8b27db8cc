"""One run at a time that writes at an address: an object there says which, and is put anew while it lives."""

from __future__ import annotations

import json
import os
import socket
import threading
import time
from contextlib import suppress
from dataclasses import asdict
from typing import Any

from videoalign.contracts.holding import Holder, is_alive, this_process
from videoalign.errors import OutputError, VideoAlignError
from videoalign.stores.remote import Remote

OWN_FOLDER = ".videoalign"
"""Below an address: what is of no run's making."""
LOCK_NAME = f"{OWN_FOLDER}/lock.json"

LEASE_SECONDS, BEAT_SECONDS = 90.0, 20.0
"""Not heard of for so long, a run is gone; it puts its mark anew so often."""
SETTLING_SECONDS = 2.0
"""After a mark was taken over, before it is looked at who did: others may have, in the same moment."""


class StoreLease:
    """Keeps other runs from writing at an address until `release`.

    Where the store puts an object only if there is none (S3 and Google's do), one of several that come at once has it,
    and the others are refused. Elsewhere two that come in the same second may both pass; `require` finds that before
    anything counts. The mark of a run whose process is dead, on this machine, or that is not heard of for
    `LEASE_SECONDS`, on another, is taken over.

    Args:
        remote: the folder.

    Raises:
        OutputError: another run writes there: its machine, process and start.
        ServerError: the store does not answer.
    """

    def __init__(self, remote: Remote) -> None:
        self.remote, self.token, self._beats = remote, os.urandom(8).hex(), 0
        self._about = asdict(this_process())
        if not remote.create(LOCK_NAME, self._mark()):
            self._take_over()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._beat, daemon=True)
        self._thread.start()

    def require(self) -> None:
        """Checks that no other run took the address over, thinking that this one was gone.

        Raises:
            OutputError: one did.
        """
        if (_read(self.remote) or {}).get("token") != self.token:
            raise OutputError(
                f"{self.remote.address}: another run took it over while this one was not heard of; what was made since "
                "the last upload is kept here and not written there. Run the same command again."
            )

    def release(self) -> None:
        """Lets others in."""
        self._stop.set()
        self._thread.join()
        with suppress(VideoAlignError):  # whoever comes finds it gone, or silent
            if (_read(self.remote) or {}).get("token") == self.token:
                self.remote.remove(LOCK_NAME)

    def _mark(self) -> bytes:
        return json.dumps({"token": self.token, "beats": self._beats, **self._about}).encode()

    def _take_over(self) -> None:
        there = _read(self.remote)
        if there is None:  # it has just gone
            if self.remote.create(LOCK_NAME, self._mark()):
                return
            there = _read(self.remote) or {}
        if not _is_gone(self.remote, there):
            raise OutputError(
                f"{self.remote.address} is in use by another run ({_told(there)}); wait for it, stop it, or give "
                "another place."
            )
        self.remote.write(LOCK_NAME, self._mark())
        time.sleep(SETTLING_SECONDS)
        now = _read(self.remote) or {}
        if now.get("token") != self.token:
            raise OutputError(f"{self.remote.address} is in use by another run ({_told(now)}) that came just now.")

    def _beat(self) -> None:
        while not self._stop.wait(BEAT_SECONDS):
            with suppress(VideoAlignError):  # the next one may be heard
                if (_read(self.remote) or {}).get("token") != self.token:
                    return
                self._beats += 1
                self.remote.write(LOCK_NAME, self._mark())


def writer_at(remote: Remote) -> Holder | None:
    """The run that writes at an address; None where none does, or where it is gone.

    Raises:
        ServerError: the store does not answer.
    """
    there = _read(remote)
    return None if there is None or _is_gone(remote, there, watch=False) else _told(there)


def _read(remote: Remote) -> dict[str, Any] | None:
    content = remote.read(LOCK_NAME)
    if content is None:
        return None
    with suppress(ValueError):
        told = json.loads(content)
        if isinstance(told, dict):
            return told
    return {}


def _is_gone(remote: Remote, there: dict[str, Any], *, watch: bool = True) -> bool:
    """Whether the run that left this mark is gone. ``watch`` looks whether one that seems silent is heard of after all,
    for clocks differ."""
    if there.get("host") == socket.gethostname():
        return not is_alive(int(there.get("process", 0)))
    age = remote.age(LOCK_NAME, time.time())
    if age is not None and age < LEASE_SECONDS:
        return False
    if watch or age is None:
        time.sleep(1.5 * BEAT_SECONDS)
        return _read(remote) in (there, None)
    return True


def _told(there: dict[str, Any]) -> Holder:
    return Holder(
        str(there.get("host", "unknown")), int(there.get("process", 0)), str(there.get("started", "just now"))
    )
