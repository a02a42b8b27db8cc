"""Our plain table: one rater's verdicts on one pair a row, one column per dimension.

Columns ``clip_a, clip_b, prompt`` and a column per dimension, with A, B, a tie and so on, or with ``left`` and
``right``; optionally ``rater``, ``model_a, model_b``, ``seed_a, seed_b``, ``media`` (the picture or clip that was
asked with beside the prompt) and, as this tool writes them on export, ``role``, ``left`` (which clip stood on the left;
without it, the first), ``seconds`` and, as ``VQ_guideline``, the version of a dimension's guideline.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from videoalign.contracts.records import Aggregation, Judgement, Label, Role
from videoalign.data.clip_content import require_judged
from videoalign.data.dataset import Dataset, flip
from videoalign.data.formats.common import (
    PairEntry,
    clip_in,
    judged_columns,
    media_in,
    name_dimensions,
    optional_column,
    rater_column,
    seed_of,
)
from videoalign.data.formats.verdicts import (
    LABELS,
    SIDES,
    VerdictOptions,
    hint,
    known_verdicts,
    normalise_label,
    word_of,
)
from videoalign.data.formats.writing import Contents, judged_together, write_rows
from videoalign.data.source_table import Row, SourceTable
from videoalign.data.tables import read_columns
from videoalign.errors import DataError

_KEPT = ("role", "left", "seconds", "seed_a", "seed_b")
"""Columns with a fixed name that may stand beside the verdicts."""
_GUIDELINE = "_guideline"
"""What the name of a column with versions ends in."""
_VERSIONS = range(2**31)


class PairsOptions(VerdictOptions):
    """Settings of ``data import pairs``."""

    clip_a: str = "clip_a"
    """Column with the path of the first clip."""
    clip_b: str = "clip_b"
    """Column with the path of the second clip."""
    prompt: str = "prompt"
    """Column with the prompt."""
    media: str | None = "media"
    """Column with the picture or clip that was asked with beside the prompt; may be absent."""
    rater: str | None = "rater"
    """Column that names the rater; may be absent when there is one rater only."""
    model_a: str | None = "model_a"
    """Column that names the generator of the first clip; may be absent."""
    model_b: str | None = "model_b"
    """Column that names the generator of the second clip; may be absent."""


class PairsImporter:
    """Reads the rows of such a table."""

    def __init__(self, table: SourceTable, options: PairsOptions) -> None:
        table.require(options.clip_a, options.clip_b, options.prompt)
        self.clip_a, self.clip_b, self.prompt = options.clip_a, options.clip_b, options.prompt
        self.rater = rater_column(table, options)
        self.model_a = optional_column(table, options, "model_a")
        self.model_b = optional_column(table, options, "model_b")
        self.media = optional_column(table, options, "media")
        clips = (self.clip_a, self.clip_b, self.model_a, self.model_b)
        taken = (*clips, self.prompt, self.media, self.rater, *_KEPT)
        named = {self.clip_a.lower(): Label.A, self.clip_b.lower(): Label.B}
        self.known = known_verdicts(options, {**LABELS, **SIDES, **named})
        self.tells_left = "left" in table.columns
        self.by_side = SIDES.keys() - {word_of(word) for word in options.verdicts}
        columns = options.dimensions or judged_columns(table, taken, lambda text: word_of(text) in self.known, hint)
        table.require(*columns)
        self.dimensions = name_dimensions(columns, options)
        versions = {name: column + _GUIDELINE for name, column in self.dimensions.items()}
        self.guidelines = {name: column for name, column in versions.items() if column in table.columns}

    def entries(self, row: Row) -> list[PairEntry]:
        """See `Importer.entries`."""
        left = _one_of(row, "left", "", Label.A, Label.B)
        given = {name: (row.optional(column), column) for name, column in self.dimensions.items()}
        seconds = row.number_or_none("seconds")
        if seconds is not None and seconds < 0 and seconds != -1:
            raise DataError(f"column 'seconds' must hold 0 or more, or -1 where it is not known; got '{seconds:g}'.")
        return [
            PairEntry(
                prompt=row.text(self.prompt),
                clip_a=clip_in(row, self.clip_a, generator=row.optional(self.model_a), seed=seed_of(row, "seed_a")),
                clip_b=clip_in(row, self.clip_b, generator=row.optional(self.model_b), seed=seed_of(row, "seed_b")),
                rater=row.text(self.rater) if self.rater else "",
                labels={name: self._label(text, column, left) for name, (text, column) in given.items() if text},
                role=_one_of(row, "role", Role.RATER, *Role),
                left=left,
                seconds=-1.0 if seconds is None else seconds,
                guidelines={
                    name: row.whole_or_none(column, _VERSIONS) or 0 for name, column in self.guidelines.items()
                },
                media=media_in(row, self.media),
            )
        ]

    def _label(self, text: str, column: str, left: str) -> Label:
        label = normalise_label(text, column, self.known)
        if word_of(text) not in self.by_side or left == Label.A:
            return label
        if not left and self.tells_left:
            raise DataError(f"column '{column}' says '{text}', but column 'left' does not say which clip stood there.")
        return flip(label) if left else label


def _one_of(row: Row, column: str, default: str, *known: str) -> str:
    text = row.optional(column) or str(default)
    if text not in (default, *known):
        raise DataError(f"column '{column}': '{text}' is not one of {', '.join(known)}.")
    return text


def export_pairs(dataset: Dataset, out: Path) -> int:
    """Raw judgements, one rater's verdicts on one pair a row, as JSONL, CSV, JSON or Parquet; nothing is left out."""
    return write_rows(out, _judged_rows(dataset, Contents(dataset, out)), f"{dataset.path}: no judgement to export.")


