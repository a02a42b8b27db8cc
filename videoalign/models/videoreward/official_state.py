"""Weights of the official VideoReward code under the names that transformers gives now, low-rank updates merged."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from pickle import UnpicklingError

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from videoalign.errors import ModelError, first_few

WHOLE_FILE = "model.pth"
ADAPTER_FILE, REST_FILE = "adapter_model.safetensors", "non_lora_state_dict.pth"

EMBEDDING, HEAD, UNUSED = "language_model.embed_tokens.weight", "rm_head.weight", "lm_head.weight"
"""`UNUSED` predicts words; a reward has no use for it."""

_UPDATE = re.compile(r"^(?P<module>.+)\.lora_(?P<side>[AB])(?:\.default)?\.weight$")
_PREFIXES = (
    ("model.language_model.", "language_model."),
    ("model.visual.", "visual."),
    ("model.", "language_model."),
)
"""How transformers names the parts, from 4.52 on and before, and what they are called inside the backbone."""


@dataclass(frozen=True)
class LoraScale:
    """``peft_lora_config``: what low-rank updates are multiplied with."""

    rank: int
    alpha: float
    rank_stabilised: bool = False

    @property
    def value(self) -> float:
        """alpha / rank, or alpha / sqrt(rank)."""
        return self.alpha / (math.sqrt(self.rank) if self.rank_stabilised else self.rank)


def read_official_state(folder: Path) -> dict[str, Tensor]:
    """All tensors of a checkpoint folder, under their own names; ``model.pth`` wins over an adapter with its rest.

    Raises:
        ModelError: neither layout is there, or a file is damaged or holds more than tensors.
    """
    if (folder / WHOLE_FILE).is_file():
        return _read_pickle(folder / WHOLE_FILE)
    absent = [name for name in (ADAPTER_FILE, REST_FILE) if not (folder / name).is_file()]
    if absent:
        raise ModelError(
            f"{folder}: got no {WHOLE_FILE} and no {' and no '.join(absent)}; wanted {WHOLE_FILE}, or {ADAPTER_FILE} "
            f"with {REST_FILE}. Give the folder that holds them, or the one above its checkpoint-* folders."
        )
    try:
        adapter = load_file(folder / ADAPTER_FILE)
    except (OSError, SafetensorError) as error:
        raise ModelError(f"{folder / ADAPTER_FILE}: cannot be read ({error}); fetch it again.") from None
    return {**adapter, **_read_pickle(folder / REST_FILE)}


def merge_state(state: Mapping[str, Tensor], base: Mapping[str, Tensor], scale: LoraScale) -> dict[str, Tensor]:
    """Plain weights by their name inside the backbone, with `HEAD`; low-rank updates added in float32.

    Args:
        state: see `read_official_state`.
        base: weights of the base model, for updates whose own matrix is not in ``state``.
        scale: of the updates.

    Raises:
        ModelError: half an update, one for a matrix that nobody has, one of another rank, or a name twice.
    """
    plain: dict[str, Tensor] = {}
    updates: dict[str, dict[str, Tensor]] = {}
    for key, tensor in state.items():
        if ".original_module." in key:
            continue  # what a module was before PEFT saved another in its place
        found = _UPDATE.match(key)
        if found:
            updates.setdefault(backbone_name(f"{found['module']}.weight"), {})[found["side"]] = tensor
            continue
        name = backbone_name(key)
        if name in plain:
            raise ModelError(f"checkpoint: '{name}' stands there twice, the second time as '{key}'; fetch it again.")
        plain[name] = tensor
    for name, sides in updates.items():
        matrix = plain.get(name, base.get(name))
        if set(sides) != {"A", "B"} or matrix is None:
            lacks = f"its lora_{'B' if 'A' in sides else 'A'}" if set(sides) != {"A", "B"} else "the matrix it changes"
            raise ModelError(f"checkpoint: the low-rank update of '{name}' lacks {lacks}; fetch it again.")
        down, up = sides["A"].float(), sides["B"].float()
        if down.shape[0] != scale.rank or up.shape[1] != scale.rank:
            raise ModelError(
                f"checkpoint: the update of '{name}' has rank {down.shape[0]}, model_config.json says lora_r "
                f"{scale.rank}; they belong to different runs."
            )
        plain[name] = (matrix.float() + scale.value * up @ down).to(matrix.dtype)
    return plain


def backbone_name(key: str) -> str:
    """``base_model.model.model.norm.weight`` -> ``language_model.norm.weight``; the reward head and the word head stay
    bare."""
    name = key.removeprefix("base_model.model.").replace(".base_layer.", ".")
    name = re.sub(r"\.modules_to_save(\.default)?\.", ".", name)
    for old, new in _PREFIXES:
        if name.startswith(old):
            return new + name.removeprefix(old)
    return name


def check_complete(weights: Mapping[str, Tensor], wanted: Mapping[str, Tensor], *, whole: bool, tower: bool) -> None:
    """Checks that the checkpoint has every tensor of the backbone and no other.

    Args:
        weights: of `merge_state`.
        wanted: the backbone's own tensors, by name.
        whole: the checkpoint should hold the whole backbone; otherwise the base may fill in.
        tower: the vision tower was trained, so the checkpoint must hold it.

    Raises:
        ModelError: missing or unexpected tensors, or one of another shape; each kind is listed.
    """
    needed = {EMBEDDING, HEAD} | {name for name in wanted if whole or (tower and name.startswith("visual."))}
    missing = sorted(needed - set(weights))
    unexpected = sorted(set(weights) - set(wanted) - {HEAD, UNUSED})
    if missing or unexpected:
        told = [f"{len(part)} {kind} ({first_few(part)})" for kind, part in _kinds(missing, unexpected) if part]
        raise ModelError(f"checkpoint: tensors do not fit the base: {', '.join(told)}. Give the base it was made from.")
    for name, tensor in weights.items():
        if name in (EMBEDDING, HEAD, UNUSED):
            continue
        if tensor.shape != wanted[name].shape:
            raise ModelError(
                f"checkpoint: '{name}' is {tuple(tensor.shape)}, the base has {tuple(wanted[name].shape)}. "
                "Give the base it was made from."
            )


def _kinds(missing: list[str], unexpected: list[str]) -> tuple[tuple[str, list[str]], ...]:
    return ("missing", missing), ("unexpected", unexpected)


def _read_pickle(file: Path) -> dict[str, Tensor]:
    try:
        state = torch.load(file, map_location="cpu", weights_only=True)
    except (OSError, RuntimeError, EOFError, UnpicklingError) as error:
        reason = " ".join(str(error).split())[:120]
        raise ModelError(f"{file}: cannot be read as plain tensors ({reason}); fetch it again.") from None
    if not isinstance(state, Mapping) or not all(isinstance(value, Tensor) for value in state.values()):
        raise ModelError(f"{file}: holds something other than named tensors; wanted a state dict.")
    return dict(state)
