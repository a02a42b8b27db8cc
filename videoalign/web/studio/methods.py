"""How a clip may be steered: one table, from which the page, the sampling and the commands read. A search is a row."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from videoalign.contracts.generator import Generator
from videoalign.flow.condition import Condition
from videoalign.sampling.guided import GuidedScheduler, RewardGuide
from videoalign.sampling.watching import Glance, Watching
from videoalign.web.studio.opening import Opened
from videoalign.web.studio.recipe import UNSTEERED, Recipe

if TYPE_CHECKING:
    from torch import Tensor

OnStep = Callable[[Glance], None]
Draw = Callable[[Opened, Generator, Recipe, int, OnStep], "Tensor"]
"""From the studio, the generator as the recipe wants it, the recipe and the seed of its noise to latents
(1, C, F, H, W); the last is called once a step, and whatever it raises ends the sampling."""


@dataclass(frozen=True)
class Method:
    """A row of the table."""

    title: str
    """What the page calls it."""
    says: str
    """What it does, in a sentence."""
    needs_guide: bool
    """Whether it works with weights and a strength."""
    draw: Draw
    """Makes the latents of a clip."""
    options: Callable[[Opened, Recipe], list[str]]
    """What ``videoalign sample`` is told besides model, prompt and seed."""
    lines: Callable[[Opened, Recipe], list[str]]
    """Lines of Python that make ``wrap`` for `recipes.generator.generate.sample`; none where nothing is wrapped."""


def _draw(opened: Opened, generator: Generator, recipe: Recipe, seed: int, watching: Watching) -> Tensor:
    """Samples; the prompt is read while nobody else reads one."""
    with ExitStack() as turn:
        turn.enter_context(opened.reading)

        def wrap(scheduler: Any, condition: Condition) -> GuidedScheduler:
            turn.close()
            return watching.wrap(scheduler, condition)

        return generator.sampler.latents([recipe.prompt], [seed], wrap_scheduler=wrap)


def _unsteered(opened: Opened, generator: Generator, recipe: Recipe, seed: int, on_step: OnStep) -> Tensor:
    return _draw(opened, generator, recipe, seed, Watching(None, on_step))


def _guided(opened: Opened, generator: Generator, recipe: Recipe, seed: int, on_step: OnStep) -> Tensor:
    assert opened.reward is not None
    guide = RewardGuide(opened.reward, recipe.weights, recipe.strength)
    return _draw(opened, generator, recipe, seed, Watching(guide, on_step))


def _guide_options(opened: Opened, recipe: Recipe) -> list[str]:
    weights = ",".join(f"{name}={weight!r}" for name, weight in recipe.weights.items())
    return ["--guide", str(opened.sources.guide), "--weights", weights, "--strength", repr(recipe.strength)]


def _guide_lines(opened: Opened, recipe: Recipe) -> list[str]:
    return [f"wrap = guide_wrapper(generator, {str(opened.sources.guide)!r}, {recipe.weights!r}, {recipe.strength!r})"]


METHODS: dict[str, Method] = {
    "guided": Method(
        "Guided (Flow-NRG)",
        "The guide pulls every step towards what it prefers; costs one look of the guide a step.",
        True,
        _guided,
        _guide_options,
        _guide_lines,
    ),
    UNSTEERED: Method(
        "Not steered",
        "The generator alone, or with its adapter.",
        False,
        _unsteered,
        lambda _opened, _recipe: [],
        lambda _opened, _recipe: [],
    ),
}
"""By the name that recipes have; the first is what the page begins with where there is a guide."""
