"""The answer to ``GET /api/next``: the pair to judge, what it asks, how far its rater is."""

from __future__ import annotations

from typing import Any

from sqlalchemy import and_, bindparam, case, func, select
from sqlalchemy.orm import Session

from videoalign.web.annotate.programme import assigning, deciding, quotas, watching
from videoalign.web.annotate.programme.judging import as_shown
from videoalign.web.annotate.programme.programme import OpenProgramme
from videoalign.web.annotate.programme.schema import readable_draft
from videoalign.web.annotate.storage.tables import (
    Assignment,
    Kind,
    Pair,
    PairState,
    Person,
    PersonRole,
    Said,
    Status,
    Work,
)

NOTHING_LEFT = "There is no pair for you now. Thank you; come back later for what others leave."
THAT_IS_ALL = "You have judged all that there is for you. Thank you very much!"
NOTHING_DISPUTED = "No pair waits for a decision now."


def next_body(programme: OpenProgramme, session: Session, person: Person) -> dict[str, Any]:
    """See the contract of the rating page: assignment, state, message, completion, progress, upcoming."""
    room = quotas.room(programme, session, person)
    row, ids = assigning.held(programme, session, person, None if room is None else room.pairs)
    state, message = _state(person, row is not None, room)
    completion = _completion(programme, session, person, room) if state == "done" else None
    if completion is not None:
        message = THAT_IS_ALL
    return {
        "assignment": _assignment(programme, session, row) if row is not None else None,
        "state": state,
        "message": message,
        "completion": completion,
        "progress": _progress(programme, session, person, row, len(ids), room),
        "upcoming": {side: _url(programme, ids[1], side) for side in ("left", "right")} if len(ids) > 1 else None,
    }


def _state(person: Person, has_pair: bool, room: quotas.Room | None) -> tuple[str, str]:
    if person.status == Status.PAUSED:
        return "paused", person.reason or "You are paused; ask whoever invited you."
    if not has_pair and room is not None and room.pairs <= 0:
        return "done", room.message
    if not has_pair:
        return "done", NOTHING_DISPUTED if person.role == PersonRole.ADJUDICATOR else NOTHING_LEFT
    if person.role == PersonRole.ADJUDICATOR:
        return "adjudication", ""
    return ("qualification", "") if person.status == Status.QUALIFYING else ("rating", "")


def _completion(
    programme: OpenProgramme, session: Session, person: Person, room: quotas.Room | None
) -> dict[str, Any] | None:
    """What somebody of a crowd hands in where they came from, once they have judged all that they may."""
    crowd = programme.settings.crowd
    waits = room is not None and room.pairs <= 0 and not room.ends
    if crowd is None or person.crowd_key is None or waits:
        return None
    if session.connection().execute(assigning.DONE, {"person": person.id}).scalar_one() == 0:
        return None
    return {"code": crowd.code, "url": crowd.redirect_url}


def _assignment(programme: OpenProgramme, session: Session, row: Any) -> dict[str, Any]:
    library = programme.library
    left, right = (row.clip_b, row.clip_a) if row.swapped else (row.clip_a, row.clip_b)
    names = deciding.asked(programme, row.kind, row, programme.wording.version)
    return {
        "id": row.id,
        "prompt": library.prompts.get(row.prompt_id, ""),
        "reference": _reference(programme, row),
        "left": library.card(left, _url(programme, row.id, "left"), watching.needed_seconds(programme, left)),
        "right": library.card(right, _url(programme, row.id, "right"), watching.needed_seconds(programme, right)),
        "dimensions": [
            {"name": one.name, "guideline": one.guideline}
            for one in library.dataset.info.dimensions
            if one.name in names
        ],
        "lease_seconds": programme.settings.lease_seconds,
        "seconds_to_wait": watching.seconds_to_wait(programme, (left, right), row.shown_at),
        "ratings": programme.settings.ratings,
        "allow_undo": programme.settings.allow_undo,
        "draft": readable_draft(row.draft),
        "said": _said(programme, session, row) if row.kind == Kind.ADJUDICATION else None,
    }


def _reference(programme: OpenProgramme, row: Any) -> dict[str, str] | None:
    """The picture or clip that was asked with beside the prompt."""
    kind = programme.library.references.kind(row.prompt_id)
    return {"url": _url(programme, row.id, "prompt"), "kind": kind} if kind else None


