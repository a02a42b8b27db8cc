"""LLaMA-Factory's preference pairs in the ShareGPT layout: two videos, a question, a chosen and a rejected answer."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from videoalign.contracts.records import Label
from videoalign.data.dataset import Dataset
from videoalign.data.formats.writing import Contents, write_rows


def export_sharegpt(dataset: Dataset, out: Path) -> int:
    """The decided verdicts as questions with a chosen and a rejected answer, for LLaMA-Factory; ties are left out."""
    rows = _rows(dataset, Contents(dataset, out))
    nothing = f"{dataset.path}: no decided pair to export."
    return write_rows(out, rows, nothing, endings=(".json", ".jsonl", ".parquet"))


def _rows(dataset: Dataset, contents: Contents) -> Iterator[dict[str, Any]]:
    guidelines = {dimension.name: dimension.guideline for dimension in dataset.info.dimensions}
    for pair in dataset.stream_judged_pairs():
        for name, label in pair.labels.items():
            if label in (Label.A, Label.B):
                question = (
                    f"Video A: <video>\nVideo B: <video>\nPrompt: {contents.prompt(pair.clip_a)}\n"
                    f"Which video is better? {guidelines[name]} Answer with A or B."
                )
                other = Label.B if label == Label.A else Label.A
                yield {
                    "conversations": [{"from": "human", "value": question}],
                    "chosen": {"from": "gpt", "value": str(label)},
                    "rejected": {"from": "gpt", "value": str(other)},
                    "videos": [contents.path(pair.clip_a), contents.path(pair.clip_b)],
                }
