"""A running mean of the trained weights, which wanders less than the weights themselves."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from videoalign.distributed.sharding import as_part_of
from videoalign.randomness import Draws
from videoalign.training.objective import Loss, require_names
from videoalign.training.objectives.flow import FlowObjective

AVERAGE = "average."
"""What the names of means begin with in a state."""


class Averaged:
    """An `Objective` beside which a mean of its weights is kept: mean <- d mean + (1 - d) weights after each step.

    d is ``decay``, and less in the first steps, (1 + n) / (10 + n) after n of them, so that the start is forgotten. The
    mean is part of the state, so a run that stopped goes on with it.

    Args:
        inner: what is trained.
        decay: in [0, 1).
    """

    def __init__(self, inner: FlowObjective, decay: float) -> None:
        self.inner, self.decay = inner, decay
        self.mean = {name: value.clone() for name, value in inner.state_dict().items()}

    def parameter_groups(self) -> list[dict[str, Any]]:
        """Those of what is trained."""
        return self.inner.parameter_groups()

    def loss(self, batch: Any, draws: Draws) -> Loss:
        """That of what is trained, at the weights that it has."""
        return self.inner.loss(batch, draws)

    @torch.no_grad()
    def after_update(self, row: Mapping[str, float]) -> None:
        """Moves the mean towards the weights; see `training.loop.fit`."""
        self.inner.after_update(row)
        steps = row["step"]
        keep = min(self.decay, (1 + steps) / (10 + steps))
        for name, value in self.inner.state_dict().items():
            self.mean[name].lerp_(value.to(self.mean[name]), 1 - keep)

    def state_dict(self) -> dict[str, Tensor]:
        """The weights, and their mean."""
        return {**self.inner.state_dict(), **{AVERAGE + name: value for name, value in self.mean.items()}}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Puts back what `state_dict` gave.

        Raises:
            ValueError: other names.
        """
        require_names(state, self.state_dict())
        self.inner.load_state_dict({name: value for name, value in state.items() if not name.startswith(AVERAGE)})
        for name, value in self.mean.items():
            value.copy_(as_part_of(state[AVERAGE + name], value))

    @contextmanager
    def at_mean(self) -> Iterator[None]:
        """The weights are their mean while the block runs."""
        own = {name: value.clone() for name, value in self.inner.state_dict().items()}
        self.inner.load_state_dict(self.mean)
        try:
            yield
        finally:
            self.inner.load_state_dict(own)
