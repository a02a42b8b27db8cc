"""Searches over noises: several candidates of a clip, judged early, late or on the way, of which the best is kept.

None of them needs a gradient of the reward. Each counts network evaluations as calls of the network on one clip.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from videoalign.contracts.generator import Generator
from videoalign.contracts.records import Asked, text_of
from videoalign.contracts.reward import LatentReward, RewardModel
from videoalign.errors import ConfigError, ModelError, did_you_mean
from videoalign.flow.path import expand_time, noise_behind
from videoalign.randomness import fold_in
from videoalign.sampling.watched import StepTaken, wrapper


def candidate_seeds(seed: int, num: int) -> list[int]:
    """Seeds of a clip's candidates: its own first, so that a search among one is sampling as ever."""
    return [seed, *(fold_in(seed, "candidate", number).initial_seed() % 2**31 for number in range(1, num))]


@dataclass(frozen=True)
class BestOfN:
    """The candidate whose finished clip a reward scores best. Costs ``num`` clips, and scoring them."""

    reward: RewardModel
    """Scores clips."""
    weights: Mapping[str, float]
    """Of the normalised score of each dimension; what is absent weighs 0."""
    num: int = 4
    """Candidates."""

    def __post_init__(self) -> None:
        _require(self.reward.dimensions, self.weights, self.num)

    name, searches = "best-of-n", True

    @property
    def identity(self) -> dict[str, Any]:
        """See `Steering`."""
        return {"search": self.name, "reward": self.reward.digest, "weights": dict(self.weights), "num": self.num}

    def latents(
        self, generator: Generator, prompts: Sequence[Asked], seeds: Sequence[int], *, num_steps: int | None = None
    ) -> Tensor:
        """See `Steering`."""
        weights = np.array([self.weights.get(name, 0.0) for name in self.reward.dimensions])

        def made(candidates: Sequence[int]) -> tuple[Tensor, Tensor]:
            latents = generator.sampler.latents(prompts, candidates, num_steps=num_steps)
            scores = self.reward.score_videos(generator.codec.decode(latents, candidates), list(map(text_of, prompts)))
            return latents, torch.from_numpy(np.asarray(scores) @ weights)

        found = [made(candidates) for candidates in _by_number(seeds, self.num)]
        best = torch.stack([scores for _, scores in found]).argmax(0)  # (B,)
        return torch.stack([found[number][0][row] for row, number in enumerate(best.tolist())])


@dataclass(frozen=True)
class EarlyBest:
    """The candidate whose noisy latents a latent reward scores best after the first steps; it alone is finished.

    The clip is that of the chosen seed as sampled without a search. Costs ``num`` times ``share`` of a clip, and one.
    """

    reward: LatentReward
    """Scores noisy latents."""
    weights: Mapping[str, float]
    """Of each dimension; what is absent weighs 0."""
    num: int = 4
    """Candidates."""
    share: float = 0.5
    """Of the steps after which they are scored, above 0, at most 1."""
    digest: str = ""
    """Of the reward."""

    def __post_init__(self) -> None:
        _require(self.reward.dimensions, self.weights, self.num)
        if not 0 < self.share <= 1:
            raise ConfigError(f"share: must be above 0 and at most 1; got {self.share}. Use 0.5.")

    name, searches = "early-best", True

    @property
    def identity(self) -> dict[str, Any]:
        """See `Steering`."""
        about = {"reward": self.digest, "weights": dict(self.weights), "num": self.num, "share": self.share}
        return {"search": self.name, **about}

    def latents(
        self, generator: Generator, prompts: Sequence[Asked], seeds: Sequence[int], *, num_steps: int | None = None
    ) -> Tensor:
        """See `Steering`."""
        candidates = _by_number(seeds, self.num)
        if self.num > 1:
            scores = torch.stack([self._early(generator, prompts, some, num_steps) for some in candidates])
            chosen = [candidates[number][row] for row, number in enumerate(scores.argmax(0).tolist())]
        else:
            chosen = list(seeds)
        return generator.sampler.latents(prompts, chosen, num_steps=num_steps)

    def _early(
        self, generator: Generator, prompts: Sequence[Asked], seeds: Sequence[int], num_steps: int | None
    ) -> Tensor:
        """Scores (B,) after the first steps; the rest of them is not taken."""
        seen: list[Tensor] = []

        def look(taken: StepTaken) -> Tensor:
            if taken.share < self.share:
                return taken.moved
            seen.append(weighted_score(self.reward, self.weights, taken))
            raise _SeenEnough

        with suppress(_SeenEnough):
            generator.sampler.latents(prompts, seeds, num_steps=num_steps, wrap_scheduler=wrapper(look))
        return seen[0]


