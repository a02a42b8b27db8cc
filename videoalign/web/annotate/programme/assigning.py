"""Who gets which pair next: leases, hidden gold, blind repeats. Everything here runs inside one write at a time."""

from __future__ import annotations

import secrets
from typing import Any

from sqlalchemy import BindParameter, Select, and_, bindparam, case, exists, func, or_, select, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Session, aliased
from sqlalchemy.orm.attributes import set_committed_value

from videoalign.web.annotate.programme.programme import OpenProgramme
from videoalign.web.annotate.storage.tables import Assignment, Kind, Pair, PairState, Person, PersonRole, Status, Work

TRIED = 16
"""Matchups that are looked through for a telling pair before any pair will do."""
HELD = 2
"""Pairs that a rater holds: the one to judge and the one that is loaded ahead."""


def held(
    programme: OpenProgramme, session: Session, person: Person, most: int | None = None
) -> tuple[Any | None, list[str]]:
    """The pair to judge, and the ids of all that somebody holds; new ones are given where fewer are held than may be.

    The pair has the columns of `Assignment`, ``clip_a``, ``clip_b``, ``prompt_id`` and ``decision``, and ``done``, how
    many its person has judged. With ``most``, nothing is given to somebody who holds that many.
    """
    if person.status == Status.PAUSED or person.role == PersonRole.ADMIN:
        return None, []
    session.flush()
    limit = 1 if person.role == PersonRole.ADJUDICATOR else HELD
    limit = limit if most is None else min(limit, most)
    for _ in range(TRIED):
        rows = _holds_here(programme, session, person.id)
        ids = [row.id for row in rows]
        while len(ids) < limit and (given := _give(programme, session, person)) is not None:
            ids.append(given)
        if rows or not ids:
            break
    if not rows:
        return None, []
    now, version = programme.now(), programme.wording.version
    if rows[0].shown_at is None or rows[0].guideline != version:
        since = now if rows[0].shown_at is None else rows[0].shown_at
        until = now + programme.settings.lease_seconds
        shown = {"assignment": rows[0].id, "since": since, "until": until, "version": version}
        session.connection().execute(_SHOW, shown)
    return rows[0], ids


def _holds_here(programme: OpenProgramme, session: Session, person_id: int) -> list[Any]:
    """As `holds`; pairs that are not in this server's dataset are given back, to be judged where they are known."""
    rows = holds(programme, session, person_id)
    strange = [row for row in rows if not programme.library.shows(row)]
    for row in strange:
        programme.strangers.add(row.pair_id)
        release(session, row.id, row.pair_id, row.kind, Work.EXPIRED, programme.now())
    return [row for row in rows if row not in strange] if strange else rows


def release(
    session: Session, assignment: str, pair_id: int, kind: str, state: Work, now: float, reason: str = ""
) -> None:
    """Ends a lease without a verdict, so that the pair can go to somebody else."""
    values = {"state": state, "ended_at": now, "reason": reason}
    session.execute(update(Assignment).where(Assignment.id == assignment).values(**values))
    if kind == Kind.RATING:
        waiting = case((Pair.state == PairState.FULL, PairState.OPEN), else_=Pair.state)
        session.execute(update(Pair).where(Pair.id == pair_id).values(taken=Pair.taken - 1, state=waiting))


def release_all(programme: OpenProgramme, session: Session, person_id: int) -> None:
    """Takes back whatever somebody holds."""
    for row in holds(programme, session, person_id):
        release(session, row.id, row.pair_id, row.kind, Work.EXPIRED, programme.now())


def take(programme: OpenProgramme, session: Session, pair_id: int) -> bool:
    """Counts one more rater on a pair; False where it has all that it wants."""
    done = session.connection().execute(_TAKE, {"pair": pair_id, "most": programme.settings.raters_per_pair})
    return bool(done.rowcount)


def extend(programme: OpenProgramme, session: Session, person_id: int) -> None:
    """Begins the leases of everything that somebody holds anew; none lasts longer than the settings allow in all."""
    mine = and_(Assignment.person_id == person_id, Assignment.state == Work.LEASED)
    until = programme.now() + programme.settings.lease_seconds
    since = case((Assignment.shown_at > Assignment.given_at, Assignment.shown_at), else_=Assignment.given_at)
    last = since + programme.settings.hold_seconds
    session.execute(update(Assignment).where(mine).values(lease_until=case((last < until, last), else_=until)))


def held_since(row: Any) -> float:
    """When a pair was given to somebody, or, where it was loaded ahead, when it became the pair to judge."""
    return max(float(row.given_at), float(row.shown_at or 0))


