"""What the path from prompts to an adapter would take on somebody's own data: graphics card hours, bytes and money."""

from __future__ import annotations

import copy
import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from math import prod
from pathlib import Path
from typing import Any

import torch
from pydantic import Field
from torch._subclasses.fake_tensor import FakeTensorMode

from videoalign.data.dataset import Dataset
from videoalign.errors import ConfigError, DataError
from videoalign.flow.condition import Condition
from videoalign.models.generators.generator import PipelineGenerator
from videoalign.models.generators.settings import ModelSettings
from videoalign.recipes.generator.pictures import asked_of
from videoalign.training.cost import operations_of, without_numbers

TRAINING_FORWARDS = 3
"""Forward passes that one costs with its gradient, at most; an adapter needs fewer."""

LOG_NAMES = {"generate": "generate", "score clips": "score", "encode": "encode", "reference": "reference"}
"""What the log of a command calls its work -> the row of a plan."""


class PlanConfig(ModelSettings):
    """What is planned, and what a graphics card does and costs."""

    per_prompt: int = Field(default=8, gt=0)
    """Clips of each prompt."""
    pairs_per_prompt: int = Field(default=2, gt=0)
    """Pairs of each prompt that are trained on."""
    reference_draws: int = Field(default=4, ge=0)
    """Draws of each pair at which the reference's errors are stored; 0 has the reference run at every step."""
    epochs: float = Field(default=4.0, gt=0)
    """Times that a training sees each pair."""
    tflops: float = Field(default=990.0, gt=0)
    """Tera-operations a second that a card is sold with, in the precision used; 990: an H100 or H200 in bfloat16."""
    utilisation: float = Field(default=0.35, gt=0, le=1)
    """Share of that which is reached."""
    price: float = Field(default=2.5, ge=0)
    """Of an hour of a card, in any currency."""
    clip_megabytes: float | None = Field(default=None, gt=0)
    """Of a clip's file; default: the mean of those that are there."""


@dataclass(frozen=True)
class PlanRow:
    """One stage."""

    work: str
    unit: str
    """What is counted: clip, pair, or pair step, which is one pair in one step of a training."""
    units: int
    operations: float | None
    """Of a unit: multiplications and additions of the transformer, from shapes; None where it takes no part."""
    computed_hours: float | None
    """Of all units, from the operations."""
    measured_hours: float | None
    """Of all units, from the seconds that an earlier run took; None where none is known."""
    bytes: float | None
    """That stay on the disk, of all units; None where that is not known."""
    money: float | None
    """Of the measured hours, or else the computed ones."""


def plan_dataset(
    dataset: Dataset,
    generator: PipelineGenerator,
    config: PlanConfig | None = None,
    *,
    measured: Mapping[str, float] | None = None,
) -> list[PlanRow]:
    """The stages with what each takes. Nothing is made; of the model, what encodes a prompt alone is opened.

    Computed figures are of the transformer: sampling with its steps and guidance, reference errors, and training with
    `TRAINING_FORWARDS` passes for one. Text encoder, autoencoder and reward are in measured figures only.

    Args:
        dataset: holds the prompts.
        generator: the model.
        config: see `PlanConfig`.
        measured: seconds of a card for a unit, by the name of the stage; see `measured_seconds`.

    Raises:
        ConfigError: a stage that there is none of.
        DataError: no prompts.
    """
    config = config or PlanConfig()
    generator, prompts = generator.changed(config.of_model()), dataset.prompts()
    if not prompts:
        raise DataError(f"{dataset.path}: holds no prompts; add some with 'videoalign generate' or 'data import'.")
    condition = generator.conditioner.encode(asked_of(generator, dataset, prompts[:1]))
    forward, sampled = (forward_operations(generator, condition, sampling=kind) for kind in (False, True))
    steps, guided = generator.sampler.num_steps, generator.sampler.passes
    clips, pairs = len(prompts) * config.per_prompt, len(prompts) * config.pairs_per_prompt
    latents = 4 * prod(generator.codec.latent_shape)
    texts = sum(value.numel() * value.element_size() for value in condition.tensors.values())
    clip_bytes = _clip_bytes(dataset, config)
    frames = generator.codec.latent_shape[1]
    errors = 8.0 * pairs * config.reference_draws * (1 + frames)
    train = 2 * TRAINING_FORWARDS * forward + (0 if config.reference_draws else 2 * forward)
    found: dict[str, tuple[str, int, float | None, float | None]] = {
        "generate": ("clip", clips, sampled * steps * guided, clip_bytes and clips * (clip_bytes + latents)),
        "score": ("clip", clips, None, 64.0 * clips),
        "encode": ("clip", clips, None, float(len(prompts) * texts)),  # latents of clips stand under generate
        "reference": ("pair", pairs, 2.0 * forward * config.reference_draws, errors),
        "align": ("pair step", round(pairs * config.epochs), float(train), 0.0),
    }
    unknown = sorted(set(measured or {}) - set(found))
    if unknown:
        raise ConfigError(f"--seconds: there is no stage '{unknown[0]}'; wanted {', '.join(found)}.")
    rate = config.tflops * 1e12 * config.utilisation * 3600
    rows = []
    for work, (unit, units, operations, size) in found.items():
        seconds = (measured or {}).get(work)
        computed = None if operations is None else units * operations / rate
        hours = None if seconds is None else units * seconds / 3600
        paid = hours if hours is not None else computed
        money = None if paid is None else paid * config.price
        rows.append(PlanRow(work, unit, units, operations, computed, hours, size, money))
    return rows


def forward_operations(generator: PipelineGenerator, condition: Condition, *, sampling: bool = False) -> int:
    """Multiplications and additions of the transformer on one clip, from shapes alone, as it is trained or, of LTX-2
    with its sound, sampled; of a model that was opened from a folder or the hub its weights are not read."""
    outline: Any = generator.outline
    mode = FakeTensorMode(allow_non_fake_inputs=True)
    if next(outline.parameters()).is_meta:
        outline = copy.deepcopy(outline)
        without_numbers(outline, mode)
    told = torch.zeros(1, *generator.codec.latent_shape), torch.zeros(1), condition.to("cpu")
    call = partial(generator.sampler.one_pass, outline) if sampling else outline
    return operations_of(lambda: call(*told), mode)


def measured_seconds(log: str | Path) -> dict[str, float]:
    """Seconds of the model for a unit, by stage, from what commands wrote with ``--log json``.

    Raises:
        DataError: not such a log, or no work of a plan came to an end in it.
    """
    spent: dict[str, list[float]] = {}
    try:
        for line in Path(log).read_text(encoding="utf-8").splitlines():
            told = json.loads(line) if line.startswith("{") else {}
            name = LOG_NAMES.get(told.get("work", ""))
            if told.get("event") == "end" and name and told["work_seconds"] > 0 and told["made"] > 0:
                total = spent.setdefault(name, [0.0, 0.0])
                total[0] += told["work_seconds"]
                total[1] += told["made"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(f"--measured: {log} is no log of videoalign ({error}); make one with --log json.") from None
    if not spent:
        raise DataError(f"--measured: no work came to an end in {log}; wanted that of {', '.join(LOG_NAMES.values())}.")
    return {name: seconds / units for name, (seconds, units) in spent.items()}


def _clip_bytes(dataset: Dataset, config: PlanConfig) -> float | None:
    if config.clip_megabytes is not None:
        return config.clip_megabytes * 1e6
    sizes = [size for clip in dataset.clips() if (size := dataset.clip_bytes(clip)) is not None]
    return sum(sizes) / len(sizes) if sizes else None
