"""Flow-RWR: flow matching on all clips, the better ones counting for more."""

from __future__ import annotations

from collections.abc import Mapping

import torch

from videoalign.losses.flow_rwr import rwr_weights
from videoalign.randomness import Draws
from videoalign.training.objective import Loss, Metric
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

    def loss(self, batch: ClipBatch, draws: Draws) -> Loss:
        """Weighted errors. Also logged: ``error`` without weights, and ``effective_share``, sum w / sum w^2: the share
        of the clips that the weights leave, since their mean over the data set is 1."""
        t, errors = self.matching_errors(batch.latents, batch.condition, draws)
        weight = batch.weight.to(errors)
        metrics: dict[str, Metric] = {"error": errors, "effective_share": (weight, weight.square())}
        return Loss(weight * errors, torch.ones_like(errors), t, metrics)
