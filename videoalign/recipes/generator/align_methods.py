"""The methods of alignment: their settings, and what each makes of a generator and of pairs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Any, Literal, Self

import torch
from pydantic import Field, field_validator, model_validator
from torch import nn

from videoalign.contracts.generator import Generator
from videoalign.contracts.records import WinLosePair
from videoalign.data.latents import LatentCache
from videoalign.data.on_demand import OnDemand
from videoalign.errors import ConfigError, DataError, did_you_mean
from videoalign.flow.condition import BEGINNING
from videoalign.losses.flow_dpo import utility
from videoalign.models.generators.settings import ModelSettings
from videoalign.models.lora import LoraSettings
from videoalign.models.network_adapters import reference_of
from videoalign.recipes.generator.clip_fit import ClipSettings
from videoalign.recipes.generator.encode import pair_examples, pair_shapes
from videoalign.recipes.generator.watch import WatchConfig
from videoalign.training.loop import FitConfig
from videoalign.training.objectives.dpo import DpoObjective
from videoalign.training.objectives.flow import (
    ClipExample,
    FlowObjective,
    PairExample,
    PairReference,
    TimeSettings,
    collate_clips,
    collate_pairs,
    spread_weights,
)
from videoalign.training.objectives.rwr import RwrObjective, clip_weights
from videoalign.training.objectives.sft import SftObjective
from videoalign.video.addresses import LocalPath

AUTO_BETA, AUTO_TARGET = 500.0, 0.4
"""Where ``beta=auto`` starts, and the mean gradient factor that it aims at unless told otherwise."""


class AlignConfig(ModelSettings):
    """What every method shares."""

    fit: FitConfig = FitConfig(num_steps=200, batch_size=16, learning_rate=1e-4, warmup_steps=10)
    """Length, batch and rate of the training. With validate_every_steps, pairs of ``val`` prompts are measured on and
    not trained on."""
    train: Literal["lora", "full"] = "lora"
    """What is trained: an adapter on the transformer, or ``full``, all of its weights. A full fine-tuning ends as a
    model of its own, takes float32 weights, gradients and moments, 16 bytes a parameter, and, for Flow-DPO,
    ``reference_draws``: there is no second copy to be the reference."""
    lora: LoraSettings = LoraSettings()
    """Size and place of the adapter."""
    start: LocalPath | None = None
    """Adapter to start from, as Flow-DPO from what SFT made: a folder or file, of the size and place that ``lora``
    says. The reference is the model with this adapter on it, unless ``reference`` says otherwise."""
    times: TimeSettings = TimeSettings(shift="model")
    """How training times are drawn."""
    encode: ClipSettings = ClipSettings()
    """How clips become latents, where they have none yet."""
    gradient_checkpointing: bool = False
    """Keep only what goes into the network's blocks, and compute the rest again on the way back: less memory by far
    for about a third more time. A large model needs it."""
    compile: bool = False
    """Compile the network's blocks: the first steps take minutes, later ones less time and memory."""
    ema: float = Field(default=0.0, ge=0, lt=1)
    """Decay of a running mean of the weights, as 0.99, that is measured on held-out pairs and ends as the adapter; 0
    keeps the weights themselves."""
    watch: WatchConfig = WatchConfig()
    """What is looked at meanwhile, and which weights are kept."""
    frame_weights: tuple[Annotated[float, Field(ge=0)], ...] | None = None
    """Weights of the parts of a clip in the error, in the order of time, each for an equal part of its latent frames:
    ``[0, 1]`` trains on the second half alone. Default: all alike."""

    @field_validator("frame_weights")
    @classmethod
    def _some_weigh(cls, weights: tuple[float, ...] | None) -> tuple[float, ...] | None:
        if weights is not None and not sum(weights) > 0:
            raise ConfigError(f"frame_weights: got {list(weights)}; wanted at least one above 0, or leave it out.")
        return weights

    @model_validator(mode="after")
    def _no_adapter_in_full(self) -> Self:
        """A full fine-tuning has no adapter, of any size or start."""
        for name, given in (("lora", self.lora != LoraSettings()), ("start", self.start is not None)):
            if self.train == "full" and given:
                way = "give as --model what is to be trained, and leave it out" if name == "start" else "leave it out"
                raise ConfigError(f"{name}: got a value, but train=full trains no adapter; {way}, or set train=lora.")
        return self


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

    beta: Annotated[float, Field(gt=0)] | Literal["auto"] = 500.0
    """Pull towards the reference. It multiplies MEAN squared errors, so it keeps its meaning when clips get longer.
    ``auto`` starts at 500 and follows ``gradient_target``."""
    gradient_target: float | None = Field(default=None, gt=0, lt=0.5)
    """Of ``beta=auto``: mean gradient factor, sigmoid(-margin), that beta is steered to; default: 0.4. It is 0.5 at the
    start and less the more of the pairs are learnt."""
    utility: Literal["sigmoid", "poly", "linear", "ipo"] = "sigmoid"
    """What a margin costs: ``sigmoid`` is the paper's; ``poly`` pushes unlearnt pairs harder or less (Poly-DPO);
    ``linear`` never quite stops pushing (Linear-DPO); ``ipo`` wants a margin of 1/2 and no more."""
    poly_alpha: float | None = Field(default=None, gt=-1)
    """Of ``utility=poly``: above 0 for noisy labels, below 0 for pairs that are too easy."""
    linear_floor: float | None = Field(default=None, ge=0, lt=0.5)
    """Of ``utility=linear``: the least share of its gradient that a learnt pair still gives."""
    label_smoothing: float = Field(default=0.0, ge=0, lt=0.5)
    """Chance that a label is wrong, as raters or the reward disagree; margins then end at a finite value."""
    safeguard: float | None = Field(default=None, ge=0, le=1)
    """Holds the losers' gradients back, pair by pair, so that no step raises the winner's error (Diffusion-SDPO): at
    least this share of the winner's own descent is kept; its authors take 0.6. Default: off."""
    reference: Literal["start", "base"] = "start"
    """What the policy is pulled towards where it starts from an adapter: the model with that adapter on it, or the bare
    model."""
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
    """Weigh pairs by their difference of reward, over its mean; ties weigh 1."""
    one_by_one: bool = False
    """Winners and losers go through the network one after the other: half of the activations are kept at a time, for
    one forward pass more."""

    @model_validator(mode="after")
    def _all_take_effect(self) -> Self:
        """Settings of a choice that was not made are refused, and so is a choice without its setting."""
        if self.reference != "start" and self.start is None:
            raise ConfigError(f"reference: got {self.reference}, which takes effect with start=ADAPTER; leave it out.")
        if self.train == "full" and not self.reference_draws:
            raise ConfigError(
                "reference_draws: got 0, but train=full keeps no second copy of the weights to be the reference; set "
                "reference_draws=4, whose errors are made before the first step or with: videoalign encode ... "
                "--reference-draws 4"
            )
        for name, of, chosen, needed in (
            ("gradient_target", "beta=auto", self.beta == "auto", False),
            ("poly_alpha", "utility=poly", self.utility == "poly", True),
            ("linear_floor", "utility=linear", self.utility == "linear", True),
        ):
            value = getattr(self, name)
            if value is not None and not chosen:
                raise ConfigError(f"{name}: got {value}, which takes effect with {of}; set that, or leave it out.")
            if needed and chosen and value is None:
                raise ConfigError(f"{name}: got nothing, but {of} needs a number; set {name}=<number>.")
        return self


