"""Other ways from prompts and seeds to latents than the sampler's own: the pull of a gradient, and searches by name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from videoalign.contracts.generator import Generator, Steering
from videoalign.contracts.records import Asked
from videoalign.contracts.reward import Guide
from videoalign.errors import ConfigError, did_you_mean
from videoalign.flow.condition import Condition
from videoalign.models.digest import folder_digest
from videoalign.models.latent_reward import LatentRewardModel
from videoalign.recipes.judges import open_judge
from videoalign.sampling.guided import GuidedScheduler, RewardGuide
from videoalign.sampling.holding import HoldingGuide, PathScores
from videoalign.sampling.searches import BestOfN, EarlyBest, Particles

if TYPE_CHECKING:
    from torch import Tensor

GUIDE_FILES = ("*.safetensors", "latent_reward.json")
"""Files of a guide's folder that decide what it does."""

GRADIENT = "nrg"
"""Name of the way that pulls with the gradient of the reward."""
BY_JUDGE = "best-of-n"
BY_GUIDE = ("early-best", "particles")
WAYS = (GRADIENT, BY_JUDGE, *BY_GUIDE)
READ_BY = {"strength": (GRADIENT, "particles"), "candidates": (BY_JUDGE, *BY_GUIDE)}
"""Settings that some of the ways read."""
MOST_CANDIDATES = 1024


@dataclass(frozen=True, kw_only=True)
class Steer:
    """How clips are steered, as the command line asks for it; by default not at all."""

    way: str | None = None
    """One of `WAYS`; with a guide `GRADIENT` when nothing is said."""
    guide: Path | None = None
    """Folder of a noisy-latent reward."""
    judge: str | None = None
    """What `open_judge` takes, for ``best-of-n``."""
    weights: Mapping[str, float] | None = None
    """By dimension; None weighs all the same, with a sum of 1."""
    strength: float = 1.0
    """Of the gradient and of particles."""
    hold: str | None = None
    """``others``: what has no weight stays where the unguided clip has it."""
    candidates: int = 4
    """Noises that a search tries for a clip, at most `MOST_CANDIDATES`."""

    def __post_init__(self) -> None:
        """
        Raises:
            ConfigError: an unknown way, one without its reward or with another, or settings without anything to set.
        """
        if self.way is None and (self.guide or self.judge):
            object.__setattr__(self, "way", GRADIENT)
        if self.way is not None:
            self._check_way(self.way)
        elif self.weights is not None:
            raise ConfigError("--weights: says how a guide weighs, but there is no --guide; give its folder.")
        if self.hold not in (None, "others"):
            raise ConfigError(f"--hold: got '{self.hold}'; wanted others, or nothing.")
        if self.hold and (self.way != GRADIENT or self.weights is None):
            raise ConfigError("--hold others: is for --guide with --weights of some dimensions, as in VQ=1.")
        if not 1 <= self.candidates <= MOST_CANDIDATES:
            raise ConfigError(f"--candidates: got {self.candidates}; wanted 1 to {MOST_CANDIDATES}.")

    def require_read(self, given: Mapping[str, float]) -> None:
        """Raises `ConfigError` for one of these settings, by name, that the way does not read."""
        for name, value in given.items():
            if self.way not in READ_BY[name]:
                told = "which is for steering" if self.way is None else f"which --steer {self.way} does not read"
                wanted = " or ".join(READ_BY[name])
                raise ConfigError(f"--{name}: got {value:g}, {told}; leave it out, or give --steer {wanted}.")

    def _check_way(self, way: str) -> None:
        if way not in WAYS:
            raise ConfigError(f"--steer: there is no way '{way}'.{did_you_mean(way, WAYS)}")
        given = {"--judge": self.judge, "--guide": self.guide}
        wanted, other = ("--judge", "--guide") if way == BY_JUDGE else ("--guide", "--judge")
        if not given[wanted]:
            what = "the folder of a VideoReward, or 'oracle'" if wanted == "--judge" else "what guide train made"
            raise ConfigError(f"--steer {way}: asks a reward, but there is no {wanted}; give {what}.")
        if given[other]:
            raise ConfigError(f"--steer {way}: asks {wanted} alone; leave {other} out.")

    def open(self, generator: Generator) -> Steering | None:
        """What `generate` takes to steer so; None where nothing is asked for.

        Raises:
            ModelError: no reward there, or one of another generator.
            ConfigError: an unknown dimension, or a number out of range.
        """
        if self.judge is not None:
            judge = open_judge(self.judge, device=str(generator.device))
            return BestOfN(judge, _given(self.weights, judge.dimensions), self.candidates)
        if self.guide is None:
            return None
        if self.way == GRADIENT:
            made = guide_wrapper if self.hold is None else holding_wrapper
            return made(generator, self.guide, self.weights, self.strength)
        guide, digest = open_guide(generator, self.guide), folder_digest(self.guide, *GUIDE_FILES)
        weights = _given(self.weights, guide.dimensions)
        if self.way == "early-best":
            return EarlyBest(guide, weights, self.candidates, digest=digest)
        return Particles(guide, weights, self.candidates, self.strength, digest=digest)


