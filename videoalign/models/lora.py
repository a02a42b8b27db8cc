"""Low-rank adapters on a generator's transformer, through peft."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import torch
from peft import LoraConfig, PeftConfig, inject_adapter_in_model
from peft.tuners.lora import LoraLayer
from pydantic import Field
from torch import Tensor, nn

from videoalign.config import Config
from videoalign.errors import ConfigError, ModelError
from videoalign.models.adapter_files import Adapter, base_of, read_adapter, write_adapter
from videoalign.models.generators.families import FAMILIES, family_of_transformer
from videoalign.randomness import fold_in

ADAPTER = "default"
SIDES = "lora_A", "lora_B"
"""What peft calls the factors of an update, the first and the second."""
REFERENCE = "reference"
"""Name of the frozen copy that an adapter which another one was started from leaves; see `add_lora`."""


class LoraSettings(Config):
    """Size and place of an adapter."""

    rank: int = Field(default=16, gt=0)
    """Rank of each update."""
    alpha: float = Field(default=32.0, gt=0)
    """The update is scaled by alpha / rank."""
    dropout: float = Field(default=0.0, ge=0, lt=1)
    """Dropout on the adapter's input during training."""
    targets: Literal["attention", "attention+ffn"] = "attention"
    """Which linear layers are adapted: query, key, value and output projections, or the feed-forward layers too."""


def add_lora(
    transformer: nn.Module,
    settings: LoraSettings,
    *,
    seed: int = 0,
    start: Adapter | None = None,
    keep_start: bool = True,
) -> dict[str, nn.Parameter]:
    """Puts a new adapter on the transformer, which stays the same function until the adapter is trained.

    The factors are float32 whatever the transformer is: in half precision the small steps of a training round to
    nothing.

    Args:
        transformer: changed in place; all its other weights are frozen.
        settings: size and place.
        seed: draws the first factor of each update; the second starts at zero.
        start: what the adapter starts from instead.
        keep_start: leave a frozen copy of ``start`` beside the adapter, which `as_reference` goes back to; without it
            that is the bare transformer.

    Returns:
        The adapter's parameters by name, all trainable.

    Raises:
        ModelError: there is an adapter already, or no layer of one of the wanted names.
        ConfigError: ``start`` is of another size or place than the settings.
    """
    if has_adapter(transformer):
        raise ModelError("adapter: the transformer has one already; remove it first, or load the model again.")
    targets = _targets(transformer, settings)
    layers = _target_layers(transformer, settings, targets)
    transformer.requires_grad_(False)
    if start is not None:
        _require_like(start, settings, layers)
    if start is not None and keep_start:
        try:
            _put(transformer, start, REFERENCE)
        except ValueError as error:
            remove_adapter(transformer)
            raise ModelError(f"start: its adapter does not fit this model ({' '.join(str(error).split())}).") from None
    config = LoraConfig(
        r=settings.rank,
        lora_alpha=settings.alpha,  # type: ignore[arg-type]
        lora_dropout=settings.dropout,
        target_modules=list(targets),
    )
    _inject(transformer, config, ADAPTER)
    with torch.no_grad():
        for name, layer in _layers(transformer).items():
            down = nn.init.kaiming_uniform_(
                torch.empty(settings.rank, layer.in_features), a=math.sqrt(5), generator=fold_in(seed, "lora", name)
            )
            layer.lora_A[ADAPTER].weight.copy_(down if start is None else start.down[name])
            layer.lora_B[ADAPTER].weight.zero_()
            if start is not None:
                layer.lora_B[ADAPTER].weight.copy_(start.up[name] * (start.scale[name] / layer.scaling[ADAPTER]))
            layer.set_adapter(ADAPTER)
    return adapter_parameters(transformer)


def adapter_parameters(transformer: nn.Module) -> dict[str, nn.Parameter]:
    """The adapter's parameters by their name in the transformer."""
    return {name: value for name, value in transformer.named_parameters() if f".{ADAPTER}." in name}


def has_adapter(transformer: nn.Module) -> bool:
    """True when an adapter is on the transformer, switched off or not."""
    return any(isinstance(module, LoraLayer) for module in transformer.modules())


