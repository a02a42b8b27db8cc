"""Checkpoints in every layout of the official code become the same reward, or say in one line what is wrong."""

from __future__ import annotations

import json
import pickle
from collections.abc import Callable
from copy import deepcopy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from videoalign.contracts.records import DEFAULT_DIMENSIONS
from videoalign.contracts.video import Video
from videoalign.errors import ConfigError, ModelError
from videoalign.models.videoreward import VideoReward
from videoalign.models.videoreward.official import read_official
from videoalign.models.videoreward.official_state import LoraScale
from videoalign.models.videoreward.processing import Patches

RUBRIC = "\nRate {{strictly}}.\n<|VQ_reward|>\n<|MQ_reward|>\nPrompt: {text_prompt}\n<|TA_reward|>\n"
RANK, ALPHA = 2, 6.0
PROMPTS = ["a red circle moves left", "a {red} circle", "moves"]
LINEARS = ("_proj.weight",)

Files = dict[str, dict[str, Tensor]]


def configuration(output_dim: int = 1) -> dict[str, Any]:
    return {
        "data_config": {
            "fps": 4.0,
            "num_frames": None,
            "max_frame_pixels": 200704,
            "eval_dim": ["VQ", "MQ", "TA"],
            "prompt_template_type": "detailed_special",
            "sample_type": "uniform",
        },
        "model_config": {"output_dim": output_dim, "use_special_tokens": True, "reward_token": "special"},
        "peft_lora_config": {"lora_r": RANK, "lora_alpha": ALPHA, "use_rslora": False},
        "inference_config": {f"{d}_{part}": v for d in ("VQ", "MQ", "TA") for part, v in (("mean", 1.0), ("std", 2.0))},
    }


class Official:
    """A checkpoint folder as the official code writes it, and the reward that it should become."""

    def __init__(
        self, folder: Path, base: Path, *, layout: str = "whole", rows: int = 1, new_names: bool = False
    ) -> None:
        self.folder, self.base, self.layout = folder, base, layout
        self.config = configuration(rows)
        self.template = folder / "rubric.txt"
        plain = VideoReward.from_base(base, shared_head=rows == 1, seed=5)
        self.tokenizer = plain.chat.tokenizer
        self.expected = self._expected(plain)
        self.updates = {
            name: (
                torch.randn(RANK, w.shape[1], generator=_seed(n)),
                torch.randn(w.shape[0], RANK, generator=_seed(-n)),
            )
            for n, (name, w) in enumerate(plain.backbone.language_model.named_parameters(), start=1)
            if name.endswith(LINEARS)
        }
        self.state = self._state(plain, new_names)
        with torch.no_grad():
            for name, (down, up) in self.updates.items():
                self.expected.backbone.language_model.get_parameter(name).add_(ALPHA / RANK * 0.1 * up @ down)

    def _expected(self, plain: VideoReward) -> VideoReward:
        opening = "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n<|im_start|>user\n<|vision_start|>"
        text = RUBRIC.replace("{{strictly}}", "{strictly}").replace("{text_prompt}", "{prompt}")
        template = f"{opening}{{video}}<|vision_end|>{text}<|im_end|>\n<|im_start|>assistant\n"
        settings = plain.settings.model_copy(update={"template": template})
        tokens, head = plain.tokens.detach().clone(), plain.head.weight.detach().clone()
        return VideoReward(deepcopy(plain.backbone), self.tokenizer, settings, tokens=tokens, head=head).eval()

    def _state(self, plain: VideoReward, new_names: bool) -> dict[str, Tensor]:
        language, vision = ("model.language_model.", "model.visual.") if new_names else ("model.", "visual.")
        state = {f"{vision}{k}": v for k, v in plain.backbone.visual.state_dict().items()}
        for name, value in plain.backbone.language_model.state_dict().items():
            module, _, leaf = name.rpartition(".")
            adapted = f"{module}.weight" in self.updates
            state[f"{language}{module}.base_layer.{leaf}" if adapted else f"{language}{name}"] = value
        state[f"{language}embed_tokens.weight"] = torch.cat([state[f"{language}embed_tokens.weight"], plain.tokens])
        state["lm_head.weight"] = torch.randn_like(state[f"{language}embed_tokens.weight"])
        state["rm_head.weight"] = plain.head.weight
        for name, (down, up) in self.updates.items():
            module = language + name.removesuffix(".weight")
            adapter = "" if self.layout == "adapter" else ".default"
            state |= {f"{module}.lora_A{adapter}.weight": down, f"{module}.lora_B{adapter}.weight": 0.1 * up}
        return {f"base_model.model.{k}": v.detach().clone().contiguous() for k, v in state.items()}

    def files(self) -> Files:
        if self.layout == "whole":
            return {"model.pth": self.state}
        lora = {k: v for k, v in self.state.items() if ".lora_" in k}
        trained = ("visual.", "embed_tokens", "rm_head")
        rest = {k: v for k, v in self.state.items() if any(part in k for part in trained)}
        return {"adapter_model.safetensors": lora, "non_lora_state_dict.pth": rest}

    def write(self, change: Callable[[Files], None] = lambda files: None) -> Official:
        files = deepcopy(self.files())
        change(files)
        place = self.folder / "checkpoint-20"
        place.mkdir(parents=True, exist_ok=True)
        (self.folder / "checkpoint-3").mkdir(exist_ok=True)  # an older one
        for name, tensors in files.items():
            save_file(tensors, place / name) if name.endswith("safetensors") else torch.save(tensors, place / name)
        self.tokenizer.save_pretrained(place / "tokenizer")
        (self.folder / "model_config.json").write_text(json.dumps(self.config))
        self.template.write_text(RUBRIC)
        return self

    def read(self) -> VideoReward:
        return read_official(self.folder, self.base, self.template)


