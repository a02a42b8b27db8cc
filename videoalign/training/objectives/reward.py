"""Teaches a reward to agree with judgements: each clip of a batch is scored once, each judged pair of them counts."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from videoalign.distributed import ALONE, Processes
from videoalign.errors import ConfigError, did_you_mean
from videoalign.losses.preference import (
    LAWS,
    NU,
    THETA,
    mean_over_judged,
    regression_loss,
    share_labels,
    verdict_loss,
)
from videoalign.randomness import Draws
from videoalign.training.objective import Loss, Metric, pair_differences, per_group, require_names


@dataclass(frozen=True, eq=False)
class JudgedGroup:
    """Clips of one prompt with what was said about them."""

    prompt: str
    clip_ids: tuple[str, ...]
    """K clips."""
    pairs: Tensor
    """int64 (P, 2), places in ``clip_ids`` of A and B."""
    shares: Tensor
    """float32 (P, D, 3): shares of the votes for A, a tie and B, or 1 for the majority's verdict; 0 without votes."""
    ratings: Tensor
    """float32 (K, D), mean rating from 1 to 5, 0 where there is none."""


@dataclass(frozen=True, eq=False)
class JudgedBatch:
    """Several groups in one forward pass."""

    inputs: Any
    """What the reward reads, K clips in all."""
    group: Tensor
    """Number of each clip's group, int64 (K,), from 0 to G - 1."""
    pairs: Tensor
    """int64 (P, 2), places among the K clips."""
    shares: Tensor
    """float32 (P, D, 3), as in `JudgedGroup`."""
    ratings: Tensor
    """float32 (K, D), as in `JudgedGroup`."""


def collate_groups(groups: Sequence[JudgedGroup], inputs: Any) -> JudgedBatch:
    """Joins groups whose clips, in order, are what ``inputs`` was made from."""
    sizes = torch.tensor([len(group.clip_ids) for group in groups])
    starts = sizes.cumsum(0) - sizes
    return JudgedBatch(
        inputs=inputs,
        group=torch.arange(len(groups)).repeat_interleave(sizes),
        pairs=torch.cat([group.pairs + start for group, start in zip(groups, starts, strict=True)]),
        shares=torch.cat([group.shares for group in groups]),
        ratings=torch.cat([group.ratings for group in groups]),
    )


class Criterion(Protocol):
    """What a batch costs, entry by entry; its own parameters are trained when it is a module."""

    def __call__(self, scores: Tensor, batch: JudgedBatch) -> Tensor:
        """Losses, (P, D) or (K, D), from scores (K, D); 0 where there is no judgement."""
        ...

    def weights(self, judged: JudgedBatch | JudgedGroup) -> Tensor:
        """What each of these losses counts in their mean, same shape, in [0, 1]."""
        ...

    def groups(self, batch: JudgedBatch) -> Tensor:
        """Number of the group of each row of losses, (P,) or (K,)."""
        ...

    def widths(self) -> list[float] | None:
        """Of the tie band, of each dimension; None where there is none."""
        ...


class VerdictCriterion(nn.Module):
    """-log P(verdict) under a law of `losses.preference`, its mean over the votes that the law can express.

    Args:
        law: a key of `losses.preference.LAWS`.
        num_dimensions: D.
        width: of the tie band, where it starts, and stays unless it is learnt; the law's own by default.
        learn: train the widths, one per dimension, with everything else.
    """

    def __init__(self, law: str, num_dimensions: int, *, width: float | None = None, learn: bool = False) -> None:
        super().__init__()
        self.law, self.above, self.learn = law, LAWS[law].above, learn
        self.width = LAWS[law].width if width is None else width
        above = 1.0 if self.width is None else self.width - self.above
        self.log_above = nn.Parameter(torch.full((num_dimensions,), math.log(above)), requires_grad=learn)

    def widths(self) -> list[float] | None:
        """Of each dimension; None where the law has no tie band."""
        if self.width is None or not self.learn:
            return None if self.width is None else [self.width] * len(self.log_above)
        learnt: list[float] = (self.above + self.log_above.detach().exp()).tolist()
        return learnt

    def forward(self, scores: Tensor, batch: JudgedBatch) -> Tensor:
        """Losses (P, D) of scores (K, D)."""
        return self.losses(pair_differences(scores, batch.pairs), batch.shares.to(scores.device))

    def losses(self, differences: Tensor, shares: Tensor, unit: Tensor | None = None) -> Tensor:
        """Losses (P, D) of differences (P, D) and shares of votes (P, D, 3).

        Args:
            differences: of scores.
            shares: see `JudgedBatch`.
            unit: what differences and widths are counted in, (P, D); 1 by default.
        """
        width = self.above + self.log_above.to(differences.device).exp() if self.learn else self.width
        if unit is not None:
            differences, width = differences / unit, None if width is None else width / unit
        return verdict_loss(differences, shares, self.law, width)

    def weights(self, judged: JudgedBatch | JudgedGroup) -> Tensor:
        """Share of the votes that the law can express, (P, D): all, or without a tie band the decided ones."""
        return self.expressed(judged.shares)

    def expressed(self, shares: Tensor) -> Tensor:
        """`weights` of shares of votes (P, D, 3)."""
        return shares.sum(-1) - (shares[..., 1] if self.width is None else 0.0)

    def groups(self, batch: JudgedBatch) -> Tensor:
        """Those of the pairs, (P,)."""
        return batch.group[batch.pairs[:, 0]]


