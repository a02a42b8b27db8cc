"""Models that are compared, each opened once however often it is named."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

from videoalign.contracts.generator import Generator
from videoalign.errors import ConfigError
from videoalign.models.generators.generator import PipelineGenerator
from videoalign.models.network_adapters import drop_adapters, load_adapters
from videoalign.recipes.generator.generate import SampleConfig, clip_identity, open_generator
from videoalign.stores.opening import as_given
from videoalign.video.addresses import is_address


def split_model(name: str) -> tuple[str, str | None]:
    """``MODEL:ADAPTER`` in two; the adapter is None where there is no colon.

    Raises:
        ConfigError: an address.
    """
    if is_address(name):
        raise ConfigError(f"model: {name} is an address, wanted a folder, a hub id or a name; copy it here first.")
    model, colon, adapter = name.partition(":")
    return model, adapter if colon else None


@dataclass(frozen=True)
class Maker:
    """A generator, and an adapter that it has while it makes clips."""

    given: str
    """How it was asked for."""
    generator: PipelineGenerator
    adapter: str | None
    strength: float = 1.0
    """Of the adapter, where 1 is as trained."""

    @contextmanager
    def ready(self) -> Iterator[Generator]:
        """The generator with the adapter on, while the block runs.

        Raises:
            ModelError: no adapter there, or one of another model.
        """
        if self.adapter is not None:
            _put_on(self.generator, self.adapter, self.strength)
        opened = self.generator.opened
        try:
            if self.adapter is not None and opened is not None:
                self.generator.opened = partial(_opened_with, opened, self.adapter, self.strength)
            yield self.generator
        finally:
            self.generator.opened = opened
            if self.adapter is not None:
                drop_adapters(self.generator.network)

    def identity(self) -> dict[str, Any]:
        """All that decides its clips; see `clip_identity`."""
        with self.ready() as generator:
            return {"given": as_given(self.given), **clip_identity(generator)}


def _opened_with(opened: Callable[[], PipelineGenerator], adapter: str, strength: float) -> PipelineGenerator:
    generator = opened()
    _put_on(generator, adapter, strength)
    return generator


def _put_on(generator: PipelineGenerator, adapter: str, strength: float) -> None:
    load_adapters(generator.network, adapter, base=generator.identity(), scale=strength)


def open_makers(
    models: Mapping[str, str],
    config: SampleConfig,
    *,
    strength: float,
    device: str,
    dtype: str,
    offload: str = "none",
) -> dict[str, Maker]:
    """Each ``MODEL`` or ``MODEL:ADAPTER`` ready to make clips, with so much of its adapter; a model that stands several
    times is opened once.

    Raises:
        ModelError: no such model.
        ConfigError: a setting, device or precision that it cannot meet.
    """
    parts, options = {arm: split_model(given) for arm, given in models.items()}, config.of_model()
    opened = {
        name: open_generator(name, device=device, dtype=dtype, offload=offload, settings=options)
        for name in dict.fromkeys(name for name, _ in parts.values())
    }
    return {arm: Maker(models[arm], opened[name], adapter, strength) for arm, (name, adapter) in parts.items()}
