"""All that decides a clip is part of its key: changed, it makes new clips, or the run is refused."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import FlowMatchEulerDiscreteScheduler
from safetensors.torch import load_file, save_file

from videoalign.contracts.records import DEFAULT_DIMENSIONS
from videoalign.data.dataset import Dataset
from videoalign.errors import ConfigError, OutputError
from videoalign.models.latent_reward import LatentRewardModel
from videoalign.models.lora import LoraSettings, add_lora, save_adapter
from videoalign.models.small_wan import TINY_SETTINGS, TINY_SIZES, small_wan_generator
from videoalign.recipes.generator.evaluate import EvaluateConfig, evaluate
from videoalign.recipes.generator.generate import (
    GenerateConfig,
    SampleConfig,
    generate,
    open_generator,
    sample,
    variant_name,
)
from videoalign.recipes.generator.steering import guide_wrapper

TEXT = "a red circle moves left"
QUICK = GenerateConfig(num_steps=1)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """``model``, ``adapter`` and ``guide``."""
    folder = tmp_path_factory.mktemp("keys")
    settings = TINY_SETTINGS.model_copy(update={"height": 64, "width": 64})
    generator = small_wan_generator([TEXT, "blue"], TINY_SIZES, settings=settings)
    generator.save_pretrained(folder / "model")
    names = [dimension.name for dimension in DEFAULT_DIMENSIONS]
    reward = LatentRewardModel.from_transformer(generator.network.transformer, names, num_blocks=1, base="model")
    reward.save_pretrained(folder / "guide")
    draws = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for value in add_lora(generator.network.transformer, LoraSettings(rank=2)).values():
            value.copy_(torch.randn(value.shape, generator=draws))
    save_adapter(generator.network.transformer, folder / "adapter", generator.identity())
    return folder


@pytest.fixture
def root(whole: Path, tmp_path: Path) -> Path:
    """Copies to be changed."""
    return Path(shutil.copytree(whole, tmp_path / "root"))


def edit(*names: str, **changes: Any) -> Callable[[Path], None]:
    def change(root: Path) -> None:
        file = root.joinpath(*names)
        values = json.loads(file.read_text())
        assert all(values[name] != value for name, value in changes.items())
        file.write_text(json.dumps({**values, **changes}))

    return change


def add_to_weights(*names: str) -> Callable[[Path], None]:
    def change(root: Path) -> None:
        file = root.joinpath(*names)
        state = load_file(file)
        value = max(state.values(), key=torch.numel).view(-1)
        value[len(value) // 2 + 1] += 0.5  # one value alone
        save_file(state, file, metadata={"format": "pt"})

    return change


def other_scheduler(root: Path) -> None:
    FlowMatchEulerDiscreteScheduler(shift=3.0).save_pretrained(root / "model" / "scheduler")
    edit("model", "model_index.json", scheduler=["diffusers", "FlowMatchEulerDiscreteScheduler"])(root)


def other_word(root: Path) -> None:
    file = root / "model" / "tokenizer" / "tokenizer.json"
    values = json.loads(file.read_text())
    words = values["model"]["vocab"]
    words["red"], words["blue"] = words["blue"], words["red"]
    file.write_text(json.dumps(values))


CHANGES = {
    "shift": edit("model", "scheduler", "scheduler_config.json", flow_shift=8.0),
    "scheduler": other_scheduler,
    "num_steps": edit("model", "videoalign.json", num_steps=2),
    "guidance_scale": edit("model", "videoalign.json", guidance_scale=2.0),
    "negative_prompt": edit("model", "videoalign.json", negative_prompt="blue"),
    "fps": edit("model", "videoalign.json", fps=16.0),
    "num_frames": edit("model", "videoalign.json", num_frames=5),
    "height": edit("model", "videoalign.json", height=16),
    "width": edit("model", "videoalign.json", width=16),
    "max_text_tokens": edit("model", "videoalign.json", max_text_tokens=6),
    "tokenizer": other_word,
    "text encoder": add_to_weights("model", "text_encoder", "model.safetensors"),
    "text encoder's settings": edit("model", "text_encoder", "config.json", layer_norm_epsilon=0.5),
    "transformer": add_to_weights("model", "transformer", "diffusion_pytorch_model.safetensors"),
    "transformer's settings": edit("model", "transformer", "config.json", eps=0.5),
    "autoencoder": add_to_weights("model", "vae", "diffusion_pytorch_model.safetensors"),
    "latents_mean": edit("model", "vae", "config.json", latents_mean=[0.5] * 12),
}


@pytest.fixture(scope="module")
def sampled(whole: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Beside the model, a dataset ``d`` and a folder ``s`` of one clip of it each."""
    root = Path(shutil.copytree(whole, tmp_path_factory.mktemp("sampled") / "root"))
    generator = open_generator(root / "model")
    generate(generator, [TEXT], root / "d", GenerateConfig())
    sample(generator, [TEXT], root / "s", SampleConfig())
    return root


def clip_times(root: Path) -> dict[Path, int]:
    """When each clip was written."""
    found = {file: file.stat().st_mtime_ns for file in root.glob("[ds]/**/*.mp4")}
    assert found
    return found


def test_a_copy_of_the_model_makes_no_clip_again(sampled: Path, tmp_path: Path) -> None:
    root = Path(shutil.copytree(sampled, tmp_path / "root"))
    before, generator = clip_times(root), open_generator(root / "model")
    generate(generator, [TEXT], root / "d", GenerateConfig())
    sample(generator, [TEXT], root / "s", SampleConfig())
    assert clip_times(root) == before


