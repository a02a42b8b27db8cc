"""How much there is in a dataset."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import asdict, dataclass
from typing import Any

from videoalign.contracts.records import Label
from videoalign.data.dataset import Dataset

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

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


def count(dataset: Dataset) -> Counts:
    """Counts everything, and repeats what the import left out."""
    prompts, clips, judgements, ratings = dataset.prompts(), dataset.clips(), dataset.judgements(), dataset.ratings()
    seen = Counter((row.dimension, str(row.label)) for row in judgements)
    rejected = dataset.path / REJECTED_FILE
    return Counts(
        prompts=len(prompts),
        clips=len(clips),
        pairs=len({frozenset((row.clip_a, row.clip_b)) for row in judgements}),
        judgements=len(judgements),
        ratings=len(ratings),
        raters=len({row.rater for row in judgements} | {row.rater for row in ratings}),
        splits=dict(sorted(Counter(row.split for row in prompts).items())),
        generators=dict(sorted(Counter(row.generator for row in clips).items())),
        labels={name: {str(label): seen[name, str(label)] for label in Label} for name in dataset.dimensions},
        rejected=json.loads(rejected.read_text(encoding="utf-8")) if rejected.is_file() else [],
    )
