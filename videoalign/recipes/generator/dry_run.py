"""What an alignment would take, before anything of it is written: memory, operations and seconds of a step."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch

from videoalign.contracts.generator import Generator
from videoalign.contracts.records import Asked
from videoalign.data.dataset import Dataset
from videoalign.errors import DataError
from videoalign.randomness import fold_in
from videoalign.recipes.generator.align import checked
from videoalign.recipes.generator.align_methods import (
    METHODS,
    AlignConfig,
    DpoConfig,
    RwrConfig,
    pairs_that_teach,
    require_frames,
)
from videoalign.recipes.generator.pictures import asked_of
from videoalign.recipes.generator.tuning import ready_to_train, tuning_of
from videoalign.training.cost import StepCost, cost_of_objective
from videoalign.training.loop import FitConfig, fit
from videoalign.training.objectives.flow import (
    ClipExample,
    FlowObjective,
    PairExample,
    PairReference,
    collate_clips,
    collate_pairs,
)

STEPS = 3
"""Steps that are taken; the first, which is slow, does not count."""


@dataclass(frozen=True)
class DryRun:
    """What was found."""

    settings: dict[str, Any]
    """All settings as they would be."""
    num_pairs: int
    """Pairs of the table that it would be trained on."""
    cost: StepCost
    """Of one batch; a step has ``fit.accumulate_steps`` of them."""
    seconds_per_step: float
    """On this device, where this ran."""

    @property
    def hours(self) -> float:
        """All steps; encoding, reference errors and validations come on top."""
        return self.seconds_per_step * self.settings["fit"]["num_steps"] / 3600


def dry_run(
    method: str, dataset: Dataset, generator: Generator, pairs: str, config: AlignConfig | None = None
) -> DryRun:
    """Takes three steps on random latents of the model's clips, with the prompts of the pairs, and forgets them.

    Neither the dataset nor an output folder is written to, nothing is encoded, and the generator is given back as it
    was.

    Args:
        method: as in `align`.
        dataset: holds the pairs.
        generator: the base.
        pairs: name of a table of pairs.
        config: as in `align`.

    Raises:
        ConfigError: as in `align`; or memory that runs out, with what to lower.
        DataError: no pairs, or of prompts that are not there.
        ModelError: as in `align`.
    """
    config = checked(method, config)
    config = config.model_copy(update={"times": config.times.of_model(lambda: generator.sampler.time_shift)})
    generator, rows = generator.changed(config.of_model()), pairs_that_teach(method, dataset.pairs(pairs))
    require_frames(generator, config)
    prompts = {prompt.prompt_id: prompt for prompt in dataset.prompts()}
    strangers = [row.prompt_id for row in rows if row.prompt_id not in prompts]
    if strangers:
        raise DataError(f"pairs: prompt '{strangers[0]}' is not in {dataset.path}; make the pairs again.")
    first = [prompts[row.prompt_id] for row in rows[: config.fit.batch_size]]
    examples = _examples(generator, config, asked_of(generator, dataset, first))
    tuning = tuning_of(generator, config)
    tuning.require_trainable()
    with ready_to_train(tuning, generator, config) as parameters:
        objective = METHODS[method].objective(generator, parameters, config)
        collate = collate_clips if isinstance(config, RwrConfig) else collate_pairs
        batch = collate([examples[place % len(examples)] for place in range(config.fit.batch_size)])
        return DryRun(
            settings=config.model_dump(mode="json"),
            num_pairs=len(rows),
            cost=cost_of_objective(
                objective, batch, config.fit, generator.network.parameters(), averaged=config.ema > 0
            ),
            seconds_per_step=_seconds(objective, examples, collate, config.fit),
        )


def _examples(generator: Generator, config: AlignConfig, prompts: Sequence[Asked]) -> list[Any]:
    """An example for each prompt, as the method takes them."""
    conditions, shape = generator.conditioner.encode(prompts).split(), generator.codec.latent_shape
    latents = torch.randn(2, len(prompts), *shape, generator=fold_in(0, "dry run"))
    if isinstance(config, RwrConfig):
        return [ClipExample(latents=x, condition=y) for x, y in zip(latents[0], conditions, strict=True)]
    pairs = [PairExample(win=w, lose=x, condition=y) for w, x, y in zip(*latents, conditions, strict=True)]
    if not isinstance(config, DpoConfig) or not config.reference_draws:
        return pairs
    t, frames = torch.full((1,), 0.5), torch.ones(1, shape[1])
    stored = PairReference(t, torch.zeros(1, dtype=torch.int64), t, t, frames, frames)
    return [replace(pair, reference=stored) for pair in pairs]


def _seconds(objective: FlowObjective, examples: list[Any], collate: Any, fitting: FitConfig) -> float:
    off = {"warmup_steps": 0, "validate_every_steps": 0, "learning_rate": 0.0}  # so that no weight moves
    short = fitting.model_copy(update={"num_steps": STEPS, **off})
    with tempfile.TemporaryDirectory() as folder:
        rows = fit(objective, examples, collate, short, folder, after_update=objective.after_update)
    return min(row["seconds"] for row in rows[1:])
