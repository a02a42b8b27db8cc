"""The numbers of the admin pages, kept until they are out of date, and worked out where nobody waits for it."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import URL

from videoalign.errors import OutputError, VideoAlignError
from videoalign.web.annotate.programme import export, statistics
from videoalign.web.annotate.programme.programme import OpenProgramme
from videoalign.web.annotate.settings import AnnotateSettings
from videoalign.web.refusals import Refusal

log = logging.getLogger(__name__)

TABLES: dict[str, Callable[[OpenProgramme], dict[str, Any]]] = {
    "agreement": statistics.agreement,
    "leaderboard": statistics.leaderboard,
    "quality": statistics.quality,
}
MANY = 1000
"""Verdicts beyond which numbers are worked out in a process of their own."""
LARGEST_SHARE = 0.1
"""Of the time that working out a table of so many verdicts may take."""
PATIENCE = 2.0
"""Seconds that a page waits for numbers that another one has asked for."""


@dataclass(frozen=True)
class Table:
    """Numbers as they stood once."""

    values: dict[str, Any]
    state: object
    """Of the database, from before the numbers were worked out."""
    at: float
    """When that was, in seconds since 1970."""
    due: float
    """When they may be worked out anew, by the monotonic clock."""
    is_old: bool = False
    """Whether more is known by now."""


class Figures:
    """Works a table out when what it depends on has changed since it was last asked for.

    With many verdicts that takes long, so it is done in a process of its own, only now and then, and whoever asks
    meanwhile gets the table before.
    """

    def __init__(self, programme: OpenProgramme) -> None:
        self.programme = programme
        self._known: dict[str, Table] = {}
        self._locks = {name: threading.Lock() for name in TABLES}

    def __call__(self, name: str) -> Table:
        """A table of `TABLES`.

        Raises:
            Refusal: it is being worked out for the first time, for somebody else.
            OutputError: it could not be worked out.
        """
        state = export.state(self.programme)
        known = self._known.get(name)
        if known is not None and known.state == state:
            return known
        many = (state[0] or 0) > MANY
        if known is None or not many:
            return self._wait(name, many)
        if time.monotonic() >= known.due:
            threading.Thread(target=self._renew, args=(name,), name=name, daemon=True).start()
        return Table(known.values, known.state, known.at, known.due, is_old=True)

    def _wait(self, name: str, many: bool) -> Table:
        if not self._locks[name].acquire(timeout=PATIENCE):
            reason = "these numbers are being worked out; look again in a few seconds."
            raise Refusal(503, "in_progress", reason, {"retry-after": "5"})
        try:
            state, known = export.state(self.programme), self._known.get(name)
            if known is None or known.state != state:
                self._known[name] = self._table(name, state, many)
            return self._known[name]
        finally:
            self._locks[name].release()

    def _renew(self, name: str) -> None:
        if not self._locks[name].acquire(blocking=False):
            return
        try:
            self._known[name] = self._table(name, export.state(self.programme), many=True)
        except Exception:
            log.exception("the numbers of '%s' were not worked out", name)
        finally:
            self._locks[name].release()

    def _table(self, name: str, state: object, many: bool) -> Table:
        begin, at = time.monotonic(), self.programme.now()
        values = _aside(self.programme, name) if many else TABLES[name](self.programme)
        end = time.monotonic()
        return Table(values, state, at, end + (end - begin) / LARGEST_SHARE)


def _aside(programme: OpenProgramme, name: str) -> dict[str, Any]:
    """The table as another process works it out: it takes long, and here it would keep raters waiting."""
    url = programme.database.url
    job = {
        "name": name,
        "folder": str(programme.library.dataset.path),
        "settings": programme.settings.model_dump(mode="json"),
        "url": url._asdict() | {"query": dict(url.query)},
    }
    command = [sys.executable, "-m", __name__]
    done = subprocess.run(command, input=json.dumps(job), capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise OutputError(f"{name}: {done.stderr.strip() or 'its process ended without a word'}")
    values: dict[str, Any] = json.loads(done.stdout)
    return values


def main() -> None:
    """Works out the table that is described on stdin, and writes it to stdout."""
    os.nice(19)  # whoever waits for an answer comes first
    job = json.load(sys.stdin)
    try:
        with export.opened(
            Path(job["folder"]), AnnotateSettings(**job["settings"]), URL.create(**job["url"])
        ) as programme:
            json.dump(TABLES[job["name"]](programme), sys.stdout)
    except VideoAlignError as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
