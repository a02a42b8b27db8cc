"""What people said, in the records of the dataset."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from videoalign.contracts.records import PROGRAMME_SOURCE, Judgement, Label, Rating, Role
from videoalign.web.annotate.programme.deciding import VOICES
from videoalign.web.annotate.programme.programme import OpenProgramme
from videoalign.web.annotate.storage.tables import Assignment, Kind, Pair, PairState, Person, PersonRole, Said, Work

GOLD = "gold"
"""Rater id of the known answers."""


def rater_id(person_id: int, role: str) -> str:
    """What somebody is called in the dataset; names stay in the database."""
    return f"{'adjudicator' if role == PersonRole.ADJUDICATOR else 'rater'}-{person_id}"


def source(programme: OpenProgramme) -> str:
    """What ``source_row`` begins with in all rows of this programme, and in no others."""
    return f"{PROGRAMME_SOURCE}{programme.key}:"


def said_rows(session: Session, *, every: bool = False) -> Iterator[Any]:
    """Verdicts with their assignment, pair and person, in the order in which they were given: those that stand, or
    every one, also what was taken back or discarded."""
    rows = (
        select(
            *Said.__table__.columns,
            *(column for column in Assignment.__table__.columns if column.key not in ("id", "draft", "guideline")),
            Pair.prompt_id,
            Pair.clip_a,
            Pair.clip_b,
            Person.role,
        )
        .join(Assignment, Assignment.id == Said.assignment_id)
        .join(Pair, Pair.id == Assignment.pair_id)
        .join(Person, Person.id == Assignment.person_id)
        .order_by(Said.id)
        .execution_options(yield_per=2000)
    )
    stand = rows.where(Said.withdrawn_at.is_(None), Assignment.state == Work.SUBMITTED)
    yield from session.execute(rows if every else stand)


def judgements(programme: OpenProgramme, session: Session) -> list[Judgement]:
    """Every verdict on pairs of the dataset that stands, under today's names of the dimensions; the known answers of
    gold; and what adjudicators found not to be judged. Of what is asked no more, nothing is left out."""
    wording, order = programme.wording, {name: index for index, name in enumerate(programme.library.dataset.dimensions)}
    said = [
        Judgement(
            prompt_id=row.prompt_id,
            clip_a=row.clip_a,
            clip_b=row.clip_b,
            rater=rater_id(row.person_id, row.role),
            dimension=now,
            label=row.verdicts[name],
            source_row=source(programme) + row.assignment_id,
            role=VOICES[Kind(row.kind)],
            left="B" if row.swapped else "A",
            seconds=row.seconds,
            guideline=wording.since.get((row.guideline, name), 0),
            content_a=row.content_a,
            content_b=row.content_b,
        )
        for row in said_rows(session)
        if programme.library.knows(row)
        for index, now, name in sorted(
            (order.get(now, len(order)), now, name)
            for now, name in wording.now(row.guideline, {name: name for name in row.verdicts}).items()
        )
    ]
    return [*said, *_excluded(programme, session), *_gold(programme, session)]


def num_strangers(programme: OpenProgramme, session: Session) -> int:
    """How many verdicts that stand are on pairs that are not in the dataset; they stay in the database."""
    retired = (
        select(Pair.prompt_id, Pair.clip_a, Pair.clip_b, func.count().label("verdicts"))
        .join(Assignment, Assignment.pair_id == Pair.id)
        .where(Pair.state == PairState.RETIRED, Assignment.state == Work.SUBMITTED)
        .group_by(Pair.id, Pair.prompt_id, Pair.clip_a, Pair.clip_b)
    )
    return sum(row.verdicts for row in session.execute(retired) if not programme.library.knows(row))


def ratings(programme: OpenProgramme, session: Session) -> list[Rating]:
    """Every score of a single clip that stands."""
    return [
        Rating(
            clip_id=clip_id,
            rater=rater_id(row.person_id, row.role),
            dimension=name,
            score=float(score),
            source_row=source(programme) + row.assignment_id,
        )
        for row in said_rows(session)
        if row.ratings and programme.library.knows(row)
        for side, clip_id in (("a", row.clip_a), ("b", row.clip_b))
        for name, score in programme.wording.now(row.guideline, row.ratings.get(side, {})).items()
    ]


def _excluded(programme: OpenProgramme, session: Session) -> list[Judgement]:
    """An adjudicator's word that a pair cannot be judged."""
    excluded = (
        select(Assignment.id, Assignment.person_id, Assignment.swapped, Pair.prompt_id, Pair.clip_a, Pair.clip_b)
        .join(Pair, Pair.id == Assignment.pair_id)
        .where(Assignment.kind == Kind.ADJUDICATION, Assignment.state == Work.SKIPPED)
        .order_by(Assignment.id)
    )
    return [
        Judgement(
            prompt_id=row.prompt_id,
            clip_a=row.clip_a,
            clip_b=row.clip_b,
            rater=rater_id(row.person_id, PersonRole.ADJUDICATOR),
            dimension=name,
            label=Label.INVALID,
            source_row=source(programme) + row.id,
            role=Role.ADJUDICATOR,
            left="B" if row.swapped else "A",
        )
        for row in session.execute(excluded)
        if programme.library.knows(row)
        for name in programme.library.dataset.dimensions
    ]


def _gold(programme: OpenProgramme, session: Session) -> list[Judgement]:
    gold = select(Pair.id, Pair.prompt_id, Pair.clip_a, Pair.clip_b, Pair.answers).where(Pair.state == PairState.GOLD)
    return [
        Judgement(
            prompt_id=row.prompt_id,
            clip_a=row.clip_a,
            clip_b=row.clip_b,
            rater=GOLD,
            dimension=name,
            label=label,
            source_row=f"{source(programme)}gold-{row.id}",
            role=Role.GOLD,
        )
        for row in session.execute(gold.order_by(Pair.id))
        if programme.library.knows(row)
        for name, label in (row.answers or {}).items()
    ]