@contextmanager
def as_reference(transformer: nn.Module) -> Iterator[None]:
    """The frozen reference while the block runs: the transformer without its adapter, or with what it started from."""
    layers = [
        layer
        for layer in _layers(transformer).values()
        if not layer.disable_adapters and REFERENCE not in layer.active_adapters
    ]
    try:
        for layer in layers:
            if REFERENCE in layer.lora_A:
                layer._active_adapter = [REFERENCE]
            else:
                layer._disable_adapters = True
        yield
    finally:  # peft's own switches also freeze, which a sharded parameter takes over for good
        for layer in layers:
            layer._disable_adapters, layer._active_adapter = False, [ADAPTER]


def remove_adapter(transformer: nn.Module) -> None:
    """Takes the adapter off, leaving the transformer as it was before `add_lora` or `load_adapter`."""
    for name, layer in list(transformer.named_modules()):
        if isinstance(layer, LoraLayer):
            parent, _, attribute = name.rpartition(".")
            setattr(transformer.get_submodule(parent), attribute, layer.get_base_layer())
    vars(transformer).pop("peft_config", None)


def merge_adapter(transformer: nn.Module) -> None:
    """Adds the adapter's update to the weights that it is on, computed in float32, and takes the adapter off."""
    with torch.no_grad():
        for layer in _layers(transformer).values():
            weight = layer.get_base_layer().weight
            update = layer.lora_B[ADAPTER].weight.float() @ layer.lora_A[ADAPTER].weight.float()
            weight.copy_(weight.float() + layer.scaling[ADAPTER] * update)
    remove_adapter(transformer)


def save_adapter(
    transformer: nn.Module, folder: str | Path, base: Mapping[str, str], *, state: Mapping[str, Tensor] | None = None
) -> None:
    """Writes the adapter into ``folder`` with the identity of its base; see `adapter_files.write_adapter`.

    Args:
        transformer: carries the adapter.
        folder: made when absent; other files in it stay.
        base: `Generator.identity()`.
        state: values for `adapter_parameters`, as where each process holds a part of them; by default their own.

    Raises:
        OutputError: the place cannot be written.
    """
    config: PeftConfig = vars(transformer)["peft_config"][ADAPTER]
    layers = {name: layer for name, layer in _layers(transformer).items() if ADAPTER in layer.lora_A}
    tensors = adapter_parameters(transformer) if state is None else state
    down, up = ({name: tensors[f"{name}.{side}.{ADAPTER}.weight"].detach() for name in layers} for side in SIDES)
    adapter = Adapter(
        down=down,
        up=up,
        scale={name: float(layer.scaling[ADAPTER]) for name, layer in layers.items()},
    )
    write_adapter(folder, adapter, config.to_dict(), base)


def load_adapter(
    transformer: nn.Module, path: str | Path, *, base: Mapping[str, str] | None = None, scale: float = 1.0
) -> None:
    """Puts a saved adapter on the transformer, in float32.

    Args:
        transformer: the base that the adapter was trained on; carries none yet.
        path: folder or file in any layout of `adapter_files.read_adapter`.
        base: `Generator.identity()`, compared with the identity in the folder where that has one.
        scale: multiplies the update; 1 as trained, 0 the base.

    Raises:
        ModelError: no adapter there, made for another base, or the transformer carries one already.
    """
    if has_adapter(transformer):
        raise ModelError("adapter: the transformer has one already; remove it first, or load the model again.")
    adapter = read_adapter(path, family_of_transformer(type(transformer).__name__))
    if base is not None:
        require_base(path, base)
    try:
        _put(transformer, adapter, ADAPTER)
    except (ValueError, RuntimeError, KeyError) as error:
        remove_adapter(transformer)
        told = " ".join(str(error).split())[:160]
        raise ModelError(f"--adapter: {path} does not fit this model ({told}).") from None
    for layer in _layers(transformer).values():
        layer.scaling[ADAPTER] *= scale
    transformer.requires_grad_(False).eval()


def require_base(path: str | Path, base: Mapping[str, str]) -> None:
    """Checks that an adapter was trained on this base, as far as it says on which.

    Raises:
        ModelError: it was trained on another one.
    """
    made_for = base_of(path)
    if made_for is not None and made_for.get("transformer") != base["transformer"]:
        raise ModelError(
            f"--adapter: {path} was trained on '{made_for.get('name')}' ({made_for.get('transformer')}), not on "
            f"'{base['name']}' ({base['transformer']}); give the model that it belongs to."
        )


