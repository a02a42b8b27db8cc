"""What a reward says about a clip, and what it depends on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from videoalign.config import Config
from videoalign.errors import VideoAlignError

if TYPE_CHECKING:
    from videoalign.contracts.protocols import RewardModel


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


@dataclass(frozen=True)
class ClipScore:
    """What a reward says about one clip; either ``error`` or the scores are None."""

    scores: dict[str, float] | None
    """Normalised score by dimension."""
    raw: dict[str, float] | None
    """Score of the head by dimension; its scale is arbitrary."""
    error: str | None = None
    """Why the clip could not be scored."""

    @property
    def overall(self) -> float | None:
        """Mean of the normalised scores."""
        return None if self.scores is None else sum(self.scores.values()) / len(self.scores)


def clip_score(reward: RewardModel, row: np.ndarray | VideoAlignError) -> ClipScore:
    """The result for a reward's raw scores (D,) of a clip, or for what was wrong with it.

    Raises:
        ModelError: see `RewardModel.normalise`.
    """
    if isinstance(row, VideoAlignError):
        return ClipScore(None, None, str(row))
    scores, raw = (dict(zip(reward.dimensions, x.tolist(), strict=True)) for x in (reward.normalise(row), row))
    return ClipScore(scores, raw)
