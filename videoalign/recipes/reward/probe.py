"""A reward under probes: a dataset's clips as they are and changed, and whether the scores moved as they should."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from typing import Any

import numpy as np
from pydantic import Field

from videoalign.config import Config
from videoalign.contracts.output import fingerprint
from videoalign.contracts.progress import Progress, silent
from videoalign.contracts.records import Clip
from videoalign.contracts.reward import RewardModel
from videoalign.contracts.versions import library_versions
from videoalign.contracts.video import Video
from videoalign.data.dataset import Dataset
from videoalign.data.split import split_to_report
from videoalign.errors import ConfigError, DataError, ModelError, did_you_mean
from videoalign.evaluation.probe_changes import draws, swap_prompt
from videoalign.evaluation.probes import (
    BAND,
    DEFAULT_ROLES,
    MIN_CLIPS,
    PROBES,
    Probe,
    Quality,
    count_changes,
    deviations,
    expectation,
)
from videoalign.stores.opening import as_given

BATCH_SIZE = 4
"""Changed clips that are held at once, besides the clip that they come from."""


class ProbeConfig(Config):
    """Which clips are probed and how the changes are counted."""

    split: str | None = Field(None, pattern="^(test|val|train|all)$")
    """``test``, ``val``, ``train`` or ``all``; default: ``test`` where the dataset has one, else ``val``."""
    max_clips: int = Field(128, gt=0)
    """Most clips that are probed, spread over the prompts."""
    seed: int = 0
    """Decides which clips, the frame order, the noise, the other prompts and the resamples."""
    band: float = Field(BAND, gt=0)
    """Deviations; a change that is not larger counts as none."""
    min_clips: int = Field(MIN_CLIPS, ge=2)
    """Fewest clips that a verdict is given on."""
    roles: dict[str, Quality] = {}
    """By dimension, ``visual_quality``, ``motion_quality`` or ``text_alignment``; VQ, MQ and TA have theirs unless
    named here. A dimension without a role is counted and gets no verdict."""


def probe_reward(
    reward: RewardModel, dataset: Dataset, config: ProbeConfig | None = None, *, progress: Progress = silent
) -> dict[str, Any]:
    """Scores clips as they are and under every one of `evaluation.probes.PROBES`, and counts what changed.

    Clips are loaded one by one, so that memory does not grow with their number.

    Args:
        reward: scores clips.
        dataset: clips and prompts; needs no judgements.
        config: which clips and how.
        progress: counts clips.

    Returns:
        ``reward``, ``dataset``, ``settings``, ``versions``; ``clips`` and ``prompts``, how many; by dimension,
        ``deviation`` of the untouched clips' scores, in which all changes are measured; ``probes``, one each with its
        name ``probe``, ``what`` it does, ``refused`` (clips that the reward would not score once changed) with the
        first ``refusal``, and by dimension under ``dimensions`` its role and what `count_changes` gives.

    Raises:
        ConfigError: a role for a dimension that the reward does not score.
        DataError: no clip to probe, or a clip that cannot be read or scored as it is.
        ModelError: a score that is not finite.
    """
    config = config or ProbeConfig()
    config = config.model_copy(update={"split": config.split or split_to_report(dataset)})
    roles = _roles(reward, config)
    splits = {prompt.prompt_id: prompt.split for prompt in dataset.prompts()}
    clips = [clip for clip in dataset.clips() if config.split in ("all", splits[clip.prompt_id])]
    if not clips:
        raise DataError(f"{dataset.path}: no clip of split '{config.split}'; hold some out, or give --split all.")
    clips = spread_clips(clips, config.max_clips, seed=config.seed)
    before, after, refusals = _score_all(reward, dataset, clips, config.seed, progress)
    units = deviations(before)
    sees_prompt = _sees_prompt(reward, dataset)
    dimensions = [(name, roles.get(name), sees_prompt.get(name)) for name in reward.dimensions]
    return {
        "reward": reward.name,
        "dataset": as_given(dataset.path),
        "settings": config.model_dump(),
        "versions": library_versions(),
        "clips": len(clips),
        "prompts": len({clip.prompt_id for clip in clips}),
        "deviation": dict(zip(reward.dimensions, units.tolist(), strict=True)),
        "probes": [
            _count(probe, (scores - before) / units, dimensions, clips, refusals.get(probe.name), config)
            for probe, scores in zip(PROBES, after, strict=True)
        ],
    }


def spread_clips(clips: Sequence[Clip], num_clips: int, *, seed: int) -> list[Clip]:
    """At most ``num_clips`` of the clips, in their order: one of every prompt, then a second, and so on; which ones the
    seed decides, whatever order they come in."""
    seen: Counter[str] = Counter()
    ranks: dict[str, tuple[int, str]] = {}
    for clip in sorted(clips, key=lambda clip: fingerprint([seed, clip.clip_id])):
        ranks[clip.clip_id] = seen[clip.prompt_id], fingerprint([seed, clip.prompt_id])
        seen[clip.prompt_id] += 1
    chosen = set(sorted(ranks, key=lambda clip_id: ranks[clip_id])[:num_clips])
    return [clip for clip in clips if clip.clip_id in chosen]


def _roles(reward: RewardModel, config: ProbeConfig) -> dict[str, Quality]:
    for name in config.roles:
        if name not in reward.dimensions:
            hint = did_you_mean(name, reward.dimensions)
            raise ConfigError(f"roles: reward '{reward.name}' does not score '{name}'.{hint}")
    return {name: role for name, role in {**DEFAULT_ROLES, **config.roles}.items() if name in reward.dimensions}


def _sees_prompt(reward: RewardModel, dataset: Dataset) -> dict[str, bool]:
    """By dimension, as the reward says, or else as the dataset does."""
    return {dimension.name: dimension.sees_prompt for dimension in dataset.info.dimensions} | dict(reward.sees_prompt)


def _count(
    probe: Probe,
    change: np.ndarray,
    dimensions: Sequence[tuple[str, Quality | None, bool | None]],
    clips: Sequence[Clip],
    refusal: str | None,
    config: ProbeConfig,
) -> dict[str, Any]:
    """What one probe did to the (name, role, sees_prompt) of each dimension; ``change`` (N, D) is nan where refused."""
    kept = ~np.isnan(change).any(axis=1)
    prompt_ids = [clip.prompt_id for clip, keep in zip(clips, kept, strict=True) if keep]
    counting: dict[str, Any] = {"band": config.band, "min_clips": config.min_clips, "seed": config.seed}
    rows = {}
    for column, (name, role, sees_prompt) in enumerate(dimensions):
        expected = expectation(probe, role, sees_prompt=sees_prompt)
        rows[name] = {"role": role, **count_changes(change[kept, column], prompt_ids, expected, **counting)}
    refused = {"refused": int((~kept).sum()), "refusal": refusal}
    return {"probe": probe.name, "what": probe.what, **refused, "dimensions": rows}


def _score_all(
    reward: RewardModel, dataset: Dataset, clips: Sequence[Clip], seed: int, progress: Progress
) -> tuple[np.ndarray, np.ndarray, dict[str, str]]:
    """Scores as they are (N, D) and under each probe (P, N, D), nan where refused; and each probe's first refusal."""
    prompts = {prompt.prompt_id: prompt for prompt in dataset.prompts()}
    of_split: defaultdict[str, list[str]] = defaultdict(list)
    for prompt in prompts.values():
        of_split[prompt.split].append(prompt.text)
    before = np.empty((len(clips), len(reward.dimensions)))
    after = np.full((len(PROBES), *before.shape), np.nan)
    refusals: dict[str, str] = {}
    with progress("probe clips", len(clips)) as advance:
        for index, clip in enumerate(clips):
            prompt, video = prompts[clip.prompt_id], dataset.load(clip)
            before[index] = _scores(reward, [video], [prompt.text])[0]
            for first in range(0, len(PROBES), BATCH_SIZE):
                batch = PROBES[first : first + BATCH_SIZE]
                told = _score_changed(reward, clip, video, prompt.text, of_split[prompt.split], batch, seed)
                for number, (probe, row) in enumerate(zip(batch, told, strict=True), start=first):
                    if isinstance(row, DataError):
                        refusals.setdefault(probe.name, str(row))
                    else:
                        after[number, index] = row
            advance()
    return before, after, refusals


def _score_changed(
    reward: RewardModel,
    clip: Clip,
    video: Video,
    prompt: str,
    prompts: Sequence[str],
    probes: Sequence[Probe],
    seed: int,
) -> list[np.ndarray | DataError]:
    """Scores (D,) under each probe, or why the reward refuses that clip; asked one by one where it refuses some."""
    try:
        videos, texts = [], []
        for probe in probes:
            rng = draws(seed, clip.clip_id, probe.name)
            videos.append(probe.change(video, rng))
            texts.append(swap_prompt(prompt, prompts, rng) if probe.swaps_prompt else prompt)
        return list(_scores(reward, videos, texts))
    except DataError as error:
        if len(probes) == 1:
            return [error]
    return [_score_changed(reward, clip, video, prompt, prompts, [probe], seed)[0] for probe in probes]


def _scores(reward: RewardModel, videos: Sequence[Video], prompts: Sequence[str]) -> np.ndarray:
    scores = reward.score_videos(videos, prompts)
    if not np.isfinite(scores).all():
        raise ModelError(
            f"reward '{reward.name}': it gave {scores.tolist()}, wanted finite scores; load it in float32."
        )
    return scores