def keeps_start(config: AlignConfig) -> bool:
    """Whether the reference is the model with the adapter that the training starts from."""
    return getattr(config, "reference", "start") == "start"


def memory_advice(config: AlignConfig) -> str:
    """What to do where one example is too much for the device: the first of what has not been done."""
    for name in ("gradient_checkpointing", "one_by_one"):
        if not getattr(config, name, True):
            return f"set {name}=true; the run goes on then"
    if config.fit.dtype == "float32" and config.train == "full":
        return "set fit.dtype=bfloat16, with another folder; it halves what a batch takes"
    if config.fit.dtype == "float32":
        return "set fit.dtype=bfloat16 and --dtype bfloat16, with another folder; they halve what a batch takes"
    return "set num_frames, height or width to half, with another folder; that halves what a batch takes"


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
    objective: Callable[[Generator, dict[str, nn.Parameter], Any], FlowObjective]
    """Of a generator that carries the adapter, the adapter's parameters and the settings."""
    training_set: Callable[[LatentCache, Sequence[WinLosePair], Any, Sequence[PairReference] | None], TrainingSet]
    """Of some pairs in latents, the settings and, where they were stored, the reference's errors."""


def _flow(
    kind: type[SftObjective] | type[RwrObjective],
) -> Callable[[Generator, dict[str, nn.Parameter], Any], FlowObjective]:
    return lambda generator, parameters, config: kind(
        generator.network, parameters, config.times, frame_weights=config.frame_weights
    )


