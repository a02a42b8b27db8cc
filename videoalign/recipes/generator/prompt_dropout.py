"""Pairs that are trained on without their prompt, so that both halves of classifier-free guidance learn."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

import torch

from videoalign.contracts.records import Prompt, WinLosePair
from videoalign.randomness import fold_in

MARK = "\0"
"""Begins the name under which a prompt's condition without its text is kept; no prompt has it."""


def drop_prompts(pairs: Sequence[WinLosePair], share: float) -> list[WinLosePair]:
    """The pairs, that share of them, in the mean, with the condition of `without_text`.

    Which ones follows from their clips, so a pair that is added changes no other, and what was stored of it serves.

    Args:
        pairs: in any order.
        share: in [0, 1).
    """
    return [replace(pair, prompt_id=MARK + pair.prompt_id) if share and _draw(pair) < share else pair for pair in pairs]


def without_text(pairs: Iterable[WinLosePair], prompts: Iterable[Prompt], negative: str) -> list[Prompt]:
    """What `drop_prompts` put in the place of prompts: the negative prompt, beside the picture where there is one."""
    dropped = {pair.prompt_id for pair in pairs}
    renamed = (replace(one, prompt_id=MARK + one.prompt_id, text=negative) for one in prompts)
    return [one for one in renamed if one.prompt_id in dropped]


def _draw(pair: WinLosePair) -> float:
    return float(torch.rand((), generator=fold_in(0, "prompt dropout", pair.clip_win, pair.clip_lose)))