@dataclass(frozen=True)
class Particles:
    """Candidates of a clip that are sampled together; now and then the bad ones make room for copies of the good.

    Feynman-Kac resampling: between two looks at t' < t a particle weighs exp(strength (r(x_t', t') - r(x_t, t))), so
    that, with the exact noisy reward, the population follows p(x) exp(strength r(x)), as with Flow-NRG. The noise in a
    copy, x_t + (1 - t) v, is replaced by a share, or copies would stay alike. In the end the best is kept. Costs
    ``num`` clips.
    """

    reward: LatentReward
    """Scores noisy latents."""
    weights: Mapping[str, float]
    """Of each dimension; what is absent weighs 0."""
    num: int = 4
    """Particles of a clip."""
    strength: float = 1.0
    """How hard good ones are preferred; 0 keeps all."""
    looks: tuple[float, ...] = (0.25, 0.5, 0.75)
    """Shares of the steps after which they are resampled, rising."""
    fresh: float = 0.3
    """Share of the deviation of a copy's noise that is new, from 0 to 1."""
    digest: str = ""
    """Of the reward."""

    def __post_init__(self) -> None:
        _require(self.reward.dimensions, self.weights, self.num)
        if not (math.isfinite(self.strength) and self.strength >= 0):
            raise ConfigError(f"strength: must be a number of at least 0; got {self.strength}.")
        if not 0 <= self.fresh <= 1:
            raise ConfigError(f"fresh: must be from 0 to 1; got {self.fresh}.")
        if sorted({*self.looks}) != [*self.looks] or not all(0 < share < 1 for share in self.looks):
            raise ConfigError(f"looks: must be shares between 0 and 1, rising; got {self.looks}.")

    name, searches = "particles", True

    @property
    def identity(self) -> dict[str, Any]:
        """See `Steering`."""
        about = {"reward": self.digest, "weights": dict(self.weights), "num": self.num, "strength": self.strength}
        return {"search": self.name, **about, "looks": list(self.looks), "fresh": self.fresh}

    def latents(
        self, generator: Generator, prompts: Sequence[Asked], seeds: Sequence[int], *, num_steps: int | None = None
    ) -> Tensor:
        """See `Steering`."""
        if self.num == 1:
            return generator.sampler.latents(prompts, seeds, num_steps=num_steps)
        return torch.stack(
            [self._clip(generator, prompt, seed, num_steps) for prompt, seed in zip(prompts, seeds, strict=True)]
        )

    def _clip(self, generator: Generator, prompt: Asked, seed: int, num_steps: int | None) -> Tensor:
        population = Population(self, seed)
        latents = generator.sampler.latents(
            [prompt] * self.num,
            candidate_seeds(seed, self.num),
            num_steps=num_steps,
            wrap_scheduler=wrapper(population.after),
        )
        return latents[int(population.scores.argmax())]


class Population:
    """The particles of one clip while they are sampled."""

    def __init__(self, search: Particles, seed: int) -> None:
        """
        Args:
            search: its settings.
            seed: of the clip; decides who is copied, and the new noise.
        """
        self.search, self.seed, self.looks = search, seed, list(search.looks)
        self.scores = torch.zeros(search.num)

    def after(self, taken: StepTaken) -> Tensor:
        """Resamples where it is due; in the end scores what there is."""
        due = self.looks and taken.share >= self.looks[0] and taken.between_steps
        if taken.share < 1 and not due:
            return taken.moved
        self.looks = [share for share in self.looks if share > taken.share]
        before, self.scores = self.scores, weighted_score(self.search.reward, self.search.weights, taken)
        if taken.share == 1 or self.search.strength == 0:
            return taken.moved
        gain = self.search.strength * (self.scores - before).double()
        draw = fold_in(self.seed, "particles", taken.number)
        parents = resampled((gain - gain.max()).exp(), float(torch.rand((), generator=draw)))
        self.scores = self.scores[parents]
        return self._copied(taken, parents, draw)

    def _copied(self, taken: StepTaken, parents: Tensor, draw: torch.Generator) -> Tensor:
        """Each particle from its parent; all but the first child of a parent with new noise."""
        first = torch.cat([torch.tensor([True]), parents[1:] != parents[:-1]])
        noise = noise_behind(taken.x_t, taken.velocity, taken.t)
        drawn = torch.randn(noise.shape, generator=draw).to(noise)
        kept = math.sqrt(1 - self.search.fresh**2)
        change = ((kept - 1) * noise[parents] + self.search.fresh * drawn) * expand_time((~first).to(noise), noise)
        taken.rearrange(parents, change)
        return taken.moved[parents] + expand_time(taken.t_next, change) * change


def resampled(weights: Tensor, start: float) -> Tensor:
    """Systematic resampling: how often each of N is drawn differs from N times its share of the weights by less than 1.

    Args:
        weights: (N,), at least 0, not all 0; only their ratios matter.
        start: uniform on [0, 1).

    Returns:
        Numbers of those drawn, int64 (N,), rising.
    """
    num = len(weights)
    places = (torch.arange(num, dtype=torch.float64) + start) / num
    ends = weights.double().cumsum(0)
    return torch.searchsorted(ends / ends[-1], places, right=True).clamp_max(num - 1)


@torch.no_grad()
def weighted_score(reward: LatentReward, weights: Mapping[str, float], taken: StepTaken) -> Tensor:
    """sum_k w_k r_k (B,) of the latents after a step, float32 on the CPU.

    Raises:
        ModelError: a score that is not finite.
    """
    scores = reward.score(taken.moved, taken.t_next, taken.condition).float().cpu()
    if not bool(torch.isfinite(scores).all()):
        raise ModelError("steer: the latent reward gives a score that is not finite. Train it again.")
    return scores @ scores.new_tensor([weights.get(name, 0.0) for name in reward.dimensions])


class _SeenEnough(Exception):
    """Ends a sampling whose rest is not wanted."""


def _by_number(seeds: Sequence[int], num: int) -> list[list[int]]:
    """For each number of a candidate, its seed of each clip."""
    return [list(some) for some in zip(*(candidate_seeds(seed, num) for seed in seeds), strict=True)]


def _require(dimensions: Sequence[str], weights: Mapping[str, float], num: int) -> None:
    for name, weight in weights.items():
        if name not in dimensions:
            raise ConfigError(f"weights: the reward has no dimension '{name}'.{did_you_mean(name, dimensions)}")
        if not math.isfinite(weight):
            raise ConfigError(f"weights: {name} must be a finite number; got {weight}. Use for instance {name}=0.5.")
    if num < 1:
        raise ConfigError(f"num: must be at least 1 candidate; got {num}.")
