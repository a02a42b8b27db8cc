"""How a clip may be steered: one table, from which the page, the sampling and the commands read."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from videoalign.contracts.generator import Generator, SchedulerWrapper, Steering
from videoalign.flow.condition import Condition
from videoalign.recipes.generator.steering import GRADIENT, GuideSteering, HoldingSteering, Steer
from videoalign.sampling.guided import RewardGuide
from videoalign.sampling.searches import EarlyBest, Particles
from videoalign.sampling.watched import StepTaken, WatchedScheduler
from videoalign.web.studio.opening import Opened
from videoalign.web.studio.recipe import UNSTEERED, Recipe

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Method:
    """A row of the table."""

    title: str
    """What the page calls it."""
    says: str
    """What it does, in a sentence."""
    steering: Callable[[Opened, Recipe], Steering | None]
    """Comes to the latents; with what the studio has open already."""
    runs: float = 1.0
    """How many times the steps of a clip it takes, about."""
    way: str | None = None
    """What ``--steer`` calls it; None where nothing is steered."""
    hold: str | None = None
    """What ``--hold`` is told."""
    searches: bool = False
    """Whether it tries several noises, as many as the recipe's candidates."""

    def steer(self, opened: Opened, recipe: Recipe) -> Steer | None:
        """The same as the command line asks for it."""
        if self.way is None:
            return None
        return Steer(
            way=self.way,
            guide=opened.sources.guide,
            weights=recipe.weights,
            strength=recipe.strength,
            hold=self.hold,
            candidates=recipe.candidates,
        )


def _guided(opened: Opened, recipe: Recipe) -> Steering:
    return GuideSteering(_guide(opened, recipe), {}, "")


def _held(opened: Opened, recipe: Recipe) -> Steering:
    return HoldingSteering(_guide(opened, recipe), {}, "")


def _guide(opened: Opened, recipe: Recipe) -> RewardGuide:
    assert opened.reward is not None
    return RewardGuide(opened.reward, recipe.weights, recipe.strength)


def _early_best(opened: Opened, recipe: Recipe) -> Steering:
    assert opened.reward is not None
    return EarlyBest(opened.reward, recipe.weights, recipe.candidates)


def _particles(opened: Opened, recipe: Recipe) -> Steering:
    assert opened.reward is not None
    return Particles(opened.reward, recipe.weights, recipe.candidates, recipe.strength)


METHODS: dict[str, Method] = {
    "guided": Method(
        "Guided (Flow-NRG)", "The guide's gradient pulls every step towards what it prefers.", _guided, way=GRADIENT
    ),
    "held": Method(
        "Guided, others held",
        "As guided, but dimensions without weight stay where the unguided clip has them; twice the time.",
        _held,
        2,
        GRADIENT,
        "others",
    ),
    "early-best": Method(
        "Early best",
        "Several noises; the one that the guide likes best after half of the steps is finished. No pull, so the "
        "strength does not count.",
        _early_best,
        3,
        "early-best",
        searches=True,
    ),
    "particles": Method(
        "Particles",
        "Several noises sampled together; now and then the bad ones become copies of the good ones.",
        _particles,
        1,
        "particles",
        searches=True,
    ),
    UNSTEERED: Method("Not steered", "The generator alone, or with its adapter.", lambda _opened, _recipe: None),
}
"""By the name that recipes have; the first is what the page begins with. Best of n is not here: the judge that chose a
clip must not be the one that scores it."""


def known_methods(opened: Opened) -> dict[str, Method]:
    """Those that a studio can do: all with a guide, and none but `UNSTEERED` without one."""
    found = {name: row for name, row in METHODS.items() if opened.reward is not None or row.way is None}
    if len(opened.dimensions) < 2:
        found.pop("held", None)
    return found


class WatchedGenerator:
    """A generator whose samplings are watched, whoever asks for them; otherwise the generator itself."""

    def __init__(
        self, generator: Generator, after: Callable[[StepTaken], None], begin: Callable[[], None] = lambda: None
    ) -> None:
        """
        Args:
            generator: that is watched.
            after: is shown every step; whatever it raises ends the sampling.
            begin: called once a prompt was read and before the first step.
        """
        self.generator, self.sampler = generator, _WatchedSampler(generator.sampler, after, begin)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.generator, name)


class _WatchedSampler:
    def __init__(self, sampler: Any, after: Callable[[StepTaken], None], begin: Callable[[], None]) -> None:
        self.own, self.after, self.begin = sampler, after, begin

    def latents(
        self,
        prompts: Sequence[str],
        seeds: Sequence[int],
        *,
        wrap_scheduler: SchedulerWrapper | None = None,
        **options: Any,
    ) -> Tensor:
        """See `Sampler.latents`."""

        def shown(taken: StepTaken) -> Tensor:
            self.after(taken)
            return taken.moved

        def wrap(scheduler: Any, condition: Condition) -> WatchedScheduler:
            self.begin()
            inner = scheduler if wrap_scheduler is None else wrap_scheduler(scheduler, condition)
            return WatchedScheduler(inner, shown, condition)

        return self.own.latents(prompts, seeds, wrap_scheduler=wrap, **options)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.own, name)
