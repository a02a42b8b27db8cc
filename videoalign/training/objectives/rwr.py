"""Flow-RWR: flow matching on all clips, the better ones counting for more."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from videoalign.losses.flow_rwr import rwr_weights
from videoalign.training.objectives.flow import ClipBatch, FlowObjective


def clip_weights(rewards: Mapping[str, float], *, temperature: float, clip_quantile: float) -> dict[str, float]:
    """`losses.flow_rwr.rwr_weights` by clip id; mean 1."""
    values = torch.tensor(list(rewards.values()), dtype=torch.float64)
    weights = rwr_weights(values, temperature=temperature, clip_quantile=clip_quantile)
    return dict(zip(rewards, weights.tolist(), strict=True))


class RwrObjective(FlowObjective):
    """E[w(r) ||v(x_t, t, y) - (x_noise - x_data)||^2], equations 8 and 9 of arXiv 2501.13918.

    The weights w stand in the batch: exp(r / temperature) over its mean; see `losses.flow_rwr`.
    """

    def loss(self, batch: ClipBatch, generator: torch.Generator) -> tuple[Tensor, dict[str, float]]:
        """Weighted mean error; also logged: ``error`` without weights, and ``effective_share``, the share of the batch
        that the weights leave, (sum w)^2 / (B sum w^2)."""
        errors = self.matching_errors(batch.latents, batch.text, generator)
        weight = batch.weight.to(errors)
        share = float(weight.sum().square() / (len(weight) * weight.square().sum()))
        return (weight * errors).mean(), {"error": float(errors.detach().mean()), "effective_share": share}
