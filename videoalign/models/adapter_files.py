"""Adapters on disk, in the layouts of peft, diffusers and ComfyUI."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from peft import PeftConfig
from peft.utils.other import get_pattern_key
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from videoalign.contracts.output import whole_file, write_json
from videoalign.errors import ModelError
from videoalign.models.digest import folder_digest
from videoalign.models.generators.comfyui import hunyuan_name, stacked_factors
from videoalign.models.generators.families import FAMILIES, Family

PEFT_FILE, PEFT_CONFIG = "adapter_model.safetensors", "adapter_config.json"
DIFFUSERS_FILE = "pytorch_lora_weights.safetensors"
SECOND_FOLDER = "transformer_2"
"""Folder in an adapter's own for the second transformer of a model that has two."""
BASE_FILE = "base.json"
"""What the adapter was trained on; see `Generator.identity`."""

DOWN, UP = ".lora_A.weight", ".lora_B.weight"
PEFT_PREFIX, DIFFUSERS_PREFIX, COMFYUI_PREFIX = "base_model.model.", "transformer.", "diffusion_model."
"""What the layouts put before the name of a layer."""


@dataclass(frozen=True, eq=False)
class Adapter:
    """Low-rank updates scale * up @ down of linear layers."""

    down: dict[str, Tensor]
    """(rank, in), by name of the layer in the transformer."""
    up: dict[str, Tensor]
    """(out, rank), of the same layers."""
    scale: dict[str, float]
    """alpha / rank as trained, of the same layers."""
    targets: tuple[str, ...] = ()
    """Ends of the names of all layers that it is for, where its file says so."""

    def scaled_up(self) -> dict[str, Tensor]:
        """The upper factors with the scale in them, so that alpha = rank, which readers take for granted, is right."""
        return {name: up * self.scale[name] for name, up in self.up.items()}

    def ranks(self) -> dict[str, int]:
        """By name of the layer."""
        return {name: len(down) for name, down in self.down.items()}


def read_adapter(path: str | Path, family: Family | None = None) -> Adapter:
    """The adapter in a folder or file, in float32.

    Args:
        path: a folder that `write_adapter` or peft wrote, a folder with ``pytorch_lora_weights.safetensors`` as
            diffusers writes it, or a ``.safetensors`` file in the layout of diffusers, ComfyUI or musubi-tuner.
        family: of the model that it is for, whose pipeline knows what other programs call its layers; by default the
            first that knows all of them.

    Raises:
        ModelError: no adapter there, a damaged one, one of another kind than LoRA, or a folder whose layouts were made
            to differ.
    """
    path = Path(path)
    with _damaged(path):
        if (path / PEFT_CONFIG).is_file() and (path / PEFT_FILE).is_file():
            adapter = _read_peft(path)
            if (path / BASE_FILE).is_file() and (path / DIFFUSERS_FILE).is_file():
                _require_same(path, adapter)
            return adapter
        if path.is_file() or (path / DIFFUSERS_FILE).is_file():
            return _read_diffusers(path, list(FAMILIES.values()) if family is None else [family])
    raise _absent(path)


def adapter_file_digest(path: str | Path) -> str:
    """A short string that stands for the files which decide what `read_adapter` gives, weights and scale alike.

    Raises:
        ModelError: no adapter there.
    """
    path = Path(path)
    for folder, files in ((path, (PEFT_CONFIG, PEFT_FILE)), (path, (DIFFUSERS_FILE,)), (path.parent, (path.name,))):
        if all((folder / file).is_file() for file in files):
            second = [f"{SECOND_FOLDER}/{file}" for file in files] if folder == path else []
            return folder_digest(folder, *files, *second)
    raise _absent(path)


def write_adapter(folder: str | Path, adapter: Adapter, config: Mapping[str, Any], base: Mapping[str, str]) -> None:
    """Writes an adapter as ``PeftModel.from_pretrained`` and as ``pipe.load_lora_weights`` of diffusers read it.

    Args:
        folder: made when absent; other files in it stay.
        adapter: what is written.
        config: of peft, with the rank and alpha that the scales follow from.
        base: `Generator.identity()`, ``name`` and ``transformer`` of which are what a later load compares, and what
            else is to be known of it, as `Generator.origin`.

    Raises:
        OutputError: the place cannot be written.
    """
    folder = Path(folder)
    settings = {**config, "base_model_name_or_path": base["name"], "inference_mode": True}
    _save(folder / PEFT_FILE, PEFT_PREFIX, adapter.down, adapter.up)
    _save(folder / DIFFUSERS_FILE, DIFFUSERS_PREFIX, adapter.down, adapter.scaled_up())
    write_json(folder / BASE_FILE, dict(base))
    write_json(folder / PEFT_CONFIG, json.loads(json.dumps(settings, default=_plain)))


