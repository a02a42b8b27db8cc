"""Prompts that a reward was made with."""

from __future__ import annotations

from videoalign.config import Config


class UsedPrompts(Config):
    """Prompts that a reward depends on, as hashes of their texts; figures on these are not held out."""

    trained: tuple[str, ...] = ()
    """Those of the judged pairs or ratings that it was trained on."""
    selected: tuple[str, ...] = ()
    """Those whose pairs chose the weights that were kept, under keep=best."""
    normalised: tuple[str, ...] = ()
    """Those whose clips gave mean and deviation."""
    complete: bool = True
    """False where it goes on from a reward that does not tell its own."""
