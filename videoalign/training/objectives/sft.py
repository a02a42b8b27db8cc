"""Supervised fine-tuning: flow matching on the preferred clips alone."""

from __future__ import annotations

import torch

from videoalign.randomness import Draws
from videoalign.training.objective import Loss
from videoalign.training.objectives.flow import FlowObjective, PairBatch


class SftObjective(FlowObjective):
    """E ||v(x_t, t, y) - (x_noise - x_win)||^2, the mean over latent elements; the losing clips are not looked at."""

    def loss(self, batch: PairBatch, draws: Draws) -> Loss:
        """Errors of the winners, and they again as ``error_win``."""
        t, errors = self.matching_errors(batch.win, batch.condition, draws)
        return Loss(errors, torch.ones_like(errors), t, {"error_win": errors})
