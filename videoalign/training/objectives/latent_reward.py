"""Teaches a reward to judge noisy latents: both clips of a pair under the same noise at the same time."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from videoalign.errors import ConfigError, did_you_mean
from videoalign.flow.condition import Condition, join_conditions
from videoalign.flow.path import interpolate
from videoalign.flow.times import stratified
from videoalign.losses.preference import label_shares, verdict_loss
from videoalign.randomness import Draws, fold_in
from videoalign.stats.calibration import calibration_error, log_loss
from videoalign.stats.shares import share
from videoalign.training.objective import (
    NOISE_BANDS,
    Loss,
    Metric,
    band_ending,
    pair_differences,
    per_group,
    require_names,
)
from videoalign.training.objectives.flow import TimeSettings
from videoalign.training.objectives.reward import VerdictCriterion

LAW_RATE = 0.03
"""Peak rate of what a law has to learn, a few logarithms: at that of the weights they would stay where they start."""
LAW_NAMES = ("log_deviation", "ties")
"""Of these parameters, the reward's and the criterion's."""


@dataclass(frozen=True, eq=False)
class LatentGroup:
    """Clips of one prompt and who was preferred to whom."""

    latents: Sequence[Tensor] | Tensor
    """Clean latents of N clips, float32 (C, F, H, W) each; they may be read from files when asked for."""
    condition: Condition
    """Of the prompt, one row."""
    pairs: Tensor
    """Indices of clip A and clip B, int64 (P, 2)."""
    labels: Tensor
    """(P, D): +1 where A is preferred, -1 where B is, 0 for a tie; anything else is no judgement, which teaches
    nothing."""
    others: Sequence[Condition]
    """Of K prompts that the clips were not made for, one row each; see `near_prompts`."""
    clip_ids: tuple[str, ...] = ()
    """What to call the N clips in an error."""
    shape: tuple[int, ...] = ()
    """(C, F, H, W) of the latents, where groups of several shapes are trained on together."""


@dataclass(frozen=True, eq=False)
class LatentGroupBatch:
    """Groups strung together for one forward pass, with M clips and Q pairs in all."""

    latents: Tensor
    """(M, C, F, H, W)."""
    condition: Condition
    """A row for each clip."""
    group: Tensor
    """Number of each clip's group, int64 (M,)."""
    pairs: Tensor
    """Indices among the M clips, int64 (Q, 2)."""
    labels: Tensor
    """(Q, D)."""
    others: Condition | None
    """The K of each group, group after group, G K rows; None where K is 0."""

    @property
    def num_groups(self) -> int:
        """How many groups there are."""
        return int(self.group[-1]) + 1

    @property
    def group_of_pairs(self) -> Tensor:
        """Number of each pair's group, (Q,)."""
        return self.group[self.pairs[:, 0]]


def collate_latent_groups(groups: Sequence[LatentGroup]) -> LatentGroupBatch:
    """One batch of the groups, all of one latent shape and one K; groups may differ in size."""
    sizes = torch.tensor([len(group.latents) for group in groups])
    starts = sizes.cumsum(0) - sizes
    number = torch.arange(len(groups)).repeat_interleave(sizes)
    others = [other for group in groups for other in group.others]
    return LatentGroupBatch(
        latents=torch.stack([latents for group in groups for latents in group.latents]),
        condition=join_conditions(group.condition for group in groups).rows(number),
        group=number,
        pairs=torch.cat([group.pairs + start for group, start in zip(groups, starts, strict=True)]),
        labels=torch.cat([group.labels for group in groups]),
        others=join_conditions(others) if others else None,
    )


