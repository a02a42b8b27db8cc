"""Labelled pairs to a noisy-latent reward, which steers sampling."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

import torch
from pydantic import Field

from videoalign.config import Config
from videoalign.contracts.output import claim_folder, fingerprint
from videoalign.contracts.progress import Progress, silent
from videoalign.contracts.records import Label, WinLosePair
from videoalign.data.dataset import Dataset
from videoalign.data.latents import LatentCache
from videoalign.errors import DataError
from videoalign.flow.times import fold_in
from videoalign.models.generators.wan import WanGenerator
from videoalign.models.latent_reward import LatentRewardModel
from videoalign.recipes.encode import encode
from videoalign.training.callbacks import Callback
from videoalign.training.loop import FitConfig, Row, fit
from videoalign.training.objectives.flow import TimeSettings
from videoalign.training.objectives.latent_reward import (
    LatentGroup,
    LatentRewardObjective,
    accuracy_by_noise,
    collate_latent_groups,
)

SIGNS: dict[Label | None, int] = {Label.A: 1, Label.B: -1}
"""What a verdict is to the loss; any other is 0."""


class GuideTrainConfig(Config):
    """How a noisy-latent reward is trained."""

    fit: FitConfig = FitConfig(num_steps=300, batch_size=8, learning_rate=1e-3, warmup_steps=20, schedule="cosine")
    """Length, batch and rate of the training; an example is a group of clips of one prompt."""
    times: TimeSettings = TimeSettings()
    """How training times are drawn."""
    num_blocks: int | None = Field(default=None, gt=0)
    """Blocks of the generator to copy; default: a quarter of its depth, at least 1."""
    learning_rate_head: float | None = Field(default=None, gt=0)
    """Peak rate of the queries and the head; default: that of the copied blocks."""
    tie_band: float = Field(default=0.1, ge=0)
    """Differences of normalised scores up to this are ties, which teach nothing."""
    max_clips: int = Field(default=8, ge=2)
    """Most clips of a group; a prompt with more clips gives several groups, cut at random."""
    num_held_out: int = Field(default=30, ge=0)
    """Most groups of the ``val`` prompts that the accuracy is measured on; 0 measures none."""


@dataclass(frozen=True)
class LabelledPair:
    """Two clips of a prompt and which is preferred on each dimension."""

    prompt_id: str
    clip_a: str
    clip_b: str
    labels: tuple[int, ...]
    """+1 for A, -1 for B, 0 for a tie or no verdict; one per dimension of the dataset."""


@dataclass(frozen=True)
class GuideTrainResult:
    """What the training leaves."""

    reward: LatentRewardModel
    """Ready to score; also in the output folder."""
    history: list[Row]
    """Rows of ``log.jsonl``."""
    num_pairs: int
    """Pairs it was trained on."""
    accuracy: dict[str, float]
    """On pairs of the ``val`` prompts, keys as in `training.objectives.latent_reward`; empty where there are none."""


def train_guide(
    dataset: Dataset,
    generator: WanGenerator,
    out: str | Path,
    config: GuideTrainConfig | None = None,
    *,
    scores: str | None = None,
    pairs: str | None = None,
    fresh: bool = False,
    progress: Progress = silent,
    on_step: Callable[[Row], None] | None = None,
    callbacks: Sequence[Callback] = (),
) -> GuideTrainResult:
    """Trains a noisy-latent reward for a generator; a run that stopped goes on from its last checkpoint.

    Prompts of the ``val`` split are kept for the accuracy.

    Args:
        dataset: clips, prompts and what labels them.
        generator: whose first blocks, autoencoder and text encoder are used; it is left as it is.
        out: output folder; a run with the same settings and data resumes there.
        config: see `GuideTrainConfig`.
        scores: name of the scores whose differences label the pairs; None takes the verdicts of the raters.
        pairs: name of the pairs to train on; None takes every two clips of a prompt that have labels.
        fresh: start over where ``out`` holds another run of ours.
        progress: counts clips while encoding, then steps.
        on_step: called with the row of each step.
        callbacks: see `training.loop.fit`.

    Raises:
        DataError: no such scores or pairs, no pair with a decided label, or clips that do not fit the generator.
        ModelError: more blocks than the generator has.
        OutputError: ``out`` belongs to another run, or cannot be written.
    """
    config = config or GuideTrainConfig()
    train, held_out = _split(dataset, labelled_pairs(dataset, config, scores=scores, pairs=pairs), config)
    reward = _fresh_reward(dataset, generator, config)
    folder = claim_folder(out, _identity(config, generator, train), fresh=fresh)
    cache = encode(dataset, generator, _rows(train + held_out), progress=progress)
    judged = latent_pairs(cache, held_out)
    batches = [collate_latent_pairs(judged[i : i + 32]) for i in range(0, len(judged), 32)]
    objective = LatentRewardObjective(reward, config.times, learning_rate_head=config.learning_rate_head)

    def measure() -> dict[str, float]:
        return accuracy_by_noise(reward, batches, seed=config.fit.seed)

    with progress("train guide", config.fit.num_steps) as advance:
        history = fit(
            objective,
            latent_pairs(cache, train),
            collate_latent_pairs,
            config.fit,
            folder,
            on_step=_both(advance, on_step),
            callbacks=callbacks,
            validate=measure if batches else None,
        )
    reward.eval().save_pretrained(folder)
    return GuideTrainResult(reward=reward, history=history, num_pairs=len(train), accuracy=measure())


def labelled_pairs(
    dataset: Dataset, config: GuideTrainConfig, *, scores: str | None = None, pairs: str | None = None
) -> list[LabelledPair]:
    """Pairs with at least one decided dimension, labelled by scores or by the raters; see `train_guide`.

    Raises:
        DataError: no such scores or pairs, a clip without a score, or no decided pair.
    """
    verdicts = {
        (pair.clip_a, pair.clip_b): tuple(SIGNS.get(pair.labels[name], 0) for name in dataset.dimensions)
        for pair in (dataset.judged_pairs() if scores is None else ())
    }
    chosen = _chosen_pairs(dataset, config, pairs, verdicts if scores is None else None)
    if scores is None:
        flipped = {(b, a): tuple(-sign for sign in labels) for (a, b), labels in verdicts.items()}
        known = flipped | verdicts
    else:
        known = _labels_by_score(dataset, scores, config.tie_band, chosen)
    found = [LabelledPair(prompt_id, a, b, known[a, b]) for prompt_id, a, b in chosen if any(known.get((a, b), ()))]
    if not found:
        source = (
            "judged by raters (or give --reward to label them by its scores)" if scores is None else f"by '{scores}'"
        )
        raise DataError(f"guide: none of {len(chosen)} pairs is decided on any dimension {source}.")
    return found


def latent_pairs(cache: LatentCache, pairs: Sequence[LabelledPair]) -> list[LatentPair]:
    """The pairs in latents; a clip that stands in several pairs is held once."""
    latents = cache.clips(clip_id for pair in pairs for clip_id in (pair.clip_a, pair.clip_b))
    texts = cache.texts(pair.prompt_id for pair in pairs)
    return [
        LatentPair(latents[pair.clip_a], latents[pair.clip_b], texts[pair.prompt_id], pair.labels) for pair in pairs
    ]


def _chosen_pairs(
    dataset: Dataset,
    config: GuideTrainConfig,
    pairs: str | None,
    verdicts: Mapping[tuple[str, str], Any] | None,
) -> list[tuple[str, str, str]]:
    """(prompt id, clip A, clip B) of the pairs to label, at most so many of a prompt as the settings say."""
    if pairs is not None:
        return [(pair.prompt_id, pair.clip_win, pair.clip_lose) for pair in dataset.pairs(pairs)]
    prompt_of = {clip.clip_id: clip.prompt_id for clip in dataset.clips()}
    by_prompt: dict[str, list[tuple[str, str]]] = {}
    if verdicts is not None:
        for a, b in verdicts:
            by_prompt.setdefault(prompt_of[a], []).append((a, b))
    else:
        clips: dict[str, list[str]] = {}
        for clip_id, prompt_id in prompt_of.items():
            clips.setdefault(prompt_id, []).append(clip_id)
        by_prompt = {prompt_id: list(combinations(ids, 2)) for prompt_id, ids in clips.items()}
    return [
        (prompt_id, a, b)
        for prompt_id, two in by_prompt.items()
        for a, b in _some(two, config.max_pairs_per_prompt, config.fit.seed, prompt_id)
    ]


def _labels_by_score(
    dataset: Dataset, name: str, tie_band: float, pairs: Iterable[tuple[str, str, str]]
) -> dict[tuple[str, str], tuple[int, ...]]:
    by_clip = {row["clip_id"]: row["normalised"] for row in dataset.scores(name)}
    labels = {}
    for _, a, b in pairs:
        for clip_id in (a, b):
            if clip_id not in by_clip or any(by_clip[clip_id].get(d) is None for d in dataset.dimensions):
                raise DataError(
                    f"scores '{name}': clip '{clip_id}' is not scored on all of {', '.join(dataset.dimensions)}; "
                    "score the dataset again with: videoalign reward score"
                )
        differences = [by_clip[a][d] - by_clip[b][d] for d in dataset.dimensions]
        labels[a, b] = tuple(0 if abs(x) <= tie_band else 1 if x > 0 else -1 for x in differences)
    return labels


def _fresh_reward(dataset: Dataset, generator: WanGenerator, config: GuideTrainConfig) -> LatentRewardModel:
    """The generator's first blocks with an untrained head."""
    return LatentRewardModel.from_transformer(
        generator.transformer,
        dataset.dimensions,
        num_blocks=config.num_blocks,
        base=generator.name,
        num_train_timesteps=float(generator.pipeline.scheduler.config.num_train_timesteps),
        seed=config.fit.seed,
    ).to(generator.device)