class RegressionCriterion:
    """Squared distance to the mean rating less 3."""

    def __call__(self, scores: Tensor, batch: JudgedBatch) -> Tensor:
        """Losses (K, D) of scores (K, D)."""
        return regression_loss(scores, batch.ratings.to(scores.device))

    def weights(self, judged: JudgedBatch | JudgedGroup) -> Tensor:
        """1 for each rated entry, (K, D)."""
        return (judged.ratings != 0).float()

    def groups(self, batch: JudgedBatch) -> Tensor:
        """Those of the clips, (K,)."""
        return batch.group

    def widths(self) -> None:
        """None: it knows no ties."""


def find_criterion(
    name: str, num_dimensions: int, *, theta: float = THETA, nu: float = NU, learn_ties: bool = False
) -> Criterion:
    """The loss of that name.

    Args:
        name: regression, or a key of `losses.preference.LAWS`.
        num_dimensions: D.
        theta: width of btt.
        nu: width of davidson.
        learn_ties: train the width, one per dimension.

    Raises:
        ConfigError: there is none, a width out of range, or ties to learn without a law of ties.
    """
    names = (*LAWS, "regression")
    if name not in names:
        raise ConfigError(f"loss: unknown '{name}'.{did_you_mean(name, names)}")
    for setting, value, least in (("theta", theta, LAWS["btt"].above), ("nu", nu, LAWS["davidson"].above)):
        if not value > least:
            raise ConfigError(f"{setting}: must be above {least:g}; got {value}.")
    if learn_ties and (name == "regression" or LAWS[name].width is None):
        raise ConfigError(f"learn_ties: loss={name} knows no ties; use loss=btt, davidson or thurstone.")
    if name == "regression":
        return RegressionCriterion()
    return VerdictCriterion(name, num_dimensions, width={"btt": theta, "davidson": nu}.get(name), learn=learn_ties)


