"""Win-lose pairs to an adapter: SFT, Flow-RWR or Flow-DPO on one loop."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import torch
from pydantic import Field
from torch import nn

from videoalign.contracts.output import claim_folder, fingerprint
from videoalign.contracts.progress import Progress, silent
from videoalign.contracts.records import WinLosePair
from videoalign.data.dataset import Dataset
from videoalign.data.latents import LatentCache
from videoalign.data.lineage import Teacher, prompt_hashes, teachers_of, write_lineage
from videoalign.errors import ConfigError, did_you_mean
from videoalign.models.generators.settings import ClipShape
from videoalign.models.generators.wan import WanGenerator
from videoalign.models.lora import LoraSettings, adapter_off, add_lora, remove_adapter, save_adapter
from videoalign.recipes.clip_fit import ClipSettings
from videoalign.recipes.encode import encode, encode_reference, pair_examples
from videoalign.training.callbacks import Callback
from videoalign.training.loop import FitConfig, Objective, Row, count_steps, fit
from videoalign.training.objectives.dpo import DpoObjective
from videoalign.training.objectives.flow import (
    ClipExample,
    PairReference,
    TimeSettings,
    collate_clips,
    collate_pairs,
)
from videoalign.training.objectives.rwr import RwrObjective, clip_weights
from videoalign.training.objectives.sft import SftObjective


class AlignConfig(ClipShape):
    """What every method shares."""

    fit: FitConfig = FitConfig(num_steps=200, batch_size=16, learning_rate=1e-4, warmup_steps=10)
    """Length, batch and rate of the training."""
    lora: LoraSettings = LoraSettings()
    """Size and place of the adapter."""
    times: TimeSettings = TimeSettings()
    """How training times are drawn."""
    encode: ClipSettings = ClipSettings()
    """How clips become latents, where they have none yet."""


class SftConfig(AlignConfig):
    """Supervised fine-tuning on the winners."""


class RwrConfig(AlignConfig):
    """Flow-RWR on all clips that stand in a pair."""

    temperature: float = Field(default=1.0, gt=0)
    """Weight of a clip is exp(reward / temperature), over its mean; small values keep only the best clips. In units of
    the pairs' rewards, means over dimensions, whose deviation within a prompt is nearer 0.6 than 1 for three of them."""
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


@dataclass(frozen=True)
class Method:
    """A way to align."""

    config: type[AlignConfig]
    prepare: Callable[[_Job], tuple[Objective, Sequence[Any], Callable[[list[Any]], Any]]]
    """Objective, training set and collate function; called when the adapter is on the transformer."""


@dataclass(frozen=True)
class AlignResult:
    """What an alignment leaves."""

    adapter: Path
    """Folder for `models.lora.load_adapter` and ``videoalign sample --adapter``."""
    history: list[Row]
    """Rows of ``log.jsonl``."""
    num_pairs: int
    """Pairs it was trained on."""
    teachers: tuple[Teacher, ...]
    """What labelled them; with the hashes of their prompts it also stands in ``lineage.json`` beside the adapter."""


@dataclass(frozen=True)
class _Job:
    generator: WanGenerator
    pairs: list[WinLosePair]
    examples: list[Any]
    parameters: dict[str, nn.Parameter]
    config: Any
    references: list[PairReference] | None


def align(
    method: str,
    dataset: Dataset,
    generator: WanGenerator,
    pairs: str,
    out: str | Path,
    config: AlignConfig | None = None,
    *,
    fresh: bool = False,
    progress: Progress = silent,
    on_step: Callable[[Row], None] | None = None,
    callbacks: Sequence[Callback] = (),
) -> AlignResult:
    """Trains an adapter on the pairs of that name and writes it into ``out``; the generator is given back as it was.

    Latents that are missing are encoded first. A run that stopped goes on from its last checkpoint and ends with the
    weights of the unbroken run, bit for bit; a finished one is only read.

    Args:
        method: ``sft``, ``rwr`` or ``dpo``.
        dataset: holds the pairs, their clips and prompts.
        generator: the base; carries no adapter.
        pairs: name of a table of pairs.
        out: folder of the adapter, its checkpoint and its log.
        config: of the class that `METHODS` names for the method; its defaults when absent.
        fresh: start over where ``out`` holds a run of ours.
        progress: counts clips while encoding, then steps.
        on_step: called with the row of each step.
        callbacks: see `training.loop.fit`.

    Raises:
        ConfigError: an unknown method, or a config of another method.
        DataError: no pairs, or clips that do not fit.
        OutputError: ``out`` belongs to another run, or cannot be written.
    """
    config = _checked(method, config)
    generator, rows = generator.changed(config.shape()), dataset.pairs(pairs)
    cache = encode(dataset, generator, rows, config.encode, progress=progress)
    folder = claim_folder(out, _identity(method, config, generator, rows, cache), fresh=fresh)
    references = None
    draws = getattr(config, "reference_draws", 0)
    if draws:
        stored = encode_reference(
            generator, cache, rows, num_draws=draws, times=config.times, dtype=config.fit.dtype, progress=progress
        )
        references = [PairReference(*values) for values in zip(*vars(stored).values(), strict=True)]
    with _new_adapter(generator, config) as parameters:
        job = _Job(generator, rows, pair_examples(cache, rows), parameters, config, references)
        objective, examples, collate = METHODS[method].prepare(job)
        with progress(f"align {method}", config.fit.num_steps) as advance:
            after = count_steps(advance, on_step)
            history = fit(objective, examples, collate, config.fit, folder, on_step=after, callbacks=callbacks)
        save_adapter(generator.transformer, folder, generator.identity())
    teachers = teachers_of(rows)
    write_lineage(folder, f"align {method}", teachers, prompt_hashes(dataset, rows))
    return AlignResult(adapter=folder, history=history, num_pairs=len(rows), teachers=teachers)


