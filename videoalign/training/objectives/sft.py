"""Supervised fine-tuning: flow matching on the preferred clips alone."""

from __future__ import annotations

import torch
from torch import Tensor

from videoalign.training.objectives.flow import FlowObjective, PairBatch


class SftObjective(FlowObjective):
    """E ||v(x_t, t, y) - (x_noise - x_win)||^2, the mean over latent elements; the losing clips are not looked at."""

    def loss(self, batch: PairBatch, generator: torch.Generator) -> tuple[Tensor, dict[str, float]]:
        """Mean error over the winners, and it again as ``error_win``."""
        error = self.matching_errors(batch.win, batch.text, generator).mean()
        return error, {"error_win": float(error.detach())}