def _layers(transformer: nn.Module) -> dict[str, LoraLayer]:
    """The adapted layers by their name in the bare transformer."""
    return {name: layer for name, layer in transformer.named_modules() if isinstance(layer, LoraLayer)}


def _targets(transformer: nn.Module, settings: LoraSettings) -> tuple[str, ...]:
    """Ends of the names of the layers that the settings ask for, as the transformer's family states them."""
    family = family_of_transformer(type(transformer).__name__)
    if family is None:
        known = ", ".join(dict.fromkeys(family.transformer.__name__ for family in FAMILIES.values()))
        raise ModelError(f"lora.targets: adapters go onto a {known}; got a {type(transformer).__name__}.")
    return family.targets[settings.targets]


def _target_layers(transformer: nn.Module, settings: LoraSettings, targets: Sequence[str]) -> list[str]:
    names = [name for name, _ in transformer.named_modules()]
    found: list[str] = []
    for target in targets:
        layers = [name for name in names if _ends_in(name, [target])]
        if not layers:
            raise ModelError(
                f"lora.targets: '{settings.targets}' adapts layers named {target}, but "
                f"{type(transformer).__name__} has none; choose other targets or another model."
            )
        found += layers
    return found


def _ends_in(layer: str, targets: Sequence[str]) -> bool:
    """Whether the name of a layer is one of these or ends in one."""
    return f".{layer}".endswith(tuple(f".{target}" for target in targets))


def _require_like(start: Adapter, settings: LoraSettings, layers: list[str]) -> None:
    ranks = set(start.ranks().values())
    if ranks != {settings.rank}:
        shown = ", ".join(map(str, sorted(ranks)))
        raise ConfigError(f"start: its adapter has rank {shown}; lora.rank is {settings.rank}. Set lora.rank={shown}.")
    strangers = sorted(set(start.down) ^ set(layers))
    if strangers:
        raise ConfigError(
            f"start: its adapter and lora.targets={settings.targets} are not of the same layers, such as "
            f"{strangers[0]}; set lora.targets to what it was trained with."
        )


def _put(transformer: nn.Module, adapter: Adapter, name: str) -> None:
    """Puts an adapter of given weights on its layers."""
    known = dict(transformer.named_modules())
    asked = [layer for layer in known if _ends_in(layer, adapter.targets)]
    for missing, told in (
        (sorted(set(adapter.down) - set(known)), "of its layers are not in the model"),
        (sorted(set(asked) - set(adapter.down)), "layers that it is for have no counterpart in it"),
    ):
        if missing:
            raise ValueError(f"{len(missing)} {told}, such as {missing[0]}")
    ranks = adapter.ranks()
    rank = max(ranks.values())
    others = {layer: num for layer, num in ranks.items() if num != rank}
    config = LoraConfig(r=rank, lora_alpha=rank, target_modules=list(ranks), rank_pattern=others)
    _inject(transformer, config, name)
    with torch.no_grad():
        for layer_name, layer in _layers(transformer).items():
            for factor, values in ((layer.lora_A, adapter.down), (layer.lora_B, adapter.up)):
                weight = factor[name].weight
                if weight.shape != values[layer_name].shape:
                    shapes = f"{tuple(values[layer_name].shape)}, the model takes {tuple(weight.shape)}"
                    raise ValueError(f"{layer_name}: a factor of shape {shapes}")
                weight.copy_(values[layer_name])
            layer.scaling[name] = adapter.scale[layer_name]


def _inject(transformer: nn.Module, config: Any, name: str) -> None:
    """Adapted layers of zero effect, their factors in float32."""
    others = vars(transformer).pop("peft_config", {})  # where peft finds these it warns of several adapters
    try:
        with torch.random.fork_rng(devices=[]):
            inject_adapter_in_model(config, transformer, adapter_name=name)
    except ValueError as error:
        raise ModelError(f"adapter: {' '.join(str(error).split())[:200]}") from None
    for layer in _layers(transformer).values():
        layer.lora_A[name].float(), layer.lora_B[name].float()
    vars(transformer)["peft_config"] = {**others, name: config}
