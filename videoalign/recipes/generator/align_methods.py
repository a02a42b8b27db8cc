"""The methods of alignment: their settings, and what each makes of a generator and of pairs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import torch
from pydantic import Field
from torch import nn

from videoalign.contracts.generator import Generator
from videoalign.contracts.records import WinLosePair
from videoalign.data.latents import LatentCache
from videoalign.data.on_demand import OnDemand
from videoalign.errors import ConfigError, did_you_mean
from videoalign.models.generators.settings import ClipShape
from videoalign.models.lora import LoraSettings
from videoalign.models.network_adapters import reference_of
from videoalign.recipes.generator.clip_fit import ClipSettings
from videoalign.recipes.generator.encode import pair_examples, pair_shapes
from videoalign.training.loop import FitConfig
from videoalign.training.objective import Objective
from videoalign.training.objectives.dpo import DpoObjective
from videoalign.training.objectives.flow import (
    ClipExample,
    PairExample,
    PairReference,
    TimeSettings,
    collate_clips,
    collate_pairs,
)
from videoalign.training.objectives.rwr import RwrObjective, clip_weights
from videoalign.training.objectives.sft import SftObjective
from videoalign.video.addresses import LocalPath


class AlignConfig(ClipShape):
    """What every method shares."""

    fit: FitConfig = FitConfig(num_steps=200, batch_size=16, learning_rate=1e-4, warmup_steps=10)
    """Length, batch and rate of the training. With validate_every_steps, pairs of ``val`` prompts are measured on and
    not trained on."""
    lora: LoraSettings = LoraSettings()
    """Size and place of the adapter."""
    start: LocalPath | None = None
    """Adapter to start from, as Flow-DPO from what SFT made: a folder or file, of the size and place that ``lora``
    says. The reference is the model with this adapter on it."""
    times: TimeSettings = TimeSettings(shift="model")
    """How training times are drawn."""
    encode: ClipSettings = ClipSettings()
    """How clips become latents, where they have none yet."""


class SftConfig(AlignConfig):
    """Supervised fine-tuning on the winners."""


class RwrConfig(AlignConfig):
    """Flow-RWR on all clips that stand in a pair."""

    temperature: float = Field(default=1.0, gt=0)
    """Weight of a clip is exp(reward / temperature), over its mean; small values keep only the best. In units of
    the pairs' rewards, means over dimensions, with a deviation within a prompt nearer 0.6 than 1 for three of them."""
    clip_quantile: float = Field(default=0.99, gt=0, le=1)
    """No clip weighs more than the one at this quantile."""


class DpoConfig(AlignConfig):
    """Flow-DPO."""

    beta: float = Field(default=500.0, gt=0)
    """Pull towards the reference. It multiplies MEAN squared errors, so it keeps its meaning when clips get longer."""
    schedule: Literal["constant", "squared"] = "constant"
    """``constant``, as the paper recommends, or ``squared`` for beta (1 - t)^2, which lets go where noise is high."""
    reference_draws: int = Field(default=0, ge=0)
    """0 runs the reference beside the policy. K > 0 computes its errors once on K fixed draws of every pair, stores
    them beside the latents and trains on those draws, without a reference pass."""
    sft_weight: float = Field(default=0.0, ge=0)
    """Adds that much of the winner's own error, an anchor against drift; the error is a mean, so 1 is mild."""
    margin_cap: float | None = Field(default=None, gt=0)
    """Pairs whose implicit margin is above this stop pushing; default: no cap."""
    weight_by_margin: bool = False
    """Weigh pairs by their difference of reward, over its mean."""
    one_by_one: bool = False
    """Winners and losers go through the network one after the other: half of the activations are kept at a time, for
    one forward pass more."""


@dataclass(frozen=True)
class TrainingSet:
    """What an objective is trained or measured on."""

    examples: Sequence[Any]
    """As `collate` takes them."""
    names: Sequence[str]
    """What to call each in an error."""
    shapes: Sequence[tuple[int, ...]]
    """Of the latents of each; a batch holds one."""
    collate: Callable[[list[Any]], Any]
    """Makes a batch of some."""


@dataclass(frozen=True)
class Method:
    """A way to align."""

    config: type[AlignConfig]
    objective: Callable[[Generator, dict[str, nn.Parameter], Any], Objective]
    """Of a generator that carries the adapter, the adapter's parameters and the settings."""
    training_set: Callable[[LatentCache, Sequence[WinLosePair], Any, PairReference | None], TrainingSet]
    """Of some pairs in latents, the settings and, where they were stored, the reference's errors."""


def _flow(
    kind: type[SftObjective] | type[RwrObjective],
) -> Callable[[Generator, dict[str, nn.Parameter], Any], Objective]:
    return lambda generator, parameters, config: kind(generator.network, parameters, config.times)


def _dpo(generator: Generator, parameters: dict[str, nn.Parameter], config: DpoConfig) -> Objective:
    return DpoObjective(
        generator.network,
        parameters,
        config.times,
        lambda: reference_of(generator.network),
        beta=config.beta,
        schedule=config.schedule,
        sft_weight=config.sft_weight,
        margin_cap=config.margin_cap,
        one_by_one=config.one_by_one,
    )


def _all_pairs(
    cache: LatentCache, rows: Sequence[WinLosePair], config: AlignConfig, references: PairReference | None
) -> TrainingSet:
    examples, weights = pair_examples(cache, rows), torch.ones(len(rows))
    if isinstance(config, DpoConfig) and config.weight_by_margin:
        margins = torch.tensor([pair.reward_win - pair.reward_lose for pair in rows])
        weights = margins / margins.mean()

    def example(index: int) -> PairExample:
        stored = None if references is None else PairReference(*(value[index] for value in vars(references).values()))
        return replace(examples[index], weight=float(weights[index]), reference=stored)

    names = [f"clips {pair.clip_win} and {pair.clip_lose}" for pair in rows]
    return TrainingSet(OnDemand(len(rows), example), names, pair_shapes(cache, rows), collate_pairs)


def _all_clips(
    cache: LatentCache, rows: Sequence[WinLosePair], config: RwrConfig, references: PairReference | None
) -> TrainingSet:
    rewards: dict[str, float] = {}
    prompts: dict[str, str] = {}
    for pair in rows:
        rewards |= {pair.clip_win: pair.reward_win, pair.clip_lose: pair.reward_lose}
        prompts |= dict.fromkeys((pair.clip_win, pair.clip_lose), pair.prompt_id)
    weights = clip_weights(rewards, temperature=config.temperature, clip_quantile=config.clip_quantile)
    clip_ids = list(rewards)

    def example(index: int) -> ClipExample:
        clip_id = clip_ids[index]
        condition = cache.condition(prompts[clip_id])
        return ClipExample(latents=cache.clip(clip_id), condition=condition, weight=weights[clip_id])

    names, shapes = [f"clip {clip_id}" for clip_id in clip_ids], [cache.shape(clip_id) for clip_id in clip_ids]
    return TrainingSet(OnDemand(len(clip_ids), example), names, shapes, collate_clips)


METHODS: dict[str, Method] = {
    "sft": Method(SftConfig, _flow(SftObjective), _all_pairs),
    "rwr": Method(RwrConfig, _flow(RwrObjective), _all_clips),
    "dpo": Method(DpoConfig, _dpo, _all_pairs),
}
"""By the name that the command line uses."""


def method_config(method: str) -> type[AlignConfig]:
    """The settings class of a method.

    Raises:
        ConfigError: there is no such method.
    """
    if method not in METHODS:
        raise ConfigError(f"no method '{method}'.{did_you_mean(method, METHODS)}")
    return METHODS[method].config
