"""What the raw scores of a reward mean: their scale, and the verdicts that they make likely."""

from __future__ import annotations

import numpy as np
import torch

from videoalign.contracts.reward import VerdictLaw
from videoalign.errors import DataError, ModelError
from videoalign.losses.preference import LAWS
from videoalign.models.videoreward.settings import Normalisation, RewardSettings


class ScoreLaws:
    """Normalisation and law of ties, as the settings of a reward hold them."""

    name: str
    settings: RewardSettings

    @property
    def dimensions(self) -> tuple[str, ...]:
        """Names of the scores, in order."""
        return self.settings.names

    def verdict_probabilities(self, raw_a: np.ndarray, raw_b: np.ndarray) -> np.ndarray:
        """How likely A, a tie and B are, float64 (N, D, 3), from raw scores (N, D) of clips A and B.

        Raises:
            ModelError: the reward was trained without a law of ties.
        """
        ties = self.settings.ties
        if ties is None:
            raise ModelError(
                f"reward '{self.name}': it was trained without ties; train it with loss=btt, davidson or thurstone."
            )
        width = torch.tensor([ties.width[name] for name in self.dimensions], dtype=torch.float64)
        log_probs = LAWS[ties.law].log_probs(torch.from_numpy(raw_a - raw_b), width)
        likely: np.ndarray = log_probs.exp().movedim(0, -1).numpy()
        return likely

    def verdict_law(self, dimension: str) -> VerdictLaw | None:
        """See `RewardModel.verdict_law`; None where it was trained without a law of ties."""
        if self.settings.ties is None:
            return None
        index, std = self.dimensions.index(dimension), self.normalisation()[dimension].std
        column = np.eye(len(self.dimensions))[index] * std  # one normalised unit of the dimension, in raw scores
        return lambda diff: self.verdict_probabilities(np.outer(diff, column), np.zeros(len(column)))[:, index]

    def normalise(self, raw: np.ndarray) -> np.ndarray:
        """(raw - mean) / std per dimension, (N, D).

        Raises:
            ModelError: no normalisation is stored.
        """
        rows = [self.normalisation()[name] for name in self.dimensions]
        return (raw - np.array([row.mean for row in rows])) / np.array([row.std for row in rows])

    def normalisation(self) -> dict[str, Normalisation]:
        """Mean and deviation by dimension.

        Raises:
            ModelError: none is stored.
        """
        if self.settings.normalisation is None:
            raise ModelError(
                f"reward '{self.name}': it stores no normalisation; finish its training, or use raw scores."
            )
        return self.settings.normalisation

    def set_normalisation(self, raw: np.ndarray) -> None:
        """Takes mean and deviation from raw scores (N, D) of the validation clips.

        Raises:
            DataError: fewer than two clips, or a dimension on which all score the same.
        """
        std = raw.std(0) if len(raw) else np.zeros(len(self.dimensions))
        if len(raw) < 2 or not (std > 0).all():
            raise DataError(
                f"normalisation: got {len(raw)} clips with deviations {np.round(std, 6).tolist()}; "
                "wanted two or more clips that differ on every dimension. Hold out more prompts."
            )
        values = zip(self.dimensions, raw.mean(0).tolist(), std.tolist(), strict=True)
        stored = {name: Normalisation(mean=mean, std=deviation) for name, mean, deviation in values}
        self.settings = self.settings.model_copy(update={"normalisation": stored})