def _said(programme: OpenProgramme, session: Session, row: Any) -> list[dict[str, Any]]:
    """What the raters said, on the sides that the adjudicator sees; raters are numbered, not named."""
    others = (
        select(Said.verdicts, Said.guideline, Said.comment)
        .join(Assignment, Assignment.id == Said.assignment_id)
        .where(
            Assignment.pair_id == row.pair_id,
            Assignment.kind == Kind.RATING,
            Assignment.state == Work.SUBMITTED,
            Said.withdrawn_at.is_(None),
        )
        .order_by(Said.id)
    )
    return [
        {
            "rater": str(number),
            "verdicts": {
                name: as_shown(label, row.swapped)
                for name, label in programme.wording.now(said.guideline, said.verdicts).items()
            },
            "comment": said.comment,
        }
        for number, said in enumerate(session.execute(others), start=1)
    ]


def _progress(
    programme: OpenProgramme, session: Session, person: Person, row: Any | None, num_held: int, room: quotas.Room | None
) -> dict[str, int]:
    """Pairs that somebody has judged, and how many there will be in all.

    The total is the same whether the last pairs were gold, repeats or neither: how many of them there will be is
    estimated from the settings rather than counted as they come.
    """
    connection = session.connection()
    done = connection.execute(assigning.DONE, {"person": person.id}).scalar_one() if row is None else row.done
    if person.status == Status.QUALIFYING:
        return {"done": done, "total": max(done + num_held, programme.settings.qualification_pairs)}
    if num_held == 0:
        return {"done": done, "total": done}

    def count() -> int:
        if person.role == PersonRole.ADJUDICATOR:
            waiting = connection.execute(_DISPUTED, {"person": person.id}).scalar_one()
            return int(done + num_held + waiting)
        states = programme.totals.pairs(
            programme.now(), lambda: {row.state: row.pairs for row in connection.execute(_STATES)}
        )
        found = connection.execute(_REACH, {"person": person.id}).one()
        pairs = found.given + max(0, states.get(PairState.OPEN, 0) - found.seen)
        extras = _extras(programme, pairs, states.get(PairState.GOLD, 0) - found.in_test)
        return int(found.tested + pairs + extras - found.skipped)

    total = programme.totals.of(person.id, programme.now(), count)
    if room is not None:
        total = min(total, done + room.pairs)
    return {"done": done, "total": max(done + num_held, total)}


def _extras(programme: OpenProgramme, pairs: int, gold: int) -> int:
    """About how many gold pairs, of so many that there are, and repeats come with so many pairs to rate."""
    settings = programme.settings
    extras = min(gold, round(pairs * settings.gold_share / (1 - settings.gold_share)))
    if pairs > settings.repeat_gap:
        extras += min(pairs, round(pairs * settings.repeat_share / (1 - settings.repeat_share)))
    return extras


def _url(programme: OpenProgramme, assignment: str, side: str) -> str:
    return f"{programme.settings.root}/media/{assignment}/{side}"


_PAIRS = select(func.count()).select_from(Pair)
_SEEN = (
    select(func.count())
    .select_from(Assignment)
    .join(Pair, Pair.id == Assignment.pair_id)
    .where(Assignment.person_id == bindparam("person"), Assignment.state != Work.EXPIRED, Assignment.round == 0)
)
_DISPUTED = select(
    _PAIRS.where(Pair.state == PairState.DISPUTED).scalar_subquery()
    - _SEEN.where(Pair.state == PairState.DISPUTED).scalar_subquery()
)


def _sum(*conditions: Any) -> Any:
    return func.coalesce(func.sum(case((and_(*conditions), 1), else_=0)), 0)


_COUNTED = Assignment.state != Work.DISCARDED
_TEST = Assignment.kind == Kind.QUALIFICATION
_REACH = (
    select(
        _sum(_COUNTED, Assignment.kind == Kind.RATING).label("given"),
        _sum(Assignment.round == 0, Pair.state == PairState.OPEN).label("seen"),
        _sum(Assignment.state == Work.SKIPPED, ~_TEST).label("skipped"),
        _sum(Assignment.state == Work.SUBMITTED, _TEST).label("tested"),
        _sum(_TEST).label("in_test"),
    )
    .select_from(Assignment)
    .join(Pair, Pair.id == Assignment.pair_id)
    .where(Assignment.person_id == bindparam("person"), Assignment.state != Work.EXPIRED)
)
"""Pairs to rate that somebody was given, pairs now open that they saw, those that they skipped, what they judged of
their qualification and all of it: nothing here depends on whether a pair that they hold is gold."""
_STATES = select(Pair.state, func.count().label("pairs")).group_by(Pair.state)
