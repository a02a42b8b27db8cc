"""What an alignment trains of a generator: adapters on its transformers, or the transformers whole."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from videoalign.contracts.generator import Generator
from videoalign.contracts.output import files_of_folder
from videoalign.errors import ConfigError, ModelError
from videoalign.models.generators.opening import INDEX_FILE
from videoalign.models.network_adapters import (
    add_adapters,
    carries_adapter,
    drop_adapters,
    read_adapters,
    reference_of,
    save_adapters,
)
from videoalign.models.running import running_as
from videoalign.recipes.generator.align_methods import AlignConfig, keeps_start
from videoalign.recipes.generator.model_card import write_model_card

State = Mapping[str, Mapping[str, Tensor]]
"""Values of what is trained: by transformer, and there by their name in it."""


class Tuning(Protocol):
    """One of `TUNINGS`: a way to train a generator, which must not carry an adapter."""

    def require_trainable(self) -> None:
        """Raises `ConfigError` for weights that cannot be trained so; opens the network."""
        ...

    def begin(self) -> dict[str, nn.Parameter]:
        """Makes the network ready; what is trained of it, by name."""
        ...

    def reference(self) -> AbstractContextManager[None]:
        """While the block runs, before the first step, the network is the reference."""
        ...

    def save(self, folder: Path, state: State, base: Mapping[str, str]) -> None:
        """Writes what was trained into the folder of the run; ``base`` is identity and origin of its start."""
        ...

    def end(self) -> None:
        """Gives the network back as it was before `begin`, where that can be done."""
        ...


class LoraTuning:
    """Adapters, from nothing or from others of the same base."""

    def __init__(self, generator: Generator, config: AlignConfig) -> None:
        """Also tried, before anything is made: that adapters of these settings go onto the network.

        Raises:
            ModelError: ``start`` is no adapter, or one of another base.
            ConfigError: settings that do not fit the network or ``start``.
        """
        self.generator, self.config = generator, config
        outline = generator.outline
        self.start = None if config.start is None else read_adapters(outline, config.start, generator.identity())
        add_adapters(outline, config.lora, start=self.start)
        drop_adapters(outline)

    def require_trainable(self) -> None:
        """Adapters are float32 over weights of any precision."""

    def begin(self) -> dict[str, nn.Parameter]:
        """Puts the adapters on."""
        network = self.generator.network
        how: dict[str, Any] = {"start": self.start, "keep_start": keeps_start(self.config)}
        parameters = add_adapters(network, self.config.lora, seed=self.config.fit.seed, **how)
        network.train(self.config.lora.dropout > 0)
        return parameters

    def reference(self) -> AbstractContextManager[None]:
        """The network without the adapters, or with those that they started from."""
        return reference_of(self.generator.network)

    def save(self, folder: Path, state: State, base: Mapping[str, str]) -> None:
        """Writes the adapters and their page."""
        save_adapters(self.generator.network, folder, base, state=state)
        write_model_card(folder)

    def end(self) -> None:
        """Takes the adapters off."""
        drop_adapters(self.generator.network)
        self.generator.network.train(False)


class FullTuning:
    """All weights of the transformers; in memory there is one copy of them."""

    def __init__(self, generator: Generator, config: AlignConfig) -> None:
        self.generator = generator

    def require_trainable(self) -> None:
        """Wants float32: in half precision the small steps of a training round to nothing."""
        found = {value.dtype for value in self.generator.network.parameters()} - {torch.float32}
        if found:
            name = str(found.pop()).removeprefix("torch.")
            raise ConfigError(
                f"--dtype: got {name} weights; train=full wants float32 ones, since small steps round to nothing "
                "otherwise. Give --dtype float32, and fit.dtype=bfloat16 for fast passes."
            )

    def begin(self) -> dict[str, nn.Parameter]:
        """Unfreezes the transformers."""
        transformers = self.generator.network.transformers
        for transformer in transformers.values():
            transformer.requires_grad_(True)
        return {name: value for _, _, name, value in _parameters(self.generator)}

    def reference(self) -> AbstractContextManager[None]:
        """The network as it is."""
        return nullcontext()

    def save(self, folder: Path, state: State, base: Mapping[str, str]) -> None:
        """Writes a whole model for `load_generator` and for diffusers."""
        transformers = {
            part: {name: state[part].get(name, value) for name, value in transformer.state_dict().items()}
            for part, transformer in self.generator.network.transformers.items()
        }
        with files_of_folder(folder, last=INDEX_FILE) as aside:
            self.generator.save_pretrained(aside, transformers=transformers)

    def end(self) -> None:
        """Lets go of the trained weights; a generator that was not opened from files keeps them."""
        for transformer in self.generator.network.transformers.values():
            transformer.requires_grad_(False)
        self.generator.free("network", changed=True)


TUNINGS: dict[str, Callable[[Generator, AlignConfig], Tuning]] = {"lora": LoraTuning, "full": FullTuning}
"""By the value of ``train``."""


def tuning_of(generator: Generator, config: AlignConfig) -> Tuning:
    """The way to train that the settings ask for.

    Raises:
        ModelError: the generator carries an adapter, or see `LoraTuning`.
        ConfigError: see `LoraTuning`.
    """
    if carries_adapter(generator.outline):
        raise ModelError("adapter: the generator carries one already; open it without, and give it as start=ADAPTER.")
    return TUNINGS[config.train](generator, config)


@contextmanager
def ready_to_train(tuning: Tuning, generator: Generator, config: AlignConfig) -> Iterator[dict[str, nn.Parameter]]:
    """What is trained, by name, while the block runs; the generator is given back as `Tuning.end` says."""
    way = {"checkpointing": config.gradient_checkpointing, "compiled": config.compile}
    try:
        parameters = tuning.begin()
        with running_as(generator.network.transformers.values(), **way):
            yield parameters
    finally:
        tuning.end()


def parameters_of(generator: Generator, names: Iterable[str]) -> dict[str, nn.Parameter]:
    """The parameters of these names as `Tuning.begin` gives them; sharding puts others in their place."""
    found = {name: value for _, _, name, value in _parameters(generator)}
    return {name: found[name] for name in names}


def by_transformer(generator: Generator, state: Mapping[str, Tensor]) -> State:
    """Tensors by their names among all as a `State`."""
    found: dict[str, dict[str, Tensor]] = {part: {} for part in generator.network.transformers}
    for part, own, name, _ in _parameters(generator):
        if name in state:
            found[part][own] = state[name]
    return found


def _parameters(generator: Generator) -> Iterator[tuple[str, str, str, nn.Parameter]]:
    """Transformer, name in it, and name among all, which is after the transformer where there are several."""
    transformers = generator.network.transformers
    for part, transformer in transformers.items():
        for name, value in transformer.named_parameters():
            yield part, name, f"{part}.{name}" if len(transformers) > 1 else name, value
