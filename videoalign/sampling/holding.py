"""Flow-NRG that moves some dimensions and holds the others where the unguided clip has them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from videoalign.contracts.reward import LatentReward
from videoalign.flow.condition import Condition
from videoalign.sampling.guided import RewardGuide, dimension_gradients

MOST = 3.0
"""Longest correction, as a multiple of the plain gradient's length."""
HASTE = 2.0
"""In what share of the time that is left a deviation is taken back: a half."""


class HoldingGuide(RewardGuide):
    """A `RewardGuide` whose change leaves the predicted scores of the dimensions without weight alone.

    Dimensions go together in what people say, so the gradient of one raises the others too. Of g = sum_k w_k grad r_k
    the part along the gradients h_j of the others is taken off, so that <g', h_j> = 0: projection. The network carries
    every change on to other latents, so that does not hold a path; where the scores of the unguided path are known, the
    distance from them, d_j, is taken back as well: <g', h_j> = -2 d_j / (w t t / (1 - t)), which would undo it in half
    of the time that is left. What is held is what the reward predicts, which is not what people see.
    """

    def __init__(
        self,
        reward: LatentReward,
        weights: Mapping[str, float | Sequence[float]],
        strength: float = 1.0,
        *,
        max_ratio: float | None = None,
        window: tuple[float, float] = (0.0, 1.0),
        path: Sequence[Tensor] = (),
    ) -> None:
        """
        Args:
            reward: see `RewardGuide`, as those below.
            weights: dimensions that weigh 0 are held.
            strength: see there.
            max_ratio: see there.
            window: see there.
            path: scores (B, D) of the same clips unguided at each evaluation, see `PathScores`; without them a step's
                change is projected, and what has changed before stays.

        Raises:
            ConfigError: see `RewardGuide`.
        """
        super().__init__(reward, weights, strength, max_ratio=max_ratio, window=window)
        self.path, self.number = path, -1

    def adjust(self, velocity: Tensor, x_t: Tensor, t: Tensor, condition: Condition) -> Tensor:
        """See `RewardGuide.adjust`; called once an evaluation, in order."""
        self.number += 1
        return super().adjust(velocity, x_t, t, condition)

    def gradient(self, x_t: Tensor, t: Tensor, condition: Condition) -> Tensor:
        """See `RewardGuide.gradient`."""
        scores, gradients = dimension_gradients(self.reward, x_t, t, condition)  # (B, D), (B, D, ...)
        weights, wanted = self._weights(scores), torch.zeros_like(scores)
        if self.path:
            pull = self.strength * t * (t / (1 - t)).where(t < 1, 1.0)
            wanted = -HASTE * (scores - self.path[self.number].to(scores)) / pull.clamp_min(1e-6)[:, None]
        return held_gradient(gradients.flatten(2), weights, wanted).reshape(x_t.shape)


class PathScores:
    """A guide that changes nothing and keeps the scores (B, D) at each evaluation, the path of a `HoldingGuide`."""

    def __init__(self, reward: LatentReward) -> None:
        """
        Args:
            reward: scores (B, D) at noisy latents.
        """
        self.reward, self.scores = reward, list[Tensor]()

    @torch.no_grad()
    def adjust(self, velocity: Tensor, x_t: Tensor, t: Tensor, condition: Condition) -> Tensor:
        """``velocity``."""
        self.scores.append(self.reward.score(x_t.float(), t, condition))
        return velocity


def held_gradient(gradients: Tensor, weights: Tensor, wanted: Tensor) -> Tensor:
    """The vector nearest to sum_k w_k g_k whose product with each gradient g_j without weight is as wanted, (B, N).

    Where the others' gradients leave no room, as near to it as they do; it differs from the sum by at most `MOST` times
    the sum's length.

    Args:
        gradients: by dimension, (B, D, N).
        weights: (B, D); dimensions that weigh 0 are held.
        wanted: products with the gradients of those that are held, (B, D); the rest is not read.
    """
    held = (weights == 0)[..., None].to(gradients)  # (B, D, 1)
    plain, others = (weights[..., None] * gradients).sum(1), held * gradients
    excess = (others @ plain[..., None] - held * wanted[..., None]).double()  # (B, D, 1)
    products = (others @ others.mT).double()
    multipliers = torch.linalg.pinv(products, hermitian=True, rtol=1e-6) @ excess
    correction = -(others.mT @ multipliers.to(others)).squeeze(-1)
    longest = MOST * plain.norm(dim=1, keepdim=True)
    return plain + correction * (longest / correction.norm(dim=1, keepdim=True).clamp_min(1e-12)).clamp_max(1.0)
