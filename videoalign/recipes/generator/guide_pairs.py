"""What a noisy-latent reward is taught: labelled pairs, and the latents of their clips."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from itertools import combinations

import torch

from videoalign.contracts.records import HELD_OUT, Label
from videoalign.data.clip_content import current_scores
from videoalign.data.dataset import Dataset, JudgedPair
from videoalign.data.latents import LatentCache
from videoalign.data.on_demand import OnDemand
from videoalign.data.rejected import read_rejected
from videoalign.errors import DataError
from videoalign.losses.preference import share_labels
from videoalign.randomness import fold_in
from videoalign.recipes.generator.guide_settings import GuideTrainConfig
from videoalign.training.judged_groups import make_groups
from videoalign.training.objectives.latent_reward import LatentGroup, near_prompts
from videoalign.training.order import by_shape


def labelled_pairs(
    dataset: Dataset, config: GuideTrainConfig, *, scores: str | None = None, pairs: str | None = None
) -> list[JudgedPair]:
    """Pairs with a verdict that teaches on at least one dimension, by scores or by the raters; see `train_guide`.

    Raises:
        DataError: no such scores or pairs, a clip without a score, or no decided pair.
    """
    wanted = None if pairs is None else {frozenset((row.clip_win, row.clip_lose)) for row in dataset.pairs(pairs)}
    judged = dataset.judged_pairs() if scores is None else _judged_by_scores(dataset, scores, config.tie_band)
    chosen = [pair for pair in judged if wanted is None or frozenset((pair.clip_a, pair.clip_b)) in wanted]
    verdicts = config.verdicts()
    found = [pair for pair in chosen if any(label in verdicts for label in pair.labels.values())]
    if not found:
        by = f"the scores '{scores}'" if scores is not None else "raters (give --reward to label them by its scores)"
        what = "judged" if Label.TIE in verdicts else "decided"
        raise DataError(f"guide: got {len(chosen)} pairs, none of them {what} on any dimension by {by}.")
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
    """Every two clips of a prompt, the one with the higher normalised score preferred; none of those that stand in
    ``rejected.parquet``."""
    rejected = {row["clip_id"] for row in read_rejected(dataset.path)}
    scores = {row["clip_id"]: row["normalised"] for row in current_scores(dataset, name)}
    clips: dict[str, list[str]] = {prompt.prompt_id: [] for prompt in dataset.prompts()}
    for clip in (clip for clip in dataset.clips() if clip.clip_id not in rejected):
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


def split_pairs(pairs: list[JudgedPair], config: GuideTrainConfig) -> tuple[list[JudgedPair], list[JudgedPair]]:
    """Pairs of the training prompts, and those of some of the held-out prompts."""
    train = [pair for pair in pairs if pair.split not in HELD_OUT]
    if not train:
        raise DataError(f"guide: all {len(pairs)} labelled pairs are of prompts held out; split the data anew.")
    unseen = list(dict.fromkeys(pair.prompt_id for pair in pairs if pair.split == "val"))
    order = torch.randperm(len(unseen), generator=fold_in(config.fit.seed, "guide", "held out")).tolist()
    kept = {unseen[index] for index in order[: config.num_held_out]}
    return train, [pair for pair in pairs if pair.prompt_id in kept]
