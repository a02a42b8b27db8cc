"""Forgetting somebody: whatever tells who they are goes, their verdicts stay under a number."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import delete, or_, select, text, update
from sqlalchemy.orm import Session

from videoalign.errors import OutputError
from videoalign.web.annotate.programme import assigning, discarding, export, people
from videoalign.web.annotate.programme.programme import OpenProgramme
from videoalign.web.annotate.storage.tables import Assignment, Invitation, Person, Said, SignIn, Status


@dataclass(frozen=True)
class Forgotten:
    """What went with somebody."""

    rater: str
    """What they are called from now on."""
    comments: int
    """Free texts: comments, and reasons for skipping."""
    discarded: int
    """Verdicts that count no longer."""


def forget(programme: OpenProgramme, person_id: int, *, discard: bool = False) -> Forgotten:
    """Forgets somebody for good, in the database and in ``annotations.parquet``; a server may be running.

    Name, links, sessions, id elsewhere, comments, drafts, and reasons that they gave or that were given about them go.
    Verdicts, with sides and times, stay under the rater id, and what they held goes to others. Forgetting somebody
    again does the rest, where it was interrupted.

    Args:
        programme: that they judged for.
        person_id: their number.
        discard: discard all that they judged, too, so that their pairs go to others.

    Raises:
        Refusal: nobody has this number.
        OutputError: a table cannot be written, or somebody kept reading the database, so that its file may still hold
            what was removed.
    """
    done = programme.database.write(lambda session: forget_in(programme, session, person_id, discard=discard))
    export.rewrite_annotations(programme)
    if not programme.database.overwrite_removed():
        raise OutputError(
            f"--db: {done.rater} is forgotten, but the database was being read all the time, so its file may still "
            "hold what was removed; run this again."
        )
    return done


def forget_in(programme: OpenProgramme, session: Session, person_id: int, *, discard: bool = False) -> Forgotten:
    """As `forget`, inside a write and in the tables of the database alone."""
    person = people.find(session, person_id, forgotten=True)
    discarded = discarding.discard(programme, session, None, person_id) if discard else 0
    if person.status != Status.FORGOTTEN:
        assigning.release_all(programme, session, person_id)
        programme.audit(session, None, "person.forgotten", person_id)
        session.flush()  # the database lets nobody change what was said before it knows this
    _take_name(session, person)
    return Forgotten(person.name, _take_words(session, person_id), discarded)


def _take_name(session: Session, person: Person) -> None:
    person.name, person.status = f"{person.role}-{person.id}", Status.FORGOTTEN
    person.reason, person.crowd_key = "", None
    session.flush()
    for table in (SignIn, Invitation):
        session.execute(delete(table).where(table.person_id == person.id))


def _take_words(session: Session, person_id: int) -> int:
    """Takes away what somebody wrote, and what others wrote of them; returns how many of the first there were."""
    mine = select(Assignment.id).where(Assignment.person_id == person_id)
    said = (Said.assignment_id.in_(mine), or_(Said.comment != "", Said.content_hash != ""))
    skipped = (Assignment.person_id == person_id, Assignment.reason != "")
    comments = select(Said.id).where(Said.assignment_id.in_(mine), Said.comment != "")
    number = len(session.scalars(comments).all())
    session.execute(update(Said).where(*said).values(comment="", content_hash=""))
    number += session.execute(update(Assignment).where(*skipped).values(reason="")).rowcount  # type: ignore[attr-defined]
    session.execute(update(Assignment).where(Assignment.person_id == person_id).values(draft=None))
    log = _LOG[session.connection().dialect.name]
    session.execute(text(log), {"person": person_id, "subject": str(person_id)})
    return number


_OF_THEM = "(person_id = :person OR (action LIKE 'person.%' AND subject = :subject))"
_LOG = {
    "sqlite": "UPDATE audit SET detail = json_remove(detail, '$.reason') "
    f"WHERE json_extract(detail, '$.reason') IS NOT NULL AND {_OF_THEM}",
    "postgresql": "UPDATE audit SET detail = (CAST(detail AS jsonb) - 'reason')::json "
    f"WHERE detail ->> 'reason' IS NOT NULL AND {_OF_THEM}",
}
"""Takes reasons out of the audit log."""
