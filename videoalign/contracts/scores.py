"""What a reward says about a clip."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from videoalign.errors import VideoAlignError

if TYPE_CHECKING:
    import numpy as np

    from videoalign.contracts.reward import RewardModel


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