def _split(
    dataset: Dataset, pairs: list[LabelledPair], config: GuideTrainConfig
) -> tuple[list[LabelledPair], list[LabelledPair]]:
    """Pairs of the training prompts, and some of the held-out ones."""
    held_out = {prompt.prompt_id for prompt in dataset.prompts() if prompt.split == "val"}
    train = [pair for pair in pairs if pair.prompt_id not in held_out]
    if not train:
        raise DataError(f"guide: all {len(pairs)} labelled pairs are of prompts held out as val; split the data anew.")
    rest = [pair for pair in pairs if pair.prompt_id in held_out]
    return train, _some(rest, config.num_held_out, config.fit.seed, "held out")


def _some(items: list[Any], num: int, seed: int, name: str) -> list[Any]:
    """At most ``num`` of the items, drawn by seed and name, in their old order."""
    if len(items) <= num:
        return items
    kept = torch.randperm(len(items), generator=fold_in(seed, "guide", name))[:num]
    return [items[index] for index in sorted(kept.tolist())]


def _rows(pairs: Iterable[LabelledPair]) -> list[WinLosePair]:
    """The pairs as `encode` names them; it reads the ids alone, so who wins is left at zero against zero."""
    return [
        WinLosePair(prompt_id=p.prompt_id, clip_win=p.clip_a, clip_lose=p.clip_b, reward_win=0.0, reward_lose=0.0)
        for p in pairs
    ]


def _identity(config: GuideTrainConfig, generator: WanGenerator, pairs: Sequence[LabelledPair]) -> dict[str, Any]:
    return {
        "command": "guide train",
        **config.model_dump(mode="json", exclude={"fit": {"save_every_steps"}}),
        "model": generator.identity(),
        "pairs": fingerprint([[p.prompt_id, p.clip_a, p.clip_b, p.labels] for p in pairs]),
    }


def _both(advance: Callable[[], None], on_step: Callable[[Row], None] | None) -> Callable[[Row], None]:
    shown = 0

    def after(row: Row) -> None:
        nonlocal shown
        while shown < row["step"]:  # after a resume the bar starts where the run had stopped
            advance()
            shown += 1
        if on_step is not None:
            on_step(row)

    return after
