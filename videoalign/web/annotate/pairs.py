"""The pairs of a programme: which there are, and which of them are gold."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import combinations
from pathlib import Path

from sqlalchemy import case, func, insert, select, update
from sqlalchemy.orm import Session

from videoalign.errors import DataError
from videoalign.web.annotate import deciding
from videoalign.web.annotate.desk import Desk
from videoalign.web.annotate.library import Library
from videoalign.web.annotate.pair_tables import ClipPair, read_gold, read_pairs
from videoalign.web.annotate.settings import AnnotateSettings
from videoalign.web.annotate.tables import Assignment, Pair, PairState, Person, Status, Work

ROWS_AT_ONCE = 5000


def sync_pairs(desk: Desk) -> int:
    """Brings the table of pairs up to the dataset and the settings; returns how many pairs there are.

    New pairs are added, those whose clips are gone are retired, and none is ever removed.

    Raises:
        DataError: a table of pairs or of gold does not fit the dataset, or there is no pair to judge.
    """
    wanted, gold = require_pairs(desk.library, desk.settings)
    return desk.database.write(lambda session: _store(desk, session, wanted, gold))


def require_pairs(
    library: Library, settings: AnnotateSettings
) -> tuple[list[ClipPair], dict[ClipPair, dict[str, str]]]:
    """The pairs to judge, and of these the known answers of gold.

    Raises:
        DataError: see `sync_pairs`.
    """
    gold = read_gold(settings.gold, library) if settings.gold is not None else {}
    wanted = dict.fromkeys([*_wanted(library, settings.pairs), *gold])
    if not wanted:
        raise DataError(f"{library.dataset.path}: {_why_none(library, settings.pairs)}, so there is no pair to judge.")
    return list(wanted), gold


def _why_none(library: Library, source: str | Path) -> str:
    if isinstance(source, Path):
        return f"{source} names none"
    names = sorted({clip.generator for clip in library.clips.values()} - {""})
    if source == "across" and len(names) < 2:
        return (
            f"pairs=across wants clips of two generators or more and got {', '.join(names) or 'no name of any'} (name "
            "them in clips.parquet, or set pairs=all)"
        )
    return "no prompt has two clips" + (" of two generators" if source == "across" else "")


def matchup(library: Library, clip_a: str, clip_b: str) -> str:
    """The generators of a pair, in either order the same; empty where they are one and the same or not known."""
    first, second = sorted((library.clips[clip_a].generator, library.clips[clip_b].generator))
    return f"{first} | {second}" if first and first != second else ""


def _wanted(library: Library, source: str | Path) -> Iterator[ClipPair]:
    if source not in ("all", "across"):
        yield from read_pairs(source, library)
        return
    by_prompt: dict[str, list[str]] = {}
    for clip in library.clips.values():
        by_prompt.setdefault(clip.prompt_id, []).append(clip.clip_id)
    for clips in by_prompt.values():
        for clip_a, clip_b in combinations(sorted(clips), 2):
            if source == "all" or library.clips[clip_a].generator != library.clips[clip_b].generator:
                yield clip_a, clip_b


def _store(desk: Desk, session: Session, wanted: list[ClipPair], gold: dict[ClipPair, dict[str, str]]) -> int:
    known = {(row.clip_a, row.clip_b): row.id for row in session.execute(select(Pair.id, Pair.clip_a, Pair.clip_b))}
    new = [_row(desk, pair, gold.get(pair)) for pair in wanted if pair not in known]
    for start in range(0, len(new), ROWS_AT_ONCE):
        session.execute(insert(Pair), new[start : start + ROWS_AT_ONCE])
    for pair, answers in gold.items():
        if pair in known:
            session.execute(update(Pair).where(Pair.id == known[pair]).values(state=PairState.GOLD, answers=answers))
    gone = [key for pair, key in known.items() if not {*pair} <= desk.library.clips.keys()]
    for start in range(0, len(gone), ROWS_AT_ONCE):
        chunk = gone[start : start + ROWS_AT_ONCE]
        session.execute(update(Pair).where(Pair.id.in_(chunk)).values(state=PairState.RETIRED))
        held = (Assignment.pair_id.in_(chunk), Assignment.state == Work.LEASED)
        session.execute(update(Assignment).where(*held).values(state=Work.EXPIRED, ended_at=desk.now()))
    _follow_settings(desk, session)
    if new or gone:
        desk.audit(session, None, "pairs.synced", added=len(new), retired=len(gone), gold=len(gold))
    return session.scalar(select(func.count()).select_from(Pair)) or 0


def _follow_settings(desk: Desk, session: Session) -> None:
    """What another number of raters, or no qualification any more, makes of pairs and people that are there."""
    wanted = desk.settings.raters_per_pair
    unsettled = Pair.state.in_([PairState.OPEN, PairState.FULL])
    waiting = case((Pair.taken < wanted, PairState.OPEN), else_=PairState.FULL)
    session.execute(update(Pair).where(unsettled).values(state=waiting))
    deciding.settle(desk, session, session.scalars(select(Pair.id).where(unsettled, Pair.judged >= wanted)).all())
    has_gold = session.scalar(select(Pair.id).where(Pair.state == PairState.GOLD).limit(1)) is not None
    if not has_gold or not desk.settings.qualification_pairs:
        qualifying = update(Person).where(Person.status == Status.QUALIFYING)
        session.execute(qualifying.values(status=Status.ACTIVE))


def _row(desk: Desk, pair: ClipPair, answers: dict[str, str] | None) -> dict[str, object]:
    return {
        "prompt_id": desk.library.clips[pair[0]].prompt_id,
        "clip_a": pair[0],
        "clip_b": pair[1],
        "state": PairState.OPEN if answers is None else PairState.GOLD,
        "shuffle": int(desk.draw("shuffle", *pair) * 2**31),
        "matchup": matchup(desk.library, *pair),
        "taken": 0,
        "judged": 0,
        "answers": answers,
        "decision": None,
    }
