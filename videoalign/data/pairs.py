"""Relabelling: a reward's scores become the win-lose pairs that alignment trains on."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from itertools import combinations
from math import isfinite
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import Field

from videoalign.config import Config
from videoalign.contracts.records import HELD_OUT, WinLosePair
from videoalign.data.clip_content import current_scores
from videoalign.data.dataset import Dataset
from videoalign.data.rejected import read_rejected
from videoalign.data.tables import to_float
from videoalign.errors import ConfigError, DataError, did_you_mean
from videoalign.stats.overall import overall, within_deviation


class PairsConfig(Config):
    """How pairs are made; two clips of the same reward are a pair only where ties are asked for."""

    strategy: Literal["best_worst", "all"] = "best_worst"
    """``best_worst``: the best clip of a prompt against its worst, then the second best against the second worst, as
    often as ``max_per_prompt`` says (default once). ``all``: every two clips of a prompt, the clearest first."""
    max_per_prompt: Annotated[int, Field(ge=1)] | None = None
    """Most pairs that a prompt gives; default: 1 for ``best_worst``, no limit for ``all``."""
    min_margin: Annotated[float, Field(ge=0)] = 0.0
    """Least difference of reward in a pair."""
    ties: Annotated[float, Field(ge=0)] | None = None
    """Also takes pairs whose rewards differ by at most this, as ties: Flow-DPO draws their margin to 0."""
    split: str | None = None
    """Take prompts of this split only, as in ``val``, or ``all``; default: all but those held out as ``val`` or
    ``test``, so that what is trained on the pairs can be measured on the others."""
    units: Literal["within_prompt", "normalised"] = "within_prompt"
    """What counts as 1 on a dimension. ``within_prompt``: how far clips of one prompt lie apart on it, so that equal
    weights have an equal say in which clip wins; ``normalised``: 1 of the scores as they are stored, as in the paper,
    where a dimension that differs mostly from prompt to prompt has less say."""


def combine(
    rows: Iterable[Mapping[str, Any]],
    dimensions: Sequence[str],
    weights: Mapping[str, float] | None,
    prompts: Mapping[str, str] | None = None,
) -> dict[str, float]:
    """One reward per clip: the weighted mean of its normalised scores in units, sum(w s / unit) / sum(w).

    Args:
        rows: as `Dataset.scores` gives them.
        dimensions: what the dataset judges.
        weights: by dimension, at least 0, not all 0; dimensions left out weigh 0; None weighs all the same.
        prompts: prompt by clip id, for units of `stats.overall.within_deviation`, 1 where all clips score the same;
            None for units of 1.

    Raises:
        ConfigError: a weight is below 0, all are 0 or too large, or one is for an unknown dimension.
        DataError: a clip has no score on a dimension that weighs something.
    """
    scored = {row["clip_id"]: row["normalised"] for row in rows}
    known = list(next(iter(scored.values()), dimensions))
    weights = dict.fromkeys(known, 1.0) if weights is None else dict(weights)
    for name, weight in weights.items():
        if name not in known:
            raise ConfigError(f"--weights: unknown dimension '{name}'.{did_you_mean(name, known)}")
        if not 0 <= weight < float("inf"):
            raise ConfigError(f"--weights: {name} must be a number of at least 0; got {weight}.")
    total = sum(weights.values())
    if not 0 < total < float("inf"):
        raise ConfigError(f"--weights: at least one must be above 0, and their sum a number; got {total:g}.")
    for clip_id, scores in scored.items():
        for name in weights:
            if name not in scores or scores[name] is None or not abs(scores[name]) < float("inf"):
                raise DataError(f"clip '{clip_id}' has no score for {name}; score the dataset again.")
    if not scored:
        return {}
    table = np.fromiter((scores[name] for scores in scored.values() for name in weights), float)
    table = table.reshape(len(scored), len(weights))
    units = np.ones(len(weights))
    if prompts is not None:
        units = within_deviation(table, [prompts[clip_id] for clip_id in scored])
    rewards = overall(table, np.where(units > 0, units, 1.0), list(weights.values()))
    return dict(zip(scored, rewards.tolist(), strict=True))


def make_pairs(
    dataset: Dataset,
    scores: Iterable[Mapping[str, Any]],
    weights: Mapping[str, float] | None = None,
    config: PairsConfig | None = None,
    *,
    reward: str = "",
    digest: str = "",
) -> list[WinLosePair]:
    """Win-lose pairs within each prompt, in the order of the prompts, the clearest first; clips that stand in
    ``rejected.parquet`` are left out.

    Args:
        dataset: whose clips were scored.
        scores: as `Dataset.scores` gives them.
        weights: see `combine`.
        config: see `PairsConfig`.
        reward: name of what scored them, which every pair records with its digest and the weights.
        digest: see `RewardModel.digest`.

    Raises:
        ConfigError: see `combine`.
        DataError: clips without scores, scores of unknown clips, or no pair at all (says why).
    """
    config = config or PairsConfig()
    clips, values, content = dataset.clips(), dict[str, Mapping[str, float]](), dict[str, str]()
    for row in scores:
        values[row["clip_id"]], content[row["clip_id"]] = row["normalised"], row.get("content", "")
    prompt_of = {clip.clip_id: clip.prompt_id for clip in clips}
    strangers = values.keys() - prompt_of.keys()
    if strangers:
        raise DataError(
            f"{dataset.path}: {len(strangers)} scored clips are not in it, first '{min(strangers)}'; score again."
        )
    prompts = [prompt.prompt_id for prompt in dataset.prompts() if _is_wanted(prompt.split, config.split)]
    by_prompt: dict[str, list[str]] = {prompt_id: [] for prompt_id in prompts}
    wanted = ({"clip_id": key, "normalised": row} for key, row in values.items() if prompt_of[key] in by_prompt)
    rewards = combine(wanted, dataset.dimensions, weights, prompt_of if config.units == "within_prompt" else None)
    rejected = {row["clip_id"] for row in read_rejected(dataset.path)}
    for clip in clips:
        if clip.prompt_id in by_prompt and clip.clip_id not in rejected:
            by_prompt[clip.prompt_id].append(clip.clip_id)
    missing = [clip_id for group in by_prompt.values() for clip_id in group if clip_id not in rewards]
    if missing:
        raise DataError(f"{dataset.path}: {len(missing)} clips have no score, first '{missing[0]}'; score again.")
    pairs = [pair for prompt_id, group in by_prompt.items() for pair in _of_prompt(prompt_id, group, rewards, config)]
    if not pairs:
        raise DataError(_why_empty(dataset, by_prompt, rewards, config))
    used = weights if weights is not None else dict.fromkeys(next(iter(values.values())), 1.0)
    told = ",".join(f"{name}={weight:g}" for name, weight in used.items() if weight)
    return [
        replace(
            pair,
            reward=reward,
            reward_digest=digest,
            weights=told,
            content_win=content[pair.clip_win],
            content_lose=content[pair.clip_lose],
            differences=_differences(values[pair.clip_win], values[pair.clip_lose]),
        )
        for pair in pairs
    ]


def pairs_of_scores(
    dataset: Dataset, name: str, weights: Mapping[str, float] | None = None, config: PairsConfig | None = None
) -> list[WinLosePair]:
    """`make_pairs` of scores that are stored under this name.

    Raises:
        DataError: no such scores, or a clip that was replaced since it was scored; see `make_pairs` for the rest.
    """
    digest, split = dataset.scores_digest(name), (config or PairsConfig()).split
    prompt_ids = {prompt.prompt_id for prompt in dataset.prompts() if _is_wanted(prompt.split, split)}
    scores = current_scores(dataset, name, prompt_ids)
    return make_pairs(dataset, scores, weights, config, reward=name, digest=digest)


def _is_wanted(split: str, wanted: str | None) -> bool:
    return split not in HELD_OUT if wanted is None else wanted in ("all", split)


def _of_prompt(
    prompt_id: str, clip_ids: list[str], rewards: Mapping[str, float], config: PairsConfig
) -> list[WinLosePair]:
    ranked = sorted(clip_ids, key=lambda clip_id: (-rewards[clip_id], clip_id))
    if config.strategy == "best_worst":
        half = len(ranked) // 2
        chosen = list(zip(ranked[:half], reversed(ranked[len(ranked) - half :]), strict=True))
        limit: int | None = config.max_per_prompt or 1
    else:
        chosen = sorted(combinations(ranked, 2), key=lambda pair: rewards[pair[1]] - rewards[pair[0]])
        limit = config.max_per_prompt
    pairs = [
        WinLosePair(
            prompt_id=prompt_id,
            clip_win=win,
            clip_lose=lose,
            reward_win=rewards[win],
            reward_lose=rewards[lose],
            preference=preference,
        )
        for win, lose in chosen
        if (preference := _preference(rewards[win] - rewards[lose], config)) is not None
    ]
    return pairs[:limit]


def _differences(win: Mapping[str, float], lose: Mapping[str, float]) -> str:
    """`WinLosePair.differences`, of the dimensions that both have a score on."""
    both = [name for name in win if win[name] is not None and lose.get(name) is not None]
    return ",".join(f"{name}={win[name] - lose[name]:.6g}" for name in both)


def better_on(pair: WinLosePair) -> dict[str, int]:
    """By dimension of `WinLosePair.differences`, 1 where the winner is the better one, -1 where the loser is, else 0.

    Raises:
        DataError: they are not as they are written here.
    """
    parts = (part.rpartition("=") for part in pair.differences.split(",") if part)
    try:
        return {name: int(to_float(value) > 0) - int(to_float(value) < 0) for name, _, value in parts}
    except ValueError:
        raise DataError(
            f"pairs: clips '{pair.clip_win}' and '{pair.clip_lose}' have the differences '{pair.differences[:80]}'; "
            "wanted as in VQ=0.5,MQ=-1. Make the pairs again."
        ) from None


def require_numbers(pair: WinLosePair) -> None:
    """Checks the numbers of a pair, which a training would take as they are.

    Raises:
        DataError: a reward that is no finite number, a preference that is no chance, or see `better_on`.
    """
    if not (isfinite(pair.reward_win) and isfinite(pair.reward_lose)):
        raise DataError(
            f"pairs: clips '{pair.clip_win}' and '{pair.clip_lose}' have the rewards {pair.reward_win} and "
            f"{pair.reward_lose}; wanted finite numbers. Make the pairs again."
        )
    if not 0 <= pair.preference <= 1:
        raise DataError(
            f"pairs: clip '{pair.clip_win}' has the preference {pair.preference} over '{pair.clip_lose}'; wanted a "
            "chance from 0 to 1. Make the pairs again."
        )
    better_on(pair)


def _preference(margin: float, config: PairsConfig) -> float | None:
    """Chance that the first clip of a pair is better, whose reward is higher by this; None for no pair."""
    if config.ties is not None and margin <= config.ties:
        return 0.5
    return 1.0 if margin > 0 and margin >= config.min_margin else None


def _why_empty(
    dataset: Dataset, by_prompt: Mapping[str, list[str]], rewards: Mapping[str, float], config: PairsConfig
) -> str:
    if not by_prompt:
        if config.split is None and dataset.prompts():
            return f"no pairs: all prompts of {dataset.path} are held out ({', '.join(HELD_OUT)}); set split=all."
        where = f"split '{config.split}' of {dataset.path}" if config.split is not None else str(dataset.path)
        return f"no pairs: {where} has no prompts."
    alone = sum(len(group) < 2 for group in by_prompt.values())
    tied = sum(len(group) > 1 and len({rewards[c] for c in group}) == 1 for group in by_prompt.values())
    close = len(by_prompt) - alone - tied
    return (
        f"no pairs: of {len(by_prompt)} prompts, {alone} have fewer than two clips, {tied} have only clips of equal "
        f"reward, {close} differ by less than min_margin={config.min_margin:g}. "
        "Generate more clips per prompt, or lower min_margin."
    )
