"""How well a reward's scores of a dataset's clips agree with the raters."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from videoalign.contracts.progress import Progress, silent
from videoalign.contracts.records import OVERALL
from videoalign.contracts.reward import RewardModel, VerdictLaw
from videoalign.contracts.scores import ClipScore
from videoalign.data.clip_content import current_scores
from videoalign.data.dataset import Dataset, JudgedPair
from videoalign.data.split import split_to_report
from videoalign.errors import DataError, did_you_mean
from videoalign.evaluation.reward import Figures, compare_rewards, evaluate_reward
from videoalign.recipes.reward.held_out import HeldOut, held_out
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
    """A reward on the judged pairs of a dataset."""

    figures: dict[str, Figures]
    """By dimension, what `evaluation.reward.evaluate_reward` gives, and ``left_out``: pairs with a verdict that were
    left out because a clip of theirs cannot be scored."""
    pairs: list[JudgedPair]
    """All of them, those left out included."""
    held_out: HeldOut
    """Of which split, and whether the reward depends on its prompts."""
    broken: Mapping[str, str]
    """What is wrong with each clip that cannot be scored, by its id."""


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


def evaluate_on(
    reward: RewardModel,
    dataset: Dataset,
    how: Counting,
    *,
    keep: Path | None = None,
    progress: Progress = silent,
) -> Evaluation:
    """Scores the clips of the judged pairs of one split and counts.

    A dimension ``Overall`` that the reward does not score itself meets the mean of all its normalised scores.

    Args:
        reward: scores the clips; must know every other dimension of the dataset.
        dataset: judged pairs.
        how: which pairs are counted, and how.
        keep: see `clip_scores.score_rows`.
        progress: counts clips.

    Raises:
        DataError: a dimension that the reward does not score, no judged pair, clips that cannot be scored.
    """
    _check_scored(dataset, reward.dimensions, f"reward '{reward.name}'")
    split, pairs = _judged(dataset, how.split)
    scored = _score(reward, dataset, pairs, how.skip_broken, keep, progress)
    table = _columns(_rows(scored, reward), reward.dimensions, dataset.dimensions, how.legacy)
    laws = {name: law for name in reward.dimensions if (law := reward.verdict_law(name)) is not None}
    figures = _figures(table, dataset, pairs, how, laws)
    broken = {clip_id: row.error for clip_id, row in scored.items() if row.error is not None}
    told = held_out(reward, dataset, split, pairs)
    return Evaluation(figures=figures, pairs=pairs, broken=broken, held_out=told)


def compare_on(
    first: RewardModel,
    second: RewardModel,
    dataset: Dataset,
    *,
    split: str | None = REPORT,
    skip_broken: bool = False,
    progress: Progress = silent,
) -> dict[str, Figures]:
    """Two rewards on the same judged pairs; see `evaluation.reward.compare_rewards`. Arguments as in `Counting`, errors
    as in `evaluate_on`. Each row also tells what `HeldOut.as_dict` does, of both."""
    for reward in (first, second):
        _check_scored(dataset, reward.dimensions, f"reward '{reward.name}'")
    (split, pairs), tables = _judged(dataset, split), []
    for reward in (first, second):
        scored = _score(reward, dataset, pairs, skip_broken, None, progress)
        tables.append(_columns(_rows(scored, reward), reward.dimensions, dataset.dimensions, legacy=False))
    whole = _whole(pairs, set(tables[0]) & set(tables[1]))
    figures = compare_rewards(tables[0], tables[1], whole, dataset.dimensions)
    told = [held_out(reward, dataset, split, pairs) for reward in (first, second)]
    verdicts = [one.held_out for one in told]
    both = False if False in verdicts else None if None in verdicts else True
    note = " ".join(dict.fromkeys(one.note for one in told))
    return {name: {**row, **told[0].as_dict(), "held_out": both, "note": note} for name, row in figures.items()}


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
    names = tuple(rows[0]["normalised"]) if rows else ()
    _check_scored(dataset, names, f"scores '{name}'")
    scores = {row["clip_id"]: np.array([row["normalised"][d] for d in names]) for row in rows}
    for pair in pairs:
        for clip_id in (pair.clip_a, pair.clip_b):
            if clip_id not in scores:
                raise DataError(f"scores '{name}': clip '{clip_id}' has none; score the whole dataset again.")
    table = _columns(scores, names, dataset.dimensions, legacy)
    return _figures(table, dataset, pairs, Counting(split=split, legacy=legacy, seed=seed), {})


def _score(
    reward: RewardModel,
    dataset: Dataset,
    pairs: Sequence[JudgedPair],
    skip_broken: bool,
    keep: Path | None,
    progress: Progress,
) -> dict[str, ClipScore]:
    """What the reward says about each clip in the pairs, by its id."""
    wanted = {clip_id for pair in pairs for clip_id in (pair.clip_a, pair.clip_b)}
    clips = [clip for clip in dataset.clips() if clip.clip_id in wanted]
    rows = score_clips(reward, clips_in(dataset, clips), skip_broken=skip_broken, keep=keep, progress=progress)
    return {clip.clip_id: row for clip, row in zip(clips, rows, strict=True)}


def _rows(scored: Mapping[str, ClipScore], reward: RewardModel) -> dict[str, np.ndarray]:
    """Normalised scores, (D,), of those that have any."""
    found = {clip_id: row.scores for clip_id, row in scored.items() if row.scores is not None}
    return {clip_id: np.array([row[name] for name in reward.dimensions]) for clip_id, row in found.items()}


def _check_scored(dataset: Dataset, scored: Sequence[str], by: str) -> None:
    missing = [name for name in dataset.dimensions if name not in scored and name != OVERALL]
    if missing:
        hint = did_you_mean(missing[0], scored)
        raise DataError(f"dimension '{missing[0]}' of {dataset.path} is not scored by {by}.{hint}")


def _columns(
    scores: Mapping[str, np.ndarray], scored: Sequence[str], judged: Sequence[str], legacy: bool
) -> dict[str, list[float]]:
    """Scores in the order of the judged dimensions, by clip id."""
    places = [scored.index(name) if name in scored else None for name in judged]
    overall = np.sum if legacy else np.mean
    return {
        clip_id: [float(overall(row)) if place is None else float(row[place]) for place in places]
        for clip_id, row in scores.items()
    }


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


def _whole(pairs: Sequence[JudgedPair], scored: set[str]) -> list[JudgedPair]:
    whole = [pair for pair in pairs if {pair.clip_a, pair.clip_b} <= scored]
    if not whole:
        raise DataError("pairs: no clips of any of them can be scored; see what is wrong without --skip-broken.")
    return whole


def _figures(
    scores: Mapping[str, Sequence[float]],
    dataset: Dataset,
    pairs: Sequence[JudgedPair],
    how: Counting,
    laws: Mapping[str, VerdictLaw],
) -> dict[str, Figures]:
    whole, prompts = _whole(pairs, set(scores)), {pair.prompt_id for pair in pairs}
    figures = evaluate_reward(
        scores,
        whole,
        dataset.dimensions,
        generators={clip.clip_id: clip.generator for clip in dataset.clips()},
        judgements=[row for row in dataset.stream_judgements() if row.prompt_id in prompts],
        laws=laws,
        legacy=how.legacy,
        seed=how.seed,
    )
    for name, row in figures.items():
        row["left_out"] = sum(pair.labels[name] is not None for pair in pairs) - row["n"]
    return figures
