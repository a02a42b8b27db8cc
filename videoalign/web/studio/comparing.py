"""Clips beside those of the model as it is: what is made for that, and how far the scores lie apart."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

from videoalign.stats.resampling import Estimate
from videoalign.stats.shares import mean_interval
from videoalign.web.studio.making import Made
from videoalign.web.studio.opening import Opened
from videoalign.web.studio.recipe import Recipe

Find = Callable[[Recipe], Made | None]
"""A clip that was made, if it is there."""


def pair_plan(recipes: Sequence[Recipe]) -> list[Recipe]:
    """The clips of a comparison in the order in which they are made: each beside that of the model as it is."""
    return [one for recipe in recipes for one in ([recipe.base(), recipe] if recipe != recipe.base() else [recipe])]


def comparison(opened: Opened, recipes: Sequence[Recipe], find: Find) -> dict[str, Any]:
    """Both clips of each seed as far as they are there, and how far the scores lie apart."""
    rows = [(recipe, find(recipe.base()), find(recipe)) for recipe in recipes]
    names = list(opened.judge.dimensions) if opened.judge is not None else []
    pairs = [(base.scores, steered.scores) for _, base, steered in rows if base and steered]
    scored = [(base, steered) for base, steered in pairs if base is not None and steered is not None]
    return {
        "is_whole": all(base is not None and steered is not None for _, base, steered in rows),
        "rows": [
            {"seed": recipe.seed, "base": _shown(opened, base), "steered": _shown(opened, steered)}
            for recipe, base, steered in rows
        ],
        "differences": {
            name: _estimate(mean_interval([steered[name] - base[name] for base, steered in scored]))
            for name in names
            if scored
        },
        "num_scored": len(scored),
    }


def _shown(opened: Opened, made: Made | None) -> dict[str, Any] | None:
    if made is None:
        return None
    key = opened.key(made.recipe)
    return {"key": key, "url": f"/clips/{key}.mp4", **made.model_dump(mode="json", exclude={"format", "made_with"})}


def _estimate(estimate: Estimate) -> dict[str, float | None]:
    return {name: None if math.isnan(value) else value for name, value in estimate._asdict().items()}
