"""The pairs of a programme: which there are, and which of them are gold."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence, Set
from itertools import combinations
from pathlib import Path

from sqlalchemy import and_, func, insert, or_, select, update
from sqlalchemy.orm import Session

from videoalign.errors import DataError
from videoalign.web.annotate.programme import deciding
from videoalign.web.annotate.programme.media_index import Library
from videoalign.web.annotate.programme.pair_tables import ClipPair, read_gold, read_pairs
from videoalign.web.annotate.programme.programme import OpenProgramme
from videoalign.web.annotate.settings import AnnotateSettings
from videoalign.web.annotate.storage.tables import Assignment, Kind, Pair, PairState, Person, Status, Work

ROWS_AT_ONCE = 5000
Answers = dict[str, str]
"""Known label of each dimension, on the pair in its stored order."""
Wanted = tuple[dict[ClipPair, None], dict[ClipPair, Answers]]
"""Pairs to judge, in order, and of these the known answers of gold."""


def sync_pairs(programme: OpenProgramme) -> int:
    """Brings the table of pairs up to the dataset and the settings; returns how many pairs are to be judged.

    New pairs are added, those that left the dataset or the settings are retired, and those that came back stand where
    what was said of them puts them. None is ever removed.

    Raises:
        DataError: a table of pairs or of gold does not fit the dataset, or there is no pair to judge.
    """
    with programme.database.read() as session:
        stored = stored_pairs(session)
    wanted, gold = require_pairs(programme.library, programme.settings, stored)
    return programme.database.write(lambda session: store_pairs(programme, session, wanted, gold))


def require_pairs(library: Library, settings: AnnotateSettings, stored: Set[ClipPair] = frozenset()) -> Wanted:
    """The pairs to judge, and of these the known answers of gold.

    Args:
        library: of the dataset.
        settings: which pairs, and where the tables are.
        stored: pairs that a table may name although the dataset has not their clips any more; they are left out.

    Raises:
        DataError: see `sync_pairs`.
    """
    wanted, gold = find_pairs(library, settings, stored)
    if not wanted:
        raise DataError(f"{library.dataset.path}: {_why_none(library, settings.pairs)}, so there is no pair to judge.")
    return wanted, gold


def find_pairs(library: Library, settings: AnnotateSettings, stored: Set[ClipPair]) -> Wanted:
    """As `require_pairs`, where there may be none."""
    gold = read_gold(settings.gold, library, stored) if settings.gold is not None else {}
    return dict.fromkeys([*_all_wanted(library, settings.pairs, stored), *gold]), gold


def stored_pairs(session: Session) -> set[ClipPair]:
    """The pairs that a database knows."""
    return {(row.clip_a, row.clip_b) for row in session.execute(select(Pair.clip_a, Pair.clip_b))}


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


def _all_wanted(library: Library, source: str | Path, stored: Set[ClipPair]) -> Iterator[ClipPair]:
    if source not in ("all", "across"):
        yield from read_pairs(source, library, stored)
        return
    by_prompt: dict[str, list[str]] = {}
    for clip in library.clips.values():
        if clip.prompt_id in library.prompts:
            by_prompt.setdefault(clip.prompt_id, []).append(clip.clip_id)
    for clips in by_prompt.values():
        for clip_a, clip_b in combinations(sorted(clips), 2):
            if source == "all" or library.clips[clip_a].generator != library.clips[clip_b].generator:
                yield clip_a, clip_b


def store_pairs(
    programme: OpenProgramme, session: Session, wanted: Collection[ClipPair], gold: Mapping[ClipPair, Answers]
) -> int:
    """Does what `sync_pairs` says inside a write; ``wanted`` and ``gold`` are of `find_pairs`."""
    library = programme.library
    rows = session.execute(
        select(Pair.id, Pair.prompt_id, Pair.clip_a, Pair.clip_b, Pair.state, Pair.answers, Pair.matchup)
    ).all()
    known = {(row.clip_a, row.clip_b): row for row in rows}
    new = [_row(programme, pair, gold.get(pair)) for pair in wanted if pair not in known]
    for start in range(0, len(new), ROWS_AT_ONCE):
        session.execute(insert(Pair), new[start : start + ROWS_AT_ONCE])
    here = {row.id for pair, row in known.items() if pair in wanted and library.shows(row)}
    gone = [row.id for row in rows if row.id not in here and row.state != PairState.RETIRED]
    back = [row.id for row in rows if row.id in here and row.state == PairState.RETIRED]
    _set_state(session, gone, PairState.RETIRED)
    _set_state(session, back, PairState.OPEN)
    for chunk in _chunks(gone):
        held = (Assignment.pair_id.in_(chunk), Assignment.state == Work.LEASED)
        session.execute(update(Assignment).where(*held).values(state=Work.EXPIRED, ended_at=programme.now()))
    touched: dict[int, None] = dict.fromkeys(back)
    for pair, row in known.items():
        now = {"answers": gold.get(pair), "matchup": matchup(library, *pair)} if row.id in here else {}
        if any(getattr(row, name) != value for name, value in now.items()):
            session.execute(update(Pair).where(Pair.id == row.id).values(**now))
            touched[row.id] = None
    _follow_settings(programme, session, touched)
    if new or gone or back:
        counts = {"added": len(new), "retired": len(gone), "returned": len(back), "gold": len(gold)}
        programme.audit(session, None, "pairs.synced", **counts)
    return len(here) + len(new)


def _set_state(session: Session, pairs: Sequence[int], state: PairState) -> None:
    for chunk in _chunks(pairs):
        session.execute(update(Pair).where(Pair.id.in_(chunk)).values(state=state))


def _chunks(ids: Sequence[int]) -> Iterator[Sequence[int]]:
    for start in range(0, len(ids), ROWS_AT_ONCE):
        yield ids[start : start + ROWS_AT_ONCE]


def _follow_settings(programme: OpenProgramme, session: Session, touched: Iterable[int]) -> None:
    """What another number of raters, or another qualification, makes of pairs and people that are there."""
    wanted = programme.settings.raters_per_pair
    skipped = select(Assignment.pair_id).where(Assignment.kind == Kind.RATING, Assignment.state == Work.SKIPPED)
    enough = skipped.group_by(Assignment.pair_id).having(func.count() >= wanted)
    stale = or_(
        and_(Pair.state == PairState.OPEN, or_(Pair.taken >= wanted, Pair.judged >= wanted)),
        and_(Pair.state == PairState.FULL, or_(Pair.taken < wanted, Pair.judged >= wanted)),
        and_(Pair.state.in_([PairState.OPEN, PairState.FULL]), Pair.id.in_(enough)),
        and_(Pair.state.in_([PairState.DECIDED, PairState.DISPUTED]), Pair.judged < wanted),
        and_(Pair.state == PairState.GOLD, Pair.decision.is_(None)),
    )
    deciding.settle(programme, session, [*dict.fromkeys([*touched, *session.scalars(select(Pair.id).where(stale))])])
    has_gold = session.scalar(select(Pair.id).where(Pair.state == PairState.GOLD).limit(1)) is not None
    for person in session.scalars(select(Person).where(Person.status == Status.QUALIFYING)):
        if not has_gold or not programme.settings.qualification_pairs:
            person.status = Status.ACTIVE
        else:
            deciding.qualify(programme, session, person)


def _row(programme: OpenProgramme, pair: ClipPair, answers: Answers | None) -> dict[str, object]:
    return {
        "prompt_id": programme.library.clips[pair[0]].prompt_id,
        "clip_a": pair[0],
        "clip_b": pair[1],
        "state": PairState.OPEN if answers is None else PairState.GOLD,
        "shuffle": int(programme.draw("shuffle", *pair) * 2**31),
        "matchup": matchup(programme.library, *pair),
        "taken": 0,
        "judged": 0,
        "answers": answers,
        "decision": None,
    }
