"""Teaches a reward to agree with judgements: each clip of a batch is scored once, each judged pair of them counts."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from videoalign.errors import ConfigError, did_you_mean
from videoalign.losses.preference import NU, THETA, bt_loss, btt_loss, davidson_loss, mean_over_judged, regression_loss

NO_LABEL = 22.0
"""Stands where nobody judged, as in the official code; such entries are masked."""


@dataclass(frozen=True, eq=False)
class JudgedGroup:
    """Clips of one prompt with what was said about them."""

    prompt: str
    clip_ids: tuple[str, ...]
    """K clips."""
    pairs: Tensor
    """int64 (P, 2), places in ``clip_ids`` of A and B."""
    labels: Tensor
    """float32 (P, D): +1 where A is preferred, -1 where B is, 0 for a tie, `NO_LABEL` where there is no verdict."""
    ratings: Tensor
    """float32 (K, D), mean rating from 1 to 5, 0 where there is none."""


@dataclass(frozen=True, eq=False)
class JudgedBatch:
    """Several groups in one forward pass."""

    inputs: Any
    """What the reward reads, K clips in all."""
    pairs: Tensor
    """int64 (P, 2), places among the K clips."""
    labels: Tensor
    """float32 (P, D), as in `JudgedGroup`."""
    ratings: Tensor
    """float32 (K, D), as in `JudgedGroup`."""


def collate_groups(groups: Sequence[JudgedGroup], inputs: Any) -> JudgedBatch:
    """Joins groups whose clips, in order, are what ``inputs`` was made from."""
    starts = torch.tensor([0, *(len(group.clip_ids) for group in groups[:-1])]).cumsum(0)
    return JudgedBatch(
        inputs=inputs,
        pairs=torch.cat([group.pairs + start for group, start in zip(groups, starts, strict=True)]),
        labels=torch.cat([group.labels for group in groups]),
        ratings=torch.cat([group.ratings for group in groups]),
    )


Criterion = Callable[[Tensor, JudgedBatch], Tensor]
"""From scores (K, D) and the batch to the scalar loss; its own parameters are trained when it is a module."""


class TieCriterion(nn.Module):
    """Mean over the judged entries of -log P(verdict) under a law of ties, one width of the tie band per dimension.

    Args:
        law: ``btt`` (Rao and Kupper, width theta above 1) or ``davidson`` (width nu above 0).
        width: where it starts, and stays unless it is learnt.
        num_dimensions: D.
        learn: train the widths, with everything else.
    """

    def __init__(self, law: str, width: float, num_dimensions: int, *, learn: bool = False) -> None:
        super().__init__()
        self.loss, self.least = TIE_LAWS[law]
        self.law, self.start, self.learn = law, width, learn
        above = torch.full((num_dimensions,), math.log(width - self.least))
        self.log_above = nn.Parameter(above, requires_grad=learn)

    def widths(self) -> list[float]:
        """Of each dimension."""
        learnt: list[float] = (self.least + self.log_above.detach().exp()).tolist()
        return learnt if self.learn else [self.start] * len(learnt)

    def forward(self, scores: Tensor, batch: JudgedBatch) -> Tensor:
        """The loss of scores (K, D)."""
        a, b, labels = _sides(scores, batch)
        width = self.least + self.log_above.to(scores.device).exp() if self.learn else self.start
        return mean_over_judged(self.loss(a, b, labels, width), labels != NO_LABEL)


TIE_LAWS: dict[str, tuple[Callable[..., Tensor], float]] = {"btt": (btt_loss, 1.0), "davidson": (davidson_loss, 0.0)}
"""Loss of each law of ties, and what its width must lie above."""


def bt_criterion(scores: Tensor, batch: JudgedBatch) -> Tensor:
    """Bradley-Terry, mean over the decided entries; ties are left out."""
    a, b, labels = _sides(scores, batch)
    return mean_over_judged(bt_loss(a, b, labels), labels.abs() == 1)


def regression_criterion(scores: Tensor, batch: JudgedBatch) -> Tensor:
    """Squared distance to the mean rating less 3, mean over the rated entries."""
    ratings = batch.ratings.to(scores.device)
    return mean_over_judged(regression_loss(scores, ratings), ratings != 0)


CRITERIA: dict[str, Criterion] = {"bt": bt_criterion, "regression": regression_criterion}
"""Those without a law of ties, by the name that a configuration gives."""


def find_criterion(
    name: str, num_dimensions: int, *, theta: float = THETA, nu: float = NU, learn_ties: bool = False
) -> Criterion:
    """The loss of that name.

    Args:
        name: btt, davidson, bt or regression.
        num_dimensions: D.
        theta: width of btt.
        nu: width of davidson.
        learn_ties: train the width, one per dimension.

    Raises:
        ConfigError: there is none, a width out of range, or ties to learn without a law of ties.
    """
    if name not in {*TIE_LAWS, *CRITERIA}:
        raise ConfigError(f"loss: unknown '{name}'.{did_you_mean(name, (*TIE_LAWS, *CRITERIA))}")
    for setting, value, least in (("theta", theta, 1), ("nu", nu, 0)):
        if not value > least:
            raise ConfigError(f"{setting}: must be above {least}; got {value}.")
    if name in TIE_LAWS:
        return TieCriterion(name, theta if name == "btt" else nu, num_dimensions, learn=learn_ties)
    if learn_ties:
        raise ConfigError(f"learn_ties: loss={name} knows no ties; use loss=btt or loss=davidson.")
    return CRITERIA[name]


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
        augment: Callable[[Any, torch.Generator], Any] = lambda inputs, _: inputs,
    ) -> None:
        """
        Args:
            reward: module; the parameters that want a gradient are trained.
            criterion: see `CRITERIA`.
            dimensions: D names, for the log.
            part_of: from a parameter's name to its part.
            rates: peak learning rate by part; parts without one take the run's own.
            weight_decay: on matrices alone.
            augment: changes the inputs of a step in a way that no verdict depends on; by default nothing.

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

    def loss(self, batch: JudgedBatch, generator: torch.Generator) -> tuple[Tensor, dict[str, float]]:
        """The criterion's loss, and ``accuracy/<dim>`` over the decided pairs of the batch."""
        scores = self.reward(self.augment(batch.inputs, generator))
        return self.criterion(scores, batch), pair_accuracy(scores.detach(), batch, self.dimensions)

    def state_dict(self) -> Mapping[str, Tensor]:
        """The trained parameters, by name."""
        return {name: p.detach() for name, p in {**self._trained(), **self._learnt_widths()}.items()}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Puts the parameters of `state_dict` back."""
        widths = self._learnt_widths()
        with torch.no_grad():
            for name, parameter in widths.items():
                parameter.copy_(state[name])
        self.reward.load_state_dict({name: v for name, v in state.items() if name not in widths}, strict=False)

    def _trained(self) -> dict[str, nn.Parameter]:
        return {name: p for name, p in self.reward.named_parameters() if p.requires_grad}

    def _learnt_widths(self) -> dict[str, nn.Parameter]:
        criterion = self.criterion
        return {"ties": criterion.log_above} if isinstance(criterion, TieCriterion) and criterion.learn else {}


def pair_accuracy(scores: Tensor, batch: JudgedBatch, dimensions: Sequence[str]) -> dict[str, float]:
    """Share of decided pairs that the scores (K, D) order as judged, per dimension; what has none is absent."""
    a, b, labels = _sides(scores, batch)
    right, decided = (a - b) * labels > 0, labels.abs() == 1
    return {
        f"accuracy/{name}": float(right[decided[:, k], k].float().mean())
        for k, name in enumerate(dimensions)
        if bool(decided[:, k].any())
    }


def _sides(scores: Tensor, batch: JudgedBatch) -> tuple[Tensor, Tensor, Tensor]:
    pairs = batch.pairs.to(scores.device)
    return scores[pairs[:, 0]], scores[pairs[:, 1]], batch.labels.to(scores.device)