@dataclass(frozen=True)
class GuideSteering:
    """Samples with a `GuidedScheduler` around the generator's own; a `Steering`."""

    guide: Guide
    identity: dict[str, Any]
    """The reward and how it is used."""
    name: str
    """Of the reward's folder."""
    searches = False

    def latents(
        self, generator: Generator, prompts: Sequence[Asked], seeds: Sequence[int], *, num_steps: int | None = None
    ) -> Tensor:
        """See `Steering`."""
        return generator.sampler.latents(prompts, seeds, num_steps=num_steps, wrap_scheduler=self)

    def __call__(self, scheduler: Any, condition: Condition) -> Any:
        """See `SchedulerWrapper`."""
        return GuidedScheduler(scheduler, self.guide, condition)


@dataclass(frozen=True)
class HoldingSteering:
    """Samples unguided first, to see the scores on the way, and then holds those without weight at them."""

    guide: RewardGuide
    """The reward, its weights and its strength."""
    identity: dict[str, Any]
    """The reward and how it is used."""
    name: str
    """Of the reward's folder."""
    searches = False

    def latents(
        self, generator: Generator, prompts: Sequence[Asked], seeds: Sequence[int], *, num_steps: int | None = None
    ) -> Tensor:
        """See `Steering`."""
        plain = self.guide
        seen = PathScores(plain.reward)
        unguided = GuideSteering(seen, self.identity, self.name)
        unguided.latents(generator, prompts, seeds, num_steps=num_steps)
        guide = HoldingGuide(plain.reward, plain.weights, plain.strength, path=seen.scores)
        return replace(unguided, guide=guide).latents(generator, prompts, seeds, num_steps=num_steps)


def guide_wrapper(
    generator: Generator, guide: str | Path, weights: Mapping[str, float] | None, strength: float
) -> GuideSteering:
    """What `generate` takes to steer with a noisy-latent reward, and `Sampler.latents` as ``wrap_scheduler``.

    Args:
        generator: that the reward was made for.
        guide: folder of the reward.
        weights: by dimension; None weighs all the same, with a sum of 1.
        strength: see `sampling.guided.RewardGuide`.

    Raises:
        ModelError: no reward there, or one of another generator.
        ConfigError: an unknown dimension, or a number out of range.
    """
    return GuideSteering(*_guide_and_use(generator, guide, weights, strength))


def holding_wrapper(
    generator: Generator, guide: str | Path, weights: Mapping[str, float] | None, strength: float
) -> HoldingSteering:
    """As `guide_wrapper`, for a clip whose dimensions without weight stay where they are; see `HoldingGuide`.

    Raises:
        ModelError: see `guide_wrapper`.
        ConfigError: also where every dimension weighs something, so that none is left to hold.
    """
    plain, identity, name = _guide_and_use(generator, guide, weights, strength)
    if all(plain.weights.values()):
        raise ConfigError("--hold others: every dimension has a weight, so that no other is left; see --weights.")
    return HoldingSteering(plain, {**identity, "hold": "others"}, name)


def _guide_and_use(
    generator: Generator, guide: str | Path, weights: Mapping[str, float] | None, strength: float
) -> tuple[RewardGuide, dict[str, Any], str]:
    """The guide from its folder, all that decides what it does, and its name."""
    reward = open_guide(generator, guide)
    made = RewardGuide(reward, _given(weights, reward.dimensions), strength)
    use = {"weights": made.weights, "strength": made.strength, "max_ratio": made.max_ratio}
    return made, {"reward": folder_digest(guide, *GUIDE_FILES), **use}, Path(guide).resolve().name


def open_guide(generator: Generator, guide: str | Path) -> LatentRewardModel:
    """A noisy-latent reward from its folder, where the generator is.

    Raises:
        ModelError: no reward there, or one of another generator.
    """
    reward = LatentRewardModel.from_pretrained(guide).to(generator.device)
    for transformer in generator.outline.transformers.values():
        reward.require_base(generator.name, transformer.config, untiled(generator))  # type: ignore[arg-type]
    return reward


def untiled(generator: Generator) -> str:
    """Identity of a generator's autoencoder, the same whether it works in tiles or not."""
    return generator.changed({"vae_tiling": False}).codec.identity()


def _given(weights: Mapping[str, float] | None, dimensions: Sequence[str]) -> Mapping[str, float]:
    """None weighs all the same, with a sum of 1; no weights are no weights."""
    return dict.fromkeys(dimensions, 1 / len(dimensions)) if weights is None else weights
