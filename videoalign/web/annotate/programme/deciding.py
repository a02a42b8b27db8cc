"""What a verdict leads to: a majority, a dispute, a passed or failed qualification."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Any, NamedTuple

from sqlalchemy import and_, bindparam, func, select, update
from sqlalchemy.orm import Session

from videoalign.contracts.records import VOTE_VALUES, Role
from videoalign.data.judgements.votes import Count, Vote, count_votes, disputed, is_right
from videoalign.web.annotate.programme import assigning
from videoalign.web.annotate.programme.programme import OpenProgramme
from videoalign.web.annotate.programme.wording import Wording
from videoalign.web.annotate.storage.tables import Assignment, Kind, Pair, PairState, Person, Said, Status, Work
from videoalign.web.refusals import Refusal

PAIRS_AT_ONCE = 500
VOICES = {
    Kind.RATING: Role.RATER,
    Kind.REPEAT: Role.REPEAT,
    Kind.QUALIFICATION: Role.QUALIFICATION,
    Kind.GOLD: Role.HIDDEN_GOLD,
    Kind.ADJUDICATION: Role.ADJUDICATOR,
}
"""As what a verdict counts, by why its pair was given."""


def asked(programme: OpenProgramme, kind: str, pair: Any, version: int) -> list[str]:
    """Dimensions that somebody is asked about under a version of the guideline, by their names in it: all, but an
    adjudicator only those without a label."""
    names = programme.wording.names.get(version, {})
    decided = pair.decision if kind == Kind.ADJUDICATION and pair.decision is not None else {}
    return [name for name, now in names.items() if now not in decided]


def after_judgement(programme: OpenProgramme, session: Session, person: Person, row: Assignment, pair: Pair) -> None:
    """Draws the consequences of a verdict that was just taken."""
    if row.kind == Kind.RATING:
        session.connection().execute(_JUDGED, {"pair": pair.id})
        if pair.judged + 1 >= programme.settings.raters_per_pair:
            settle(programme, session, [pair.id])
    elif row.kind == Kind.ADJUDICATION:
        settle(programme, session, [pair.id])
        said = session.scalar(select(Said.verdicts).where(Said.assignment_id == row.id, Said.withdrawn_at.is_(None)))
        programme.audit(session, person.id, "pair.adjudicated", pair.id, **(said or {}))
    elif row.kind == Kind.QUALIFICATION:
        qualify(programme, session, person)
    elif row.kind == Kind.GOLD:
        _watch(programme, session, person)


def after_skip(programme: OpenProgramme, session: Session, person: Person, row: Assignment) -> None:
    """Excludes a pair that an adjudicator skips; disputes one that as many raters skip as should judge it.

    Skipping a pair whose answer is known is not knowing it.
    """
    if row.kind == Kind.ADJUDICATION:
        settle(programme, session, [row.pair_id])
        programme.audit(session, person.id, "pair.excluded", row.pair_id, reason=row.reason)
    elif row.kind == Kind.QUALIFICATION:
        qualify(programme, session, person)
    elif row.kind == Kind.GOLD:
        _watch(programme, session, person)
    elif row.kind == Kind.RATING:
        settle(programme, session, [row.pair_id])
        if session.scalar(select(Pair.state).where(Pair.id == row.pair_id)) == PairState.DISPUTED:
            mine = (Assignment.pair_id == row.pair_id, Assignment.state == Work.LEASED)
            for other in session.scalars(select(Assignment).where(*mine)):
                assigning.release(session, other.id, row.pair_id, other.kind, Work.EXPIRED, programme.now())


def before_undo(session: Session, row: Assignment) -> None:
    """
    Raises:
        Refusal: an adjudicator has the pair, or the verdict counted for more than its pair.
    """
    if row.kind in (Kind.QUALIFICATION, Kind.ADJUDICATION):
        raise Refusal(409, "final", "this verdict is final.")
    if row.kind != Kind.RATING:
        return
    others = select(Assignment.id).where(Assignment.pair_id == row.pair_id, Assignment.kind == Kind.ADJUDICATION)
    at_it = others.where(Assignment.state.not_in([Work.EXPIRED, Work.DISCARDED]))
    if session.scalar(at_it.limit(1)) is not None:
        raise Refusal(409, "final", "an adjudicator is at this pair; its verdicts are final.")


def settle(programme: OpenProgramme, session: Session, pairs: Sequence[int]) -> None:
    """Counts anew what was said of these pairs, from the verdicts that stand: who judged them and is at them, what is
    decided, and what each waits for. Pairs that are retired stay so."""
    session.flush()
    for start in range(0, len(pairs), PAIRS_AT_ONCE):
        chunk = pairs[start : start + PAIRS_AT_ONCE]
        work: dict[int, list[Any]] = defaultdict(list)
        for row in session.execute(_WORK.where(Assignment.pair_id.in_(chunk))):
            work[row.pair_id].append(row)
        found = select(Pair).where(Pair.id.in_(chunk), Pair.state != PairState.RETIRED)
        for pair in session.scalars(found.execution_options(populate_existing=True)):
            _settle(programme, pair, work[pair.id])
            if pair.state != PairState.DISPUTED:
                _release_adjudicators(programme, session, work[pair.id])
    session.flush()


def _release_adjudicators(programme: OpenProgramme, session: Session, work: Sequence[Any]) -> None:
    """Takes a pair that is not disputed any more from the adjudicator who is at it."""
    for row in work:
        if row.kind == Kind.ADJUDICATION and row.state == Work.LEASED:
            assigning.release(session, row.id, row.pair_id, row.kind, Work.EXPIRED, programme.now())


def _settle(programme: OpenProgramme, pair: Pair, work: Sequence[Any]) -> None:
    wanted = programme.settings.raters_per_pair
    rating, final = ([row.state for row in work if row.kind == kind] for kind in (Kind.RATING, Kind.ADJUDICATION))
    pair.judged = rating.count(Work.SUBMITTED)
    pair.taken = pair.judged + rating.count(Work.LEASED)
    counts = _count(programme.wording, pair, work)
    words = {name: count for name, count in counts.items() if count.by is not None}
    if pair.answers is not None:
        pair.state, counts = PairState.GOLD, counts if pair.judged >= wanted else words
    elif Work.SKIPPED in final:
        pair.state, counts = PairState.EXCLUDED, {}
    elif len(words) == len(counts) or pair.judged >= wanted:
        pair.state = PairState.DISPUTED if disputed(counts) else PairState.DECIDED
    elif rating.count(Work.SKIPPED) >= wanted:
        pair.state, counts = PairState.DISPUTED, words
    else:
        pair.state, counts = PairState.OPEN if pair.taken < wanted else PairState.FULL, words
    waits = pair.state in (PairState.OPEN, PairState.FULL, PairState.GOLD, PairState.EXCLUDED)
    decision = {
        name: {"label": str(count.label), "by": str(count.by or "majority")}
        for name, count in counts.items()
        if count.label is not None
    }
    pair.decision = decision or (None if waits else {})


def _count(wording: Wording, pair: Pair, work: Sequence[Any]) -> dict[str, Count]:
    """Of a dimension that nobody was asked about yet, nothing is counted and nothing waited for."""
    votes: dict[str, list[Vote]] = {name: [] for name in wording.asked(row.guideline for row in work if row.verdicts)}
    for row in work:
        for name, label in wording.now(row.guideline, row.verdicts or {}).items():
            if name in votes:
                votes[name].append(Vote(str(row.person_id), VOTE_VALUES[label], VOICES[Kind(row.kind)]))
    for name, label in (pair.answers or {}).items():
        if name in votes:
            votes[name].append(Vote("", VOTE_VALUES[label], Role.GOLD))
    return {name: count_votes(said) for name, said in votes.items()}


class GoldScore(NamedTuple):
    """How somebody did on pairs whose answer is known."""

    right: int = 0
    """Right answers, one a pair and dimension."""
    of: int = 0
    """Known answers; those of a pair that was skipped were not known."""
    pairs: int = 0


def gold_scores(
    programme: OpenProgramme, session: Session, kind: Kind, person_id: int | None = None
) -> dict[int, GoldScore]:
    """By person: the qualification, or the hidden gold that counts now, see `Person.gold_from`."""
    ended = (Assignment.kind == kind, Assignment.state.in_([Work.SUBMITTED, Work.SKIPPED]))
    rows = (
        select(Assignment.person_id, Said.guideline, Said.verdicts, Pair.answers)
        .join(Pair, Pair.id == Assignment.pair_id)
        .join(Person, Person.id == Assignment.person_id)
        .outerjoin(Said, _STANDS)
        .where(*ended)
    )
    if kind == Kind.GOLD:
        rows = rows.where(Assignment.turn >= Person.gold_from)
    if person_id is not None:
        rows = rows.where(Assignment.person_id == person_id)
    scores: dict[int, GoldScore] = defaultdict(GoldScore)
    for person, version, verdicts, answers in session.execute(rows):
        said = programme.wording.now(version, verdicts or {})
        known = [is_right(said.get(name), label) for name, label in (answers or {}).items()]
        right, of, pairs = scores[person]
        scores[person] = GoldScore(right + sum(known), of + len(known), pairs + 1)
    return scores


def qualify(programme: OpenProgramme, session: Session, person: Person) -> None:
    """Once all of the qualification is judged, lets a rater begin or not."""
    mine = select(func.count()).select_from(Assignment).where(
        Assignment.person_id == person.id, Assignment.kind == Kind.QUALIFICATION
    )  # fmt: skip
    ended = session.scalar(mine.where(Assignment.state.in_([Work.SUBMITTED, Work.SKIPPED]))) or 0
    there = session.scalar(select(func.count()).select_from(Pair).where(Pair.state == PairState.GOLD)) or 0
    if ended < min(programme.settings.qualification_pairs, there):
        return
    score = gold_scores(programme, session, Kind.QUALIFICATION, person.id)[person.id]
    _mark(programme, session, person, score, "qualification")


def _watch(programme: OpenProgramme, session: Session, person: Person) -> None:
    """Pauses a rater whose answers on hidden gold are below the mark."""
    score = gold_scores(programme, session, Kind.GOLD, person.id)[person.id]
    if score.pairs >= programme.settings.min_gold:
        _mark(programme, session, person, score, "gold")


def _mark(programme: OpenProgramme, session: Session, person: Person, score: GoldScore, what: str) -> None:
    passed = score.of > 0 and score.right / score.of >= programme.settings.pass_mark
    if passed and person.status == Status.QUALIFYING:
        person.status = Status.ACTIVE
    elif not passed:
        person.status = Status.PAUSED
        person.reason = "Thank you. Of the pairs whose answer is known you knew fewer than this programme asks for."
        assigning.release_all(programme, session, person.id)
    else:
        return
    programme.audit(
        session, person.id, f"{what}.{'passed' if passed else 'failed'}", person.id, right=score.right, of=score.of
    )
    session.flush()


_JUDGED = update(Pair).where(Pair.id == bindparam("pair")).values(judged=Pair.judged + 1)
_STANDS = and_(Said.assignment_id == Assignment.id, Said.withdrawn_at.is_(None))
"""The verdict of an assignment, where it was not taken back."""
_WORK = (
    select(
        *(Assignment.id, Assignment.pair_id, Assignment.person_id, Assignment.kind, Assignment.state),
        *(Said.guideline, Said.verdicts),
    )
    .outerjoin(Said, _STANDS)
    .where(
        Assignment.kind.in_([Kind.RATING, Kind.ADJUDICATION]),
        Assignment.state.not_in([Work.EXPIRED, Work.DISCARDED]),
    )
    .order_by(Said.id)
)