def require_frames(generator: Generator, config: AlignConfig) -> None:
    """Raises `ConfigError` where the generator's clips have fewer latent frames than there are weights of them."""
    if config.frame_weights is not None:
        predicted = generator.codec.latent_shape[1] - (BEGINNING in generator.conditioner.names)
        spread_weights(config.frame_weights, predicted)


def _dpo(generator: Generator, parameters: dict[str, nn.Parameter], config: DpoConfig) -> FlowObjective:
    return DpoObjective(
        generator.network,
        parameters,
        config.times,
        None if config.train == "full" else lambda: reference_of(generator.network),
        beta=AUTO_BETA if config.beta == "auto" else config.beta,
        gradient_target=(config.gradient_target or AUTO_TARGET) if config.beta == "auto" else None,
        schedule=config.schedule,
        utility=utility(config.utility, alpha=config.poly_alpha or 0.0, floor=config.linear_floor or 0.0),
        label_smoothing=config.label_smoothing,
        safeguard=config.safeguard,
        frame_weights=config.frame_weights,
        sft_weight=config.sft_weight,
        margin_cap=config.margin_cap,
        one_by_one=config.one_by_one,
    )


def _all_pairs(
    cache: LatentCache, rows: Sequence[WinLosePair], config: AlignConfig, references: Sequence[PairReference] | None
) -> TrainingSet:
    examples, weights = pair_examples(cache, rows), pair_weights(rows, config)

    def example(index: int) -> PairExample:
        stored = None if references is None else references[index]
        return replace(examples[index], weight=float(weights[index]), reference=stored)

    names = [f"clips {pair.clip_win} and {pair.clip_lose}" for pair in rows]
    return TrainingSet(OnDemand(len(rows), example), names, pair_shapes(cache, rows), collate_pairs)


def pairs_that_teach(method: str, rows: Sequence[WinLosePair]) -> list[WinLosePair]:
    """Those of some pairs that a method learns from: all of them, but SFT of the winners alone, which ties do not have.

    Raises:
        DataError: none is left; or, for RWR, see `_rewards_of`.
    """
    if method == "rwr":
        _rewards_of(rows)
    taught = [pair for pair in rows if method != "sft" or not pair.preference <= 0.5]
    if rows and not taught:
        raise DataError(f"pairs: all {len(rows)} are ties, and sft wants winners; make the pairs without ties=.")
    return taught


def pair_weights(rows: Sequence[WinLosePair], config: AlignConfig) -> torch.Tensor:
    """How much each pair counts, (N,), with a mean of 1.

    Raises:
        ConfigError: margins are to weigh the pairs, and are none.
    """
    if not (isinstance(config, DpoConfig) and config.weight_by_margin):
        return torch.ones(len(rows))
    margins = torch.tensor([pair.reward_win - pair.reward_lose for pair in rows])
    decided = torch.tensor([pair.preference != 0.5 for pair in rows])
    if decided.any() and not (margins[decided].min() >= 0 and margins[decided].max() > 0):
        raise ConfigError(
            f"weight_by_margin: got true, but the pairs' rewards differ by {margins[decided].min():g} to "
            f"{margins[decided].max():g}; wanted winners that have more. Leave it out, or make the pairs again."
        )
    return torch.where(decided, margins / margins[decided].mean(), 1.0)


def _rewards_of(rows: Sequence[WinLosePair]) -> dict[str, float]:
    """The reward of each clip of some pairs.

    Raises:
        DataError: a clip has two. Whether they are numbers, `data.pairs.require_numbers` tells.
    """
    rewards: dict[str, float] = {}
    for pair in rows:
        for clip_id, reward in ((pair.clip_win, pair.reward_win), (pair.clip_lose, pair.reward_lose)):
            if abs(rewards.setdefault(clip_id, reward) - reward) > 0:
                raise DataError(
                    f"pairs: clip '{clip_id}' has the reward {rewards[clip_id]:g} in one pair and {reward:g} in "
                    "another; rwr wants one for each clip. Make the pairs again."
                )
    return rewards


def _all_clips(
    cache: LatentCache, rows: Sequence[WinLosePair], config: RwrConfig, references: Sequence[PairReference] | None
) -> TrainingSet:
    rewards, prompts = _rewards_of(rows), dict[str, str]()
    for pair in rows:
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
