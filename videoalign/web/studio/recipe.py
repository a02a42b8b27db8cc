"""All that decides a clip, as somebody asks for it and as a clip's file says it."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, model_validator

from videoalign.web.text import Lines

Weight = Annotated[float, Field(ge=-100, le=100, allow_inf_nan=False)]
Seed = Annotated[int, Field(ge=0, lt=2**31)]
Seeds = Annotated[list[Seed], Field(min_length=1)]
WITHOUT_PULL = "early-best"
"""The method that the strength does not count for."""
SEARCHES = {WITHOUT_PULL, "particles"}
"""Methods that try several noises."""
UNSTEERED = "none"
"""The method that leaves the generator alone."""


class Settings(BaseModel):
    """All that decides a clip but its seed."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    prompt: Annotated[Lines, Field(min_length=1)]
    """What to show."""
    method: str = Field("guided", max_length=40)
    """Name of a row in `methods.METHODS`."""
    weights: dict[str, Weight] = Field({}, max_length=100)
    """Weight of each dimension of the guide; what is absent weighs 0."""
    strength: float = Field(1.0, ge=0, le=1000, allow_inf_nan=False)
    """How hard the guide pulls."""
    adapter: str | None = Field(None, max_length=200)
    """Name of one of the studio's adapters; None for the model as it is."""
    scale: float = Field(1.0, ge=-10, le=10, allow_inf_nan=False)
    """How much of the adapter is used: 1 as trained, 0 the model as it is."""
    candidates: int = Field(4, ge=1, le=64)
    """Noises that a search tries."""
    num_steps: int | None = Field(None, ge=1)
    """Sampling steps; None takes the model's own number."""

    def with_seed(self, seed: int) -> Recipe:
        """One clip with these settings, as `Recipe.plain` has it."""
        return Recipe(**self.model_dump(include=set(Settings.model_fields)), seed=seed).plain()


class Recipe(Settings):
    """One clip."""

    seed: Seed = 0
    """Decides the noise, with the prompt; the same as ``--seed`` of ``videoalign sample``."""

    def plain(self) -> Recipe:
        """The same clip without what does not matter to it, so that equal clips have equal recipes."""
        rounded = {name: round(float(value), 6) for name, value in sorted(self.weights.items())}
        weights = {name: value for name, value in rounded.items() if value}
        changes: dict[str, Any] = {"weights": weights}
        if self.method == UNSTEERED or not weights or (self.strength == 0 and self.method not in SEARCHES):
            changes |= {"method": UNSTEERED, "weights": {}, "strength": 0.0}
        elif self.method == WITHOUT_PULL:
            changes["strength"] = Recipe.model_fields["strength"].default
        if changes.get("method", self.method) not in SEARCHES:
            changes["candidates"] = Recipe.model_fields["candidates"].default
        if self.adapter is None or self.scale == 0:
            changes |= {"adapter": None, "scale": 1.0}
        return self.model_copy(update=changes)

    def base(self) -> Recipe:
        """The clip of the model as it is, from the same noise."""
        return self.model_copy(update={"method": UNSTEERED, "adapter": None}).plain()


class Asked(Settings):
    """A comparison that is asked for: a clip for each seed, beside that of the model as it is."""

    seeds: Seeds = [0]
    """In order; what stands twice counts once."""
    make: bool = False
    """Whether clips that are not there are to be made; otherwise it is only said whether they are."""

    def recipes(self) -> list[Recipe]:
        """The steered clip of each seed."""
        return [self.with_seed(seed) for seed in dict.fromkeys(self.seeds)]


class AskedGrid(Settings):
    """A grid over the weights of two dimensions."""

    seeds: Seeds = [0]
    """As of `Asked`; each point is the mean over them."""
    axes: tuple[str, str]
    """Two dimensions of the guide, whose weights go from 0 to 1."""
    num_points: int = Field(9, ge=5)
    """Points in all: four corners, the middle, and then where the plot of the scores is emptiest."""

    @model_validator(mode="after")
    def _has_two_axes(self) -> AskedGrid:
        if self.axes[0] == self.axes[1]:
            raise ValueError("axes must be two different dimensions")
        if self.method == UNSTEERED:
            raise ValueError(f"method must be one that reads weights, not '{UNSTEERED}'")
        return self
