"""What can be asked of a studio: what it has, whether it can make something, what a dropped clip was made with."""

from __future__ import annotations

from typing import Any

from videoalign.errors import DataError, did_you_mean
from videoalign.web.refusals import Refusal
from videoalign.web.studio.making import Made
from videoalign.web.studio.methods import known_methods
from videoalign.web.studio.opening import Opened
from videoalign.web.studio.recipe import UNSTEERED, Settings


def about(opened: Opened) -> dict[str, Any]:
    """What the page must know before anything is made."""
    return {
        "model": opened.sources.model,
        "guide": None if opened.sources.guide is None else str(opened.sources.guide),
        "judge": None if opened.judge is None else opened.judge.name,
        "dimensions": list(opened.dimensions),
        "judged": [] if opened.judge is None else list(opened.judge.dimensions),
        "methods": [
            {"name": name, "title": row.title, "says": row.says, "searches": row.searches}
            for name, row in known_methods(opened).items()
        ],
        "adapters": list(opened.sources.adapters),
        "prompts": list(opened.prompts),
        "num_steps": opened.generator.sampler.num_steps,
        "limits": opened.settings.model_dump(include={"max_prompt_chars", "max_seeds", "max_steps", "max_points"}),
    }


def require_possible(opened: Opened, asked: Settings) -> None:
    """Checks what only this studio knows: whether these clips can be made here.

    Raises:
        Refusal: an unknown method, dimension or adapter, more than a limit, or a prompt that the model cannot read.
    """
    limits = opened.settings
    if len(asked.prompt) > limits.max_prompt_chars:
        most = f"at most {limits.max_prompt_chars} are taken (max_prompt_chars)"
        raise Refusal(413, "too_large", f"prompt: got {len(asked.prompt)} characters, {most}; shorten it.")
    seeds = len(getattr(asked, "seeds", ()))
    if seeds > limits.max_seeds:
        raise Refusal(413, "too_large", f"seeds: got {seeds}, at most {limits.max_seeds} are taken (max_seeds).")
    if (asked.num_steps or 1) > limits.max_steps:
        raise Refusal(422, "bad_request", f"num_steps: got {asked.num_steps}, at most {limits.max_steps} (max_steps).")
    known = known_methods(opened)
    if asked.method not in known:
        raise Refusal(422, "bad_request", f"method: there is no '{asked.method}'.{did_you_mean(asked.method, known)}")
    for name in (*asked.weights, *getattr(asked, "axes", ())):
        if name not in opened.dimensions:
            near = did_you_mean(name, opened.dimensions) if opened.dimensions else " There is no guide."
            raise Refusal(422, "bad_request", f"weights: the guide has no dimension '{name}'.{near}")
    weighted = {name for name, weight in asked.weights.items() if weight} | set(getattr(asked, "axes", ()))
    if asked.method == "held" and weighted >= set(opened.dimensions):
        reason = "weights: every dimension has one, so that none is left to hold; set one to 0, or take 'guided'."
        raise Refusal(422, "bad_request", reason)
    if asked.adapter is not None and asked.adapter not in opened.sources.adapters:
        near = did_you_mean(asked.adapter, opened.sources.adapters) if opened.sources.adapters else " There is none."
        raise Refusal(422, "bad_request", f"adapter: there is no '{asked.adapter}'.{near}")
    try:
        with opened.reading:
            opened.generator.conditioner.check([asked.prompt])
    except DataError as error:
        raise Refusal(422, "bad_prompt", str(error)) from None


def settings_of(opened: Opened, made: Made) -> dict[str, Any]:
    """What brings the sliders back, and what is not as it was when the clip was made."""
    notes = [
        f"made with another {name}"
        for name, value in made.made_with.items()
        if value is not None and value != opened.made_with.get(name)
    ]
    recipe, changes = made.recipe, dict[str, Any]()
    if unknown := [name for name in recipe.weights if name not in opened.dimensions]:
        notes.append(f"this guide has no dimension {', '.join(unknown)}")
        changes["weights"] = {name: value for name, value in recipe.weights.items() if name not in unknown}
    if recipe.adapter is not None and recipe.adapter not in opened.sources.adapters:
        notes.append(f"there is no adapter '{recipe.adapter}' here")
        changes["adapter"] = None
    if recipe.method not in known_methods(opened):
        notes.append(f"'{recipe.method}' cannot be done here")
        changes["method"] = UNSTEERED
    return {"recipe": recipe.model_copy(update=changes).model_dump(mode="json"), "notes": notes}
