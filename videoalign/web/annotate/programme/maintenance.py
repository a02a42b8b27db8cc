"""What the server does beside answering: the dataset's tables, and which comparison tells most."""

from __future__ import annotations

import logging
import multiprocessing
import os
import signal
import sys
import threading
import time
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from sqlalchemy import URL

from videoalign.contracts.holding import end_with_parent
from videoalign.errors import OutputError, VideoAlignError
from videoalign.web.annotate.programme import export, statistics
from videoalign.web.annotate.programme.following import Follower
from videoalign.web.annotate.programme.programme import OpenProgramme
from videoalign.web.annotate.settings import AnnotateSettings
from videoalign.web.annotate.storage.database import DatabaseGone

log = logging.getLogger(__name__)

LARGEST_SHARE = 0.1
"""Of the time that writing the tables may take; with many judgements they are written less often."""

LAST = 19
"""The lowest priority of a process."""
LOOK_SECONDS = 2.0
"""How often the server looks whether the dataset or the programme changed."""


class Upkeep:
    """A thread from `start` to `stop`; a failure is logged and tried again the next time."""

    def __init__(self, programme: OpenProgramme) -> None:
        self.programme = programme
        self._end = threading.Event()
        self._written: object = None
        self._follower = Follower(programme)
        self._aside = Aside()
        self._thread = threading.Thread(target=self._run, name="upkeep", daemon=True)

    def start(self) -> None:
        """Begins with the first round, which a start need not wait for."""
        self._thread.start()

    def stop(self) -> None:
        """Does a last round and ends."""
        self._end.set()
        self._aside.stop()
        self._thread.join()
        self.once()

    def once(self) -> None:
        """One round; does nothing where nothing changed."""
        self.look()
        try:
            state = export.state(self.programme)
            if state != self._written:
                self._write()
                if self.programme.settings.selection == "informative":
                    statistics.choose_matchups(self.programme)
                self._written = state
        except (VideoAlignError, DatabaseGone) as error:
            if not isinstance(error, Stopped):
                log.error("the tables of the dataset were not written: %s", error)
        except Exception:
            log.exception("the upkeep failed; it is tried again")

    def _write(self) -> None:
        """Aside while others wait for answers; here once nobody does."""
        if self._end.is_set():
            export.write_tables(self.programme)
        else:
            self._aside.write(self.programme)

    def look(self) -> None:
        """Follows what changed beside the server."""
        try:
            self._follower.look()
        except DatabaseGone as error:
            log.error("the database cannot be read: %s", error)
        except Exception:
            log.exception("what changed beside the server cannot be followed; it is tried again")

    def _run(self) -> None:
        due = time.monotonic()
        while not self._end.wait(min(LOOK_SECONDS, max(0.0, due - time.monotonic()))):
            begin = time.monotonic()
            if begin < due:
                self.look()
                continue
            self.once()
            now = time.monotonic()
            due = now + max(self.programme.settings.sync_seconds, (now - begin) / LARGEST_SHARE)


class Stopped(OutputError):
    """The tables are not written now, since the server ends."""


class Aside:
    """`export.write_tables` in a process of its own, so that those who wait for an answer do not wait for it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._process: Any = None
        self._stopped = False

    def write(self, programme: OpenProgramme) -> None:
        """Writes the tables.

        Raises:
            OutputError: it failed.
            Stopped: `stop` was called.
        """
        ours, theirs = multiprocessing.Pipe(duplex=False)
        arguments = (programme.library.dataset.path, programme.settings, programme.database.url, theirs)
        process = multiprocessing.get_context("spawn").Process(target=_write, args=arguments, name="tables")
        with self._lock:
            if self._stopped:
                raise Stopped("the server ends.")
            process.start()
            assert process.pid is not None
            os.setpriority(os.PRIO_PROCESS, process.pid, LAST)  # whoever waits for an answer comes first
            self._process = process
        theirs.close()
        with ours:
            try:
                failed = ours.recv()
            except EOFError:
                failed = "its process ended without a word"
        process.join()
        if self._stopped:
            raise Stopped("the server ends.")
        if failed is not None:
            raise OutputError(failed)

    def stop(self) -> None:
        """Ends what is under way; no table is left half written."""
        with self._lock:
            self._stopped = True
            if self._process is not None:
                self._process.terminate()


def _write(folder: Path, settings: AnnotateSettings, url: URL, outcome: Connection) -> None:
    end_with_parent()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # leaves by the way that removes what is half written
    try:
        with export.opened(folder, settings, url) as programme:
            export.write_tables(programme)
        outcome.send(None)
    except VideoAlignError as error:
        outcome.send(str(error))