def export_comfyui(path: str | Path, file: str | Path) -> list[Path]:
    """Writes an adapter for ComfyUI: layers by the names of the model's original code, at full strength at 1.0.

    Args:
        path: see `read_adapter`.
        file: ``.safetensors`` file to make; that of a second transformer stands beside it, with ``_transformer_2`` at
            the end of its name.

    Returns:
        The files.

    Raises:
        ModelError: see `read_adapter`; or an adapter of layers that ComfyUI has no known names for.
        OutputError: the place cannot be written.
    """
    first, second = Path(file), Path(path) / SECOND_FOLDER
    places = {first: Path(path)}
    if second.is_dir():
        places[first.with_name(f"{first.stem}_{SECOND_FOLDER}{first.suffix}")] = second
    made = {there: _comfyui_factors(place) for there, place in places.items()}
    for there, factors in made.items():
        _save(there, COMFYUI_PREFIX, *factors)
    return list(made)


def _comfyui_factors(path: Path) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    adapter = read_adapter(path)
    known = {name: family.comfyui_name for name, family in FAMILIES.items() if family.comfyui_name is not None}
    for rename in known.values():
        names = {layer: name for layer in adapter.down if (name := rename(layer)) is not None}
        if len(names) == len(adapter.down) and not (rename is hunyuan_name and _may_be_sd3(adapter)):
            return stacked_factors(names, adapter.down, adapter.scaled_up())
    raise ModelError(
        f"adapter: {path} changes '{next(iter(adapter.down))}', and with it layers that ComfyUI has no known names "
        f"for; wanted an adapter of a {' or '.join(known)}."
    )


def base_of(path: str | Path) -> dict[str, Any] | None:
    """What the adapter in a folder, or in a file of one, says that it was trained on; None where it says nothing."""
    path = Path(path)
    file = (path.parent if path.is_file() else path) / BASE_FILE
    with _damaged(path):
        return dict(json.loads(file.read_text(encoding="utf-8"))) if file.is_file() else None


def _absent(path: Path) -> ModelError:
    return ModelError(
        f"--adapter: {path} holds no adapter; wanted a folder with {PEFT_FILE} and {PEFT_CONFIG}, one with "
        f"{DIFFUSERS_FILE}, or a .safetensors file."
    )


def _may_be_sd3(adapter: Adapter) -> bool:
    """Whether all layers are of those that Stable Diffusion 3 and HunyuanVideo call by the same names."""
    return all(layer.startswith("transformer_blocks.") for layer in adapter.down)


def _save(file: Path, prefix: str, down: Mapping[str, Tensor], up: Mapping[str, Tensor]) -> None:
    named = {name + end: value for part, end in ((down, DOWN), (up, UP)) for name, value in part.items()}
    tensors = {prefix + name: value.detach().cpu().contiguous() for name, value in named.items()}
    with whole_file(file) as aside:
        save_file(tensors, aside, metadata={"format": "pt"})


def _read_peft(folder: Path) -> Adapter:
    config: Any = PeftConfig.from_pretrained(str(folder))
    if config.peft_type != "LORA" or config.use_dora:
        raise ValueError(f"it is of kind {'DoRA' if config.peft_type == 'LORA' else config.peft_type}; wanted LoRA")
    state = {name.removeprefix(PEFT_PREFIX): value for name, value in load_file(folder / PEFT_FILE).items()}
    return _adapter(state, config.to_dict())


