"""What raters are asked, version by version, and how verdicts of earlier versions read today."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from videoalign.contracts.records import Dimension
from videoalign.errors import ConfigError, did_you_mean
from videoalign.web.annotate.storage.tables import Audit, Guideline, Pair, Programme, Said

T = TypeVar("T")
Renamed = Mapping[str, str | None]
"""Name before -> name now; None or empty where it is asked no more."""


@dataclass(frozen=True)
class Wording:
    """All versions of a programme's guideline; the last one holds."""

    version: int
    dimensions: tuple[Dimension, ...]
    """Of the last version."""
    names: Mapping[int, Mapping[str, str]]
    """By version, each dimension's name in it -> its last name. Version 0 stands for the first."""
    since: Mapping[tuple[int, str], int]
    """By version and name in it, the version since which its guideline reads as it does in this one."""

    def now(self, version: int, by_name: Mapping[str, T]) -> dict[str, T]:
        """What was said under a version, with the names of today; of what is asked no more with its last name."""
        if version == self.version:
            return dict(by_name)
        names = self.names.get(version, {})
        return {names.get(name, name): value for name, value in by_name.items()}

    def asked(self, versions: Iterable[int]) -> list[str]:
        """Dimensions of today that were asked about under at least one of these versions; all where there are none."""
        today = [one.name for one in self.dimensions]
        found = {name for version in versions for name in self.names.get(version, {}).values()}
        return [name for name in today if name in found] or today


def read_wording(session: Session, order: Sequence[str] = ()) -> Wording:
    """The wording as it is stored; ``order`` is that of the dimensions in the dataset, where they are the same."""
    rows = session.scalars(select(Guideline).order_by(Guideline.version)).all()
    names: dict[int, dict[str, str]] = {}
    since: dict[tuple[int, str], int] = {}
    before: Guideline | None = None
    for row in rows:
        came_from = {new: old for old, new in row.renamed.items() if new}
        for name, text in row.dimensions.items():
            old = came_from.get(name, name)
            same = before is not None and before.dimensions.get(old) == text
            since[row.version, name] = since[row.version - 1, old] if same else row.version
        names = {
            version: {first: row.renamed.get(last) or last for first, last in known.items()}
            for version, known in names.items()
        }
        names[row.version] = {name: name for name in row.dimensions}
        before = row
    if before is None:
        return Wording(0, (), {}, {})
    last = list(order) if {*order} == {*before.dimensions} else list(before.dimensions)
    return Wording(
        version=before.version,
        dimensions=tuple(Dimension(name=name, **before.dimensions[name]) for name in last),
        names=names | {0: names[rows[0].version]},
        since=since,
    )


def settle_wording(session: Session, dimensions: Sequence[Dimension], renamed: Renamed, now: float) -> Wording:
    """Makes what the dataset asks the guideline that holds: a new version where it changed, which the log tells.

    Args:
        session: of a write.
        dimensions: of the dataset.
        renamed: what became of dimensions that are not in the dataset any more; one that was told before may stay.
        now: the time.

    Raises:
        ConfigError: a dimension went away and it is not said what became of it, or ``renamed`` does not fit.
    """
    wanted = {one.name: {"guideline": one.guideline, "sees_prompt": one.sees_prompt} for one in dimensions}
    rows = session.scalars(select(Guideline).order_by(Guideline.version)).all()
    if not rows:
        first = {name: wanted.get(name, {"guideline": "", "sees_prompt": False}) for name in _named_before(session)}
        rows = [Guideline(version=1, created_at=now, dimensions=first or wanted, renamed={})]
        session.add(rows[0])
    last = rows[-1]
    moved = _moved(rows, wanted, renamed)
    if moved or last.dimensions != wanted:
        last = Guideline(version=last.version + 1, created_at=now, dimensions=wanted, renamed=moved)
        session.add(last)
        _tell(session, rows[-1], last, now)
    if moved:
        _rename(session, moved)
    session.flush()
    session.execute(update(Programme).values(guideline=last.version))
    return read_wording(session, [one.name for one in dimensions])


def _named_before(session: Session) -> list[str]:
    """What people judged in a programme that was begun before versions were kept."""
    said = session.scalars(select(Said.verdicts).execution_options(yield_per=2000))
    return list(dict.fromkeys(name for verdicts in said for name in verdicts))


def _moved(rows: Sequence[Guideline], wanted: Mapping[str, Any], renamed: Renamed) -> dict[str, str | None]:
    """What became of the dimensions of the last version that are not there under their names."""
    last, given = rows[-1].dimensions, {old: new or None for old, new in renamed.items()}
    known = {name for row in rows for name in row.dimensions}
    for old, new in given.items():
        if old not in known:
            raise ConfigError(f"rename.{old}: this programme never asked about '{old}'.{did_you_mean(old, last)}")
        if old in last and old in wanted:
            raise ConfigError(f"rename.{old}: dataset.json still has a dimension '{old}'; rename it there too.")
        if old in last and new is not None and (new not in wanted or new in last):
            free = [name for name in wanted if name not in last]
            known_names = f" New there: {', '.join(free)}." if free else ""
            raise ConfigError(f"rename.{old}: '{new}' is not a new dimension of the dataset.{known_names}")
    moved = {old: new for old, new in given.items() if old in last}
    targets = [new for new in moved.values() if new is not None]
    if len(targets) > len({*targets}):
        raise ConfigError(f"rename: two dimensions cannot become one; got {', '.join(targets)}.")
    lost = [name for name in last if name not in wanted and name not in moved]
    if lost:
        new = next((name for name in wanted if name not in last), "NEW")
        raise ConfigError(
            f"dataset.json: people judged '{lost[0]}', which is not there any more; put it back, or say what became of "
            f"it: rename.{lost[0]}={new}, or rename.{lost[0]}= where it is to be asked no more."
        )
    taken = {old for row in rows for old, new in row.renamed.items() if new} - {*last}
    for name in wanted:
        if name in taken and name not in last and name not in targets:
            raise ConfigError(f"dataset.json: '{name}' was another dimension before; name it otherwise.")
    return moved


def _tell(session: Session, before: Guideline, after: Guideline, now: float) -> None:
    moved = after.renamed
    kept = {moved.get(name, name): text for name, text in before.dimensions.items()}
    detail = {
        "renamed": {old: new for old, new in moved.items() if new},
        "removed": [old for old, new in moved.items() if not new],
        "added": [name for name in after.dimensions if name not in kept],
        "changed": [name for name, text in after.dimensions.items() if name in kept and kept[name] != text],
    }
    told = {name: value for name, value in detail.items() if value}
    session.add(Audit(at=now, action="guideline.changed", subject=str(after.version), detail=told))


def _rename(session: Session, moved: Mapping[str, str | None]) -> None:
    """Gives what is kept by today's names, decisions and known answers, the new ones."""

    def renamed(by_name: Mapping[str, Any]) -> dict[str, Any]:
        names = {name: moved.get(name, name) for name in by_name}
        return {new: by_name[old] for old, new in names.items() if new is not None}

    for pair in session.scalars(select(Pair).where(Pair.decision.is_not(None) | Pair.answers.is_not(None))):
        pair.decision = renamed(pair.decision) if pair.decision is not None else None
        pair.answers = renamed(pair.answers) if pair.answers is not None else None
