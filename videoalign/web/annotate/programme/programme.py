"""What every part of the programme needs at hand: the dataset, the settings, the draws and the time."""

from __future__ import annotations

import hashlib
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from videoalign.errors import ConfigError, did_you_mean
from videoalign.web.annotate.programme import identity
from videoalign.web.annotate.programme.media_index import Library, stamp
from videoalign.web.annotate.programme.wording import Wording, read_wording, settle_wording
from videoalign.web.annotate.settings import AnnotateSettings
from videoalign.web.annotate.storage import places
from videoalign.web.annotate.storage.database import Database
from videoalign.web.annotate.storage.tables import Audit, Programme

SERVER_SETTINGS = {
    "host",
    "port",
    "db",
    "public_url",
    "hosts",
    "read_seconds",
    "verdicts_per_minute",
    "undos_per_minute",
    "wrong_links_per_minute",
    "access_log",
    "seed",
    "sync_seconds",
    "rename",
    "comments_in_dataset",
    "shutdown_seconds",
    "max_body_bytes",
}
"""Settings of the machine rather than of the programme."""

COUNTED_SECONDS = 10.0
"""How long the total that a rater sees may lag behind what the others have taken."""
FEW_PAIRS = 1000
"""So many pairs are counted faster than it is worth remembering."""


class Matchups:
    """Which generators to compare next, the most telling comparison first; set anew as judgements come in."""

    def __init__(self) -> None:
        self._wanted: list[str] = []
        self._given = 0

    def set(self, wanted: list[str]) -> None:
        """A matchup may stand more than once, each time as if those before had been judged."""
        self._wanted, self._given = wanted, 0

    def next(self, most: int) -> list[str]:
        """Matchups to try in turn, each once, at most this many; the next call goes on from the second."""
        start = self._given % max(1, len(self._wanted))
        self._given += 1
        return list(dict.fromkeys([*self._wanted[start:], *self._wanted[:start]]))[:most]


class Totals:
    """How many pairs each person has in all, counted now and then: counting costs more than all else in an answer."""

    def __init__(self) -> None:
        self._counted: dict[int, tuple[float, int]] = {}
        self._pairs: tuple[float, dict[str, int]] = (-COUNTED_SECONDS, {})

    def pairs(self, now: float, count: Callable[[], dict[str, int]]) -> dict[str, int]:
        """How many pairs of the programme are in each state. Counting reads all of them, so that many are counted anew
        where the last count is older than `COUNTED_SECONDS`, for all people together; few at once."""
        at, states = self._pairs
        if sum(states.values()) < FEW_PAIRS or not 0 <= now - at < COUNTED_SECONDS:
            self._pairs = at, states = now, count()
        return states

    def of(self, person_id: int, now: float, count: Callable[[], int]) -> int:
        """The total of a person, counted anew where the last count is older than `COUNTED_SECONDS`."""
        at, total = self._counted.get(person_id, (-COUNTED_SECONDS, 0))
        if not 0 <= now - at < COUNTED_SECONDS:
            at, total = now, count()
            self._counted[person_id] = (at, total)
        return total