def _require_same(folder: Path, adapter: Adapter) -> None:
    """Checks that what `write_adapter` left for diffusers still does what the files of peft beside it do."""
    stored = load_file(folder / DIFFUSERS_FILE)
    for end, factors in ((DOWN, adapter.down), (UP, adapter.scaled_up())):
        for name, factor in factors.items():
            other = stored.get(f"{DIFFUSERS_PREFIX}{name}{end}", factor.new_empty(0))
            if other.shape != factor.shape or not torch.allclose(other.float(), factor, rtol=1e-3, atol=1e-6):
                raise ModelError(
                    f"--adapter: in {folder} {DIFFUSERS_FILE}, which diffusers loads, changes {name} by another update "
                    f"than {PEFT_CONFIG} with {PEFT_FILE}; undo the edit, or delete the one that is not meant."
                )


def _read_diffusers(path: Path, families: Sequence[Family]) -> Adapter:
    file = path if path.is_file() else path / DIFFUSERS_FILE
    state, metadata = _in_diffusers_names(file, families)
    if any(name.startswith(PEFT_PREFIX) for name in state):
        raise ValueError(f"{file.name} is in the layout of peft, whose alpha stands in {PEFT_CONFIG}; give the folder")
    config = {name.removeprefix(DIFFUSERS_PREFIX): value for name, value in (metadata or {}).items()}
    return _adapter({name.removeprefix(DIFFUSERS_PREFIX): value for name, value in state.items()}, config)


def _in_diffusers_names(file: Path, families: Sequence[Family]) -> tuple[dict[str, Tensor], dict[str, Any] | None]:
    """The tensors of a file and its settings, renamed by the first of the pipelines that knows all names in it."""
    readers: list[Any] = [family.pipeline for family in families if hasattr(family.pipeline, "lora_state_dict")]
    place = {"weight_name": file.name, "local_files_only": True, "return_lora_metadata": True}
    error: Exception = ValueError("holds no adapter of this family")
    for reader in readers or [FAMILIES["WanPipeline"].pipeline]:
        try:
            found: tuple[dict[str, Tensor], dict[str, Any] | None] = reader.lora_state_dict(str(file.parent), **place)
            return found
        except ValueError as raised:
            error = raised
    raise error


def _adapter(state: Mapping[str, Tensor], config: Mapping[str, Any]) -> Adapter:
    """Sorts tensors into factors; without a config, alpha is the rank unless the file holds it layer by layer."""
    alphas = {name.removesuffix(".alpha"): float(value) for name, value in state.items() if name.endswith(".alpha")}
    down, up = (
        {name.removesuffix(end): value.float() for name, value in state.items() if name.endswith(end)}
        for end in (DOWN, UP)
    )
    strangers = [name for name in state if not name.endswith((DOWN, UP, ".alpha"))]
    if strangers or not down or set(down) != set(up):
        odd = [*strangers, *sorted(set(down) ^ set(up)), "nothing"][0]
        raise ValueError(f"holds {odd}; wanted two factors, lora_A and lora_B, of every layer and nothing else")
    scale = {}
    for name, factor in down.items():
        rank = len(factor)
        told = _pattern(config.get("rank_pattern"), name, config.get("r", rank))
        if told != rank:
            raise ValueError(f"its settings say rank {told} of {name}, whose factors have {rank}")
        alpha = alphas.get(name, _pattern(config.get("alpha_pattern"), name, config.get("lora_alpha", rank)))
        scale[name] = alpha / (math.sqrt(rank) if config.get("use_rslora") else rank)
        if not (math.isfinite(scale[name]) and torch.isfinite(factor).all() and torch.isfinite(up[name]).all()):
            raise ValueError(f"holds numbers that are not finite, of {name}")
    targets = config.get("target_modules")
    return Adapter(down, up, scale, () if targets is None or isinstance(targets, str) else tuple(targets))


def _pattern(patterns: Mapping[str, float] | None, name: str, default: float) -> float:
    """The value whose key, a regular expression as peft reads it, fits this layer's name or the end of it."""
    found = patterns or {}
    return found.get(get_pattern_key(list(found), name), default)


def _plain(value: Any) -> Any:
    return sorted(value) if isinstance(value, set | frozenset) else str(value)


@contextmanager
def _damaged(path: Path) -> Iterator[None]:
    try:
        yield
    except (OSError, ValueError, TypeError, KeyError, AttributeError, re.error, SafetensorError) as error:
        raise ModelError(f"--adapter: {path} cannot be used ({' '.join(str(error).split())[:200]}).") from None
