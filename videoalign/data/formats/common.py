"""What every importer says about a row, and the settings that all of them share."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Annotated, Any, Protocol

from pydantic import Field

from videoalign.config import Config
from videoalign.contracts.records import DEFAULT_DIMENSIONS, OVERALL, SEEDS, Dimension, Label, Role
from videoalign.data.rows import MISSING
from videoalign.data.source_table import Row, SourceTable
from videoalign.errors import ConfigError, DataError, did_you_mean

CLIP_ENDINGS = {".mp4", ".webm", ".mkv", ".mov", ".avi", ".m4v", ".gif"}
"""Of names of clips, in small letters."""

Side = str
"""``a`` or ``b``."""


class ImportOptions(Config):
    """Settings of every importer."""

    dimensions: tuple[str, ...] | None = None
    """Columns that are judged; without it the importer takes those that its format names or that look like it."""
    rename: dict[str, str] = {}
    """New names of dimensions, as in ``rename.static_quality=VQ``; default: as the column is called."""
    sees_prompt: tuple[str, ...] | None = None
    """Dimensions (by new name) whose judgement depends on the prompt; default: every one but VQ and MQ."""
    guidelines: dict[str, str] = {}
    """What raters looked at, by new name of the dimension; VQ, MQ and TA have one already."""
    skip_broken: bool = False
    """Leave out rows that cannot be used, and list them; default: the first one stops the import."""
    copy_clips: bool = False
    """Copy the clips into the dataset folder; default: they stay where they are."""


class PointwiseOptions(ImportOptions):
    """Settings of every importer of scores, from which pairs are made."""

    tie_band: Annotated[float, Field(ge=0)] = 0.0
    """Two scores of a rater that differ by this much or less are a tie; 0: only equal scores are."""


@dataclass(frozen=True, kw_only=True)
class SourceClip:
    """A clip as a table names it."""

    path: str
    generator: str = ""
    content: bytes | None = None
    """The file itself where the table holds it; ``path`` then only names it."""
    fps: float | None = None
    num_frames: float | None = None
    """What the table says of the file, None where it says nothing; a file that differs cannot be used."""
    seed: int = -1
    """Seed that it was sampled with; -1 when unknown."""
    also: tuple[str, ...] = ()
    """Other paths where the file may lie, if it is not at ``path``."""


@dataclass(frozen=True, kw_only=True)
class PairEntry:
    """One row with verdicts on a pair."""

    prompt: str
    clip_a: SourceClip
    clip_b: SourceClip
    rater: str
    labels: dict[str, Label]
    ratings: dict[tuple[Side, str], float] = field(default_factory=dict)
    """Scores that stand beside the verdicts, by side and dimension."""
    role: str = Role.RATER.value
    left: str = ""
    seconds: float = -1.0
    """As in `Judgement`."""
    guidelines: dict[str, int] = field(default_factory=dict)
    """Version of the guideline by dimension, where it is known."""
    media: SourceClip | None = None
    """Picture or clip that was asked with beside the prompt; None where there was only the prompt."""


@dataclass(frozen=True, kw_only=True)
class RatingEntry:
    """One row with one rater's scores of one clip."""

    prompt: str
    clip: SourceClip
    rater: str
    scores: dict[str, float]
    media: SourceClip | None = None


@dataclass(frozen=True, kw_only=True)
class ClipEntry:
    """One row with a clip that nobody judged yet."""

    prompt: str
    clip: SourceClip
    media: SourceClip | None = None


Entry = PairEntry | RatingEntry | ClipEntry


class Importer(Protocol):
    """One format; made of the table and the settings, it finds its columns or says which is missing."""

    dimensions: dict[str, str]
    """Column by dimension, in order."""

    def entries(self, row: Row) -> Sequence[Entry]:
        """What a row says: a pair or a clip for each rater.

        Raises:
            DataError: it cannot be used; the message leaves out where it stands.
        """
        ...