@contextmanager
def _new_adapter(generator: WanGenerator, config: AlignConfig) -> Iterator[dict[str, nn.Parameter]]:
    """A fresh adapter while the block runs; the transformer is bare and in evaluation mode again after it."""
    transformer = generator.transformer
    parameters = add_lora(transformer, config.lora, seed=config.fit.seed)
    try:
        transformer.train(config.lora.dropout > 0)
        yield parameters
    finally:
        remove_adapter(transformer)
        transformer.eval()


def method_config(method: str) -> type[AlignConfig]:
    """The settings class of a method.

    Raises:
        ConfigError: there is no such method.
    """
    if method not in METHODS:
        raise ConfigError(f"no method '{method}'.{did_you_mean(method, METHODS)}")
    return METHODS[method].config


def _prepare_sft(job: _Job) -> tuple[Objective, Sequence[Any], Callable[[list[Any]], Any]]:
    return SftObjective(job.generator.velocity, job.parameters, job.config.times), job.examples, collate_pairs


def _prepare_rwr(job: _Job) -> tuple[Objective, Sequence[Any], Callable[[list[Any]], Any]]:
    rewards: dict[str, float] = {}
    found: dict[str, ClipExample] = {}
    for pair, example in zip(job.pairs, job.examples, strict=True):
        rewards |= {pair.clip_win: pair.reward_win, pair.clip_lose: pair.reward_lose}
        found[pair.clip_win] = ClipExample(latents=example.win, text=example.text)
        found[pair.clip_lose] = ClipExample(latents=example.lose, text=example.text)
    weights = clip_weights(rewards, temperature=job.config.temperature, clip_quantile=job.config.clip_quantile)
    clips = [replace(found[clip_id], weight=weights[clip_id]) for clip_id in rewards]
    return RwrObjective(job.generator.velocity, job.parameters, job.config.times), clips, collate_clips


def _prepare_dpo(job: _Job) -> tuple[Objective, Sequence[Any], Callable[[list[Any]], Any]]:
    config, examples = job.config, job.examples
    if config.weight_by_margin:
        margins = torch.tensor([pair.reward_win - pair.reward_lose for pair in job.pairs])
        weights = (margins / margins.mean()).tolist()
        examples = [replace(example, weight=weight) for example, weight in zip(examples, weights, strict=True)]
    if job.references is not None:
        both = zip(examples, job.references, strict=True)
        examples = [replace(example, reference=reference) for example, reference in both]
    transformer = job.generator.transformer
    objective = DpoObjective(
        job.generator.velocity,
        job.parameters,
        config.times,
        lambda: adapter_off(transformer),
        beta=config.beta,
        schedule=config.schedule,
        sft_weight=config.sft_weight,
        margin_cap=config.margin_cap,
    )
    return objective, examples, collate_pairs


METHODS: dict[str, Method] = {
    "sft": Method(SftConfig, _prepare_sft),
    "rwr": Method(RwrConfig, _prepare_rwr),
    "dpo": Method(DpoConfig, _prepare_dpo),
}
"""By the name that the command line uses."""


def _checked(method: str, config: AlignConfig | None) -> AlignConfig:
    wanted = method_config(method)
    if config is not None and not isinstance(config, wanted):
        raise ConfigError(f"config: got {type(config).__name__}; method '{method}' wants {wanted.__name__}.")
    return config or wanted()


def _identity(
    method: str, config: AlignConfig, generator: WanGenerator, pairs: Sequence[WinLosePair], cache: LatentCache
) -> dict[str, Any]:
    settings = config.model_dump(
        mode="json", exclude={"fit": {"save_every_steps"}, **dict.fromkeys(("encode", *ClipShape.model_fields), True)}
    )
    return {
        "command": f"align {method}",
        **settings,
        "model": generator.identity(),
        "pairs": fingerprint([list(vars(pair).values()) for pair in pairs]),
        "latents": cache.identity(),
    }