def lease(programme: OpenProgramme, session: Session, person: Person, pair_id: int, kind: Kind) -> str:
    """Gives a pair to somebody and returns the assignment's id; one that they had and let expire is taken up again with
    its sides as they were."""
    now, again = programme.now(), _round(session, person, pair_id, kind)
    row = {
        "id": secrets.token_hex(16),
        "pair_id": pair_id,
        "person_id": person.id,
        "round": again,
        "kind": kind,
        "swapped": programme.draw("side", pair_id, person.id, again) < 0.5,
        "turn": person.given,
        "state": Work.LEASED,
        "given_at": now,
        "shown_at": None,
        "guideline": 0,
        "lease_until": now + programme.settings.lease_seconds,
        "ended_at": None,
        "reason": "",
        "served": 0,
        "draft": None,
    }
    connection = session.connection()
    connection.execute(_COUNT_GIVEN, {"person": person.id})
    set_committed_value(person, "given", person.given + 1)
    return str(connection.execute(_PUT[programme.database.url.get_backend_name()], row).scalar_one())


def _round(session: Session, person: Person, pair_id: int, kind: Kind) -> int:
    """0, 1 for a blind repeat, and for adjudicators how often they decided on the pair before."""
    if kind != Kind.ADJUDICATION:
        return int(kind == Kind.REPEAT)
    before = (Assignment.pair_id == pair_id, Assignment.person_id == person.id, Assignment.state != Work.EXPIRED)
    return session.scalar(select(func.count()).select_from(Assignment).where(*before)) or 0


def holds(programme: OpenProgramme, session: Session, person_id: int) -> list[Any]:
    """What somebody holds, the pair to judge first; on the way, every lease that has run out is ended.

    A lease that ends later than any lease can was given before the clock was set back, and is shortened.
    """
    now = programme.now()
    latest = now + programme.settings.lease_seconds
    rows = session.connection().execute(_HOLDS_AND_LATE, {"person": person_id, "now": now, "latest": latest}).all()
    for row in rows:
        if row.lease_until < now:
            release(session, row.id, row.pair_id, row.kind, Work.EXPIRED, now)
        elif row.lease_until > latest:
            session.execute(update(Assignment).where(Assignment.id == row.id).values(lease_until=latest))
    return [row for row in rows if row.lease_until >= now and row.person_id == person_id]


def _give(programme: OpenProgramme, session: Session, person: Person) -> str | None:
    """Gives somebody one more pair and returns the assignment's id; None where there is none for them now."""
    chosen: int | None
    if person.role == PersonRole.ADJUDICATOR:
        disputed = _here(programme, _disputed(person.id).order_by(Pair.id).limit(1))
        chosen, kind = session.scalar(disputed), Kind.ADJUDICATION
    elif person.status == Status.QUALIFYING:
        chosen, kind = _to_qualify(programme, session, person), Kind.QUALIFICATION
    else:
        chosen, kind = _to_rate(programme, session, person)
    if chosen is None or (kind == Kind.RATING and not take(programme, session, chosen)):
        return None
    return lease(programme, session, person, chosen, kind)


def _disputed(person_id: int) -> Select[int]:
    """Pairs that wait for an adjudicator and that no other one is at. Nobody decides on a pair that they judged; a pair
    may come back to an adjudicator about a dimension that was not disputed then."""
    decided = and_(Assignment.kind == Kind.ADJUDICATION, Assignment.state == Work.SUBMITTED)
    mine = and_(Assignment.person_id == person_id, Assignment.state != Work.EXPIRED, ~decided)
    taken = and_(Assignment.kind == Kind.ADJUDICATION, Assignment.state == Work.LEASED)
    return select(Pair.id).where(
        Pair.state == PairState.DISPUTED, ~exists().where(Assignment.pair_id == Pair.id, or_(mine, taken))
    )


def take_disputed(programme: OpenProgramme, session: Session, person: Person, pair_id: int) -> bool:
    """Gives an adjudicator this disputed pair instead of the one that they hold; False where it is not to be had."""
    chosen = session.scalar(_disputed(person.id).where(Pair.id == pair_id))
    if chosen is not None:
        release_all(programme, session, person.id)
        lease(programme, session, person, chosen, Kind.ADJUDICATION)
    return chosen is not None


def _unseen(person_id: Any) -> Any:
    """Whether somebody has not been given a pair, or has let it expire."""
    return ~exists().where(
        Assignment.pair_id == Pair.id, Assignment.person_id == person_id, Assignment.state != Work.EXPIRED
    )


def _to_qualify(programme: OpenProgramme, session: Session, person: Person) -> int | None:
    wanted = programme.settings.qualification_pairs
    mine = and_(
        Assignment.person_id == person.id,
        Assignment.kind == Kind.QUALIFICATION,
        Assignment.state.not_in([Work.EXPIRED, Work.DISCARDED]),
    )
    given = session.scalar(select(func.count()).select_from(Assignment).where(mine)) or 0
    return _gold(programme, session, person.id) if given < wanted else None


def _here(programme: OpenProgramme, statement: Select[int]) -> Select[int]:
    """The same draw without the pairs that turned out to be another server's alone."""
    return statement.where(Pair.id.not_in(programme.strangers)) if programme.strangers else statement


def _gold(programme: OpenProgramme, session: Session, person_id: int) -> int | None:
    unseen = select(Pair.id).where(Pair.state == PairState.GOLD, _unseen(person_id))
    return session.scalar(_here(programme, unseen.order_by(Pair.shuffle).limit(1)))


