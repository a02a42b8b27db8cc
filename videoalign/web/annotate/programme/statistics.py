"""The numbers of the admin pages: progress, agreement, raters, leaderboard. nan stands as None."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from videoalign.contracts.plain import plain
from videoalign.contracts.records import Judgement
from videoalign.data.judgements.aggregate import JudgedPair, aggregate_pairs
from videoalign.data.judgements.agreement import count_guidelines, measure_agreement
from videoalign.data.judgements.leaderboard import build_leaderboards, choose_pairs
from videoalign.data.judgements.rater_quality import rater_quality
from videoalign.web.annotate.programme import deciding, records
from videoalign.web.annotate.programme.programme import OpenProgramme
from videoalign.web.annotate.storage.tables import Assignment, Kind, Pair, PairState, Person, PersonRole, Work

NUM_RESAMPLES = 500
LOOKED_AHEAD = 64
"""Comparisons that are chosen before the strengths are fitted anew."""
COPIES = 8
"""How often one matchup may stand among them."""


def agreement(programme: OpenProgramme) -> dict[str, Any]:
    """By dimension: see `data.judgements.agreement.DimensionAgreement`; under ``guidelines`` how many verdicts were
    given under each version of its guideline."""
    programme = replace(programme)  # the dataset may change meanwhile
    rows, names = _judgements(programme), programme.library.dataset.dimensions
    found: dict[str, dict[str, Any]] = plain(measure_agreement(rows, names, num=NUM_RESAMPLES))
    for name, counts in count_guidelines(rows, names).items():
        found[name]["guidelines"] = {str(version or "unknown"): number for version, number in counts.items()}
    return found


def leaderboard(programme: OpenProgramme) -> dict[str, Any]:
    """By dimension and overall: see `videoalign.data.judgements.leaderboard.Leaderboard`."""
    programme = replace(programme)
    names = programme.library.dataset.dimensions
    found: dict[str, Any] = plain(
        build_leaderboards(judged_pairs(programme), generators(programme), names, num=NUM_RESAMPLES)
    )
    return found


def quality(programme: OpenProgramme) -> dict[str, Any]:
    """By rater id: see `videoalign.data.judgements.rater_quality.RaterQuality`."""
    programme = replace(programme)
    rows = rater_quality(_judgements(programme), programme.library.dataset.dimensions)
    return {row.rater: plain(row) for row in rows}


def overview(programme: OpenProgramme, session: Session) -> dict[str, Any]:
    """Counts of pairs by state and of judgements, and how much of the work is done."""
    by_state = select(Pair.state, func.count()).group_by(Pair.state)
    states = {state: count for state, count in session.execute(by_state)}  # noqa: C416
    judged = session.scalar(select(func.sum(Pair.judged)).where(Pair.state != PairState.RETIRED)) or 0
    live = session.scalar(select(func.count()).select_from(Assignment).where(Assignment.state == Work.SUBMITTED)) or 0
    asked = sum(count for state, count in states.items() if state not in (PairState.GOLD, PairState.RETIRED))
    at_work = select(func.count(func.distinct(Assignment.person_id))).where(Assignment.state == Work.LEASED)
    return {
        "pairs": {str(state): states.get(state, 0) for state in PairState},
        "judged": judged,
        "wanted": asked * programme.settings.raters_per_pair,
        "verdicts": live,
        "at_work": session.scalar(at_work) or 0,
        "raters_per_pair": programme.settings.raters_per_pair,
        "left_out": records.num_strangers(programme, session),
    }


def people_rows(programme: OpenProgramme, session: Session, quality: dict[str, Any]) -> list[dict[str, Any]]:
    """Everybody who was invited, with their work and how good it is."""
    counts: dict[int, Counter[str]] = {}
    tally = select(Assignment.person_id, Assignment.kind, Assignment.state, func.count())
    for person_id, kind, state, count in session.execute(
        tally.group_by(Assignment.person_id, Assignment.kind, Assignment.state)
    ):
        counter = counts.setdefault(person_id, Counter())
        counter[state] += count
        counter[kind] += count if state == Work.SUBMITTED else 0
    gold = deciding.gold_scores(programme, session, Kind.GOLD)
    return [
        {
            "id": person.id,
            "name": person.name,
            "role": person.role,
            "status": person.status,
            "reason": person.reason,
            "rater": records.rater_id(person.id, person.role),
            "submitted": counts.get(person.id, Counter())[Work.SUBMITTED],
            "skipped": counts.get(person.id, Counter())[Work.SKIPPED],
            "expired": counts.get(person.id, Counter())[Work.EXPIRED],
            "discarded": counts.get(person.id, Counter())[Work.DISCARDED],
            "in_labels": counts.get(person.id, Counter())[Kind.RATING],
            "hidden_gold": gold[person.id]._asdict() | {"anew": person.gold_from > 0},
            "quality": quality.get(records.rater_id(person.id, person.role)),
        }
        for person in session.scalars(select(Person).where(Person.role != PersonRole.ADMIN).order_by(Person.id))
    ]


def judged_pairs(programme: OpenProgramme) -> list[JudgedPair]:
    """Every pair with the shares of its votes."""
    library = programme.library
    return aggregate_pairs(_judgements(programme), library.dataset.dimensions, library.splits, "shares")


def generators(programme: OpenProgramme) -> dict[str, str]:
    """Generator by clip id."""
    return {clip.clip_id: clip.generator for clip in programme.library.rows.values()}


def choose_matchups(programme: OpenProgramme) -> None:
    """Sets which generators to compare next, by the strengths that the judgements so far give."""
    programme = replace(programme)
    with programme.database.read() as session:
        sample = select(Pair.matchup, func.min(Pair.id)).where(Pair.state == PairState.OPEN)
        ids = [row[1] for row in session.execute(sample.group_by(Pair.matchup)) if row[0]]
        wanted = select(Pair.matchup, Pair.prompt_id, Pair.clip_a, Pair.clip_b).where(Pair.id.in_(ids))
        rows = [row for row in session.execute(wanted) if programme.library.shows(row)]
    candidates = [row for row in rows for _ in range(COPIES)]
    best = choose_pairs(
        judged_pairs(programme),
        generators(programme),
        programme.library.dataset.dimensions,
        [(row.clip_a, row.clip_b) for row in candidates],
        LOOKED_AHEAD,
    )
    programme.matchups.set([candidates[index].matchup for index in best])


def _judgements(programme: OpenProgramme) -> list[Judgement]:
    with programme.database.read() as session:
        return records.judgements(programme, session)
