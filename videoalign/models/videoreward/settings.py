"""What a reward checkpoint says about itself, beside its weights."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from videoalign.config import Config
from videoalign.contracts.output import fingerprint
from videoalign.contracts.records import Dimension
from videoalign.contracts.used_prompts import UsedPrompts
from videoalign.losses.preference import LAWS
from videoalign.models.videoreward.processing import ReadingLimits

LAYOUT_VERSION = 2


class Normalisation(Config):
    """Mean and deviation of one dimension's raw scores over the clips that the checkpoint was normalised on."""

    mean: float
    """In raw units."""
    std: float = Field(gt=0)
    """In raw units."""


def _known_law(name: str) -> str:
    known = [law for law in LAWS if LAWS[law].width is not None]
    if name not in known:
        raise ValueError(f"wanted one of {', '.join(known)}")
    return name


class Ties(Config):
    """The law of ties that a reward was trained under; with it, two raw scores tell how likely each verdict is."""

    law: Annotated[str, AfterValidator(_known_law)]
    """A law of `losses.preference.LAWS` with a tie band, as btt, Rao and Kupper's, davidson and thurstone."""
    width: dict[str, float]
    """By dimension: theta of btt, above 1, nu of davidson or least difference that is told of thurstone, above 0."""


class RewardSettings(Config):
    """``reward.json``: all that scoring needs to know and the weights do not tell."""

    layout_version: int = LAYOUT_VERSION
    """Version of this file."""
    dimensions: tuple[Dimension, ...]
    """What is scored, in the order of the scores."""
    template: str
    """The whole chat turn, with ``{video}``, ``{prompt}`` and, where pooling is special, one reward token per
    dimension."""
    limits: ReadingLimits
    """Frames and pixels that the weights were trained on."""
    pooling: Literal["special", "last"] = "special"
    """Where scores are read: each at the reward token of its dimension, or all at the last token of the turn, so that
    every dimension sees the prompt, whatever ``sees_prompt`` says."""
    positions: Literal["plain", "mrope"] = "plain"
    """Rotary positions that the weights were trained with: 0..L-1 on all axes, or time, height and width apart."""
    shared_head: bool = True
    """One row of the head for all dimensions; otherwise a row each. False where pooling is last."""
    normalisation: dict[str, Normalisation] | None = None
    """By dimension; None until it was computed."""
    ties: Ties | None = None
    """None where the training knew no ties."""
    provenance: dict[str, str] = {}
    """Where the weights come from."""
    used_prompts: UsedPrompts | None = None
    """What it was trained, chosen and normalised on; None where that is not recorded. Scores do not depend on it."""

    @model_validator(mode="after")
    def _complete(self) -> Self:
        names = {d.name for d in self.dimensions}
        if self.normalisation is not None and set(self.normalisation) != names:
            raise ValueError(f"normalisation must name the dimensions {', '.join(sorted(names))}")
        if self.pooling == "last" and self.shared_head:
            raise ValueError("pooling=last reads all scores at one place and wants a row of the head each")
        if self.ties is not None and set(self.ties.width) != names:
            raise ValueError(f"ties.width must name the dimensions {', '.join(sorted(names))}")
        return self

    @property
    def num_tokens(self) -> int:
        """Reward tokens that the template holds."""
        return len(self.dimensions) if self.pooling == "special" else 0

    @property
    def num_head_rows(self) -> int:
        """Rows of the head."""
        return 1 if self.shared_head else len(self.dimensions)

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the dimensions, in order."""
        return tuple(d.name for d in self.dimensions)

    def about(self) -> dict[str, Any]:
        """How a clip is read and scored, as JSON can hold it, and a hash of everything that decides it."""
        told = self.model_dump(mode="json", exclude={"used_prompts"})
        shown = ("limits", "positions", "normalisation", "ties", "provenance")
        return {**{name: told[name] for name in shown}, "settings": fingerprint(told)}
