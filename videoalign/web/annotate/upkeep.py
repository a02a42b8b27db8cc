"""What the server does beside answering: the dataset's tables, and which comparison tells most."""

from __future__ import annotations

import logging
import multiprocessing
import os
import threading
import time
from multiprocessing.connection import Connection
from pathlib import Path

from videoalign.errors import OutputError, VideoAlignError
from videoalign.web.annotate import export, figures
from videoalign.web.annotate.database import DatabaseGone
from videoalign.web.annotate.desk import Desk
from videoalign.web.annotate.settings import AnnotateSettings

log = logging.getLogger(__name__)

LARGEST_SHARE = 0.1
"""Of the time that writing the tables may take; with many judgements they are written less often."""


class Upkeep:
    """A thread from `start` to `stop`; a failure is logged and tried again the next time."""

    def __init__(self, desk: Desk) -> None:
        self.desk = desk
        self._end = threading.Event()
        self._written: object = None
        self._thread = threading.Thread(target=self._run, name="upkeep", daemon=True)

    def start(self) -> None:
        """Begins with the first round, which a start need not wait for."""
        self._thread.start()

    def stop(self) -> None:
        """Does a last round and ends."""
        self._end.set()
        self._thread.join()
        self.once()

    def once(self) -> None:
        """One round; does nothing where nothing changed."""
        try:
            state = export.state(self.desk)
            if state != self._written:
                write_aside(self.desk)
                if self.desk.settings.selection == "informative":
                    figures.choose_matchups(self.desk)
                self._written = state
        except (VideoAlignError, DatabaseGone) as error:
            log.error("the tables of the dataset were not written: %s", error)

    def _run(self) -> None:
        pause = 0.0
        while not self._end.wait(pause):
            begin = time.monotonic()
            self.once()
            pause = max(self.desk.settings.sync_seconds, (time.monotonic() - begin) / LARGEST_SHARE)


def write_aside(desk: Desk) -> None:
    """`export.write_tables` in a process of its own, so that those who wait for an answer do not wait for it.

    Raises:
        OutputError: it failed.
    """
    ours, theirs = multiprocessing.Pipe(duplex=False)
    spawn = multiprocessing.get_context("spawn")
    address = desk.database.url.render_as_string(hide_password=False)
    settings = desk.settings.model_copy(update={"db": address})
    process = spawn.Process(target=_write, args=(desk.library.dataset.path, settings, theirs), name="tables")
    process.start()
    theirs.close()
    with ours:
        try:
            failed = ours.recv()
        except EOFError:
            failed = "its process ended without a word"
    process.join()
    if failed is not None:
        raise OutputError(failed)


def _write(folder: Path, settings: AnnotateSettings, outcome: Connection) -> None:
    os.nice(19)  # whoever waits for an answer comes first
    try:
        export.export_programme(folder, settings)
        outcome.send(None)
    except VideoAlignError as error:
        outcome.send(str(error))
