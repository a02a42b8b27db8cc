"""How well a reward's scores of a dataset's clips agree with the raters."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from videoalign.contracts.progress import Progress, silent
from videoalign.contracts.records import OVERALL
from videoalign.contracts.reward import RewardModel, VerdictLaw
from videoalign.data.clip_content import current_scores
from videoalign.data.dataset import Dataset, JudgedPair
from videoalign.data.split import split_to_report
from videoalign.errors import DataError, did_you_mean
from videoalign.evaluation.reward import Figures, compare_rewards, evaluate_reward
from videoalign.recipes.reward.held_out import HeldOut, held_out, in_words
from videoalign.recipes.score import clips_in, score_clips

REPORT = "report"
"""In place of a split: ``test`` where the dataset has one, else ``val``."""


@dataclass(frozen=True, kw_only=True)
class Counting:
    """Which pairs are counted, and how."""

    split: str | None = REPORT
    """``test``, ``val``, ``train``, None for all pairs, or `REPORT`."""
    legacy: bool = False
    """Count ties as the official code does, and take the sum of the scores for overall."""
    seed: int = 0
    """Draws folds and resamples."""
    skip_broken: bool = False
    """Leave out pairs with a clip that cannot be scored; default: it is an error."""


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """A reward, or two of them, on the judged pairs of a dataset."""

    figures: dict[str, Figures]
    """By dimension, of one reward `evaluation.figures.REWARD`, of two `evaluation.figures.COMPARISON`."""
    pairs: list[JudgedPair]
    """All of them, those left out included."""
    held_out: HeldOut
    """Of which split, and whether the reward, or the first of two, depends on its prompts."""
    told: dict[str, Any]
    """The same of all rewards in words, see `recipes.reward.held_out.in_words`."""
    broken: Mapping[str, str]
    """What is wrong with each clip that cannot be scored, by its id."""


def evaluate_on(
    reward: RewardModel,
    dataset: Dataset,
    how: Counting,
    *,
    against: RewardModel | None = None,
    keep: Path | None = None,
    progress: Progress = silent,
) -> Evaluation:
    """Scores the clips of the judged pairs of one split and counts.

    A dimension ``Overall`` that a reward does not score itself meets the mean of all its normalised scores.

    Args:
        reward: scores the clips; must know every other dimension of the dataset.
        dataset: judged pairs.
        how: which pairs are counted, and how; of two rewards the decided ones alone.
        against: a second reward, to compare the first with on the same pairs.
        keep: see `recipes.score.score_rows`.
        progress: counts clips.

    Raises:
        DataError: a dimension that a reward does not score, no judged pair, clips that cannot be scored.
    """
    rewards = [reward] if against is None else [reward, against]
    for one in rewards:
        _require_scored(dataset, one.dimensions, f"reward '{one.name}'")
    split, pairs = _judged(dataset, how.split)
    found = [held_out(one, dataset, split, pairs) for one in rewards]
    told = in_words(found)
    wanted = {clip_id for pair in pairs for clip_id in (pair.clip_a, pair.clip_b)}
    clips = [clip for clip in dataset.clips() if clip.clip_id in wanted]
    named, tables, broken = clips_in(dataset, clips), list[dict[str, dict[str, float]]](), dict[str, str]()
    for one in rewards:
        scored = score_clips(one, named, max_rejected=float(how.skip_broken), keep=keep, progress=progress)
        broken |= {clips[place].clip_id: str(error) for place, error in scored.errors.items()}
        tables.append(
            {
                clip.clip_id: dict(zip(one.dimensions, row.tolist(), strict=True))
                for place, (clip, row) in enumerate(zip(clips, scored.normalised, strict=True))
                if place not in scored.errors
            }
        )
    laws = {name: law for name in reward.dimensions if (law := reward.verdict_law(name)) is not None}
    return Evaluation(
        figures=_count(tables, dataset, pairs, how, laws),
        pairs=pairs,
        broken=broken,
        held_out=found[0],
        told=told,
    )


def eval_reward(
    reward: RewardModel,
    dataset: Dataset,
    *,
    split: str | None = REPORT,
    legacy: bool = False,
    seed: int = 0,
    skip_broken: bool = False,
    progress: Progress = silent,
) -> dict[str, Figures]:
    """The figures of `evaluate_on`, where errors are told; the arguments are those of `Counting`."""
    how = Counting(split=split, legacy=legacy, seed=seed, skip_broken=skip_broken)
    return evaluate_on(reward, dataset, how, progress=progress).figures


def eval_scores(
    dataset: Dataset, name: str, *, split: str | None = REPORT, legacy: bool = False, seed: int = 0
) -> dict[str, Figures]:
    """The figures of `eval_reward` for scores that are stored already; those of a reward's own law are None.

    Args:
        dataset: judged pairs and the scores of their clips.
        name: of the scores.
        split: as in `Counting`, like the rest.

    Raises:
        DataError: no such scores, a clip without one or that was replaced since, a dimension that they lack, no judged
            pair.
    """
    split, pairs = _judged(dataset, split)
    rows = current_scores(dataset, name, {pair.prompt_id for pair in pairs})
    _require_scored(dataset, tuple(rows[0]["normalised"]) if rows else (), f"scores '{name}'")
    scores = {row["clip_id"]: row["normalised"] for row in rows}
    for pair in pairs:
        for clip_id in (pair.clip_a, pair.clip_b):
            if clip_id not in scores:
                raise DataError(f"scores '{name}': clip '{clip_id}' has none; score the whole dataset again.")
    return _count([scores], dataset, pairs, Counting(split=split, legacy=legacy, seed=seed), {})


def _require_scored(dataset: Dataset, scored: Sequence[str], by: str) -> None:
    missing = [name for name in dataset.dimensions if name not in scored and name != OVERALL]
    if missing:
        hint = did_you_mean(missing[0], scored)
        raise DataError(f"dimension '{missing[0]}' of {dataset.path} is not scored by {by}.{hint}")


def _judged(dataset: Dataset, split: str | None) -> tuple[str | None, list[JudgedPair]]:
    """The split that is counted, and its pairs."""
    split = split_to_report(dataset) if split == REPORT else split
    pairs = dataset.judged_pairs(split)
    if not pairs:
        where = f"of split '{split}'" if split else "at all"
        raise DataError(
            f"{dataset.path}: no judged pair {where}; hold some out with 'videoalign data split', or count another "
            "split."
        )
    return split, pairs


def _count(
    tables: Sequence[Mapping[str, Mapping[str, float]]],
    dataset: Dataset,
    pairs: Sequence[JudgedPair],
    how: Counting,
    laws: Mapping[str, VerdictLaw],
) -> dict[str, Figures]:
    """The figures of one reward's normalised scores by clip and dimension, or of two rewards' against each other."""
    overall, dimensions = np.sum if how.legacy else np.mean, dataset.dimensions
    scores = [
        {
            clip_id: [float(row[name]) if name in row else float(overall(list(row.values()))) for name in dimensions]
            for clip_id, row in table.items()
        }
        for table in tables
    ]
    whole = [pair for pair in pairs if all({pair.clip_a, pair.clip_b} <= set(table) for table in scores)]
    if not whole:
        raise DataError("pairs: no clips of any of them can be scored; see what is wrong without --skip-broken.")
    if len(scores) > 1:
        return compare_rewards(scores[0], scores[1], whole, dimensions)
    prompts = {pair.prompt_id for pair in pairs}
    figures = evaluate_reward(
        scores[0],
        whole,
        dimensions,
        generators={clip.clip_id: clip.generator for clip in dataset.clips()},
        judgements=[row for row in dataset.stream_judgements() if row.prompt_id in prompts],
        laws=laws,
        legacy=how.legacy,
        seed=how.seed,
    )
    for name, row in figures.items():
        row["left_out"] = sum(pair.labels[name] is not None for pair in pairs) - row["n"]
    return figures
