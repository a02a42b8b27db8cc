"""What the server does beside answering: the dataset's tables, and which comparison tells most."""

from __future__ import annotations

import logging
import threading

from videoalign.errors import VideoAlignError
from videoalign.web.annotate import export, figures
from videoalign.web.annotate.database import DatabaseGone
from videoalign.web.annotate.desk import Desk

log = logging.getLogger(__name__)


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
                export.write_tables(self.desk)
                if self.desk.settings.selection == "informative":
                    figures.choose_matchups(self.desk)
                self._written = state
        except (VideoAlignError, DatabaseGone) as error:
            log.error("the tables of the dataset were not written: %s", error)

    def _run(self) -> None:
        self.once()
        while not self._end.wait(self.desk.settings.sync_seconds):
            self.once()
