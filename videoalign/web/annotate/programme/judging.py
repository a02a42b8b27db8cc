"""What somebody does with the pair before them: judge it, skip it, take the last verdict back."""

from __future__ import annotations

import hashlib
import json
from typing import Any

from sqlalchemy import bindparam, insert, select, update
from sqlalchemy.orm import Session

from videoalign.contracts.records import Label
from videoalign.data.dataset import flip
from videoalign.web.annotate.programme import assigning, deciding, quotas, watching
from videoalign.web.annotate.programme.programme import OpenProgramme
from videoalign.web.annotate.programme.schema import Submission
from videoalign.web.annotate.storage.tables import (
    Assignment,
    Kind,
    Pair,
    PairState,
    Person,
    Programme,
    Said,
    Status,
    Work,
)
from videoalign.web.refusals import Refusal

EXPIRED = Refusal(410, "expired", "this pair waited too long and went to somebody else; go on to the next.")
_GIVEN = (
    select(Assignment, Pair, select(Programme.guideline).scalar_subquery())
    .join(Pair, Pair.id == Assignment.pair_id)
    .where(Assignment.id == bindparam("assignment"), Assignment.person_id == bindparam("person"))
)
_SAY = insert(Said)
_SUBMIT = (
    update(Assignment)
    .where(Assignment.id == bindparam("assignment"))
    .values(state=Work.SUBMITTED, ended_at=bindparam("now"), draft=None)
)
_SIDES = {"left": Label.A, "right": Label.B, "tie": Label.TIE, "both_bad": Label.BOTH_BAD}


def submit(programme: OpenProgramme, session: Session, person: Person, body: Submission) -> None:
    """Takes a verdict; the same one again changes nothing.

    Raises:
        Refusal: not theirs, another verdict was taken before, the lease has run out and the pair went to somebody else,
            or the verdict is not complete.
    """
    row, pair = _mine(programme, session, person, body.assignment)
    content = hashlib.sha256(json.dumps(body.model_dump(mode="json"), sort_keys=True).encode()).hexdigest()
    if row.state in (Work.SUBMITTED, Work.DISCARDED):
        live = (Said.assignment_id == row.id, Said.withdrawn_at.is_(None))
        if session.scalar(select(Said.content_hash).where(*live)) == content:
            return
        raise Refusal(409, "already_judged", "this pair was judged already, with another verdict; go on to the next.")
    if row.state == Work.SKIPPED:
        raise Refusal(409, "already_skipped", "this pair was skipped already; go on to the next.")
    _require_hold(programme, session, person, row, pair)
    version = _require_complete(programme, row, pair, body)
    now = programme.now()
    sent = {side: programme.take_sent(row.id, clip) for side, clip in (("a", pair.clip_a), ("b", pair.clip_b))}
    session.flush()
    session.connection().execute(_SAY, _said(row, body, content, now, version, sent))
    session.connection().execute(_SUBMIT, {"assignment": row.id, "now": now})
    deciding.after_judgement(programme, session, person, row, pair)


def skip(programme: OpenProgramme, session: Session, person: Person, assignment: str, reason: str) -> None:
    """Gives a pair up for good, with a reason; skipping it again changes nothing."""
    row, pair = _mine(programme, session, person, assignment)
    if row.state in (Work.SKIPPED, Work.DISCARDED):
        return
    if row.state == Work.SUBMITTED:
        raise Refusal(409, "already_judged", "this pair was judged already; take that back first.")
    _require_hold(programme, session, person, row, pair)
    assigning.release(session, row.id, row.pair_id, row.kind, Work.SKIPPED, programme.now(), reason)
    session.refresh(row)
    programme.audit(session, person.id, "pair.skipped", row.pair_id, reason=reason, kind=row.kind)
    deciding.after_skip(programme, session, person, row)


def undo(programme: OpenProgramme, session: Session, person: Person) -> None:
    """Gives the pair that was judged last back; its verdict is kept, marked as taken back."""
    if not programme.settings.allow_undo:
        raise Refusal(403, "no_undo", "this programme does not take verdicts back.")
    _require_at_work(person)
    mine = select(Assignment).where(Assignment.person_id == person.id)
    row = session.scalar(
        mine.where(Assignment.state.in_([Work.SUBMITTED, Work.SKIPPED])).order_by(Assignment.turn.desc()).limit(1)
    )
    holds = session.scalar(mine.where(Assignment.state == Work.LEASED).order_by(Assignment.turn).limit(1))
    if row is None or row.state != Work.SUBMITTED or (holds is not None and holds.turn < row.turn):
        raise Refusal(409, "nothing_to_undo", "there is no verdict to take back.")
    pair = session.get(Pair, row.pair_id)
    if pair is None or pair.state == PairState.RETIRED or not programme.library.shows(pair):
        raise Refusal(409, "final", "the clips of this pair have left the programme; its verdict is final.")
    deciding.before_undo(session, row)
    now = programme.now()
    live = (Said.assignment_id == row.id, Said.withdrawn_at.is_(None))
    said = session.scalar(select(Said).where(*live))
    assert said is not None
    said.withdrawn_at = now
    row.state, row.ended_at, row.given_at, row.lease_until = (
        Work.LEASED,
        None,
        now,
        now + programme.settings.lease_seconds,
    )
    row.draft = draft_of(programme, row, said)
    programme.audit(session, person.id, "judgement.withdrawn", row.id)
    if row.kind == Kind.RATING:
        deciding.settle(programme, session, [row.pair_id])