class RewardObjective:
    """Trains a reward module that turns ``batch.inputs`` into raw scores (K, D)."""

    def __init__(
        self,
        reward: nn.Module,
        criterion: Criterion,
        dimensions: Sequence[str],
        *,
        part_of: Callable[[str], str],
        rates: Mapping[str, float],
        weight_decay: float = 0.0,
        augment: Callable[..., Any] = lambda inputs, generators: inputs,
    ) -> None:
        """
        Args:
            reward: module; the parameters that want a gradient are trained.
            criterion: see `find_criterion`.
            dimensions: D names, for the log.
            part_of: from a parameter's name to its part.
            rates: peak learning rate by part; parts without one take the run's own.
            weight_decay: on matrices alone.
            augment: takes the inputs of a batch and ``generators``, one for each group with the number of its clips,
                and gives inputs that the same verdicts hold for; by default the same.

        Raises:
            ConfigError: nothing wants a gradient.
        """
        self.reward, self.criterion, self.dimensions = reward, criterion, tuple(dimensions)
        self.part_of, self.rates, self.weight_decay, self.augment = part_of, dict(rates), weight_decay, augment
        if not self._trained():
            raise ConfigError("reward: no parameter wants a gradient; unfreeze the language model or the vision tower.")

    def parameter_groups(self) -> list[dict[str, Any]]:
        """One group per part, matrices and the rest apart."""
        groups: dict[tuple[str, bool], dict[str, Any]] = {}
        for name, parameter in self._trained().items():
            part, is_matrix = self.part_of(name), parameter.ndim > 1
            group = groups.setdefault((part, is_matrix), {"params": []})
            group["params"].append(parameter)
            group["weight_decay"] = self.weight_decay if is_matrix else 0.0
            if part in self.rates:
                group["lr"] = self.rates[part]
        widths = list(self._learnt_widths().values())
        return [*groups.values(), *([{"params": widths, "weight_decay": 0.0}] if widths else [])]

    def loss(self, batch: JudgedBatch, draws: Draws) -> Loss:
        """Mean of the criterion over each group's judgements; ``accuracy/<dim>`` over the decided pairs is logged."""
        num_groups = int(batch.group[-1]) + 1
        sizes = batch.group.bincount(minlength=num_groups).tolist()
        generators = list(zip(draws.generators("augment"), sizes, strict=True))
        scores = self.reward(self.augment(batch.inputs, generators=generators))
        losses, weights = self.criterion(scores, batch), self.criterion.weights(batch).to(scores.device)
        rows = self.criterion.groups(batch)
        lost = per_group(losses.where(weights > 0, 0.0), rows, num_groups).sum(1)
        weight = per_group(weights.to(lost), rows, num_groups).sum(1)
        right, decided = told_right(scores.detach(), batch)
        pair_group = batch.group[batch.pairs[:, 0]]
        hits, num = (per_group(part.double(), pair_group, num_groups) for part in (right & decided, decided))
        accuracy: dict[str, Metric] = {
            f"accuracy/{name}": (hits[:, k], num[:, k]) for k, name in enumerate(self.dimensions)
        }
        return Loss(lost / weight.where(weight > 0, 1.0), weight, metrics=accuracy)

    def tie_widths(self) -> dict[str, float] | None:
        """Of the criterion's tie band, by dimension; None where it has none."""
        widths = self.criterion.widths()
        return None if widths is None else dict(zip(self.dimensions, widths, strict=True))

    @torch.no_grad()
    def measure(self, batches: Iterable[JudgedBatch], processes: Processes = ALONE) -> dict[str, float]:
        """``loss`` and ``accuracy/<dim>`` over all judgements of the batches, nothing augmented or dropped out.

        Several processes each bring their own batches and get the numbers over all of them.
        """
        was_training = self.reward.training
        self.reward.eval()
        columns: list[list[Tensor]] = [[], [], [], []]
        for batch in batches:
            scores = self.reward(batch.inputs)
            losses, weights = self.criterion(scores, batch).cpu(), self.criterion.weights(batch)
            for column, value in zip(columns, (losses, weights, *told_right(scores, batch)), strict=True):
                column.append(value)
        self.reward.train(was_training)
        everyone = processes.gather(columns)
        losses, weights, right, decided = (torch.cat([x for part in everyone for x in part[k]]) for k in range(4))
        return {"loss": float(mean_over_judged(losses, weights)), **pair_accuracy(right, decided, self.dimensions)}

    def state_dict(self) -> Mapping[str, Tensor]:
        """The trained parameters, by name."""
        return {name: p.detach() for name, p in {**self._trained(), **self._learnt_widths()}.items()}

    @torch.no_grad()
    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Puts the parameters of `state_dict` back.

        Raises:
            ValueError: other names than `state_dict` has.
        """
        own = {**self._trained(), **self._learnt_widths()}
        require_names(state, own)
        for name, parameter in own.items():
            parameter.copy_(state[name])

    def _trained(self) -> dict[str, nn.Parameter]:
        return {name: p for name, p in self.reward.named_parameters() if p.requires_grad}

    def _learnt_widths(self) -> dict[str, nn.Parameter]:
        criterion = self.criterion
        return {"ties": criterion.log_above} if isinstance(criterion, VerdictCriterion) and criterion.learn else {}


def told_right(scores: Tensor, batch: JudgedBatch) -> tuple[Tensor, Tensor]:
    """Which pairs the scores (K, D) order as judged, and which are decided; bool (P, D) each, on the CPU."""
    labels = share_labels(batch.shares)
    return pair_differences(scores, batch.pairs).cpu() * labels > 0, labels.abs() == 1


def pair_accuracy(right: Tensor, decided: Tensor, dimensions: Sequence[str]) -> dict[str, float]:
    """Share of decided pairs that are predicted correctly, per dimension; what has none is absent."""
    return {
        f"accuracy/{name}": float(right[decided[:, k], k].float().mean())
        for k, name in enumerate(dimensions)
        if bool(decided[:, k].any())
    }
