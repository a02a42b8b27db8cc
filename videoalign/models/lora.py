"""Low-rank adapters on a generator's transformer, through peft and in peft's folder format."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import torch
from peft import LoraConfig, PeftConfig, get_peft_model_state_dict, inject_adapter_in_model, set_peft_model_state_dict
from peft.tuners.tuners_utils import BaseTunerLayer
from pydantic import Field
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from videoalign.config import Config
from videoalign.contracts.output import whole_file
from videoalign.errors import ModelError

ADAPTER = "default"
WEIGHTS_FILE, BASE_FILE = "adapter_model.safetensors", "base.json"
PEFT_PREFIX = "base_model.model."
"""What peft puts before the names of the weights in its files."""

TARGETS: dict[str, tuple[str, ...]] = {
    "attention": ("to_q", "to_k", "to_v", "to_out.0"),
    "attention+ffn": ("to_q", "to_k", "to_v", "to_out.0", "ffn.net.0.proj", "ffn.net.2"),
}
"""Linear layers by the end of their name; self- and cross-attention alike."""


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


def add_lora(transformer: nn.Module, settings: LoraSettings, *, seed: int = 0) -> dict[str, nn.Parameter]:
    """Puts a new adapter on the transformer, which stays the same function until the adapter is trained.

    Args:
        transformer: changed in place; all its other weights are frozen.
        settings: size and place.
        seed: draws the first factor of each update; the second starts at zero.

    Returns:
        The adapter's parameters by name, all trainable.

    Raises:
        ModelError: there is an adapter already, or no layer of the wanted names.
    """
    if has_adapter(transformer):
        raise ModelError("adapter: the transformer has one already; remove it first, or load the model again.")
    config = LoraConfig(
        r=settings.rank,
        lora_alpha=settings.alpha,  # type: ignore[arg-type]
        lora_dropout=settings.dropout,
        target_modules=list(TARGETS[settings.targets]),
        init_lora_weights=True,
    )
    transformer.requires_grad_(False)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        _inject(transformer, config)
    return adapter_parameters(transformer)


def adapter_parameters(transformer: nn.Module) -> dict[str, nn.Parameter]:
    """The adapter's parameters by their name in the transformer."""
    return {name: value for name, value in transformer.named_parameters() if ".lora_" in name}


def has_adapter(transformer: nn.Module) -> bool:
    """True when an adapter is on the transformer, switched off or not."""
    return any(isinstance(module, BaseTunerLayer) for module in transformer.modules())


@contextmanager
def adapter_off(transformer: nn.Module) -> Iterator[None]:
    """The transformer without its adapter while the block runs: the frozen reference, at no memory of its own."""
    layers = [m for m in transformer.modules() if isinstance(m, BaseTunerLayer) and not m.disable_adapters]
    trainable = [value for value in adapter_parameters(transformer).values() if value.requires_grad]
    try:
        for layer in layers:
            layer.enable_adapters(False)
        yield
    finally:
        for layer in layers:
            layer.enable_adapters(True)
        for value in adapter_parameters(transformer).values():
            value.requires_grad_(False)
        for value in trainable:
            value.requires_grad_(True)


def remove_adapter(transformer: nn.Module) -> None:
    """Takes the adapter off, leaving the transformer as it was before `add_lora` or `load_adapter`."""
    for name, layer in list(transformer.named_modules()):
        if isinstance(layer, BaseTunerLayer):
            parent, _, attribute = name.rpartition(".")
            setattr(transformer.get_submodule(parent), attribute, layer.get_base_layer())
    vars(transformer).pop("peft_config", None)


