"""The layouts of adapters: ours in stock diffusers and ComfyUI, theirs here."""

from __future__ import annotations

import json
import shutil
import warnings
from pathlib import Path

import pytest
import torch
from diffusers import WanPipeline
from peft import PeftModel
from peft.tuners.lora import LoraLayer
from safetensors.torch import load_file, save_file
from torch import Tensor

from videoalign.errors import ModelError
from videoalign.models.adapter_files import adapter_file_digest, export_comfyui, read_adapter
from videoalign.models.generators.generator import PipelineGenerator
from videoalign.models.lora import LoraSettings, add_lora, load_adapter, remove_adapter, save_adapter
from videoalign.models.small_wan import TINY_SETTINGS, TINY_SIZES, small_wan_generator

SETTINGS = LoraSettings(rank=3, alpha=5, targets="attention+ffn")
"""A scale that is no power of two, so that it cannot be right by chance."""


@pytest.fixture(scope="module")
def generator() -> PipelineGenerator:
    return small_wan_generator(["a red circle moves left"], TINY_SIZES, settings=TINY_SETTINGS)


@pytest.fixture(scope="module")
def inputs(generator: PipelineGenerator) -> tuple[Tensor, Tensor, Tensor]:
    x = torch.stack([generator.sampler.noise(0), generator.sampler.noise(1)])
    return x, torch.tensor([300.0, 800.0]), generator.conditioner.encode(["a red circle", "a circle moves"])["text"]


def predicted(generator: PipelineGenerator, inputs: tuple[Tensor, Tensor, Tensor]) -> Tensor:
    with torch.no_grad():
        return generator.network.transformer(*inputs, return_dict=False)[0]