def _judged_rows(dataset: Dataset, contents: Contents) -> Iterator[dict[str, Any]]:
    require_judged(dataset)
    names, versions = _columns(dataset)
    for group in judged_together(dataset.stream_judgements()):
        first = group[0]
        yield {
            **contents.pair(first.clip_a, first.clip_b),
            "rater": first.rater,
            "role": first.role,
            "left": first.left,
            "seconds": first.seconds,
            **dict.fromkeys(names, ""),
            **{row.dimension: str(row.label) for row in group},
            **dict.fromkeys((f"{name}{_GUIDELINE}" for name in versions), 0),
            **{f"{row.dimension}{_GUIDELINE}": row.guideline for row in group if row.dimension in versions},
        }


def _columns(dataset: Dataset) -> tuple[list[str], list[str]]:
    """Dimensions that anything was said of, those of the dataset first; and which of them have versions."""
    versions: dict[str, int] = dict.fromkeys(dataset.dimensions, 0)
    for part in read_columns(dataset.table_path(Judgement), Judgement, ["dimension", "guideline"]):
        for row in part.group_by("dimension").aggregate([("guideline", "max")]).to_pylist():
            versions[row["dimension"]] = max(versions.get(row["dimension"], 0), row["guideline_max"])
    return list(versions), [name for name, version in versions.items() if version]


def export_aggregated(dataset: Dataset, out: Path, aggregate: Aggregation = Aggregation.ADJUDICATED) -> int:
    """One label a pair and dimension, with the raters' votes beside it; JSONL, CSV, JSON or Parquet."""
    return write_rows(
        out, _pair_rows(dataset, Contents(dataset, out), aggregate), f"{dataset.path}: no judged pair to export."
    )


def _pair_rows(dataset: Dataset, contents: Contents, aggregate: Aggregation) -> Iterator[dict[str, Any]]:
    for pair in dataset.stream_judged_pairs(aggregate):
        row = {**contents.pair(pair.clip_a, pair.clip_b), "split": pair.split}
        for name in dataset.dimensions:
            votes = pair.votes.get(name, (0, 0, 0))
            row |= {name: str(pair.labels.get(name) or "")}
            row |= {f"{name}_{what}": number for what, number in zip(("num_a", "num_tie", "num_b"), votes, strict=True)}
        yield row