def _seed(number: int) -> torch.Generator:
    return torch.Generator().manual_seed(1000 + number)


@pytest.fixture
def patches(reward: VideoReward, clips: list[Video]) -> list[Patches]:
    return [reward.processor.read(clip) for clip in clips]


@pytest.mark.parametrize("layout", ["whole", "adapter"])
@pytest.mark.parametrize("rows", [1, 3])
@pytest.mark.parametrize("new_names", [False, True], ids=["old_names", "new_names"])
def test_every_layout_becomes_the_reward_that_it_is(
    tmp_path: Path, tiny_base: Path, patches: list[Patches], layout: str, rows: int, new_names: bool
) -> None:
    official = Official(tmp_path / "o", tiny_base, layout=layout, rows=rows, new_names=new_names).write()
    got = official.read()
    assert got.settings.shared_head == (rows == 1)
    assert got.settings.limits.fps == 4.0
    raw = got.score_patches(patches, PROMPTS)
    np.testing.assert_allclose(raw, official.expected.score_patches(patches, PROMPTS), rtol=0, atol=2e-5)
    np.testing.assert_allclose(got.normalise(raw), (raw - 1) / 2)
    assert np.ptp(raw, axis=0).min() > 1e-3  # the clips do differ

    got.save_pretrained(tmp_path / "r")
    again = VideoReward.from_pretrained(tmp_path / "r")
    np.testing.assert_allclose(again.score_patches(patches, PROMPTS), raw, rtol=0, atol=1e-6)
    swapped = again.score_patches(patches, PROMPTS[::-1]) - raw
    assert np.abs(swapped[:, :2]).max() < 1e-5 < np.abs(swapped[0, 2])


def test_updates_are_scaled_by_rank_or_by_its_root() -> None:
    assert LoraScale(4, 8.0).value == 2.0
    assert LoraScale(4, 8.0, rank_stabilised=True).value == 4.0


def test_a_tower_that_was_frozen_comes_from_the_base(tmp_path: Path, tiny_base: Path, patches: list[Patches]) -> None:
    official = Official(tmp_path / "o", tiny_base, layout="adapter")
    official.config["model_config"]["freeze_vision_tower"] = True
    official.write(lambda files: _drop(files["non_lora_state_dict.pth"], "visual."))
    raw = official.read().score_patches(patches, PROMPTS)
    np.testing.assert_allclose(raw, official.expected.score_patches(patches, PROMPTS), rtol=0, atol=2e-5)


def test_the_rubric_is_found_in_the_official_python_file(tmp_path: Path, tiny_base: Path) -> None:
    official = Official(tmp_path / "o", tiny_base).write()
    from_text = official.read().settings.template
    official.template = tmp_path / "prompt_template.py"
    official.template.write_text(f"SIMPLE = 'Rate {{text_prompt}}'\nSPECIAL = {RUBRIC!r}\n")
    assert official.read().settings.template == from_text
    official.template.write_text(f"ONE = {RUBRIC!r}\nTWO = {RUBRIC + ' '!r}\n")
    with pytest.raises(ConfigError, match="holds 2 rubrics with reward tokens, wanted 1"):
        official.read()


def test_dimensions_of_any_name_see_the_prompt_by_where_their_token_stands(tmp_path: Path, tiny_base: Path) -> None:
    official = Official(tmp_path / "o", tiny_base).write()
    dimensions = [(d.name, d.sees_prompt) for d in official.read().settings.dimensions]
    assert dimensions == [(d.name, d.sees_prompt) for d in DEFAULT_DIMENSIONS]


def _drop(state: dict[str, Tensor], part: str) -> None:
    for key in [key for key in state if part in key]:
        del state[key]


def _whole(change: Callable[[dict[str, Tensor]], None]) -> Callable[[Files], None]:
    return lambda files: change(files["model.pth"])


