"""How well a reward's scores of a dataset's clips agree with the raters."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from videoalign.contracts.progress import Progress, silent
from videoalign.contracts.protocols import RewardModel
from videoalign.contracts.records import Clip
from videoalign.data.dataset import Dataset, JudgedPair
from videoalign.errors import DataError, did_you_mean
from videoalign.evaluation.reward import Figures, compare_rewards, evaluate_reward
from videoalign.models.videoreward import VideoReward
from videoalign.recipes.scoring import raw_scores


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


def _normalised(reward: RewardModel, dataset: Dataset, clips: Sequence[Clip], progress: Progress) -> np.ndarray:
    if isinstance(reward, VideoReward):
        return reward.normalise(raw_scores(reward, dataset, clips, progress))
    texts = {prompt.prompt_id: prompt.text for prompt in dataset.prompts()}
    scores = []
    with progress("score clips", len(clips)) as advance:
        for clip in clips:
            scores.append(reward.score_videos([dataset.load(clip)], [texts[clip.prompt_id]]))
            advance()
    return np.concatenate(scores)


def _judgements_of(dataset: Dataset, pairs: Sequence[JudgedPair]) -> list[Any]:
    wanted = {pair.prompt_id for pair in pairs}
    return [row for row in dataset.judgements() if row.prompt_id in wanted]