@pytest.mark.parametrize("name", CHANGES)
def test_a_change_of_the_model_makes_new_clips_and_refuses_the_old_folder(
    sampled: Path, tmp_path: Path, name: str
) -> None:
    root = Path(shutil.copytree(sampled, tmp_path / "root"))
    before = clip_times(root)
    CHANGES[name](root)
    generator = open_generator(root / "model")
    clips = generate(generator, [TEXT], root / "d", GenerateConfig()).clips()
    assert len({clip.clip_id for clip in clips}) == 2
    assert clips[0].seed == clips[1].seed
    with pytest.raises(OutputError, match=r"differs in (model|settings)"):
        sample(generator, [TEXT], root / "s", SampleConfig())
    assert {file: file.stat().st_mtime_ns for file in before} == before


def test_what_is_given_and_what_the_model_says_anyway_are_the_same_clips(root: Path) -> None:
    generator = open_generator(root / "model")
    generate(generator, [TEXT], root / "d", GenerateConfig())
    dataset = generate(generator, [TEXT], root / "d", GenerateConfig(num_steps=4, guidance_scale=3.0, batch_size=1))
    assert len(dataset.clips()) == 1
    assert len(generate(generator, [TEXT], root / "d", GenerateConfig(num_steps=3)).clips()) == 2


def test_an_adapter_is_its_weights_and_its_settings(root: Path) -> None:
    model, adapter = root / "model", root / "adapter"

    def make(scale: float = 1.0) -> Dataset:
        generator = open_generator(model, adapter, scale=scale)
        return generate(generator, [TEXT], root / "d", QUICK, variant=variant_name(adapter, None))

    def judge() -> None:
        config = EvaluateConfig(num_steps=1, per_prompt=2)
        evaluate(str(model), f"{model}:{adapter}", root / "prompts.txt", "oracle", root / "e", config)

    (root / "prompts.txt").write_text(TEXT)
    (adapter / "pytorch_lora_weights.safetensors").unlink()  # which would not agree with the rest below
    assert (len(make().clips()), len(make().clips())) == (1, 1)
    assert len(make(scale=0.5).clips()) == 2
    judge()
    made = {file: file.stat().st_mtime_ns for file in (root / "e").rglob("*")}
    for number, change in enumerate(
        (
            edit("adapter", "adapter_config.json", lora_alpha=320.0),
            add_to_weights("adapter", "adapter_model.safetensors"),
        )
    ):
        change(root)
        assert len(make().clips()) == 3 + number
        with pytest.raises(OutputError, match=r"\(differs in candidate\): candidate.model.adapter"):
            judge()
        assert {file: file.stat().st_mtime_ns for file in (root / "e").rglob("*")} == made


def test_an_adapter_counts_even_where_nobody_names_it(root: Path) -> None:
    generate(open_generator(root / "model"), [TEXT], root / "d", QUICK)
    dataset = generate(open_generator(root / "model", root / "adapter"), [TEXT], root / "d", QUICK)
    assert len(dataset.clips()) == 2
    one, other = (dataset.load(clip).frames for clip in dataset.clips())
    assert (one != other).any()


def test_a_guide_is_its_weights_and_its_use(root: Path) -> None:
    generator = open_generator(root / "model")

    def make(weights: dict[str, float] | None = None, strength: float = 1.0) -> int:
        wrap = guide_wrapper(generator, root / "guide", weights, strength)
        return len(generate(generator, [TEXT], root / "d", QUICK, variant="guided", steering=wrap).clips())

    assert (make(), make(), make({"VQ": 1.0}), make(strength=2.0)) == (1, 1, 2, 3)
    assert make(dict.fromkeys(("VQ", "MQ", "TA"), 1 / 3)) == 3  # what None means
    add_to_weights("guide", "model.safetensors")(root)
    assert make() == 4
    with pytest.raises(ConfigError, match="got something without 'identity'"):
        generate(generator, [TEXT], root / "d", QUICK, steering=lambda scheduler, text: scheduler)  # type: ignore[arg-type]


def test_precision_is_part_of_a_clips_key(root: Path) -> None:
    exact, rough = (open_generator(root / "model", dtype=dtype) for dtype in ("float32", "bfloat16"))
    dataset = generate(exact, [TEXT], root / "d", QUICK)
    generate(rough, [TEXT], root / "d", QUICK)
    assert len(dataset.clips()) == 2


def test_evaluate_opens_a_model_once(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import videoalign.recipes.generator.makers as recipe

    opened: list[str] = []
    monkeypatch.setattr(
        recipe, "open_generator", lambda name, **how: opened.append(name) or open_generator(name, **how)
    )
    (root / "prompts.txt").write_text(TEXT)
    model, config = str(root / "model"), EvaluateConfig(num_steps=1, per_prompt=2)
    evaluate(model, f"{model}:{root / 'adapter'}", root / "prompts.txt", "oracle", root / "e", config)
    assert opened == [model]
    base, candidate = (Dataset.open(root / "e" / arm) for arm in ("base", "candidate"))
    alone = generate(open_generator(model), [TEXT], root / "alone", GenerateConfig(num_steps=1, per_prompt=2))
    frames = [dataset.load(dataset.clips()[0]).frames for dataset in (base, candidate, alone)]
    assert (frames[0] != frames[1]).any()
    assert (frames[0] == frames[2]).all()
