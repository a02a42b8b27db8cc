"""From judged pairs and ratings to groups of clips that are scored together, and what these count."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence

import torch

from videoalign.contracts.records import Rating
from videoalign.data.judgements.aggregate import JudgedPair, Shares
from videoalign.data.judgements.votes import VERDICTS
from videoalign.errors import ConfigError
from videoalign.training.objectives.reward import Criterion, JudgedGroup


def make_groups(
    pairs: Sequence[JudgedPair],
    prompts: Mapping[str, str],
    dimensions: Sequence[str],
    *,
    ratings: Sequence[Rating] = (),
    max_clips: int = 8,
) -> list[JudgedGroup]:
    """Groups of at most ``max_clips`` clips of one prompt; every pair with a verdict stands in exactly one group.

    Args:
        pairs: judged pairs, each with its shares, or 1 for its label where it has none; those without any verdict are
            passed over.
        prompts: text by prompt id.
        dimensions: D names, the order of the shares.
        ratings: raw ratings; their mean per clip and dimension goes along with each clip that has a pair.
        max_clips: 2 or more.

    Raises:
        ConfigError: ``max_clips`` below 2.
    """
    if max_clips < 2:
        raise ConfigError(f"max_clips: must be 2 or more, a pair needs two; got {max_clips}.")
    means = mean_ratings(ratings)
    by_prompt: dict[str, list[JudgedPair]] = defaultdict(list)
    for pair in pairs:
        if any(any(_shares(pair, name)) for name in dimensions):
            by_prompt[pair.prompt_id].append(pair)
    groups = []
    for prompt_id, judged in by_prompt.items():
        groups += [_group(prompts[prompt_id], part, dimensions, means) for part in _split(judged, max_clips)]
    return groups


def weigh(criterion: Criterion, groups: Sequence[JudgedGroup]) -> float:
    """How many judgements of these groups a criterion counts; 0 where it has nothing to learn from."""
    return float(sum(criterion.weights(group).sum() for group in groups))


def mean_ratings(ratings: Sequence[Rating]) -> dict[tuple[str, str], float]:
    """Mean over raters by (clip id, dimension)."""
    scores: dict[tuple[str, str], list[float]] = defaultdict(list)
    for rating in ratings:
        scores[rating.clip_id, rating.dimension].append(rating.score)
    return {key: sum(values) / len(values) for key, values in scores.items()}


def _split(pairs: Sequence[JudgedPair], max_clips: int) -> list[list[JudgedPair]]:
    """Parts whose pairs name at most ``max_clips`` clips; each grows around the first pair that is left."""
    parts, left = [], list(pairs)
    while left:
        members: set[str] = set()
        part, later = [], []
        for pair in left:
            together = members | {pair.clip_a, pair.clip_b}
            if len(together) <= max_clips:
                members = together
                part.append(pair)
            else:
                later.append(pair)
        parts.append(part)
        left = later
    return parts


def _group(
    prompt: str,
    pairs: Sequence[JudgedPair],
    dimensions: Sequence[str],
    means: Mapping[tuple[str, str], float],
) -> JudgedGroup:
    clip_ids = tuple(dict.fromkeys(clip for pair in pairs for clip in (pair.clip_a, pair.clip_b)))
    index_of = {clip_id: index for index, clip_id in enumerate(clip_ids)}
    return JudgedGroup(
        prompt=prompt,
        clip_ids=clip_ids,
        pairs=torch.tensor([[index_of[pair.clip_a], index_of[pair.clip_b]] for pair in pairs]),
        shares=torch.tensor([[_shares(pair, name) for name in dimensions] for pair in pairs]),
        ratings=torch.tensor([[means.get((clip_id, name), 0.0) for name in dimensions] for clip_id in clip_ids]),
    )


def _shares(pair: JudgedPair, dimension: str) -> Shares:
    label = pair.labels.get(dimension)
    a, tie, b = (float(label == verdict) for verdict in VERDICTS)
    return pair.shares.get(dimension, (a, tie, b))