def heartbeat(
    programme: OpenProgramme, session: Session, person: Person, assignment: str, draft: dict[str, Any]
) -> None:
    """Extends the leases and keeps what was half made.

    Raises:
        Refusal: not theirs, or it waited longer than the settings allow and is anybody's again.
    """
    row, pair = _mine(programme, session, person, assignment)
    if row.state in (Work.SUBMITTED, Work.SKIPPED, Work.DISCARDED):
        return
    if row.state == Work.EXPIRED and programme.now() > assigning.held_since(row) + programme.settings.hold_seconds:
        raise EXPIRED
    _require_hold(programme, session, person, row, pair)
    row.draft = draft
    assigning.extend(programme, session, person.id)


def as_shown(label: str, swapped: bool) -> str:
    """``left``, ``right``, ``tie`` or ``both_bad`` for a label in the stored order of the clips."""
    label = flip(label) if swapped else Label(label)
    return {Label.A: "left", Label.B: "right"}.get(label, str(label))


def draft_of(programme: OpenProgramme, row: Assignment, said: Said) -> dict[str, Any]:
    """What somebody said, in the form of the page, to go on from."""
    sides = {"left": "b", "right": "a"} if row.swapped else {"left": "a", "right": "b"}
    now, version = programme.wording.now, said.guideline
    ratings = {side: now(version, said.ratings[name]) for side, name in sides.items()} if said.ratings else None
    verdicts = {name: as_shown(label, row.swapped) for name, label in now(version, said.verdicts).items()}
    return {"verdicts": verdicts, "ratings": ratings, "comment": said.comment}


def _mine(programme: OpenProgramme, session: Session, person: Person, assignment: str) -> tuple[Assignment, Pair]:
    found = session.execute(_GIVEN, {"assignment": assignment, "person": person.id}).one_or_none()
    if found is None:
        raise Refusal(404, "unknown_assignment", "no such pair was given to you.")
    if found[2] != programme.wording.version:
        programme.catch_up(session)
    return found[0], found[1]


def _require_at_work(person: Person) -> None:
    if person.status == Status.PAUSED:
        raise Refusal(403, "paused", person.reason or "you are paused; ask whoever invited you.")


def _require_hold(programme: OpenProgramme, session: Session, person: Person, row: Assignment, pair: Pair) -> None:
    """Checks that the pair is still theirs; one whose lease ran out is taken up again where nobody else has it."""
    _require_at_work(person)
    if not programme.library.shows(pair):
        raise Refusal(410, "expired", "the clips of this pair have left the programme; go on to the next.")
    if row.state == Work.EXPIRED and (
        row.kind == Kind.ADJUDICATION
        or _has_enough(programme, session, person)
        or not _retake(programme, session, row, pair)
    ):
        raise EXPIRED


def _has_enough(programme: OpenProgramme, session: Session, person: Person) -> bool:
    """Whether the pairs that somebody holds are as many as they may still judge."""
    room = quotas.room(programme, session, person)
    return room is not None and len(assigning.holds(programme, session, person.id)) >= room.pairs


def _retake(programme: OpenProgramme, session: Session, row: Assignment, pair: Pair) -> bool:
    if row.kind == Kind.RATING:
        if not assigning.take(programme, session, row.pair_id):
            return False
        session.refresh(pair)
    row.state, row.ended_at = Work.LEASED, None
    row.lease_until = programme.now() + programme.settings.lease_seconds
    session.flush()
    return True


def _require_complete(programme: OpenProgramme, row: Assignment, pair: Pair, body: Submission) -> int:
    """The version of the guideline that a verdict answers: the one that its rater last saw, or today's."""
    for version in (row.guideline, programme.wording.version):
        names = deciding.asked(programme, row.kind, pair, version)
        if {*body.verdicts} == {*names}:
            break
    else:
        raise Refusal(422, "incomplete", f"verdicts: wanted one on each of {', '.join(names)}.")
    if body.ratings is not None:
        if not programme.settings.ratings:
            raise Refusal(422, "no_ratings", "ratings: this programme takes none.")
        if any({*side} - {*names} for side in (body.ratings.left, body.ratings.right)):
            raise Refusal(422, "unknown_dimension", f"ratings: wanted only {', '.join(names)}.")
    clips = (pair.clip_b, pair.clip_a) if row.swapped else (pair.clip_a, pair.clip_b)
    watching.require_watched(programme, row, clips, (body.watched_seconds.left, body.watched_seconds.right))
    return version


def _said(
    row: Assignment, body: Submission, content: str, now: float, version: int, sent: dict[str, str]
) -> dict[str, Any]:
    """The columns of `Said`."""
    verdicts = {name: str(_SIDES[side]) for name, side in body.verdicts.items()}
    if row.swapped:
        verdicts = {name: str(flip(label)) for name, label in verdicts.items()}
    left, right = ("b", "a") if row.swapped else ("a", "b")
    ratings = {left: body.ratings.left, right: body.ratings.right} if body.ratings is not None else None
    watched = {left: body.watched_seconds.left, right: body.watched_seconds.right}
    return {
        "assignment_id": row.id,
        "verdicts": verdicts,
        "ratings": ratings,
        "comment": body.comment,
        "watched_a": watched["a"],
        "watched_b": watched["b"],
        "seconds": max(0.0, now - (row.shown_at if row.shown_at is not None else row.given_at)),  # clocks are set back
        "content_hash": content,
        "content_a": sent["a"],
        "content_b": sent["b"],
        "guideline": version,
        "submitted_at": now,
        "withdrawn_at": None,
    }