@pytest.fixture(scope="module")
def folder(
    generator: PipelineGenerator, inputs: tuple[Tensor, Tensor, Tensor], tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """``a``, an adapter of ours; ``model``, its base; what the transformer predicts without it and with it."""
    root = tmp_path_factory.mktemp("adapters")
    generator.save_pretrained(root / "model")
    parameters = add_lora(generator.network.transformer, SETTINGS)
    draws = torch.Generator().manual_seed(7)
    with torch.no_grad():
        for value in parameters.values():
            value.copy_(0.3 * torch.randn(value.shape, generator=draws))
    torch.save(predicted(generator, inputs), root / "adapted.pt")
    save_adapter(generator.network.transformer, root / "a", generator.identity())
    remove_adapter(generator.network.transformer)
    export_comfyui(root / "a", root / "comfyui.safetensors")
    return root


def test_stock_diffusers_predicts_what_we_predict(
    generator: PipelineGenerator, inputs: tuple[Tensor, Tensor, Tensor], folder: Path
) -> None:
    """With the adapter's folder, and with its file for ComfyUI; a process without videoalign: test_families.py."""
    pipe, (x, t, text), made = WanPipeline.from_pretrained(folder / "model"), inputs, []
    call = {
        "prompt_embeds": text[:1], "negative_prompt_embeds": 0 * text[:1], "latents": x[:1], "num_frames": 9,
        "height": 32, "width": 32, "num_inference_steps": 2, "guidance_scale": 3.0, "output_type": "latent",
    }  # fmt: skip
    with torch.no_grad():
        base = pipe.transformer(x, t, text, return_dict=False)[0]
        for adapter, how in ((folder / "a", {}), (folder, {"weight_name": "comfyui.safetensors"})):
            pipe.load_lora_weights(adapter, **how)
            made.append([pipe.transformer(x, t, text, return_dict=False)[0], pipe(**call).frames])
            pipe.unload_lora_weights()
    torch.testing.assert_close(base, predicted(generator, inputs))
    load_adapter(generator.network.transformer, folder / "a")
    ours = generator.pipeline(**call).frames
    remove_adapter(generator.network.transformer)
    for adapted, clip in made:
        assert (adapted - base).abs().max() > 0.5
        torch.testing.assert_close(adapted, torch.load(folder / "adapted.pt"), rtol=0, atol=2e-5)
        torch.testing.assert_close(clip, ours, rtol=0, atol=1e-4)


def musubi(state: dict[str, Tensor], alpha: float) -> dict[str, Tensor]:
    """ComfyUI's names as musubi-tuner writes them, with an alpha beside each layer."""
    renamed = {}
    for name, value in state.items():
        layer, _, factor = name.removeprefix("diffusion_model.").rpartition(".lora_")
        key = f"lora_unet_{layer.replace('.', '_')}"
        renamed[f"{key}.lora_{'down' if factor[0] == 'A' else 'up'}.weight"] = value
        renamed[f"{key}.alpha"] = torch.tensor(alpha)
    return renamed


def layouts(folder: Path, root: Path) -> dict[str, Path]:
    """The same adapter as other programs write it."""
    diffusers = load_file(folder / "a" / "pytorch_lora_weights.safetensors")
    config = json.loads((folder / "a" / "adapter_config.json").read_text())
    peft = {
        name.removeprefix("base_model.model."): value
        for name, value in load_file(folder / "a" / "adapter_model.safetensors").items()
    }
    (root / "baked").mkdir()
    save_file(diffusers, root / "baked" / "pytorch_lora_weights.safetensors")
    metadata = {key: config[key] for key in ("r", "lora_alpha", "target_modules")}
    WanPipeline.save_lora_weights(root / "told", peft, transformer_lora_adapter_metadata=metadata)
    comfyui = load_file(folder / "comfyui.safetensors")
    twice = {name: value * (2 if "lora_B" in name else 1) for name, value in comfyui.items()}
    save_file(musubi(twice, alpha=3 / 2), root / "musubi.safetensors")
    save_file({k: v.to(torch.bfloat16) for k, v in comfyui.items()}, root / "half.safetensors")
    return {
        "ours": folder / "a",
        "a file of diffusers": root / "baked" / "pytorch_lora_weights.safetensors",
        "a folder of diffusers": root / "baked",
        "a folder of diffusers with its alpha in the header": root / "told",
        "comfyui": folder / "comfyui.safetensors",
        "musubi": root / "musubi.safetensors",
        "half precision": root / "half.safetensors",
    }


def test_adapters_of_other_programs_do_here_what_they_do_there(
    generator: PipelineGenerator, inputs: tuple[Tensor, Tensor, Tensor], folder: Path, tmp_path: Path
) -> None:
    base, wanted = predicted(generator, inputs), torch.load(folder / "adapted.pt")
    for name, path in layouts(folder, tmp_path).items():
        load_adapter(generator.network.transformer, path)
        found = predicted(generator, inputs)
        remove_adapter(generator.network.transformer)
        share = float(((found - base) * (wanted - base)).sum() / (wanted - base).square().sum())
        assert share == pytest.approx(1.0, abs=2e-2 if name == "half precision" else 1e-5), name
        load_adapter(generator.network.transformer, path, scale=0.0)
        assert torch.equal(predicted(generator, inputs), base), name
        remove_adapter(generator.network.transformer)


def test_a_strength_scales_the_update(generator: PipelineGenerator, folder: Path) -> None:
    for scale in (1.0, 0.5):
        load_adapter(generator.network.transformer, folder / "a", scale=scale)
        layer = generator.network.transformer.blocks[0].attn1.to_q
        assert layer.scaling["default"] == pytest.approx(scale * 5 / 3)
        remove_adapter(generator.network.transformer)


def test_comfyui_gets_the_names_of_wan_and_the_whole_strength(folder: Path) -> None:
    exported, adapter = load_file(folder / "comfyui.safetensors"), read_adapter(folder / "a")
    assert len(exported) == 2 * len(adapter.down)
    pairs = {
        "blocks.1.self_attn.q": "blocks.1.attn1.to_q",
        "blocks.0.cross_attn.o": "blocks.0.attn2.to_out.0",
        "blocks.1.ffn.0": "blocks.1.ffn.net.0.proj",
        "blocks.0.ffn.2": "blocks.0.ffn.net.2",
    }
    for theirs, ours in pairs.items():
        update = (
            exported[f"diffusion_model.{theirs}.lora_B.weight"] @ exported[f"diffusion_model.{theirs}.lora_A.weight"]
        )
        torch.testing.assert_close(update, 5 / 3 * adapter.up[ours] @ adapter.down[ours])


def test_what_decides_an_adapter_is_in_its_digest(folder: Path, tmp_path: Path) -> None:
    found = {name: adapter_file_digest(path) for name, path in layouts(folder, tmp_path).items()}
    assert found["a file of diffusers"] == found["a folder of diffusers"]
    assert len(set(found.values())) == len(found) - 1
    copy = tmp_path / "copy"
    copy.mkdir()
    for name in ("adapter_config.json", "adapter_model.safetensors"):
        (copy / name).write_bytes((folder / "a" / name).read_bytes())
    assert adapter_file_digest(copy) == found["ours"]
    config = json.loads((copy / "adapter_config.json").read_text())
    (copy / "adapter_config.json").write_text(json.dumps(config | {"lora_alpha": 50}))
    assert adapter_file_digest(copy) != found["ours"]


def test_layouts_of_one_folder_that_were_made_to_differ_are_refused(folder: Path, tmp_path: Path) -> None:
    for file, change in (
        (
            "adapter_config.json",
            lambda path: path.write_text(path.read_text().replace('"lora_alpha": 5.0', '"lora_alpha": 50')),
        ),
        ("adapter_model.safetensors", lambda path: save_file({k: 2 * v for k, v in load_file(path).items()}, path)),
        ("pytorch_lora_weights.safetensors", lambda path: save_file(dict(list(load_file(path).items())[1:]), path)),
    ):
        copy = shutil.copytree(folder / "a", tmp_path / file)
        change(copy / file)
        with pytest.raises(ModelError, match=r"changes .* by another update than .*; undo the edit, or delete the one"):
            read_adapter(copy)
        (copy / "pytorch_lora_weights.safetensors").unlink()
        read_adapter(copy)


def test_numbers_that_are_none_and_another_rank_are_refused_when_an_adapter_is_read(
    folder: Path, tmp_path: Path
) -> None:
    state = load_file(folder / "a" / "adapter_model.safetensors")
    config = json.loads((folder / "a" / "adapter_config.json").read_text())
    first = next(iter(state))
    for weights, settings, says in (
        ({**state, first: state[first] * float("nan")}, {}, "holds numbers that are not finite"),
        (state, {"lora_alpha": float("inf")}, "holds numbers that are not finite"),
        (state, {"r": 7}, "its settings say rank 7 of .*, whose factors have 3"),
    ):
        save_file(weights, tmp_path / "adapter_model.safetensors")
        (tmp_path / "adapter_config.json").write_text(json.dumps(config | settings))
        with pytest.raises(ModelError, match=says):
            read_adapter(tmp_path)


def test_the_keys_of_an_alpha_pattern_are_regular_expressions_as_peft_reads_them(folder: Path, tmp_path: Path) -> None:
    for name in ("adapter_config.json", "adapter_model.safetensors"):
        shutil.copyfile(folder / "a" / name, tmp_path / name)
    config = json.loads((tmp_path / "adapter_config.json").read_text())
    patterns = ("to_q", r"attn1\.to_(q|k)", r"blocks\.0\.attn[12]\.to_q", "blocks.1.attn1.to_q", "^blocks.0.*", "attn1")
    for pattern in patterns:
        (tmp_path / "adapter_config.json").write_text(json.dumps(config | {"alpha_pattern": {pattern: 50}}))
        transformer = small_wan_generator(["a red circle moves left"], TINY_SIZES, settings=TINY_SETTINGS).network
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # peft says that "attn1" fits no layer
            theirs = PeftModel.from_pretrained(transformer.transformer, str(tmp_path))
        scales = {
            name.removeprefix("base_model.model."): layer.scaling["default"]
            for name, layer in theirs.named_modules()
            if isinstance(layer, LoraLayer)
        }
        assert read_adapter(tmp_path).scale == pytest.approx(scales), pattern
    (tmp_path / "adapter_config.json").write_text(json.dumps(config | {"alpha_pattern": {"to_(q": 50}}))
    with pytest.raises(ModelError, match="cannot be used"):
        read_adapter(tmp_path)


def test_what_is_no_lora_is_refused_in_one_line(generator: PipelineGenerator, folder: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    save_file({"transformer.blocks.0.attn1.to_q.weight": torch.zeros(2, 2)}, tmp_path / "weights.safetensors")
    save_file({"diffusion_model.blocks.0.modulation.diff": torch.zeros(2)}, tmp_path / "diff.safetensors")
    (tmp_path / "text.safetensors").write_text("no safetensors")
    (tmp_path / "dora").mkdir()
    for name in ("adapter_config.json", "adapter_model.safetensors"):
        (tmp_path / "dora" / name).write_bytes((folder / "a" / name).read_bytes())
    config = json.loads((tmp_path / "dora" / "adapter_config.json").read_text())
    (tmp_path / "dora" / "adapter_config.json").write_text(json.dumps(config | {"use_dora": True}))
    for path, told in (
        (tmp_path / "empty", "holds no adapter"),
        (tmp_path / "nowhere", "holds no adapter"),
        (tmp_path / "weights.safetensors", "wanted two factors"),
        (tmp_path / "diff.safetensors", "cannot be used"),
        (tmp_path / "text.safetensors", "cannot be used"),
        (tmp_path / "dora", "of kind DoRA; wanted LoRA"),
        (folder / "a" / "adapter_model.safetensors", "give the folder"),
    ):
        with pytest.raises(ModelError, match=told) as error:
            load_adapter(generator.network.transformer, path)
        assert len(str(error.value).splitlines()) == 1
