"""What a verdict leads to: a majority, a dispute, a passed or failed qualification."""

from __future__ import annotations

from typing import Any

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from videoalign.contracts.records import VOTE_VALUES, Label
from videoalign.stats.agreement import majority
from videoalign.web.annotate import assigning
from videoalign.web.annotate.desk import Desk
from videoalign.web.annotate.tables import Assignment, Kind, Pair, PairState, Person, Said, Status, Work
from videoalign.web.score.refusals import Refusal


def asked(desk: Desk, kind: str, pair: Any) -> list[str]:
    """Dimensions that somebody is asked about: all, but an adjudicator only those without a majority."""
    names = list(desk.library.dataset.dimensions)
    if kind == Kind.ADJUDICATION and pair.decision is not None:
        return [name for name in names if name not in pair.decision]
    return names


def after_judgement(desk: Desk, session: Session, person: Person, row: Assignment, pair: Pair) -> None:
    """Draws the consequences of a verdict that was just taken."""
    if row.kind == Kind.RATING:
        pair.judged += 1
        if pair.judged >= desk.settings.raters_per_pair and pair.state in (PairState.OPEN, PairState.FULL):
            count_votes(desk, session, pair)
    elif row.kind == Kind.ADJUDICATION:
        said = session.scalar(select(Said).where(Said.assignment_id == row.id, Said.withdrawn_at.is_(None)))
        assert said is not None
        final = {name: {"label": label, "by": "adjudicator"} for name, label in said.verdicts.items()}
        pair.decision, pair.state = (pair.decision or {}) | final, PairState.DECIDED
        desk.audit(session, person.id, "pair.adjudicated", pair.id, **said.verdicts)
    elif row.kind == Kind.QUALIFICATION:
        _qualify(desk, session, person)
    elif row.kind == Kind.GOLD:
        _watch(desk, session, person)


def after_skip(desk: Desk, session: Session, person: Person, row: Assignment) -> None:
    """Excludes a pair that an adjudicator skips; disputes one that as many raters skip as should judge it."""
    pair = session.get(Pair, row.pair_id)
    assert pair is not None
    session.refresh(pair)
    if row.kind == Kind.ADJUDICATION:
        pair.state = PairState.EXCLUDED
        desk.audit(session, person.id, "pair.excluded", pair.id, reason=row.reason)
    elif row.kind == Kind.QUALIFICATION:
        _qualify(desk, session, person)
    elif row.kind == Kind.RATING and _skips(session, pair.id) >= desk.settings.raters_per_pair:
        pair.state, pair.decision = PairState.DISPUTED, {}
        for other in session.scalars(
            select(Assignment).where(Assignment.pair_id == pair.id, Assignment.state == Work.LEASED)
        ):
            assigning.release(session, other.id, pair.id, other.kind, Work.EXPIRED, desk.now())


def before_undo(session: Session, row: Assignment, pair: Pair) -> None:
    """Takes the consequences of a verdict back.

    Raises:
        Refusal: an adjudicator has it, or it counted for more than its pair.
    """
    if row.kind in (Kind.QUALIFICATION, Kind.ADJUDICATION):
        raise Refusal(409, "final", "this verdict is final.")
    if row.kind != Kind.RATING:
        return
    others = select(Assignment.id).where(Assignment.pair_id == pair.id, Assignment.kind == Kind.ADJUDICATION)
    if session.scalar(others.where(Assignment.state != Work.EXPIRED).limit(1)) is not None:
        raise Refusal(409, "final", "an adjudicator is at this pair; its verdicts are final.")
    pair.judged -= 1
    if pair.state in (PairState.DECIDED, PairState.DISPUTED):
        pair.state, pair.decision = PairState.FULL, None


def count_votes(desk: Desk, session: Session, pair: Pair) -> None:
    """The majority on each dimension; a dispute where one has none. Both bad counts as a tie."""
    votes = session.scalars(
        select(Said.verdicts)
        .join(Assignment, Assignment.id == Said.assignment_id)
        .where(Assignment.pair_id == pair.id, Assignment.kind == Kind.RATING, Said.withdrawn_at.is_(None))
    ).all()
    decision: dict[str, Any] = {}
    for name in desk.library.dataset.dimensions:
        labels = [Label.TIE if said[name] == Label.BOTH_BAD else said[name] for said in votes if name in said]
        label = majority(labels)
        if label is not None:
            decision[name] = {"label": str(label), "by": "majority"}
    whole = len(decision) == len(desk.library.dataset.dimensions)
    pair.decision, pair.state = decision, PairState.DECIDED if whole else PairState.DISPUTED


def gold_score(session: Session, person_id: int, *kinds: str) -> tuple[int, int, int]:
    """Right answers on gold, all of them, and the pairs that they were given on. Both bad counts as a tie."""
    rows = session.execute(
        select(Said.verdicts, Pair.answers)
        .join(Assignment, Assignment.id == Said.assignment_id)
        .join(Pair, Pair.id == Assignment.pair_id)
        .where(Assignment.person_id == person_id, Assignment.kind.in_(kinds), Said.withdrawn_at.is_(None))
    ).all()
    known = [(verdicts.get(name), label) for verdicts, answers in rows for name, label in (answers or {}).items()]
    right = sum(said is not None and VOTE_VALUES[said] == VOTE_VALUES[label] for said, label in known)
    return right, len(known), len(rows)


def _skips(session: Session, pair_id: int) -> int:
    mine = (Assignment.pair_id == pair_id, Assignment.kind == Kind.RATING, Assignment.state == Work.SKIPPED)
    return session.scalar(select(func.count()).select_from(Assignment).where(*mine)) or 0


def _qualify(desk: Desk, session: Session, person: Person) -> None:
    """Once all of the qualification is judged, lets a rater begin or not."""
    mine = select(func.count()).select_from(Assignment).where(
        Assignment.person_id == person.id, Assignment.kind == Kind.QUALIFICATION
    )  # fmt: skip
    ended = session.scalar(mine.where(Assignment.state.in_([Work.SUBMITTED, Work.SKIPPED]))) or 0
    there = session.scalar(select(func.count()).select_from(Pair).where(Pair.state == PairState.GOLD)) or 0
    if ended < min(desk.settings.qualification_pairs, there):
        return
    right, of, _ = gold_score(session, person.id, Kind.QUALIFICATION)
    _mark(desk, session, person, right, of, "qualification")


def _watch(desk: Desk, session: Session, person: Person) -> None:
    """Pauses a rater whose answers on hidden gold are below the mark."""
    right, of, pairs = gold_score(session, person.id, Kind.GOLD)
    if pairs >= desk.settings.min_gold:
        _mark(desk, session, person, right, of, "gold")


def _mark(desk: Desk, session: Session, person: Person, right: int, of: int, what: str) -> None:
    passed = of > 0 and right / of >= desk.settings.pass_mark
    if passed and person.status == Status.QUALIFYING:
        person.status = Status.ACTIVE
    elif not passed:
        person.status = Status.PAUSED
        person.reason = "Thank you. Your answers differ from the known ones more often than this programme allows."
        assigning.release_all(desk, session, person.id)
    else:
        return
    desk.audit(session, person.id, f"{what}.{'passed' if passed else 'failed'}", person.id, right=right, of=of)
    session.flush()
