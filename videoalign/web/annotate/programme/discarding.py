"""Somebody's work as if it had not been done: verdicts stay stored, count nowhere, and their pairs go to others."""

from __future__ import annotations

from dataclasses import replace

from sqlalchemy import exists, select, update
from sqlalchemy.orm import Session

from videoalign.web.annotate.programme import deciding, people
from videoalign.web.annotate.programme.programme import OpenProgramme
from videoalign.web.annotate.settings import AnnotateSettings
from videoalign.web.annotate.storage.tables import Assignment, Kind, Programme, Said, Work


def discard(programme: OpenProgramme, session: Session, by: int | None, person_id: int) -> int:
    """Discards all that somebody judged and skipped so far; returns how many verdicts that were.

    What they hold stays with them, and so does their status: pause whoever is to judge no more.

    Raises:
        Refusal: nobody has this number.
    """
    return _turn(programme, session, by, person_id, "discarded")


def restore(programme: OpenProgramme, session: Session, by: int | None, person_id: int) -> int:
    """Takes `discard` back; a pair that others have judged meanwhile has more verdicts then than it wanted.

    Raises:
        Refusal: nobody has this number.
    """
    return _turn(programme, session, by, person_id, "restored")


def as_served(programme: OpenProgramme) -> OpenProgramme:
    """The same programme with the settings that it was last served with, on which depends what is decided."""
    with programme.database.read() as session:
        stored = session.scalars(select(Programme.settings)).one()
    known = {name: value for name, value in stored.items() if name in AnnotateSettings.model_fields}
    return replace(programme, settings=AnnotateSettings(**known))


def _turn(programme: OpenProgramme, session: Session, by: int | None, person_id: int, what: str) -> int:
    people.find(session, person_id, forgotten=True)
    discards = what == "discarded"
    before = [Work.SUBMITTED, Work.SKIPPED] if discards else [Work.DISCARDED]
    mine = (Assignment.person_id == person_id, Assignment.state.in_(before))
    counting = (*mine, Assignment.kind.in_([Kind.RATING, Kind.ADJUDICATION]))
    pairs = session.scalars(select(Assignment.pair_id).where(*counting).distinct()).all()
    said = exists().where(Said.assignment_id == Assignment.id, Said.withdrawn_at.is_(None))
    changes = (
        [(Work.DISCARDED, said), (Work.DISCARDED, ~said)]
        if discards
        else [(Work.SUBMITTED, said), (Work.SKIPPED, ~said)]
    )
    verdicts, skips = (
        session.execute(update(Assignment).where(*mine, which).values(state=state)).rowcount  # type: ignore[attr-defined]
        for state, which in changes
    )
    deciding.settle(programme, session, pairs)
    programme.audit(session, by, f"work.{what}", person_id, verdicts=verdicts, skips=skips, pairs=len(pairs))
    return int(verdicts)