def near_prompts(conditions: Sequence[Condition], num: int) -> Tensor:
    """For each of P prompts the ``num`` nearest others (all where there are fewer), int64 (P, min(num, P - 1)).

    Near are prompts with a high cosine of their mean text states, from which the mean of all is taken off: those that
    differ in a word or two. To tell a clip's own prompt from these takes more than its most striking feature.

    Args:
        conditions: of each prompt, one row with ``text`` (1, L, text width).
        num: at least 0.
    """
    means = torch.cat([condition["text"].float().mean(1) for condition in conditions])
    means = F.normalize(means - means.mean(0), dim=1)
    rows = []
    for part in torch.arange(len(means)).split(1024):
        nearness = (means[part] @ means.T).scatter_(1, part[:, None], -torch.inf)
        rows.append(nearness.topk(min(num, len(means) - 1), dim=1).indices)
    return torch.cat(rows)


class LatentRewardObjective:
    """What verdicts cost per dimension on noised pairs; a group counts by its entries that the law can express.

    Clean latents become (1 - t) x + t noise with one t and one noise for all clips of a group, so that what the reward
    sees differ is the clips alone; the preference is taken to hold at every t. Each clip is scored once however many
    pairs it stands in.
    """

    def __init__(
        self,
        reward: Any,
        times: TimeSettings | None = None,
        *,
        criterion: VerdictCriterion | None = None,
        clean: bool = False,
        learning_rate_head: float | None = None,
        contrast_dimensions: Sequence[str] = (),
        contrast_weight: float = 0.0,
    ) -> None:
        """
        Args:
            reward: a module that is a `contracts.reward.LatentReward` with a ``unit`` that differences and widths are
                counted in, see `LatentRewardModel`; all its parameters that want a gradient are trained.
            times: how t is drawn; uniform over (0, 1) by default.
            criterion: the law of verdicts; Bradley-Terry by default, for which ties teach nothing.
            clean: train at t = 0 alone, whatever ``times`` says.
            learning_rate_head: peak rate of the freshly drawn parameters (names in ``reward.head_names()``); by
                default the run's own rate, the same as for the copied blocks.
            contrast_dimensions: those that depend on the prompt, for the contrast term.
            contrast_weight: weight of the contrast term, at least 0: Bradley-Terry, each noisy clip under its
                own prompt against the same clip under the prompt of another group of the batch. Preferences among
                clips of one prompt say little about what a prompt means; this says it, without labels.

        Raises:
            ConfigError: nothing to train, a rate or weight out of range, an unknown dimension.
        """
        if learning_rate_head is not None and not learning_rate_head > 0:
            raise ConfigError(f"learning_rate_head: must be above 0; got {learning_rate_head}.")
        self.reward = reward
        self.dimensions: tuple[str, ...] = tuple(self.reward.dimensions)
        self.times, self.clean = times or TimeSettings(), clean
        self.criterion = criterion or VerdictCriterion("bt", len(self.dimensions))
        self.learning_rate_head = learning_rate_head
        self.contrast_dimensions, self.contrast_weight = tuple(contrast_dimensions), contrast_weight
        strangers = [name for name in contrast_dimensions if name not in self.dimensions]
        if strangers:
            raise ConfigError(f"contrast: no dimension '{strangers[0]}'.{did_you_mean(strangers[0], self.dimensions)}")
        if not contrast_weight >= 0:
            raise ConfigError(f"contrast_weight: must be at least 0; got {contrast_weight}.")
        if not any(parameter.requires_grad for parameter in reward.parameters()):
            raise ConfigError("latent reward: no parameter wants a gradient; unfreeze the blocks or the head.")

    def parameter_groups(self) -> list[dict[str, Any]]:
        """Copied blocks at the run's rate, the head at its own where one was given, the law at `LAW_RATE`."""
        law = {name: p for name, p in self._trained().items() if name in LAW_NAMES}
        named = {name: p for name, p in self._trained().items() if name not in law}
        fresh = set() if self.learning_rate_head is None else set(self.reward.head_names())
        groups: list[dict[str, Any]] = [
            {"params": [p for name, p in named.items() if name not in fresh]},
            {"params": [p for name, p in named.items() if name in fresh], "lr": self.learning_rate_head},
            {"params": [*law.values()], "lr": LAW_RATE, "weight_decay": 0.0},
        ]
        return [group for group in groups if group["params"]]

    def loss(self, batch: LatentGroupBatch, draws: Draws) -> Loss:
        """Mean loss in nats of each group; ``accuracy/<dim>`` over the decided entries is logged."""
        device = next(self.reward.parameters()).device
        t, noise = self.times.draw(draws), draws.normal("noise", batch.latents.shape[1:])
        t = torch.zeros_like(t) if self.clean else t
        x_t, t_clip, condition = noised(batch, t, noise, device)
        scores = self.reward.score(x_t, t_clip, condition)  # (M, D)
        difference, labels = pair_differences(scores, batch.pairs), batch.labels.to(device)
        shares, group, of_pair = label_shares(labels), batch.group.to(device), batch.group_of_pairs.to(device)
        unit: Tensor | None = self.reward.unit(t.to(device))  # (G, D)
        losses = self.criterion.losses(difference, shares, None if unit is None else unit[of_pair])
        counted, decided = self.criterion.expressed(shares), (labels.abs() == 1).to(difference)
        right = (difference.detach() * labels > 0).to(difference) * decided
        lost, weight, hits, num = (
            per_group(part, of_pair, batch.num_groups) for part in (losses, counted, right, decided)
        )
        metrics: dict[str, Metric] = {
            f"accuracy/{name}": (hits[:, k], num[:, k]) for k, name in enumerate(self.dimensions)
        }
        value, weight = lost.sum(1) / weight.sum(1).clamp_min(1), weight.sum(1)
        if self.contrast_weight == 0 or not self.contrast_dimensions or batch.others is None:
            return Loss(value, weight, t.to(device), metrics)
        num_others = len(batch.others) // batch.num_groups
        sizes = batch.group.bincount().tolist()
        picks = zip(sizes, draws.generators("other prompt"), strict=True)
        drawn = torch.cat([torch.randint(num_others, (size,), generator=generator) for size, generator in picks])
        others = batch.others.rows(batch.group * num_others + drawn).to(device)
        gain = scores - self.reward.score(x_t, t_clip, others)
        gain = gain if unit is None else gain / unit[group]
        contrast, shown = self._contrast(gain[:, [self.dimensions.index(n) for n in self.contrast_dimensions]], group)
        return Loss(value + self.contrast_weight * contrast, weight, t.to(device), metrics | shown)

    def _contrast(self, gain: Tensor, group: Tensor) -> tuple[Tensor, dict[str, Metric]]:
        """Each group's mean loss (G,), and shares predicted correctly, of what the own prompt gains (M, dimensions)."""
        num_groups, one = int(group[-1]) + 1, torch.ones_like(gain)
        losses = verdict_loss(gain, label_shares(one), "bt")
        lost, hits, num = (per_group(part, group, num_groups) for part in (losses, (gain > 0).to(gain), one))
        shares = {f"contrast/{name}": (hits[:, k], num[:, k]) for k, name in enumerate(self.contrast_dimensions)}
        return lost.sum(1) / num.sum(1), dict(shares)

    def state_dict(self) -> Mapping[str, Tensor]:
        """The trained parameters, by name."""
        return {name: p.detach() for name, p in self._trained().items()}

    @torch.no_grad()
    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Puts the parameters of `state_dict` back.

        Raises:
            ValueError: other names than `state_dict` has.
        """
        own = self._trained()
        require_names(state, own)
        for name, parameter in own.items():
            parameter.copy_(state[name])

    def _trained(self) -> dict[str, nn.Parameter]:
        named = {name: p for name, p in self.reward.named_parameters() if p.requires_grad}
        return {**named, "ties": self.criterion.log_above} if self.criterion.learn else named


def noised(batch: LatentGroupBatch, t: Tensor, noise: Tensor, device: torch.device) -> tuple[Tensor, Tensor, Condition]:
    """(M, C, F, H, W) noisy latents, (M,) times and M conditions of the clips: group g is at ``t[g]``, ``noise[g]``."""
    latents, t, noise = (x.to(device) for x in (batch.latents, t[batch.group], noise[batch.group]))
    return interpolate(latents, noise, t), t, batch.condition.to(device)


@torch.no_grad()
def measure_by_noise(
    reward: Any, batches: Iterable[LatentGroupBatch], *, seed: int, draws: int = 3
) -> dict[str, float]:
    """How a noisy-latent reward does on pairs that it was not trained on; see `by_band` for the numbers.

    Each group is judged ``draws`` times, the draws spread evenly over t with one noise each; the numbers depend on
    the groups, their order and ``seed`` alone.
    """
    differences, likely, labels, times, groups = [], [], [], [], []
    device = next(reward.parameters()).device
    judged = 0
    for index, batch in enumerate(batches):
        for part in range(draws):
            generator = fold_in(seed, "accuracy", index, part)
            t = stratified(part, torch.rand(batch.num_groups, generator=generator), draws)
            noise = torch.randn(batch.num_groups, *batch.latents.shape[1:], generator=generator)
            difference = pair_differences(reward.score(*noised(batch, t, noise, device)), batch.pairs)
            of_pair = t[batch.group_of_pairs]
            differences.append(difference.cpu())
            likely.append(reward.verdicts(difference, of_pair.to(device)).cpu())
            labels.append(batch.labels)
            times.append(of_pair)
            groups.append(judged + batch.group_of_pairs)
        judged += batch.num_groups
    if not labels:
        return {}
    told, likeliest, said, at, group = (torch.cat(part) for part in (differences, likely, labels, times, groups))
    return by_band(told, likeliest, said, at, group, tuple(reward.dimensions))


def by_band(
    differences: Tensor, likely: Tensor, labels: Tensor, t: Tensor, groups: Tensor, dimensions: Sequence[str]
) -> dict[str, float]:
    """Per dimension, and per band of t with `band_ending`; what has no entry is absent.

    ``accuracy`` is the share of decided entries that are ordered rightly, from ``accuracy_low`` to ``accuracy_high``
    with 95% confidence where pairs of one group resemble each other (`stats.shares.share`), and ``decided`` how many
    groups have such an entry; ``log_loss`` is the mean of -ln P(verdict) in nats, and ``calibration_error`` how far the
    probability of the likeliest verdict is from how often it is right, the two of decided entries alone where the law
    gives ties no probability.

    Args:
        differences: scores of A less scores of B, (N, D).
        likely: of A, a tie and B, (N, D, 3).
        labels: (N, D), +1, -1, 0 for a tie; anything else is not counted.
        t: (N,).
        groups: number of each pair's group, (N,).
        dimensions: D names.
    """
    bands = [("", torch.ones_like(t) > 0)]
    bands += [
        (band_ending(low, high), (t >= low) & (t < high))
        for low, high in zip(NOISE_BANDS, NOISE_BANDS[1:], strict=False)
    ]
    metrics: dict[str, float] = {}
    for k, name in enumerate(dimensions):
        of_dimension, probabilities = labels[:, k], likely[:, k].double().numpy()
        decided = of_dimension.abs() == 1
        judged = decided | (of_dimension == 0) & (likely[:, k, 1] > 0)
        for ending, inside in bands:
            if bool((decided & inside).any()):
                right = differences[decided & inside, k] * of_dimension[decided & inside] > 0
                clusters = groups[decided & inside].tolist()
                found = share(right.numpy(), clusters)
                metrics[f"accuracy/{name}{ending}"] = found.value
                metrics[f"accuracy_low/{name}{ending}"] = found.low
                metrics[f"accuracy_high/{name}{ending}"] = found.high
                metrics[f"decided/{name}{ending}"] = len(set(clusters))
            if bool((judged & inside).any()):
                rows = (judged & inside).numpy()
                told = probabilities[rows], of_dimension.numpy()[rows].astype(int)
                metrics[f"log_loss/{name}{ending}"] = log_loss(*told)
                metrics[f"calibration_error/{name}{ending}"] = calibration_error(*told)
    return metrics