def save_adapter(transformer: nn.Module, folder: str | Path, base: Mapping[str, str]) -> None:
    """Writes the adapter into ``folder`` as ``PeftModel.from_pretrained`` reads it, with the identity of its base.

    Args:
        transformer: carries the adapter.
        folder: made when absent; other files in it stay.
        base: `Generator.identity()`; ``name`` and ``transformer`` are what a later load compares.

    Raises:
        OutputError: the place cannot be written.
    """
    folder = Path(folder)
    state = _adapter_state(transformer)
    tensors = {PEFT_PREFIX + name: value.detach().cpu().contiguous() for name, value in state.items()}
    config: PeftConfig = vars(transformer)["peft_config"][ADAPTER]
    settings = config.to_dict()
    settings |= {"base_model_name_or_path": base["name"], "inference_mode": True}
    settings["target_modules"] = sorted(settings["target_modules"])
    with whole_file(folder / WEIGHTS_FILE) as aside:
        save_file(tensors, aside, metadata={"format": "pt"})
    for name, value in ((BASE_FILE, dict(base)), ("adapter_config.json", settings)):
        with whole_file(folder / name) as aside:
            aside.write_text(json.dumps(value, indent=2, default=str) + "\n", encoding="utf-8")


def load_adapter(
    transformer: nn.Module, folder: str | Path, *, base: Mapping[str, str] | None = None, scale: float = 1.0
) -> None:
    """Puts a saved adapter on the transformer.

    Args:
        transformer: the base that the adapter was trained on; carries none yet.
        folder: written by `save_adapter` or by peft.
        base: `Generator.identity()`, compared with the identity in the folder where that has one.
        scale: multiplies the update; 1 as trained, 0 the base.

    Raises:
        ModelError: no adapter there, made for another base, or the transformer carries one already.
    """
    folder = Path(folder)
    if has_adapter(transformer):
        raise ModelError("adapter: the transformer has one already; remove it first, or load the model again.")
    if not (folder / "adapter_config.json").is_file() or not (folder / WEIGHTS_FILE).is_file():
        raise ModelError(f"--adapter: {folder} holds no adapter (adapter_config.json and {WEIGHTS_FILE}).")
    _check_base(folder, base)
    try:
        config = PeftConfig.from_pretrained(str(folder))
        state = load_file(folder / WEIGHTS_FILE)
    except (OSError, ValueError, TypeError, KeyError, SafetensorError) as error:
        raise ModelError(f"--adapter: {folder} is damaged ({' '.join(str(error).split())[:160]}).") from None
    transformer.requires_grad_(False)
    _fill(transformer, folder, config, {name.removeprefix(PEFT_PREFIX): value for name, value in state.items()})
    for module in transformer.modules():
        if isinstance(module, BaseTunerLayer):
            module.set_scale(ADAPTER, scale)  # type: ignore[operator]
    transformer.requires_grad_(False).eval()


def _fill(transformer: nn.Module, folder: Path, config: Any, state: dict[str, Tensor]) -> None:
    try:
        with torch.random.fork_rng(devices=[]):
            _inject(transformer, config)
        missing = set(_adapter_state(transformer)) ^ set(state)
        if missing:
            raise ValueError(f"{len(missing)} weights have no counterpart, such as {sorted(missing)[0]}")
        set_peft_model_state_dict(transformer, state, adapter_name=ADAPTER)
    except (ValueError, RuntimeError) as error:
        remove_adapter(transformer)
        raise ModelError(
            f"--adapter: {folder} does not fit this model ({' '.join(str(error).split())[:160]})."
        ) from None


def _adapter_state(transformer: nn.Module) -> dict[str, Tensor]:
    """Without looking for the base model's vocabulary on the hub, as peft does by default."""
    return dict(get_peft_model_state_dict(transformer, adapter_name=ADAPTER, save_embedding_layers=False))


def _inject(transformer: nn.Module, config: Any) -> None:
    try:
        inject_adapter_in_model(config, transformer, adapter_name=ADAPTER)
    except ValueError as error:
        raise ModelError(f"adapter: {' '.join(str(error).split())[:200]}") from None
    transformer.peft_config = {ADAPTER: config}  # type: ignore[assignment]


def _check_base(folder: Path, base: Mapping[str, str] | None) -> None:
    file = folder / BASE_FILE
    if base is None or not file.is_file():
        return
    made_for = json.loads(file.read_text(encoding="utf-8"))
    if made_for.get("transformer") != base["transformer"]:
        raise ModelError(
            f"--adapter: {folder} was trained on '{made_for.get('name')}' ({made_for.get('transformer')}), not on "
            f"'{base['name']}' ({base['transformer']}); give the model that it belongs to."
        )
