"""What a reward says about a clip."""

from __future__ import annotations

from dataclasses import dataclass


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
