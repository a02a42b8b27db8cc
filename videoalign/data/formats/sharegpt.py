"""LLaMA-Factory's ShareGPT layout: two videos and a question, with the verdict as answer or as the chosen of two.

A prompt's own ``<video>``, ``<image>`` and ``<audio>`` are written ``(video)`` and so on, since each stands for a clip.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from videoalign.contracts.records import Aggregation, Label
from videoalign.data.dataset import Dataset
from videoalign.data.formats.writing import Contents, write_rows

_LAYOUTS = (".json", ".jsonl", ".parquet")


def export_sharegpt(dataset: Dataset, out: Path, aggregate: Aggregation = Aggregation.ADJUDICATED) -> int:
    """The decided verdicts as questions with a chosen and a rejected answer, for LLaMA-Factory; ties are left out."""
    return write_rows(
        out, _ranked(dataset, out, aggregate), f"{dataset.path}: no decided pair to export.", endings=_LAYOUTS
    )


def export_sharegpt_sft(dataset: Dataset, out: Path, aggregate: Aggregation = Aggregation.ADJUDICATED) -> int:
    """The labels as questions with their answer, A, B or tie, for LLaMA-Factory's fine-tuning."""
    return write_rows(
        out, _answered(dataset, out, aggregate), f"{dataset.path}: no judged pair to export.", endings=_LAYOUTS
    )


def _ranked(dataset: Dataset, out: Path, aggregate: Aggregation) -> Iterator[dict[str, Any]]:
    for question, label, videos in _questions(dataset, out, aggregate, "A or B"):
        if label in (Label.A, Label.B):
            other = Label.B if label == Label.A else Label.A
            yield {
                "conversations": [{"from": "human", "value": question}],
                "chosen": {"from": "gpt", "value": str(label)},
                "rejected": {"from": "gpt", "value": str(other)},
                "videos": videos,
            }


def _answered(dataset: Dataset, out: Path, aggregate: Aggregation) -> Iterator[dict[str, Any]]:
    for question, label, videos in _questions(dataset, out, aggregate, "A, B or tie"):
        answer = {"from": "gpt", "value": str(label)}
        yield {"conversations": [{"from": "human", "value": question}, answer], "videos": videos}


def _questions(
    dataset: Dataset, out: Path, aggregate: Aggregation, answers: str
) -> Iterator[tuple[str, Label, list[str]]]:
    """A question, its label and both clips, for each labelled pair and dimension."""
    contents = Contents(dataset, out)
    guidelines = {dimension.name: dimension.guideline for dimension in dataset.info.dimensions}
    for pair in dataset.stream_judged_pairs(aggregate):
        videos = [contents.path(pair.clip_a), contents.path(pair.clip_b)]
        shown = f"Video A: <video>\nVideo B: <video>\nPrompt: {_plain(contents.prompt(pair.clip_a))}\n"
        for name, label in pair.labels.items():
            if label is not None:
                yield f"{shown}Which video is better? {_plain(guidelines[name])} Answer with {answers}.", label, videos


def _plain(text: str) -> str:
    """A text without placeholders of its own, which would count as clips: ``<video>`` becomes ``(video)``."""
    return re.sub(r"<\s*(image|video|audio)\s*>", r"(\1)", text, flags=re.IGNORECASE)