def clip_in(row: Row, column: str, **more: Any) -> SourceClip:
    """The clip in a cell: a path, an address, the bytes of a file, or ``{path, bytes}`` as in Hugging Face datasets.

    Args:
        row: that has the cell.
        column: of the cell.
        more: what else is known of the clip, see `SourceClip`.

    Raises:
        DataError: there is none.
    """
    cell = row.cells.get(column)
    if isinstance(cell, str):
        return SourceClip(path=row.text(column), **more)
    path, content = (cell.get("path"), cell.get("bytes")) if isinstance(cell, Mapping) else (None, cell)
    if content is not None and not (isinstance(content, bytes) and content):
        raise DataError(f"column '{column}': its bytes are {type(content).__name__}; wanted those of a video file.")
    if content is None and not (isinstance(path, str) and path.strip()):
        raise DataError(f"column '{column}' holds no video; wanted a path, an address or {{path, bytes}}.")
    return SourceClip(path=(path or "clip.mp4").strip(), content=content, **more)


def media_in(row: Row, column: str | None) -> SourceClip | None:
    """The picture or clip that a prompt was asked with, as `clip_in` reads it; None where the cell is empty.

    Raises:
        DataError: it holds something else.
    """
    cell = row.cells.get(column) if column is not None else None
    if isinstance(cell, Mapping):
        cell = cell.get("bytes") or cell.get("path")
    if column is None or cell is None or cell != cell or (isinstance(cell, str) and cell.strip() in ("", *MISSING)):
        return None
    return clip_in(row, column)


def optional_column(table: SourceTable, options: ImportOptions, setting: str) -> str | None:
    """The column that a setting names; None when it is not there and nobody asked for it.

    Raises:
        DataError: it was asked for and is not there.
    """
    column: str | None = getattr(options, setting)
    if column is None or column in table.columns:
        return column
    if setting in options.model_fields_set:
        table.require(column)
    return None


def rater_column(table: SourceTable, options: ImportOptions) -> str | None:
    """The column that names raters; None when it is not there, or names nobody, and nobody asked for it.

    Raises:
        DataError: it was asked for and is not there.
    """
    column = optional_column(table, options, "rater")
    if column is None or "rater" in options.model_fields_set:
        return column
    return column if any(_says_something(row, column) for row in table.rows) else None


def _says_something(row: Row, column: str) -> bool:
    """Whether a cell holds anything, also what cannot be read, which is told of when its row is imported."""
    try:
        return bool(row.optional(column))
    except DataError:
        return True


def seed_of(row: Row, column: str | None) -> int:
    """The seed in a cell; -1 where there is none.

    Raises:
        DataError: it is no whole number, or not one of 64 bits.
    """
    seed = row.whole_or_none(column, SEEDS) if column is not None else None
    return -1 if seed is None else seed


def name_dimensions(columns: Sequence[str], options: ImportOptions) -> dict[str, str]:
    """Columns by dimension, after renaming.

    Raises:
        ConfigError: ``rename``, ``sees_prompt`` or ``guidelines`` speaks of something that is not there.
    """
    for old in options.rename:
        if old not in columns:
            raise ConfigError(f"rename: '{old}' is not a judged column.{did_you_mean(old, columns)}")
    named = {options.rename.get(column, column): column for column in columns}
    if len(named) < len(columns):
        raise ConfigError(f"rename: two columns of {', '.join(columns)} get the same name.")
    for name in [*(options.sees_prompt or ()), *options.guidelines]:
        if name not in named:
            raise ConfigError(f"sees_prompt, guidelines: no dimension '{name}'.{did_you_mean(name, named)}")
    return named


def plain_dimensions(columns: Sequence[str], options: ImportOptions) -> dict[str, str]:
    """As `name_dimensions`, but what a name may not hold becomes an underscore, as in ``Bias & Fairness``.

    Raises:
        ConfigError: see `name_dimensions`.
    """
    plain = {column: re.sub(r"[^A-Za-z0-9]+", "_", column).strip("_") for column in columns}
    return name_dimensions(columns, options.model_copy(update={"rename": {**plain, **options.rename}}))


