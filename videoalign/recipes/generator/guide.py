"""Labelled pairs to a noisy-latent reward, which steers sampling."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import chain, combinations
from pathlib import Path
from typing import Any

import torch
from pydantic import Field

from videoalign.contracts.generator import Generator
from videoalign.contracts.holding import held
from videoalign.contracts.output import fingerprint
from videoalign.contracts.progress import Progress, silent
from videoalign.contracts.records import HELD_OUT, Label
from videoalign.data.clip_content import current_scores
from videoalign.data.dataset import Dataset, JudgedPair
from videoalign.data.latents import LatentCache
from videoalign.data.lineage import RATERS, Teacher, prompt_hashes, write_lineage
from videoalign.data.on_demand import OnDemand
from videoalign.distributed import Processes, join
from videoalign.distributed.claim import claim_together
from videoalign.errors import DataError, ModelError
from videoalign.losses.preference import share_labels
from videoalign.models.generators.settings import ModelSettings
from videoalign.models.latent_reward import LatentRewardModel
from videoalign.randomness import fold_in
from videoalign.recipes.generator.clip_fit import ClipSettings
from videoalign.recipes.generator.encode import encode, require_whole_layers
from videoalign.training.callbacks import Callback
from videoalign.training.judged_groups import make_groups
from videoalign.training.loop import FitConfig, Row, count_steps, fit
from videoalign.training.objectives.flow import TimeSettings
from videoalign.training.objectives.latent_reward import (
    LatentGroup,
    LatentRewardObjective,
    accuracy_by_noise,
    collate_latent_groups,
    near_prompts,
)
from videoalign.training.order import by_shape

DECIDED = (Label.A, Label.B)
"""Verdicts that teach something."""


class GuideTrainConfig(ModelSettings):
    """How a noisy-latent reward is trained."""

    fit: FitConfig = FitConfig(num_steps=300, batch_size=8, learning_rate=1e-3, warmup_steps=20, schedule="cosine")
    """Length, batch and rate of the training; an example is a group of clips of one prompt."""
    times: TimeSettings = TimeSettings()
    """How training times are drawn."""
    encode: ClipSettings = ClipSettings()
    """How clips become latents, where they have none yet."""
    num_blocks: int | None = Field(default=None, gt=0)
    """Blocks of the generator to copy; default: a quarter of its depth, at least 1."""
    learning_rate_head: float | None = Field(default=None, gt=0)
    """Peak rate of the queries and the head; default: that of the copied blocks."""
    contrast_weight: float = Field(default=1.0, ge=0)
    """Weight of the contrast term: on dimensions that see the prompt, a clip under its own prompt against the same clip
    under another; 0 leaves it out, and the batch costs half."""
    contrast_prompts: int = Field(default=8, gt=0)
    """The other prompt is drawn from so many of the training prompts, the nearest ones."""
    tie_band: float = Field(default=0.1, ge=0)
    """Differences of normalised scores up to this are ties, which teach nothing."""
    max_clips: int = Field(default=8, ge=2)
    """Most clips of a group; a prompt with more clips gives several groups."""
    num_held_out: int = Field(default=30, ge=0)
    """Most prompts of the ``val`` split that the accuracy is measured on; 0 measures none."""


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


@held
def train_guide(
    dataset: Dataset,
    generator: Generator,
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

    Prompts of the ``val`` split are kept for the accuracy, those of ``test`` left alone.

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
    config, processes = config or GuideTrainConfig(), join()
    require_whole_layers(generator)
    config = config.model_copy(update={"times": config.times.of_model(lambda: generator.sampler.time_shift)})
    generator = generator.changed(config.of_model())
    progress = progress if processes.is_first else silent
    train, held_out = _split(labelled_pairs(dataset, config, scores=scores, pairs=pairs), config)
    if processes.count > 1 and generator.device.type != "cpu":
        generator.to(processes.device)
    reward = _fresh_reward(dataset, generator, config)
    generator.free("network")
    together = [(pair.clip_a, pair.clip_b) for pair in train + held_out]
    how: dict[str, Any] = {"together": together, "group": "encode.", "progress": progress}
    cache = processes.first_then_all(lambda: encode(dataset, generator, chain(*together), config.encode, **how))
    folder = claim_together(out, _identity(config, generator, train, cache, processes), processes, fresh=fresh)
    examples, unseen = (latent_groups(dataset, cache, part, config) for part in (train, held_out))
    alike = by_shape(unseen, [group.shape for group in unseen])
    batches = [collate_latent_groups(part[i : i + 8]) for part in alike for i in range(0, len(part), 8)]
    measure = partial(accuracy_by_noise, reward, batches, seed=config.fit.seed)
    hooks: dict[str, Any] = {"callbacks": callbacks, "validate": measure if batches else None}
    with progress("train guide", config.fit.num_steps) as advance:
        hooks["on_step"] = count_steps(advance, on_step)
        history = _fit(_objective(reward, dataset, config), examples, config, folder, processes, **hooks)
    reward.eval()
    if processes.is_first:
        reward.save_pretrained(folder)
        write_lineage(folder, "guide train", [_teacher(dataset, scores)], prompt_hashes(dataset, train))
    processes.wait()
    return GuideTrainResult(reward=reward, history=history, num_pairs=len(train), accuracy=_validated(history))


def _fit(
    objective: LatentRewardObjective,
    examples: Sequence[LatentGroup],
    config: GuideTrainConfig,
    folder: Path,
    processes: Processes,
    **hooks: Any,
) -> list[Row]:
    return fit(
        objective,
        examples,
        collate_latent_groups,
        config.fit,
        folder,
        name_of=lambda index: f"clips {', '.join(examples[index].clip_ids)}",
        shape_of=lambda index: examples[index].shape,
        processes=processes,
        **hooks,
    )


def _validated(history: Sequence[Row]) -> dict[str, float]:
    """What the validation at the end of the training measured."""
    return {name.removeprefix("val/"): value for name, value in history[-1].items() if name.startswith("val/")}


def _teacher(dataset: Dataset, scores: str | None) -> Teacher:
    return Teacher(name=RATERS) if scores is None else Teacher(name=scores, digest=dataset.scores_digest(scores))


def labelled_pairs(
    dataset: Dataset, config: GuideTrainConfig, *, scores: str | None = None, pairs: str | None = None
) -> list[JudgedPair]:
    """Pairs with a preference on at least one dimension, labelled by scores or by the raters; see `train_guide`.

    Raises:
        DataError: no such scores or pairs, a clip without a score, or no decided pair.
    """
    wanted = None if pairs is None else {frozenset((row.clip_win, row.clip_lose)) for row in dataset.pairs(pairs)}
    judged = dataset.judged_pairs() if scores is None else _judged_by_scores(dataset, scores, config.tie_band)
    chosen = [pair for pair in judged if wanted is None or frozenset((pair.clip_a, pair.clip_b)) in wanted]
    found = [pair for pair in chosen if any(label in DECIDED for label in pair.labels.values())]
    if not found:
        by = f"the scores '{scores}'" if scores is not None else "raters (give --reward to label them by its scores)"
        raise DataError(f"guide: got {len(chosen)} pairs, none of them decided on any dimension by {by}.")
    return found


def latent_groups(
    dataset: Dataset, cache: LatentCache, pairs: Sequence[JudgedPair], config: GuideTrainConfig
) -> list[LatentGroup]:
    """The pairs in latents, clips that are compared with each other in one group; no groups of no pairs."""
    if not pairs:
        return []
    texts = {prompt.prompt_id: prompt.text for prompt in dataset.prompts()}
    conditions = cache.conditions(pair.prompt_id for pair in pairs)
    by_text = {texts[prompt_id]: value for prompt_id, value in conditions.items()}
    every = list(by_text.values())
    near = {
        text: tuple(every[place] for place in places)
        for text, places in zip(by_text, near_prompts(every, config.contrast_prompts).tolist(), strict=True)
    }
    names = {prompt_id: prompt_id for prompt_id in conditions}  # one text may be asked with several pictures
    alike = by_shape(pairs, [cache.shape(pair.clip_a) for pair in pairs])
    groups = [
        group for part in alike for group in make_groups(part, names, dataset.dimensions, max_clips=config.max_clips)
    ]
    return [
        LatentGroup(
            latents=OnDemand(len(group.clip_ids), partial(_latents, cache, group.clip_ids)),
            shape=cache.shape(group.clip_ids[0]),
            condition=conditions[group.prompt],
            pairs=group.pairs,
            labels=share_labels(group.shares),
            others=tuple(other.beside(conditions[group.prompt]) for other in near[texts[group.prompt]]),
            clip_ids=group.clip_ids,
        )
        for group in groups
    ]


def _latents(cache: LatentCache, clip_ids: Sequence[str], index: int) -> torch.Tensor:
    return cache.clip(clip_ids[index])


def _judged_by_scores(dataset: Dataset, name: str, tie_band: float) -> list[JudgedPair]:
    """Every two clips of a prompt, the one with the higher normalised score preferred."""
    scores = {row["clip_id"]: row["normalised"] for row in current_scores(dataset, name)}
    clips: dict[str, list[str]] = {prompt.prompt_id: [] for prompt in dataset.prompts()}
    for clip in dataset.clips():
        row = scores.get(clip.clip_id, {})
        if any(row.get(dimension) is None for dimension in dataset.dimensions):
            raise DataError(
                f"scores '{name}': clip '{clip.clip_id}' is not scored on all of {', '.join(dataset.dimensions)}; "
                "score the dataset again with: videoalign reward score"
            )
        clips[clip.prompt_id].append(clip.clip_id)
    return [
        JudgedPair(
            prompt_id=prompt.prompt_id,
            clip_a=a,
            clip_b=b,
            labels={d: _label(scores[a][d] - scores[b][d], tie_band) for d in dataset.dimensions},
            split=prompt.split,
        )
        for prompt in dataset.prompts()
        for a, b in combinations(clips[prompt.prompt_id], 2)
    ]


def _label(difference: float, tie_band: float) -> Label:
    if abs(difference) <= tie_band:
        return Label.TIE
    return Label.A if difference > 0 else Label.B


def _fresh_reward(dataset: Dataset, generator: Generator, config: GuideTrainConfig) -> LatentRewardModel:
    """The generator's first blocks with an untrained head."""
    first, *more = generator.network.transformers.values()
    if more:
        raise ModelError(
            f"guide: '{generator.name}' has {1 + len(more)} transformers, each for some of the times; a noisy-latent "
            "reward starts from one that serves all of them."
        )
    return LatentRewardModel.from_transformer(
        first,
        dataset.dimensions,
        num_blocks=config.num_blocks,
        base=generator.name,
        constants=generator.network.constants,
        seed=config.fit.seed,
    ).to(generator.network.device)


