"""Adapters of every family for ComfyUI: its own names of layers, and its fused layers move as their parts do here."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from tests.models.generators.small_pipelines import SMALL
from videoalign.errors import ModelError
from videoalign.models.adapter_files import Adapter, export_comfyui, read_adapter, write_adapter
from videoalign.models.generators.families import FAMILIES
from videoalign.models.lora import LoraSettings, add_lora, save_adapter

BASE = {"name": "x", "transformer": "x"}

NAMES = {
    "LTXPipeline": {
        "transformer_blocks.1.attn1.to_q": "transformer_blocks.1.attn1.to_q",
        "transformer_blocks.0.attn2.to_out.0": "transformer_blocks.0.attn2.to_out.0",
        "transformer_blocks.0.ff.net.0.proj": "transformer_blocks.0.ff.net.0.proj",
    },
    "HunyuanVideoPipeline": {
        "transformer_blocks.0.attn.to_k": "double_blocks.0.img_attn.qkv",
        "transformer_blocks.0.attn.add_v_proj": "double_blocks.0.txt_attn.qkv",
        "transformer_blocks.0.attn.to_out.0": "double_blocks.0.img_attn.proj",
        "transformer_blocks.0.ff_context.net.2": "double_blocks.0.txt_mlp.2",
        "single_transformer_blocks.0.attn.to_v": "single_blocks.0.linear1",
        "single_transformer_blocks.0.proj_mlp": "single_blocks.0.linear1",
        "context_embedder.token_refiner.refiner_blocks.0.attn.to_q": (
            "txt_in.individual_token_refiner.blocks.0.self_attn.qkv"
        ),
        "context_embedder.token_refiner.refiner_blocks.0.attn.to_out.0": (
            "txt_in.individual_token_refiner.blocks.0.self_attn.proj"
        ),
    },
    "MochiPipeline": {
        "transformer_blocks.0.attn1.to_q": "blocks.0.attn.qkv_x",
        "transformer_blocks.0.attn1.add_k_proj": "blocks.0.attn.qkv_y",
        "transformer_blocks.0.attn1.to_add_out": "blocks.0.attn.proj_y",
        "transformer_blocks.0.ff.net.0.proj": "blocks.0.mlp_x.w1",
        "transformer_blocks.0.ff.net.2": "blocks.0.mlp_x.w2",
    },
}
"""Layers of diffusers, and what the code of ComfyUI calls the layers that hold them."""

PARTS = {"to_q": 0, "add_q_proj": 0, "to_k": 1, "add_k_proj": 1, "to_v": 2, "add_v_proj": 2}


def rows_of(layer: str, theirs: str, made: Tensor, outputs: int) -> Tensor:
    """What ComfyUI's layer puts out (outputs of all parts,) for the part that diffusers calls ``layer``."""
    end = layer.rpartition(".")[2]
    if end == "proj_mlp":
        return made[-outputs:]
    if theirs.endswith(("qkv", "qkv_x", "qkv_y", "linear1")):
        return made[PARTS[end] * outputs : (PARTS[end] + 1) * outputs]
    return torch.cat(made.chunk(2)[::-1]) if theirs.endswith(".w1") else made


@pytest.mark.parametrize(
    "family", sorted(name for name in FAMILIES if name != "WanPipeline" and FAMILIES[name].comfyui_name is not None)
)
@pytest.mark.parametrize("targets", ["attention", "attention+ffn"])
def test_every_layer_moves_in_comfyui_as_it_does_here(family: str, targets: str, tmp_path: Path) -> None:
    transformer = SMALL[family].build().transformer
    draws = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for value in add_lora(transformer, LoraSettings(rank=3, alpha=5, targets=targets)).values():
            value.copy_(torch.randn(value.shape, generator=draws))
    save_adapter(transformer, tmp_path / "a", BASE)
    export_comfyui(tmp_path / "a", tmp_path / "b.safetensors")
    exported, adapter = load_file(tmp_path / "b.safetensors"), read_adapter(tmp_path / "a")
    theirs = {name.removesuffix(".lora_A.weight") for name in exported if name.endswith(".lora_A.weight")}
    seen = set()
    for layer, down in adapter.down.items():
        name = FAMILIES[family].comfyui_name(layer)  # type: ignore[misc]
        name = name if isinstance(name, str) else name.layer  # type: ignore[union-attr]
        assert name == NAMES.get(family, {}).get(layer, name)
        x, key = torch.randn(down.shape[1], generator=draws), f"diffusion_model.{name}"
        made = exported[f"{key}.lora_B.weight"] @ (exported[f"{key}.lora_A.weight"] @ x)
        wanted = 5 / 3 * adapter.up[layer] @ (down @ x)
        torch.testing.assert_close(rows_of(layer, name, made, len(wanted)), wanted, rtol=1e-4, atol=1e-4)
        seen.add(key)
    assert seen == theirs
    assert set(NAMES.get(family, {})) <= set(adapter.down) or targets == "attention"


def test_an_adapter_of_stable_diffusion_3_is_not_taken_for_one_of_hunyuanvideo(tmp_path: Path) -> None:
    transformer = SMALL["StableDiffusion3Pipeline"].build().transformer
    add_lora(transformer, LoraSettings(rank=3))
    save_adapter(transformer, tmp_path / "a", BASE)
    with pytest.raises(ModelError, match="no known names"):
        export_comfyui(tmp_path / "a", tmp_path / "b.safetensors")


def test_layers_that_comfyui_does_not_know_are_refused(tmp_path: Path) -> None:
    layer = {"blocks.0.odd": torch.zeros(2, 4)}
    adapter = Adapter(layer, {"blocks.0.odd": torch.zeros(4, 2)}, {"blocks.0.odd": 1.0})
    config = {"peft_type": "LORA", "r": 2, "lora_alpha": 2, "target_modules": ["odd"]}
    write_adapter(tmp_path / "a", adapter, config, BASE)
    with pytest.raises(ModelError, match="no known names"):
        export_comfyui(tmp_path / "a", tmp_path / "b.safetensors")
    assert not (tmp_path / "b.safetensors").exists()
