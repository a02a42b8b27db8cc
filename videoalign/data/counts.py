"""How much there is in a dataset."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa

from videoalign.contracts.records import Clip, Judgement, Label, Prompt, Rating
from videoalign.data.dataset import Dataset
from videoalign.data.tables import read_columns

REJECTED_FILE = "rejected.json"
"""Rows that the import left out, as ``[{row, reason}]``."""


@dataclass(frozen=True, kw_only=True)
class Counts:
    """What ``data import`` and ``data stats`` print."""

    prompts: int
    clips: int
    pairs: int
    """Pairs that somebody judged, whichever clip stood first."""
    judgements: int
    """One rater, one pair, one dimension each."""
    ratings: int
    """One rater, one clip, one dimension each."""
    raters: int
    splits: dict[str, int]
    """Number of prompts in each."""
    generators: dict[str, int]
    """Number of clips by each; the empty name stands for unknown."""
    labels: dict[str, dict[str, int]]
    """Raw verdicts by dimension: A, B, tie, both_bad, invalid."""
    rejected: list[dict[str, str]]
    """Rows that the import left out: ``{row, reason}``."""
    not_read: dict[str, str] = field(default_factory=dict)
    """Columns that an import did not read, with a cell of each; of a dataset that is there it is not known."""

    def as_dict(self) -> dict[str, Any]:
        """For JSON; without `not_read`."""
        return {name: value for name, value in asdict(self).items() if name != "not_read"}


def count(dataset: Dataset) -> Counts:
    """Counts everything, and repeats what the import left out; the tables are read a part at a time."""
    splits, generators, ratings, labels = (
        _tally(dataset, record, *names)
        for record, *names in (
            (Prompt, "split"),
            (Clip, "generator"),
            (Rating, "rater"),
            (Judgement, "dimension", "label", "rater"),
        )
    )
    seen: Counter[tuple[str, str]] = Counter()
    for (dimension, label, _), number in labels.items():
        seen[dimension, label] += number
    rejected = dataset.path / REJECTED_FILE
    return Counts(
        prompts=splits.total(),
        clips=generators.total(),
        pairs=_num_pairs(dataset),
        judgements=labels.total(),
        ratings=ratings.total(),
        raters=len({rater for _, _, rater in labels} | {rater for (rater,) in ratings}),
        splits={split: number for (split,), number in sorted(splits.items())},
        generators={generator: number for (generator,), number in sorted(generators.items())},
        labels={name: {str(label): seen[name, str(label)] for label in Label} for name in dataset.dimensions},
        rejected=json.loads(rejected.read_text(encoding="utf-8")) if rejected.is_file() else [],
    )


def _tally(dataset: Dataset, record: type, *names: str) -> Counter[tuple[str, ...]]:
    """How often each combination of values stands in these columns."""
    tally: Counter[tuple[str, ...]] = Counter()
    for part in read_columns(dataset.table_path(record), record, names):
        counted = part.group_by(list(names)).aggregate([([], "count_all")])
        *values, numbers = (counted[name].to_pylist() for name in (*names, "count_all"))
        for row, number in zip(zip(*values, strict=True), numbers, strict=True):
            tally[row] += number
    return tally


def _num_pairs(dataset: Dataset) -> int:
    """Different pairs of clips in the judgements, whichever stands first."""
    ids: dict[str, int] = {}
    pairs = np.empty(0, dtype=np.uint64)
    for part in read_columns(dataset.table_path(Judgement), Judgement, ("clip_a", "clip_b")):
        sides = [_codes(part[name].combine_chunks(), ids) for name in ("clip_a", "clip_b")]
        pairs = np.union1d(pairs, np.minimum(*sides) << np.uint64(32) | np.maximum(*sides))
    return len(pairs)


def _codes(column: pa.Array, ids: dict[str, int]) -> np.ndarray:
    """A number for each value, the same wherever it stands."""
    coded = column.dictionary_encode()
    known = [ids.setdefault(value, len(ids)) for value in coded.dictionary.to_pylist()]
    return np.array(known, dtype=np.uint64)[coded.indices.to_numpy()]
