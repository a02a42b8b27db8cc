"""What a studio works with: a generator, a guide, a judge, adapters."""

from __future__ import annotations

import json
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from videoalign import __version__
from videoalign.contracts.generator import Generator
from videoalign.contracts.output import RUN_FILE, fingerprint
from videoalign.contracts.reward import RewardModel
from videoalign.errors import ConfigError, ModelError
from videoalign.models.adapter_files import adapter_file_digest
from videoalign.models.digest import folder_digest
from videoalign.models.latent_reward import LatentRewardModel
from videoalign.models.lora import require_base
from videoalign.recipes.generator.generate import open_generator
from videoalign.recipes.generator.steering import GUIDE_FILES, open_guide
from videoalign.recipes.judges import open_judge
from videoalign.recipes.quickstart_settings import GUIDE_NAME, METHODS, MODEL
from videoalign.web.studio.recipe import UNSTEERED, Recipe
from videoalign.web.studio.settings import StudioSettings
from videoalign.worlds.sprites.oracle import Oracle
from videoalign.worlds.sprites.prompts import HELD_OUT_SENTENCES

NUM_PROMPTS = 24
"""Prompts that are suggested for a model with a closed vocabulary."""
SPRITES = MODEL


@dataclass(frozen=True, kw_only=True)
class Sources:
    """What a studio is opened from; see `sources_of_run`."""

    model: str
    """``sprites``, a diffusers folder or a hub id."""
    guide: Path | None = None
    """Folder of a noisy-latent reward."""
    adapters: Mapping[str, Path] = field(default_factory=dict)
    """Folder or file of each adapter by what the page calls it."""
    judge: str | None = None
    """Who scores the clips: a name, or a reward's folder; None scores none."""


def sources_of_run(folder: Path) -> Sources:
    """The model, the guide, the adapters and the judge of a quickstart run, as far as it came.

    Raises:
        ConfigError: no such run, or it has neither a guide nor an adapter yet.
    """
    try:
        run = json.loads((folder / RUN_FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        run = {}
    if not isinstance(run, dict) or run.get("command") != "quickstart":
        raise ConfigError(
            f"--run: {folder} is no quickstart run; make one, in some minutes, with: videoalign quickstart --out "
            f"{folder}. For a guide or an adapter of your own give --model with --guide or --adapter."
        )
    adapters = {name: folder / "adapters" / name for name in METHODS}
    found = {name: place for name, place in adapters.items() if (place / "adapter_model.safetensors").is_file()}
    guide = folder / GUIDE_NAME if (folder / GUIDE_NAME / "latent_reward.json").is_file() else None
    if guide is None and not found:
        raise ConfigError(
            f"--run: {folder} has no guide and no adapter yet; finish it with: videoalign quickstart --out {folder}"
        )
    return Sources(model=SPRITES, guide=guide, adapters=found, judge=Oracle.name)


def adapters_by_name(places: Sequence[Path]) -> dict[str, Path]:
    """Adapters by the names of their folders or files, a number behind those that come again."""
    named: dict[str, Path] = {}
    for place in places:
        name = place.resolve().name.removesuffix(".safetensors")
        number = sum(known == name or known.startswith(f"{name} (") for known in named)
        named[f"{name} ({number + 1})" if number else name] = place
    return named


@dataclass(kw_only=True)
class Opened:
    """Everything ready to make clips and to score them."""

    sources: Sources
    generator: Generator
    reward: LatentRewardModel | None
    judge: RewardModel | None
    prompts: tuple[str, ...]
    """Suggested ones; empty where the model reads any."""
    place: Mapping[str, str]
    """Device, precision and what is kept off the graphics card, as commands name them."""
    settings: StudioSettings
    reading: threading.Lock = field(default_factory=threading.Lock)
    """Held while a prompt is read: tokenizers do not stand two threads."""

    @property
    def dimensions(self) -> tuple[str, ...]:
        """Of the guide, in order; empty without one."""
        return self.reward.dimensions if self.reward is not None else ()

    @cached_property
    def identity(self) -> dict[str, Any]:
        """All that decides a clip and its scores besides its recipe."""
        guide = self.sources.guide
        return {
            "version": __version__,
            "model": self.generator.clip_identity(),
            "guide": None if guide is None else folder_digest(guide, *GUIDE_FILES),
            "judge": None if self.judge is None else self.judge.digest,
            "adapters": {name: adapter_file_digest(place) for name, place in self.sources.adapters.items()},
        }

    @cached_property
    def made_with(self) -> dict[str, str | None]:
        """Short hashes of the model and the guide, to tell whether a clip was made with these."""
        return {"model": fingerprint(self.identity["model"]), "guide": self.identity["guide"]}

    def key(self, recipe: Recipe) -> str:
        """Of a clip: the same recipe has another one with another model, guide, adapter or judge."""
        parts = {name: self.identity[name] for name in ("version", "model", "judge")}
        parts["guide"] = self.identity["guide"] if recipe.method != UNSTEERED else None
        parts["adapter"] = self.identity["adapters"][recipe.adapter] if recipe.adapter is not None else None
        return fingerprint([parts, recipe.model_dump(mode="json", exclude={"adapter"})]) + fingerprint([recipe.prompt])


def open_sources(sources: Sources, settings: StudioSettings, place: Mapping[str, str]) -> Opened:
    """Opens everything, and checks that it fits together.

    Raises:
        ModelError: something is not there, or guide and adapters are of another model.
        ConfigError: a device, precision or setting that cannot be met.
    """
    how: dict[str, Any] = {**place, "settings": settings.of_model()}
    generator = open_generator(sources.model, **how)
    reward: LatentRewardModel | None = None
    if sources.guide is not None:
        reward = open_guide(generator, sources.guide).requires_grad_(False)
    for adapter in sources.adapters.values():
        if not adapter.exists():
            raise ModelError(f"--adapter: there is nothing at {adapter}; give a folder that align made.")
        require_base(adapter, generator.identity())
    judge = None if sources.judge is None else open_judge(sources.judge)
    prompts = [sentence.text() for sentence in HELD_OUT_SENTENCES] if sources.model == SPRITES else []
    opened = Opened(
        sources=sources,
        generator=generator,
        reward=reward,
        judge=judge,
        prompts=tuple(prompts[:: max(1, len(prompts) // NUM_PROMPTS)]),
        place=place,
        settings=settings,
    )
    _ = opened.identity  # now, not at the first request
    return opened