def _objective(reward: LatentRewardModel, dataset: Dataset, config: GuideTrainConfig) -> LatentRewardObjective:
    return LatentRewardObjective(
        reward,
        config.times,
        learning_rate_head=config.learning_rate_head,
        contrast_dimensions=[dimension.name for dimension in dataset.info.dimensions if dimension.sees_prompt],
        contrast_weight=config.contrast_weight,
    )


def _split(pairs: list[JudgedPair], config: GuideTrainConfig) -> tuple[list[JudgedPair], list[JudgedPair]]:
    """Pairs of the training prompts, and those of some of the held-out prompts."""
    train = [pair for pair in pairs if pair.split not in HELD_OUT]
    if not train:
        raise DataError(f"guide: all {len(pairs)} labelled pairs are of prompts held out; split the data anew.")
    unseen = list(dict.fromkeys(pair.prompt_id for pair in pairs if pair.split == "val"))
    order = torch.randperm(len(unseen), generator=fold_in(config.fit.seed, "guide", "held out")).tolist()
    kept = {unseen[index] for index in order[: config.num_held_out]}
    return train, [pair for pair in pairs if pair.prompt_id in kept]


def _identity(
    config: GuideTrainConfig,
    generator: Generator,
    pairs: Sequence[JudgedPair],
    cache: LatentCache,
    processes: Processes,
) -> dict[str, Any]:
    return {
        "command": "guide train",
        **config.model_dump(mode="json", exclude={"fit", "encode", "learning_rate_head", *ModelSettings.model_fields}),
        "fit": config.fit.identity(processes),
        "model": generator.identity(),
        "pairs": fingerprint([[p.prompt_id, p.clip_a, p.clip_b, p.labels] for p in pairs]),
        "latents": cache.identity(),
    }
