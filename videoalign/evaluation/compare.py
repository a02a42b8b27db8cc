"""One generator against another on the same prompts and seeds: win rates, their intervals, and the collapse alarm."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from videoalign.contracts.records import TOGETHER
from videoalign.errors import DataError
from videoalign.stats.overall import overall, within_deviation
from videoalign.stats.pairwise import outcomes
from videoalign.stats.resampling import sum_by_cluster
from videoalign.stats.shares import LEVEL, design_effect, share_of_sums, wilson_interval

Comparison = Mapping[str, Mapping[str, Any]]
"""What `compare` gives: by dimension, and under `TOGETHER` for the mean over them, each in units of how far the base's
clips of one prompt lie apart, figures by name."""


def compare(
    base: np.ndarray,
    candidate: np.ndarray,
    prompt_ids: Sequence[str],
    dimensions: Sequence[str],
    *,
    units: Mapping[str, float] | None = None,
) -> dict[str, dict[str, Any]]:
    """How often the candidate's clip beats the base's clip of the same prompt and seed.

    Args:
        base: scores of the base's clips, (N, D), higher is better, on any scale.
        candidate: scores of the candidate's clips, (N, D), row by row for the same prompt and seed.
        prompt_ids: the prompt of each row, (N,); rows of one prompt are not independent.
        dimensions: names of the D columns.
        units: what counts as 1 on each dimension in ``overall``, above 0; default: `base_units` of these scores.
            Exchanging base and candidate mirrors every figure when the units stay.

    Returns:
        For each dimension and for ``overall``, `stats.overall.overall` of both arms in the same units:
        ``win_rate`` in [0, 1] with ties (equal scores) as half a win, ``low`` and ``high`` of its 95% interval, see
        `stats.shares.share_of_sums` (0 and 1 for a single prompt, which tells nothing about others), ``n`` clips,
        ``num_prompts``, ``wins``, ``ties``, ``losses`` and ``design_effect`` (None for a single prompt); for each
        dimension also its ``unit``.

    Raises:
        DataError: no rows, shapes that do not fit, a score that is not finite, a dimension called ``overall``, a
            dimension without a unit.
    """
    base, candidate = np.asarray(base, dtype=np.float64), np.asarray(candidate, dtype=np.float64)
    _check(base, candidate, prompt_ids, dimensions)
    found = base_units(base, prompt_ids, dimensions, candidate) if units is None else dict(units)
    if missing := [name for name in dimensions if not found.get(name, 0.0) > 0]:
        raise DataError(f"units: {missing[0]} has {found.get(missing[0])}; wanted a number above 0 for each dimension.")
    scale = [found[name] for name in dimensions]
    results = {name: _count(base[:, k], candidate[:, k], prompt_ids) for k, name in enumerate(dimensions)}
    for name, row in results.items():
        row["unit"] = found[name]
    return {**results, TOGETHER: _count(overall(base, scale), overall(candidate, scale), prompt_ids)}


def base_units(
    base: np.ndarray, prompt_ids: Sequence[str], dimensions: Sequence[str], candidate: np.ndarray | None = None
) -> dict[str, float]:
    """By dimension, what counts as 1 in ``overall``: how far the base's clips of one prompt lie apart, see
    `stats.overall.within_deviation`.

    A dimension on which all clips of the base score the same has no unit, which matters only where there are others to
    weigh it against and the candidate scores otherwise; 1 stands where it does not matter.

    Args:
        base: scores of the base's clips, (N, D).
        prompt_ids: the prompt of each row, (N,).
        dimensions: names of the D columns.
        candidate: scores to be compared with them, (N, D); None where they are not known yet.

    Raises:
        DataError: a dimension without a unit.
    """
    units = within_deviation(base, prompt_ids)
    for column in np.flatnonzero(units == 0).tolist() if len(dimensions) > 1 else ():
        if candidate is None or (candidate[:, column] != base[:, column]).any():
            raise DataError(
                f"base scores: {dimensions[column]} is {base[0, column]:g} for every clip of the base, so there is no "
                f"unit to weigh it by in '{TOGETHER}'; compare more clips, or take a judge that tells them apart."
            )
    return {name: float(unit) or 1.0 for name, unit in zip(dimensions, units, strict=True)}


def collapsed(comparison: Comparison) -> tuple[str, ...]:
    """Dimensions that fell while the whole rose: the sign of a reward that was gamed.

    A dimension falls when its whole interval lies below one half, and the whole rises when the whole interval of
    ``overall`` lies above it.

    Args:
        comparison: what `compare` gives.
    """
    if comparison[TOGETHER]["low"] <= 0.5:
        return ()
    return tuple(name for name, row in comparison.items() if name != TOGETHER and row["high"] < 0.5)


def headline(alignment: Mapping[str, Comparison]) -> dict[str, Any]:
    """The method with the best overall win rate, with an interval that allows for its having been chosen.

    Of k methods each has an interval of level 1 - 0.05 / k (Bonferroni), so that all of them hold at once in 95 of 100
    runs. Between equal win rates the worst dimension decides.

    Args:
        alignment: method to what `compare` gives.

    Returns:
        ``method``, its overall ``win_rate``, ``low`` and ``high``, and ``num_methods``, how many it was chosen from.
    """

    def merit(name: str) -> tuple[float, float]:
        rows = alignment[name].values()
        return alignment[name][TOGETHER]["win_rate"], min(row["win_rate"] for row in rows)

    best, count = max(alignment, key=merit), len(alignment)
    row = alignment[best][TOGETHER]
    low, high = row["low"], row["high"]
    if count > 1:
        effect = math.nan if row["design_effect"] is None else row["design_effect"]
        level = 1 - (1 - LEVEL) / count
        low, high = wilson_interval(row["win_rate"], row["n"], row["num_prompts"], effect, level=level)
    return {"method": best, "win_rate": row["win_rate"], "low": low, "high": high, "num_methods": count}


def guidance_entry(weights: Mapping[str, float], comparison: Comparison) -> dict[str, object]:
    """One row of the guidance table: the weights, a win rate per dimension, and the full counts under ``details``."""
    rates = {name: row["win_rate"] for name, row in comparison.items()}
    return {"weights": dict(weights), **rates, "details": {name: dict(row) for name, row in comparison.items()}}


def _count(base: np.ndarray, candidate: np.ndarray, prompt_ids: Sequence[str]) -> dict[str, Any]:
    """Counts of the wins of ``candidate`` (N,) over ``base`` (N,)."""
    credit = outcomes(base, candidate)
    sums = sum_by_cluster(np.stack([credit, np.ones(len(credit))], axis=1), prompt_ids)
    found, effect = share_of_sums(sums[:, 0], sums[:, 1]), design_effect(sums[:, 0], sums[:, 1])
    return {
        "win_rate": found.value,
        "low": found.low,
        "high": found.high,
        "n": len(credit),
        "num_prompts": len(set(prompt_ids)),
        "wins": int((credit == 1.0).sum()),
        "ties": int((credit == 0.5).sum()),
        "losses": int((credit == 0.0).sum()),
        "design_effect": effect if len(sums) > 1 else None,
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
    if TOGETHER in dimensions:
        raise DataError(f"dimension '{TOGETHER}' is the name of the mean; rename the dimension.")
