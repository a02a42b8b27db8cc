"""Scores of a dataset's clips or of files by a reward, and how well they agree with the raters."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from videoalign.contracts.progress import Progress, silent
from videoalign.contracts.protocols import RewardModel
from videoalign.contracts.records import Clip
from videoalign.data.dataset import Dataset, JudgedPair
from videoalign.data.video import probe, read_video
from videoalign.errors import DataError, did_you_mean
from videoalign.evaluation.reward import Figures, compare_rewards, evaluate_reward
from videoalign.models.videoreward import VideoReward
from videoalign.recipes.clip_reader import ClipReader


def eval_reward(
    reward: RewardModel,
    dataset: Dataset,
    *,
    split: str | None = "val",
    legacy: bool = False,
    seed: int = 0,
    progress: Progress = silent,
) -> dict[str, Figures]:
    """Figures of a reward on the judged pairs of one split; see `evaluation.reward.evaluate_reward`.

    Args:
        reward: scores the clips; must know every dimension of the dataset.
        dataset: judged pairs.
        split: ``val``, ``train``, or None for all pairs.
        legacy: count ties as the official code does.
        seed: draws folds and resamples.
        progress: counts clips.

    Raises:
        DataError: a dimension that the reward does not score, no judged pair, an unreadable clip.
    """
    return _figures(_by_clip(reward, dataset, split, progress), dataset, split, legacy, seed)


def compare_on(
    first: RewardModel,
    second: RewardModel,
    dataset: Dataset,
    *,
    split: str | None = "val",
    progress: Progress = silent,
) -> dict[str, Figures]:
    """Two rewards on the same judged pairs; see `evaluation.reward.compare_rewards`. Arguments and errors as in
    `eval_reward`."""
    one, other = (_by_clip(reward, dataset, split, progress) for reward in (first, second))
    return compare_rewards(one, other, _judged(dataset, split), dataset.dimensions)


def eval_scores(
    dataset: Dataset, name: str, *, split: str | None = "val", legacy: bool = False, seed: int = 0
) -> dict[str, Figures]:
    """The figures of `eval_reward` for scores that are stored already.

    Args:
        dataset: judged pairs and the scores of their clips.
        name: of the scores.
        split: as in `eval_reward`, like the rest.

    Raises:
        DataError: no such scores, a clip without one, a dimension that they lack, no judged pair.
    """
    rows = dataset.scores(name)
    _check_scored(dataset, tuple(rows[0]["normalised"]) if rows else (), f"scores '{name}'")
    by_clip = {row["clip_id"]: [row["normalised"][d] for d in dataset.dimensions] for row in rows}
    return _figures(by_clip, dataset, split, legacy, seed)


def _by_clip(reward: RewardModel, dataset: Dataset, split: str | None, progress: Progress) -> dict[str, list[float]]:
    """Normalised scores of the clips in judged pairs, in the order of the dataset's dimensions."""
    _check_scored(dataset, reward.dimensions, f"reward '{reward.name}'")
    wanted = {clip_id for pair in _judged(dataset, split) for clip_id in (pair.clip_a, pair.clip_b)}
    clips = [clip for clip in dataset.clips() if clip.clip_id in wanted]
    columns = [reward.dimensions.index(name) for name in dataset.dimensions]
    scores = _normalised(reward, dataset, clips, progress)[:, columns]
    return dict(zip([clip.clip_id for clip in clips], scores.tolist(), strict=True))


def _check_scored(dataset: Dataset, scored: Sequence[str], by: str) -> None:
    missing = [name for name in dataset.dimensions if name not in scored]
    if missing:
        hint = did_you_mean(missing[0], scored)
        raise DataError(f"dimension '{missing[0]}' of {dataset.path} is not scored by {by}.{hint}")


def _judged(dataset: Dataset, split: str | None) -> list[JudgedPair]:
    pairs = dataset.judged_pairs(split)
    if not pairs:
        where = f"of split '{split}'" if split else "at all"
        raise DataError(f"{dataset.path}: no judged pair {where}; hold some out with 'videoalign data split'.")
    return pairs


def _figures(
    scores: dict[str, list[float]], dataset: Dataset, split: str | None, legacy: bool, seed: int
) -> dict[str, Figures]:
    pairs = _judged(dataset, split)
    return evaluate_reward(
        scores,
        pairs,
        dataset.dimensions,
        generators={clip.clip_id: clip.generator for clip in dataset.clips()},
        judgements=_judgements_of(dataset, pairs),
        legacy=legacy,
        seed=seed,
    )


