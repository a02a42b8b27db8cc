"""Which prompts are held out."""

from __future__ import annotations

import hashlib
from collections import Counter
from dataclasses import replace

from videoalign.data.additions import alone
from videoalign.data.dataset import Dataset
from videoalign.errors import ConfigError, DataError


def plain_text(text: str) -> str:
    """A prompt without what does not make it another prompt: capitals and spacing."""
    return " ".join(text.lower().split())


def split_by_prompt(dataset: Dataset, val: float, *, test: float = 0.0, seed: int = 0) -> dict[str, int]:
    """Marks a share of the prompts ``val``, another ``test``, the rest ``train``; clips and judgements follow theirs.

    Prompts that differ in capitals and spacing only go together. The choice depends on (seed, text) alone, not on the
    order of the table; which prompts are ``val`` does not depend on ``test``.

    Args:
        dataset: whose prompts are marked anew.
        val: share that trainings choose and normalise on.
        test: share that nothing but the report looks at; 0 for none.
        seed: decides which.

    Returns:
        Number of prompts in each split.

    Raises:
        ConfigError: a share is not between 0 and 1, or both together leave nothing to train on.
        DataError: fewer different prompts than splits.
    """
    if not 0 < val < 1:
        raise ConfigError(f"--val: must be above 0 and below 1; got {val:g}.")
    if not 0 <= test < 1 - val:
        raise ConfigError(f"--test: must be at least 0 and, with --val {val:g}, below {1 - val:g}; got {test:g}.")
    with alone(dataset.path):
        return _split(dataset, val, test, seed)


def _split(dataset: Dataset, val: float, test: float, seed: int) -> dict[str, int]:
    prompts = dataset.prompts()
    texts = sorted({plain_text(prompt.text) for prompt in prompts}, key=lambda text: _rank(seed, text))
    wanted = 3 if test else 2
    if len(texts) < wanted:
        raise DataError(f"{dataset.path}: has {len(texts)} different prompts; this split needs {wanted} at least.")
    num_val = min(max(round(val * len(texts)), 1), len(texts) - wanted + 1)
    num_test = min(max(round(test * len(texts)), 1), len(texts) - num_val - 1) if test else 0
    marks = {text: "val" if place < num_val else "test" for place, text in enumerate(texts[: num_val + num_test])}
    rows = [replace(row, split=marks.get(plain_text(row.text), "train")) for row in prompts]
    dataset.write_prompts(rows)
    counts = Counter(row.split for row in rows)
    return {split: counts[split] for split in ("train", "val", *(["test"] if test else []))}


def split_to_report(dataset: Dataset) -> str:
    """The split that figures are told of: ``test`` where a prompt stands in it, else ``val``."""
    return "test" if any(prompt.split == "test" for prompt in dataset.prompts()) else "val"


def _rank(seed: int, text: str) -> str:
    return hashlib.sha256(f"{seed}\n{text}".encode()).hexdigest()
