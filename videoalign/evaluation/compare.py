"""One generator against another on the same prompts and seeds: win rates, their intervals, and the collapse alarm."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import islice

import numpy as np

from videoalign.contracts.protocols import RewardModel
from videoalign.contracts.video import Video
from videoalign.errors import DataError
from videoalign.stats.pairwise import cluster_bootstrap, outcomes

OVERALL = "overall"
"""Name of the mean over a judge's dimensions."""

NUM_RESAMPLES = 2000
"""Bootstrap samples behind an interval."""

LEVEL = 0.95
"""Share of bootstrap samples inside an interval."""


def compare(
    base: np.ndarray,
    candidate: np.ndarray,
    prompt_ids: Sequence[str],
    dimensions: Sequence[str],
    *,
    seed: int,
) -> dict[str, dict[str, float]]:
    """How often the candidate's clip beats the base's clip of the same prompt and seed.

    Args:
        base: scores of the base's clips, (N, D), higher is better.
        candidate: scores of the candidate's clips, (N, D), row by row for the same prompt and seed.
        prompt_ids: the prompt of each row, (N,); rows of one prompt are resampled together.
        dimensions: names of the D columns.
        seed: draws the bootstrap.

    Returns:
        For each dimension and for ``overall`` (the mean of the dimensions):
        ``win_rate`` in [0, 1] with ties (equal scores) as half a win, ``low`` and ``high`` of its 95% percentile
        bootstrap over prompts (0 and 1 for a single prompt, which tells nothing about others), ``n`` clips,
        ``num_prompts``, ``wins``, ``ties`` and ``losses``.

    Raises:
        DataError: no rows, shapes that do not fit, a score that is not finite, a dimension called ``overall``.
    """
    base, candidate = np.asarray(base, dtype=np.float64), np.asarray(candidate, dtype=np.float64)
    _check(base, candidate, prompt_ids, dimensions)
    base, candidate = (np.column_stack([scores, scores.mean(axis=1)]) for scores in (base, candidate))
    results = outcomes(base, candidate)
    return {name: _count(results[:, column], prompt_ids, seed) for column, name in enumerate([*dimensions, OVERALL])}


def judge_clips(
    judge: RewardModel,
    videos: Iterable[Video],
    prompts: Sequence[str],
    *,
    batch_size: int = 32,
    on_clip: Callable[[], None] = lambda: None,
) -> np.ndarray:
    """The judge's scores, float64 (N, D), in order; clips are taken as they are needed, so that memory stays flat.

    Args:
        judge: scores them.
        videos: N clips; may be a generator that loads them one by one.
        prompts: one text per clip.
        batch_size: clips that the judge sees at once.
        on_clip: called for every clip that is done.

    Raises:
        DataError: when videos and prompts are not equally many.
    """
    waiting, parts, start = iter(videos), [], 0
    while batch := list(islice(waiting, batch_size)):
        texts = prompts[start : start + len(batch)]
        start += len(batch)
        if len(texts) != len(batch):
            raise DataError(f"judge: got more clips than the {len(prompts)} prompts; give one prompt per clip.")
        parts.append(judge.score_videos(batch, texts))
        for _ in batch:
            on_clip()
    if start != len(prompts):
        raise DataError(f"judge: {start} clips but {len(prompts)} prompts; give one prompt per clip.")
    return np.concatenate(parts) if parts else np.zeros((0, len(judge.dimensions)))


def collapsed(comparison: Mapping[str, Mapping[str, float]]) -> tuple[str, ...]:
    """Dimensions that fell while the whole rose: the sign of a reward that was gamed.

    A dimension falls when its whole interval lies below one half, and the whole rises when the whole interval of
    ``overall`` lies above it.

    Args:
        comparison: what `compare` gives.
    """
    if comparison[OVERALL]["low"] <= 0.5:
        return ()
    return tuple(name for name, row in comparison.items() if name != OVERALL and row["high"] < 0.5)


def guidance_entry(weights: Mapping[str, float], comparison: Mapping[str, Mapping[str, float]]) -> dict[str, object]:
    """One row of the guidance table: the weights, a win rate per dimension, and the full counts under ``details``."""
    rates = {name: row["win_rate"] for name, row in comparison.items()}
    return {"weights": dict(weights), **rates, "details": {name: dict(row) for name, row in comparison.items()}}


def _count(credit: np.ndarray, prompt_ids: Sequence[str], seed: int) -> dict[str, float]:
    """Counts of ``credit`` (N,): 1 for a win, 0.5 for a tie, 0 for a loss."""
    num_prompts, low, high = len(set(prompt_ids)), 0.0, 1.0
    if num_prompts > 1:
        rng = np.random.default_rng(seed)
        low, high = cluster_bootstrap(credit, list(prompt_ids), rng=rng, num=NUM_RESAMPLES, level=LEVEL)
    return {
        "win_rate": float(credit.mean()),
        "low": low,
        "high": high,
        "n": len(credit),
        "num_prompts": num_prompts,
        "wins": int((credit == 1.0).sum()),
        "ties": int((credit == 0.5).sum()),
        "losses": int((credit == 0.0).sum()),
    }


def _check(base: np.ndarray, candidate: np.ndarray, prompt_ids: Sequence[str], dimensions: Sequence[str]) -> None:
    want = (len(prompt_ids), len(dimensions))
    for arm, scores in (("base", base), ("candidate", candidate)):
        if scores.shape != want:
            raise DataError(f"{arm} scores: got shape {scores.shape}, wanted {want}, one row per prompt and seed.")
        if not np.isfinite(scores).all():
            row, column = np.argwhere(~np.isfinite(scores))[0]
            raise DataError(
                f"{arm} scores: {dimensions[column]} of row {row} (prompt {prompt_ids[row]}) is "
                f"{scores[row, column]}; every clip needs a finite score. Look at that clip."
            )
    if 0 in want:
        raise DataError(f"comparison: got {want[0]} clips and {want[1]} dimensions; give at least one of each.")
    if OVERALL in dimensions:
        raise DataError(f"dimension '{OVERALL}' is the name of the mean; rename the dimension.")
