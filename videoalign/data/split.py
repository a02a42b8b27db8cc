"""Which prompts are held out."""

from __future__ import annotations

import hashlib
from dataclasses import replace

from videoalign.data.dataset import Dataset
from videoalign.errors import ConfigError, DataError


def plain_text(text: str) -> str:
    """A prompt without what does not make it another prompt: capitals and spacing."""
    return " ".join(text.lower().split())


def split_by_prompt(dataset: Dataset, val: float, *, seed: int = 0) -> dict[str, int]:
    """Marks a share of the prompts ``val`` and the rest ``train``; clips and judgements follow their prompt.

    Prompts that differ in capitals and spacing only go together. The choice depends on (seed, text) alone, not on the
    order of the table.

    Returns:
        Number of prompts in each split.

    Raises:
        ConfigError: ``val`` is not between 0 and 1.
        DataError: fewer than two different prompts.
    """
    if not 0 < val < 1:
        raise ConfigError(f"--val: must be above 0 and below 1; got {val:g}.")
    prompts = dataset.prompts()
    texts = sorted({plain_text(prompt.text) for prompt in prompts}, key=lambda text: _rank(seed, text))
    if len(texts) < 2:
        raise DataError(f"{dataset.path}: has {len(texts)} different prompts; a split needs two at least.")
    num_val = min(max(round(val * len(texts)), 1), len(texts) - 1)
    held_out = set(texts[:num_val])
    rows = [replace(row, split="val" if plain_text(row.text) in held_out else "train") for row in prompts]
    dataset.write_prompts(rows)
    in_val = sum(row.split == "val" for row in rows)
    return {"train": len(rows) - in_val, "val": in_val}


def _rank(seed: int, text: str) -> str:
    return hashlib.sha256(f"{seed}\n{text}".encode()).hexdigest()
