"""What an objective costs on examples that it is not trained on."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch

from videoalign.distributed import ALONE, Processes
from videoalign.randomness import Draws, fold_in
from videoalign.training.batches import parts_of_step
from videoalign.training.loop import FitConfig, precision
from videoalign.training.objective import Objective, means

DRAWS = 4
"""Times and noises that each example is measured at."""


@torch.no_grad()
def measure(
    objective: Objective,
    examples: Sequence[Any],
    collate: Callable[[list[Any]], Any],
    config: FitConfig,
    *,
    shape_of: Callable[[int], Any] = lambda _: 0,
    processes: Processes = ALONE,
) -> dict[str, float]:
    """The mean loss and the other numbers of `Loss.metrics` over all examples, those per band of t left out.

    Each example is measured at `DRAWS` draws, the same at every call, their times stratified over all of them. Several
    processes share the examples and get the same numbers.

    Args:
        objective: in evaluation mode.
        examples: at least one, the same in every process.
        collate: makes a batch of a list of examples.
        config: size of a batch, precision and seed.
        shape_of: see `training.loop.fit`.
        processes: those that measure together.
    """
    seed, num = fold_in(config.seed, "validation").initial_seed(), DRAWS * len(examples)
    device = next(iter(objective.parameter_groups()[0]["params"])).device
    parts, order = [], [place % len(examples) for place in range(num)]
    for part in parts_of_step(0, order, config.batch_size, shape_of, processes):
        batch = collate([examples[index] for index in part.indices])
        with precision(config.dtype, device):
            names, table = objective.loss(batch, Draws(seed, 0, part.places, num)).sums()
        if part.weight:
            parts.append((names, table.tolist()))
    every = [part for each in processes.gather(parts) for part in each]
    return {name: value for name, value in means(every).items() if "/t" not in name}