@dataclass
class OpenProgramme:
    """One programme on one dataset.

    Its dataset, guideline and settings may change while a server runs; they do so in the thread that writes, so that a
    write sees one state of them.
    """

    database: Database
    library: Library
    """With the dimensions of the guideline that holds, whatever the dataset says."""
    settings: AnnotateSettings
    key: str
    """Tells the judgements of this database from those of others."""
    seed: int
    wording: Wording
    now: Callable[[], float] = time.time
    matchups: Matchups = field(default_factory=Matchups)
    totals: Totals = field(default_factory=Totals)
    sent: dict[tuple[str, str], str] = field(default_factory=dict)
    """What stands for the clips that were sent to whoever judges them, by assignment and clip, until the verdict."""
    strangers: set[int] = field(default_factory=set)
    """Pairs that were drawn and are not in this server's dataset: another one knows more clips."""

    def draw(self, *ids: object) -> float:
        """A number in [0, 1) that depends on the seed and the ids alone."""
        digest = hashlib.sha256(repr((self.seed, *ids)).encode()).digest()
        return int.from_bytes(digest[:8], "big") / 2**64

    def note_sent(self, assignment: str, clip_id: str) -> None:
        """Remembers what a clip holds that is sent to whoever judges it: the first time, since browsers keep it."""
        if (assignment, clip_id) not in self.sent:
            self.sent[assignment, clip_id] = self.library.content(clip_id)

    def take_sent(self, assignment: str, clip_id: str) -> str:
        """What a clip held when it was sent, or holds now where no one here knows; forgotten with this call."""
        known = self.sent.pop((assignment, clip_id), None)
        return self.library.content(clip_id) if known is None else known

    def catch_up(self, session: Session) -> None:
        """Takes over a guideline that another server made hold; inside a write."""
        self.wording = read_wording(session, self.library.dataset.dimensions)
        self.library = self.library.asking(self.wording.dimensions)

    def audit(self, session: Session, person_id: int | None, action: str, subject: object = "", **detail: Any) -> None:
        """Adds a row to the audit log; ``person_id`` is None where the server itself acts."""
        session.add(Audit(at=self.now(), person_id=person_id, action=action, subject=str(subject)[:200], detail=detail))


def open_programme(
    database: Database, library: Library, settings: AnnotateSettings, now: Callable[[], float] = time.time
) -> OpenProgramme:
    """The programme in this database; its key and seed are fixed the first time, and changes of settings are noted.

    Raises:
        ConfigError: the database belongs to another dataset, the seed is not that of the programme, a dimension went
            away and the settings do not say what became of it, or an example is of an unknown clip or dimension.
        OutputError: the dataset's folder cannot be written.
    """
    _require_examples(library, settings)
    stored = stored_settings(settings)
    folder, dimensions = library.dataset.path, library.dataset.info.dimensions

    def start(session: Session) -> tuple[str, int, Wording]:
        row = session.scalar(select(Programme))
        if row is None:
            seed = settings.seed if settings.seed is not None else secrets.randbelow(2**31)
            row = Programme(id=1, key=secrets.token_hex(8), seed=seed, settings=stored, created_at=now())
            row.dataset_id = identity.own_id(folder)
            session.add(row)
            session.add(Audit(at=now(), action="programme.started", detail=stored | {"seed": seed}))
            session.flush()
            return row.key, row.seed, settle_wording(session, dimensions, settings.rename, now())
        identity.require_same(session, row, library)
        if settings.seed not in (None, row.seed):
            raise ConfigError(
                f"seed: got {settings.seed}, but the programme was begun with {row.seed}, which decides sides and "
                "order; leave it out, or begin another programme in another database."
            )
        if row.settings != stored:
            changed = {name: value for name, value in stored.items() if row.settings.get(name) != value}
            row.settings = stored
            session.add(Audit(at=now(), action="programme.settings", detail=changed))
        return row.key, row.seed, settle_wording(session, dimensions, settings.rename, now())

    key, seed, wording = database.write(start)
    places.note(folder, key, database.url)
    library = library.asking(wording.dimensions)
    library.stamp = (stamp(folder)[0], *library.stamp[1:])  # the id may just have been written
    return OpenProgramme(database, library, settings, key, seed, wording, now)


def stored_settings(settings: AnnotateSettings) -> dict[str, Any]:
    """What is stored of settings: those of the programme, not of the machine."""
    return settings.model_dump(mode="json", exclude=SERVER_SETTINGS)


def _require_examples(library: Library, settings: AnnotateSettings) -> None:
    for number, example in enumerate(settings.examples):
        names = library.dataset.dimensions
        if example.dimension not in names:
            hint = did_you_mean(example.dimension, names)
            raise ConfigError(f"examples.{number}.dimension: no dimension '{example.dimension}' is judged.{hint}")
        if example.clip_id not in library.clips:
            raise ConfigError(
                f"examples.{number}.clip_id: clip '{example.clip_id}' is not in {library.dataset.path}; give the id of "
                "one that is."
            )
