"""Which prompts are held out."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace

from videoalign.contracts.records import HELD_OUT, Prompt
from videoalign.data.additions import alone, plain_text
from videoalign.data.dataset import Dataset
from videoalign.errors import ConfigError, DataError


def split_by_prompt(
    dataset: Dataset,
    val: float,
    *,
    test: float = 0.0,
    seed: int = 0,
    fresh: bool = False,
    on_note: Callable[[str], None] = lambda _: None,
) -> dict[str, int]:
    """Marks a share of the prompts ``val``, another ``test``, the rest ``train``; clips and judgements follow theirs.

    A prompt that was dealt before stays where it is; of those that are new, as many go to ``val`` and ``test`` as these
    lack. Prompts that differ in capitals and spacing only go together. The choice among the new ones depends on (seed,
    text) alone, not on the order of the table; which prompts are ``val`` does not depend on ``test``.

    Args:
        dataset: whose new prompts are marked.
        val: share that trainings choose and normalise on.
        test: share that nothing but the report looks at; 0 for none.
        seed: decides which.
        fresh: deal all prompts anew; what was held out may then be trained on.
        on_note: called with a line on a split that lacks prompts which no new one fills.

    Returns:
        Number of prompts in each split.

    Raises:
        ConfigError: a share is not between 0 and 1, or both together leave nothing to train on.
        DataError: fewer different prompts than splits, or no new prompt for a split that has none.
    """
    if not 0 < val < 1:
        raise ConfigError(f"--val: must be above 0 and below 1; got {val:g}.")
    if not 0 <= test < 1 - val:
        raise ConfigError(f"--test: must be at least 0 and, with --val {val:g}, below {1 - val:g}; got {test:g}.")
    with alone(dataset.path):
        rows = _dealt(dataset, {"val": val, "test": test} if test else {"val": val}, seed, fresh, on_note)
        dataset.write_prompts(rows)
    counts = Counter(row.split for row in rows)
    return {split: counts[split] for split in ("train", "val", "test") if split != "test" or test or counts[split]}


def _dealt(
    dataset: Dataset, shares: Mapping[str, float], seed: int, fresh: bool, on_note: Callable[[str], None]
) -> list[Prompt]:
    prompts = dataset.prompts()
    texts, wanted = {plain_text(prompt.text) for prompt in prompts}, len(shares) + 1
    if len(texts) < wanted:
        raise DataError(f"{dataset.path}: has {len(texts)} different prompts; this split needs {wanted} at least.")
    marks = {} if fresh else _marks(prompts)
    new = sorted(texts - marks.keys(), key=lambda text: _rank(seed, text))
    have = Counter(marks.values())
    room = len(texts) - sum(have[split] for split in HELD_OUT if split not in shares)
    for index, (split, share) in enumerate(shares.items()):
        number = max(have[split], min(max(round(share * len(texts)), 1), room - wanted + 1 + index))
        room -= number
        lacks = number - have[split]
        if not have[split] and not new:
            raise DataError(
                f"{dataset.path}: --{split} {share:g}: all {len(texts)} prompts were dealt before and none of them to "
                f"'{split}'; add prompts, or deal all of them anew with --fresh."
            )
        if lacks > len(new):
            on_note(
                f"'{split}' has {have[split] + len(new)} of the {number} prompts of --{split} {share:g}: those that "
                "were dealt before stay where they are; --fresh deals all of them anew."
            )
        marks |= dict.fromkeys(new[:lacks], split)
        new = new[lacks:]
    return [replace(row, split=marks.get(plain_text(row.text), "train"), dealt=1) for row in prompts]


def _marks(prompts: Iterable[Prompt]) -> dict[str, str]:
    """The splits of texts that were dealt before; a text that is held out under one spelling is under all."""
    dealt = (prompt for prompt in prompts if prompt.dealt or prompt.split in HELD_OUT)
    return {plain_text(prompt.text): prompt.split for prompt in sorted(dealt, key=lambda row: row.split in HELD_OUT)}


def split_to_report(dataset: Dataset) -> str:
    """The split that figures are told of: ``test`` where a prompt stands in it, else ``val``."""
    return "test" if any(prompt.split == "test" for prompt in dataset.prompts()) else "val"


def _rank(seed: int, text: str) -> str:
    return hashlib.sha256(f"{seed}\n{text}".encode()).hexdigest()