@pytest.mark.parametrize(
    ("layout", "change", "message"),
    [
        ("whole", _whole(lambda s: _drop(s, "rm_head")), r"1 missing \(rm_head\.weight\)"),
        (
            "whole",
            _whole(lambda s: _drop(s, "layers.1.input_layernorm")),
            r"missing \(language_model\.layers\.1\.input",
        ),
        ("whole", _whole(lambda s: s.update(stranger=torch.zeros(1))), r"1 unexpected \(stranger\)"),
        ("whole", _whole(lambda s: _drop(s, "layers.0.mlp.up_proj.lora_B")), r"up_proj\.weight' lacks its lora_B"),
        ("whole", _whole(lambda s: _drop(s, "layers.0.mlp.up_proj.base")), "lacks the matrix|missing"),
        ("whole", _whole(lambda s: _drop(s, "embed_tokens")), r"missing \(language_model\.embed_tokens"),
        ("adapter", lambda f: _drop(f["non_lora_state_dict.pth"], "rm_head"), r"1 missing \(rm_head"),
        ("adapter", lambda f: _drop(f["non_lora_state_dict.pth"], "visual.merger"), r"missing \(visual\.merger"),
        ("adapter", lambda f: f.pop("non_lora_state_dict.pth") and None, r"no model\.pth and no non_lora_state_dict"),
    ],
)
def test_a_tensor_too_few_or_too_many_is_named(
    tmp_path: Path, tiny_base: Path, layout: str, change: Callable[[Files], None], message: str
) -> None:
    official = Official(tmp_path / "o", tiny_base, layout=layout).write(change)
    with pytest.raises(ModelError, match=message) as caught:
        official.read()
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("section", "key", "value", "message"),
    [
        ("peft_lora_config", "lora_r", 4, "has rank 2, model_config.json says lora_r 4"),
        ("model_config", "reward_token", "last", "reward_token is 'last'; only 'special' can be converted"),
        ("data_config", "num_frames", 8, "num_frames is 8; only None"),
        ("data_config", "sample_type", "multi_pts", "sample_type is 'multi_pts'"),
    ],
)
def test_a_run_that_cannot_be_reproduced_is_refused(
    tmp_path: Path, tiny_base: Path, section: str, key: str, value: object, message: str
) -> None:
    official = Official(tmp_path / "o", tiny_base)
    official.config[section][key] = value
    official.write()
    with pytest.raises(ModelError, match=message):
        official.read()


def test_another_base_head_or_tokenizer_is_refused(tmp_path: Path, tiny_base: Path) -> None:
    official = Official(tmp_path / "o", tiny_base)
    official.write(_whole(lambda s: s.update({"base_model.model.rm_head.weight": torch.zeros(2, 32)})))
    with pytest.raises(ModelError, match=r"its head is \(2, 32\); wanted 1 row, or one per dimension, 3"):
        official.read()
    name = "base_model.model.visual.merger.mlp.2.weight"
    official.write(_whole(lambda s: s.update({name: s[name][:, :3]})))
    with pytest.raises(ModelError, match=r"merger\.mlp\.2\.weight' is \(32, 3\), the base has"):
        official.read()
    embedding = "base_model.model.model.embed_tokens.weight"
    official.write(_whole(lambda s: s.update({embedding: s[embedding][:-1]})))
    with pytest.raises(ModelError, match=r"no embedding for <\|TA_reward\|> among"):
        official.read()


def test_what_is_no_checkpoint_is_refused(tmp_path: Path, tiny_base: Path) -> None:
    official = Official(tmp_path / "o", tiny_base).write()
    file = tmp_path / "o" / "checkpoint-20" / "model.pth"
    whole = file.read_bytes()
    file.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ModelError, match=r"model\.pth: cannot be read as plain tensors"):
        official.read()
    file.write_bytes(pickle.dumps({"x": Path("/")}))
    with pytest.raises(ModelError, match="cannot be read as plain tensors"):
        official.read()
    torch.save({"weights": [1, 2]}, file)
    with pytest.raises(ModelError, match="holds something other than named tensors"):
        official.read()
    official.template.write_text("Rate {text_prompt} <|VQ_reward|>")
    with pytest.raises(ConfigError, match=r"lacks <\|MQ_reward\|>"):
        official.read()
    (tmp_path / "o" / "model_config.json").unlink()
    with pytest.raises(ModelError, match=r"no model_config\.json here or above"):
        official.read()


def test_a_base_of_another_family_is_refused(bases: dict[str, Path], tmp_path: Path) -> None:
    official = Official(tmp_path, bases["qwen2_vl"]).write()
    with pytest.raises(ModelError, match="is a 'qwen3_vl' model; official checkpoints are made from a Qwen2-VL"):
        read_official(official.folder, bases["qwen3_vl"], official.template)
