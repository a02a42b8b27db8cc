"""Adapters on a whole network: one on each of its transformers, that of the second in a folder of its name."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path

from torch import Tensor, nn

from videoalign.contracts.generator import VelocityNet
from videoalign.errors import ModelError, VideoAlignError
from videoalign.models.adapter_files import Adapter, read_adapter
from videoalign.models.generators.families import family_of_transformer
from videoalign.models.lora import (
    LoraSettings,
    add_lora,
    as_reference,
    has_adapter,
    load_adapter,
    merge_adapter,
    remove_adapter,
    require_base,
    save_adapter,
)


def add_adapters(
    network: VelocityNet,
    settings: LoraSettings,
    *,
    seed: int = 0,
    start: Mapping[str, Adapter] | None = None,
    keep_start: bool = True,
) -> dict[str, nn.Parameter]:
    """Puts a new adapter on each transformer; see `lora.add_lora`.

    Args:
        network: changed in place.
        settings: size and place of each adapter.
        seed: draws the first factors.
        start: what each adapter starts from instead, by the name of the transformer.
        keep_start: whether that is what `reference_of` goes back to, rather than the bare network.

    Returns:
        The parameters of all adapters by name; where there are several transformers, after the name of theirs.

    Raises:
        ModelError: see `lora.add_lora`; or nothing to start from for one of the transformers.
        ConfigError: see `lora.add_lora`. What was put on before is taken off again.
    """
    _require_bare(network)
    found: dict[str, nn.Parameter] = {}
    several = len(network.transformers) > 1
    try:
        for number, (part, transformer) in enumerate(network.transformers.items()):
            if start is not None and part not in start:
                raise ModelError(f"start: holds no adapter for '{part}', one of the transformers of this model.")
            begin = None if start is None else start[part]
            added = add_lora(transformer, settings, seed=seed + number, start=begin, keep_start=keep_start)
            found |= {f"{part}.{name}" if several else name: value for name, value in added.items()}
    except VideoAlignError:
        drop_adapters(network)
        raise
    return found


def carries_adapter(network: VelocityNet) -> bool:
    """Whether an adapter is on any transformer, switched off or not."""
    return any(has_adapter(transformer) for transformer in network.transformers.values())


@contextmanager
def reference_of(network: VelocityNet) -> Iterator[None]:
    """The frozen reference while the block runs; see `lora.as_reference`."""
    with ExitStack() as stack:
        for transformer in network.transformers.values():
            stack.enter_context(as_reference(transformer))
        yield


def drop_adapters(network: VelocityNet) -> None:
    """Takes all adapters off."""
    for transformer in network.transformers.values():
        remove_adapter(transformer)


def merge_adapters(network: VelocityNet) -> None:
    """Puts all adapters into the weights that they are on, at their scale, and takes them off."""
    for transformer in network.transformers.values():
        merge_adapter(transformer)


def save_adapters(
    network: VelocityNet,
    folder: str | Path,
    base: Mapping[str, str],
    *,
    state: Mapping[str, Mapping[str, Tensor]] | None = None,
) -> None:
    """Writes the adapter of each transformer into its folder; see `lora.save_adapter`.

    Stock diffusers reads the first from ``folder`` and the second, with ``load_into_transformer_2=True``, from the
    folder in it.

    Args:
        network: carries the adapters.
        folder: see there.
        base: see there.
        state: by transformer, see there.

    Raises:
        OutputError: the place cannot be written.
    """
    for part, place in _places(network, folder).items():
        values = None if state is None else state[part]
        save_adapter(network.transformers[part], place, base, state=values)


def load_adapters(
    network: VelocityNet, path: str | Path, *, base: Mapping[str, str] | None = None, scale: float = 1.0
) -> None:
    """Puts a saved adapter on each transformer that there is one for; see `lora.load_adapter`.

    Raises:
        ModelError: see there; no adapter is left on the network then.
    """
    _require_bare(network)
    try:
        for part, place in _stored(network, path).items():
            load_adapter(network.transformers[part], place, base=base, scale=scale)
    except ModelError:
        drop_adapters(network)
        raise


def read_adapters(network: VelocityNet, path: str | Path, base: Mapping[str, str]) -> dict[str, Adapter]:
    """The adapters in a folder by the name of the transformer that they are for.

    Raises:
        ModelError: there is none, or one of another base.
    """
    require_base(path, base)
    return {
        part: read_adapter(place, family_of_transformer(type(network.transformers[part]).__name__))
        for part, place in _stored(network, path).items()
    }


def _require_bare(network: VelocityNet) -> None:
    if carries_adapter(network):
        raise ModelError("adapter: the transformer has one already; remove it first, or load the model again.")


def _places(network: VelocityNet, folder: str | Path) -> dict[str, Path]:
    first, *others = network.transformers
    return {first: Path(folder), **{part: Path(folder) / part for part in others}}


def _stored(network: VelocityNet, path: str | Path) -> dict[str, Path]:
    """Places that hold an adapter; that of the first transformer is always asked for."""
    first, *_ = places = _places(network, path)
    return {part: place for part, place in places.items() if part == first or place.is_dir()}
