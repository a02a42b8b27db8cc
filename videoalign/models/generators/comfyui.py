"""What layers are called in ComfyUI, which follows the original code of the models, where diffusers has other names.

The originals keep query, key and value in one layer, one below the other; low-rank updates of the parts become one of
the whole, with the sum of their ranks.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Stacked:
    """A layer that is a part of one of the original's."""

    layer: str
    """Name of that layer."""
    part: int = 0
    """Which of its parts, from the top."""
    rows: tuple[int, ...] = (1,)
    """Outputs of every part, in units of those of a query."""
    swapped: bool = False
    """Whether the two halves of the part stand the other way round there."""


ComfyName = str | Stacked | None
"""Of a layer: its name in ComfyUI, what it is a part of, or None where it is no layer of the model."""

QKV, QKV_MLP = (1, 1, 1), (1, 1, 1, 4)
"""Parts of the fused layers; HunyuanVideo's feed-forward layers are four times as wide as its blocks."""

_PARTS = {"to_q": 0, "to_k": 1, "to_v": 2, "add_q_proj": 0, "add_k_proj": 1, "add_v_proj": 2, "proj_mlp": 3}

_HUNYUAN = {
    "attn.to_out.0": "img_attn.proj",
    "attn.to_add_out": "txt_attn.proj",
    "ff.net.0.proj": "img_mlp.0",
    "ff.net.2": "img_mlp.2",
    "ff_context.net.0.proj": "txt_mlp.0",
    "ff_context.net.2": "txt_mlp.2",
}
_REFINER = {"attn.to_out.0": "self_attn.proj", "ff.net.0.proj": "mlp.0", "ff.net.2": "mlp.2"}
_MOCHI = {
    "attn1.to_out.0": "attn.proj_x",
    "attn1.to_add_out": "attn.proj_y",
    "ff.net.2": "mlp_x.w2",
    "ff_context.net.2": "mlp_y.w2",
}
_LTX = r"transformer_blocks\.\d+\.(attn[12]\.to_(q|k|v|out\.0)|ff\.net\.(0\.proj|2))"


def ltx_name(layer: str) -> ComfyName:
    """LTX-Video's names are those of diffusers."""
    return layer if re.fullmatch(_LTX, layer) else None


def hunyuan_name(layer: str) -> ComfyName:
    """HunyuanVideo 1.0 and 1.5: blocks of two streams, of one, and those that refine the text."""
    found = re.fullmatch(r"(transformer_blocks|single_transformer_blocks|.*refiner_blocks)\.(\d+)\.(.+)", layer)
    if found is None:
        return None
    kind, number, inner = found.groups()
    end = inner.rpartition(".")[2]
    if kind == "transformer_blocks":
        block = f"double_blocks.{number}."
        if inner.startswith("attn.") and end in _PARTS:
            return Stacked(f"{block}{'img' if end.startswith('to_') else 'txt'}_attn.qkv", _PARTS[end], QKV)
        return block + _HUNYUAN[inner] if inner in _HUNYUAN else None
    if kind == "single_transformer_blocks":
        block = f"single_blocks.{number}."
        if end in _PARTS:
            return Stacked(f"{block}linear1", _PARTS[end], QKV_MLP)
        return f"{block}linear2" if inner == "proj_out" else None
    block = f"txt_in.individual_token_refiner.blocks.{number}."
    if inner.startswith("attn.") and end in _PARTS:
        return Stacked(f"{block}self_attn.qkv", _PARTS[end], QKV)
    return block + _REFINER[inner] if inner in _REFINER else None


def mochi_name(layer: str) -> ComfyName:
    """Mochi 1, whose gated layers have gate and value the other way round."""
    found = re.fullmatch(r"transformer_blocks\.(\d+)\.(.+)", layer)
    if found is None:
        return None
    block, inner = f"blocks.{found[1]}.", found[2]
    end = inner.rpartition(".")[2]
    if inner.startswith("attn1.") and end in _PARTS:
        return Stacked(f"{block}attn.qkv_{'x' if end.startswith('to_') else 'y'}", _PARTS[end], QKV)
    if inner in ("ff.net.0.proj", "ff_context.net.0.proj"):
        return Stacked(f"{block}mlp_{'y' if 'context' in inner else 'x'}.w1", swapped=True)
    return block + _MOCHI[inner] if inner in _MOCHI else None


def stacked_factors(
    names: Mapping[str, str | Stacked], down: Mapping[str, Tensor], up: Mapping[str, Tensor]
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """The factors of ComfyUI's layers.

    Args:
        names: ComfyUI's name of each layer.
        down: (rank, in) by layer.
        up: (out, rank) by layer.

    Returns:
        Both by ComfyUI's name; where parts of a layer have no update, its rows are zero.
    """
    parts: dict[str, list[tuple[Stacked, str]]] = {}
    for layer, name in names.items():
        place = name if isinstance(name, Stacked) else Stacked(name)
        parts.setdefault(place.layer, []).append((place, layer))
    made: tuple[dict[str, Tensor], dict[str, Tensor]] = {}, {}
    for name, some in parts.items():
        some.sort(key=lambda one: one[0].part)
        made[0][name] = torch.cat([down[layer] for _, layer in some])
        made[1][name] = _beside(some, up)
    return made


def _beside(parts: Sequence[tuple[Stacked, str]], up: Mapping[str, Tensor]) -> Tensor:
    """(all outputs, sum of ranks): every part in its rows and columns of its own."""
    rows = parts[0][0].rows
    if len(rows) == 1:
        place, layer = parts[0]
        return torch.cat(up[layer].chunk(2)[::-1]) if place.swapped else up[layer]
    unit = len(up[parts[0][1]]) // rows[parts[0][0].part]
    whole, column = torch.zeros(sum(rows) * unit, sum(up[layer].shape[1] for _, layer in parts)), 0
    for place, layer in parts:
        first, rank = sum(rows[: place.part]) * unit, up[layer].shape[1]
        whole[first : first + len(up[layer]), column : column + rank] = up[layer]
        column += rank
    return whole