def score_dataset(
    reward: VideoReward, dataset: Dataset, *, name: str | None = None, progress: Progress = silent
) -> list[dict[str, Any]]:
    """Scores every clip of a dataset and stores them under the reward's name (or ``name``).

    Returns:
        What `Dataset.scores` gives: ``{clip_id, raw: {dim}, normalised: {dim}}`` a clip.

    Raises:
        DataError: an unreadable clip; nothing is stored then.
        ModelError: the reward stores no normalisation.
    """
    clips = dataset.clips()
    reward.normalisation()
    raw = raw_scores(reward, dataset, clips, ClipReader(dataset, reward.processor, cache_bytes=0), progress)
    rows = [
        {"clip_id": clip.clip_id, "raw": dict(zip(reward.dimensions, a, strict=True)), "normalised": b}
        for clip, a, b in zip(clips, raw.tolist(), _named(reward, reward.normalise(raw)), strict=True)
    ]
    dataset.write_scores(name or reward.name, rows)
    return rows


def score_files(reward: VideoReward, videos: Sequence[str | Path], prompts: Sequence[str]) -> list[dict[str, Any]]:
    """Scores clips in files, decoding only the frames that are read.

    Returns:
        ``{video, prompt, scores: {dim: normalised}, raw: {dim: raw}}`` a clip, in the order given.

    Raises:
        VideoError: a file that is missing, truncated, no video or of unknown rate.
        DataError: a prompt with a special token; numbers of files and prompts differ.
        ModelError: the reward stores no normalisation.
    """
    if len(videos) != len(prompts):
        raise DataError(f"prompts: got {len(prompts)} for {len(videos)} videos; give one --prompt per --video.")
    reward.normalisation()
    for prompt in prompts:
        reward.chat.check_prompt(prompt)
    patches = []
    for video in videos:
        info = probe(video)
        frames = read_video(video, reward.processor.indices(info.num_frames, info.fps))
        patches.append(reward.processor.read_frames(frames.frames))
    raw = reward.score_patches(patches, prompts)
    rows = zip(videos, prompts, _named(reward, reward.normalise(raw)), _named(reward, raw), strict=True)
    return [{"video": str(v), "prompt": p, "scores": scores, "raw": plain} for v, p, scores, plain in rows]


def raw_scores(
    reward: VideoReward, dataset: Dataset, clips: Sequence[Clip], reader: ClipReader, progress: Progress, size: int = 16
) -> np.ndarray:
    """Raw scores of a dataset's clips, float64 (N, D), in their order; ``size`` clips at once."""
    texts = {prompt.prompt_id: prompt.text for prompt in dataset.prompts()}
    rows = [np.zeros((0, len(reward.dimensions)))]
    with progress("score clips", len(clips)) as advance:
        for start in range(0, len(clips), size):
            part = clips[start : start + size]
            patches = [reader.read(clip) for clip in part]
            rows.append(reward.score_patches(patches, [texts[clip.prompt_id] for clip in part], batch_size=size))
            for _ in part:
                advance()
    return np.concatenate(rows)


def _normalised(reward: RewardModel, dataset: Dataset, clips: Sequence[Clip], progress: Progress) -> np.ndarray:
    if isinstance(reward, VideoReward):
        reader = ClipReader(dataset, reward.processor, cache_bytes=0)
        return reward.normalise(raw_scores(reward, dataset, clips, reader, progress))
    texts = {prompt.prompt_id: prompt.text for prompt in dataset.prompts()}
    scores = []
    with progress("score clips", len(clips)) as advance:
        for clip in clips:
            scores.append(reward.score([dataset.load(clip)], [texts[clip.prompt_id]]))
            advance()
    return np.concatenate(scores)


def _judgements_of(dataset: Dataset, pairs: Sequence[JudgedPair]) -> list[Any]:
    wanted = {pair.prompt_id for pair in pairs}
    return [row for row in dataset.judgements() if row.prompt_id in wanted]


def _named(reward: VideoReward, scores: np.ndarray) -> list[dict[str, float]]:
    return [dict(zip(reward.dimensions, row, strict=True)) for row in scores.tolist()]
