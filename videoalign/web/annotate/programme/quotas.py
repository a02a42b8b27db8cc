"""How much one person may judge, and the programme in all."""

from __future__ import annotations

from typing import NamedTuple

from sqlalchemy import ColumnElement, func, select
from sqlalchemy.orm import Session

from videoalign.web.annotate.programme.programme import OpenProgramme
from videoalign.web.annotate.storage.tables import Assignment, Kind, Person, PersonRole, Status, Work

DAY_SECONDS = 86400


class Room(NamedTuple):
    """How many more pairs somebody may judge."""

    pairs: int
    """Those that they hold among them."""
    message: str
    """What to say once there is none."""
    ends: bool = True
    """Whether that is for good."""


def room(programme: OpenProgramme, session: Session, person: Person) -> Room | None:
    """The narrowest of the limits that the settings set; None where nothing limits this person.

    Every verdict counts, also on gold and repeats, but for a qualification and an adjudicator's.
    """
    settings = programme.settings
    if person.role != PersonRole.RATER or person.status == Status.QUALIFYING:
        return None
    rooms = []
    if settings.max_judgements is not None:
        left = settings.max_judgements - _count(session, Assignment.state == Work.SUBMITTED)
        message = "Others are at the last pairs. Thank you; come back later for what they leave."
        if left <= 0:
            message = "This programme has all the judgements that it wants. Thank you for yours!"
        others = (Assignment.state == Work.LEASED, Assignment.lease_until >= programme.now())
        rooms.append(Room(left - _count(session, *others, Assignment.person_id != person.id), message))
    if settings.max_judgements_per_rater is not None:
        message = "You have judged as many pairs as one person may here. Thank you very much!"
        rooms.append(Room(settings.max_judgements_per_rater - _count(session, *_by(person)), message))
    if settings.max_judgements_per_day is not None:
        midnight = programme.now() // DAY_SECONDS * DAY_SECONDS
        message = "You have judged as many pairs as one person may in a day. Thank you; come back after midnight UTC."
        today = _count(session, *_by(person), Assignment.ended_at >= midnight)
        rooms.append(Room(settings.max_judgements_per_day - today, message, ends=False))
    return min(rooms, key=lambda one: one.pairs, default=None)


def _by(person: Person) -> tuple[ColumnElement[bool], ...]:
    return Assignment.person_id == person.id, Assignment.state == Work.SUBMITTED


def _count(session: Session, *which: object) -> int:
    work = Assignment.kind.not_in([Kind.QUALIFICATION, Kind.ADJUDICATION])
    return session.scalar(select(func.count()).select_from(Assignment).where(work, *which)) or 0  # type: ignore[arg-type]