def names_in(table: SourceTable, names: Callable[[Row], Iterable[str]], enough: int | None = None) -> list[str]:
    """Every name that some row gives, in the order in which they first appear; the first so many where that is enough.

    A row that cannot be read is passed over: it is told of when its turn comes to be imported.
    """
    found: dict[str, None] = {}
    for row in table.rows:
        with suppress(DataError):
            found.update(dict.fromkeys(filter(None, names(row))))
        if len(found) == enough:
            break
    return list(found)


class RowDimension:
    """Which dimension a row speaks of, where a column says so; `OVERALL` where the table has no such column.

    Args:
        table: looked through once for the names.
        column: that holds them.
        options: whose ``dimensions`` choose among the names.
    """

    def __init__(self, table: SourceTable, column: str, options: ImportOptions) -> None:
        self.column = column if column in table.columns else None
        found = names_in(table, lambda row: [row.optional(self.column)]) if self.column else [OVERALL]
        chosen = options.dimensions or found
        self.dimensions = plain_dimensions(chosen, options)
        self._names = {written: name for name, written in self.dimensions.items()}

    def of(self, row: Row) -> str | None:
        """Its name; None when it is not wanted.

        Raises:
            DataError: the cell is empty.
        """
        return self._names.get(row.text(self.column) if self.column else OVERALL)


def describe_dimensions(names: Sequence[str], options: ImportOptions) -> tuple[Dimension, ...]:
    """The dimensions with what raters looked at, for ``dataset.json``."""
    overall = Dimension(name=OVERALL, guideline="Overall: which clip is better as a whole.", sees_prompt=True)
    known = {dimension.name: dimension for dimension in (*DEFAULT_DIMENSIONS, overall)}
    described = []
    for name in names:
        plain = Dimension(name=name, guideline=name.replace("_", " ").capitalize() + ".", sees_prompt=True)
        base = known.get(name, plain)
        guideline = options.guidelines.get(name, base.guideline)
        sees_prompt = base.sees_prompt if options.sees_prompt is None else name in options.sees_prompt
        described.append(Dimension(name=name, guideline=guideline, sees_prompt=sees_prompt))
    return tuple(described)


def judged_columns(
    table: SourceTable, taken: Sequence[str | None], looks_judged: LooksJudged, way_out: Callable[[str], str]
) -> list[str]:
    """Columns not taken for something else, not named like an id, of which some cell looks like a judgement.

    Args:
        table: looked through until each such column was seen to be judged.
        taken: columns that are something else.
        looks_judged: tells a judgement from other texts.
        way_out: what else to do about a cell that looks like none.

    Raises:
        DataError: there is none; or one named like a dimension that everybody judges holds something else.
    """
    names = [name for name in table.columns if name not in taken and not is_bookkeeping(name)]
    others: dict[str, str] = dict.fromkeys(names, "")
    for row in table.rows:
        for name in tuple(others):
            with suppress(DataError):
                text = row.optional(name)
                if looks_judged(text):
                    del others[name]
                else:
                    others[name] = others[name] or text
        if not others:
            break
    for name, text in others.items():
        if name.lower() in _JUDGED_BY_ALL and text:
            raise DataError(
                f"{table.location}: column '{name}' holds '{text[:60]}', which is no judgement that is known here; "
                f"name the judged columns with --dimensions{way_out(text)}."
            )
    found = [name for name in names if name not in others]
    if not found:
        raise DataError(
            f"{table.location}: no judged column among {', '.join(table.columns)}; name them with --dimensions."
        )
    return found


class LooksJudged(Protocol):
    """Whether the text of a cell looks like a judgement."""

    def __call__(self, text: str, /) -> bool: ...


_JUDGED_BY_ALL = {name.lower() for name in (OVERALL, *(dimension.name for dimension in DEFAULT_DIMENSIONS))}

_BOOKKEEPING = {"id", "index", "row", "seed", "fps", "num_frames", "height", "width", "duration", "timestamp"}


def is_bookkeeping(name: str) -> bool:
    """Whether a column is named like an id or like what the file of a clip says itself."""
    parts = name.lower().removesuffix("_a").removesuffix("_b")
    return parts in _BOOKKEEPING or parts.endswith("_id")