def _to_rate(programme: OpenProgramme, session: Session, person: Person) -> tuple[int | None, Kind]:
    """An open pair; now and then gold or a repeat instead, as long as there is an open pair at all."""
    chosen = _open(programme, session, person)
    if chosen is None:
        return None, Kind.RATING
    if programme.draw("gold", person.id, person.given) < programme.settings.gold_share:
        gold = _gold(programme, session, person.id)
        if gold is not None:
            return gold, Kind.GOLD
    if programme.draw("repeat", person.id, person.given) < programme.settings.repeat_share:
        repeat = _repeat(programme, session, person)
        if repeat is not None:
            return repeat, Kind.REPEAT
    return chosen, Kind.RATING


def _repeat(programme: OpenProgramme, session: Session, person: Person) -> int | None:
    """The pair that somebody judged longest ago and has not had twice."""
    given = {"person": person.id, "latest": person.given - programme.settings.repeat_gap}
    return session.connection().execute(_here(programme, _REPEATABLE), given).scalar()


def _open(programme: OpenProgramme, session: Session, person: Person) -> int | None:
    """An open pair that somebody has not had, by the rule of the settings."""
    connection = session.connection()
    if programme.settings.selection == "coverage":
        return connection.execute(_here(programme, _OPEN_COVERAGE), {"person": person.id}).scalar()
    if programme.settings.selection == "informative":
        for matchup in programme.matchups.next(TRIED):
            found = connection.execute(
                _here(programme, _OPEN_MATCHUP), {"person": person.id, "matchup": matchup}
            ).scalar()
            if found is not None:
                return found
    start = int(programme.draw("start", person.id, person.given) * 2**31)
    statement = _here(programme, _OPEN_FROM)
    found = connection.execute(statement, {"person": person.id, "start": start}).scalar()
    return found if found is not None else connection.execute(statement, {"person": person.id, "start": 0}).scalar()


# Built once: what is run for every verdict would otherwise take longer to build than to run.
_PERSON: BindParameter[int] = bindparam("person")
_OTHER = aliased(Assignment)
DONE = select(func.count()).select_from(_OTHER).where(_OTHER.person_id == _PERSON, _OTHER.state == Work.SUBMITTED)
"""Pairs that ``person`` has judged."""
_HOLDS_AND_LATE = (
    select(
        *Assignment.__table__.columns,
        *(Pair.clip_a, Pair.clip_b, Pair.prompt_id, Pair.decision),
        DONE.scalar_subquery().label("done"),
    )
    .join(Pair, Pair.id == Assignment.pair_id)
    .where(
        Assignment.state == Work.LEASED,
        or_(
            Assignment.person_id == _PERSON,
            Assignment.lease_until < bindparam("now"),
            Assignment.lease_until > bindparam("latest"),
        ),
    )
    .order_by(Assignment.turn)
)
_SHOW = (
    update(Assignment)
    .where(Assignment.id == bindparam("assignment"))
    .values(shown_at=bindparam("since"), lease_until=bindparam("until"), guideline=bindparam("version"))
)
_COUNT_GIVEN = update(Person).where(Person.id == _PERSON).values(given=Person.given + 1)
_TAKE = (
    update(Pair)
    .where(Pair.id == bindparam("pair"), Pair.state == PairState.OPEN, Pair.taken < bindparam("most"))
    .values(
        taken=Pair.taken + 1,
        state=case((Pair.taken + 1 >= bindparam("most"), PairState.FULL), else_=PairState.OPEN),
    )
)
_RENEWED = ("kind", "turn", "state", "given_at", "shown_at", "lease_until", "ended_at")


def _put(statement: Any) -> Any:
    """Adds an assignment, or begins the one anew that its person let expire; returns the id."""
    return statement.on_conflict_do_update(
        index_elements=["pair_id", "person_id", "round"],
        set_={name: statement.excluded[name] for name in _RENEWED},
        where=Assignment.state == Work.EXPIRED,
    ).returning(Assignment.id)


_PUT = {"sqlite": _put(sqlite.insert(Assignment)), "postgresql": _put(postgresql.insert(Assignment))}
_AGAIN = aliased(Assignment)
_REPEATABLE = (
    select(Pair.id)
    .join(Assignment, Assignment.pair_id == Pair.id)
    .where(
        Assignment.person_id == _PERSON,
        Assignment.kind == Kind.RATING,
        Assignment.state == Work.SUBMITTED,
        Assignment.turn <= bindparam("latest"),
        Pair.state != PairState.RETIRED,
        ~exists().where(_AGAIN.pair_id == Pair.id, _AGAIN.person_id == _PERSON, _AGAIN.round == 1),
    )
    .order_by(Assignment.turn)
    .limit(1)
)
_OPEN = select(Pair.id).where(Pair.state == PairState.OPEN, _unseen(_PERSON)).limit(1)
_OPEN_COVERAGE = _OPEN.order_by(Pair.taken, Pair.shuffle)
_OPEN_MATCHUP = _OPEN.where(Pair.matchup == bindparam("matchup")).order_by(Pair.shuffle)
_OPEN_FROM = _OPEN.where(Pair.shuffle >= bindparam("start")).order_by(Pair.shuffle)
