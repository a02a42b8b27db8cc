from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import AutoTokenizer, PreTrainedModel
from transformers.utils import is_bitsandbytes_available

from videoalign.contracts.video import Video
from videoalign.errors import ConfigError, ModelError
from videoalign.models.small_qwen import small_qwen2_5_vl, small_qwen2_vl, small_qwen3_vl, write_base
from videoalign.models.videoreward import VideoReward
from videoalign.models.videoreward.families import FAMILIES
from videoalign.models.videoreward.loading import LoadOptions
from videoalign.models.videoreward.processing import ReadingLimits

LIMITS = ReadingLimits(fps=4.0, min_frame_pixels=48 * 48, max_frame_pixels=48 * 48)
PROMPTS = ["a red circle moves left", "one cross , blue , grows", "the yellow square moves up and stays there for long"]

BFLOAT16_BOUND = 0.05
"""Largest difference of a raw score; 0.014 was measured, where scores of a clip lie up to 2.3 apart."""


@pytest.mark.parametrize("kind", FAMILIES)
def test_scores_in_bfloat16_are_near_those_in_float32_and_the_head_stays_float32(
    bases: dict[str, Path], clips: list[Video], tmp_path: Path, kind: str
) -> None:
    reward = VideoReward.from_base(bases[kind], limits=LIMITS).eval()
    raw = reward.score_raw(clips, PROMPTS)
    reward.save_pretrained(tmp_path)
    half = VideoReward.from_pretrained(tmp_path, dtype="bfloat16")
    assert {parameter.dtype for parameter in half.backbone.parameters()} == {torch.bfloat16}
    assert {half.tokens.dtype, half.head.weight.dtype} == {torch.float32}
    assert torch.equal(half.head.weight, reward.head.weight)
    assert half.digest == reward.digest  # the same reward, however it is held
    assert VideoReward.from_base(bases[kind], limits=LIMITS, seed=1).digest != reward.digest
    difference = np.abs(half.score_raw(clips, PROMPTS) - raw).max()
    assert 0 < difference < BFLOAT16_BOUND
    assert np.ptp(raw) > 10 * BFLOAT16_BOUND
    inputs = half.inputs([half.processor.read(clips[0])], PROMPTS[:1])
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        assert half(inputs).dtype == torch.float32


def test_a_new_reward_in_bfloat16_has_the_head_of_one_in_float32(tiny_base: Path) -> None:
    half, full = (VideoReward.from_base(tiny_base, dtype=dtype, seed=3) for dtype in (torch.bfloat16, torch.float32))
    assert half.backbone.dtype == torch.bfloat16
    assert torch.equal(half.head.weight, full.head.weight)
    assert (half.tokens - full.tokens).abs().max() < 1e-3  # drawn around embeddings that were rounded


@pytest.mark.parametrize("kind", FAMILIES)
def test_plain_attention_scores_the_same(bases: dict[str, Path], clips: list[Video], kind: str) -> None:
    fused, eager = (VideoReward.from_base(bases[kind], limits=LIMITS, attention=name) for name in ("sdpa", "eager"))
    assert eager.backbone.language_model.config._attn_implementation == "eager"
    assert eager.backbone.visual.config._attn_implementation == "eager"
    assert np.abs(fused.score_raw(clips, PROMPTS) - eager.score_raw(clips, PROMPTS)).max() < 1e-5


@pytest.mark.parametrize(
    ("options", "error", "why"),
    [
        ({"dtype": "float16"}, ConfigError, "'dtype' got 'float16'"),
        ({"attention": "flash"}, ConfigError, "'attention' got 'flash'"),
        ({"quantise": "2bit"}, ConfigError, "'quantise' got '2bit'"),
        ({"device": "abacus"}, ConfigError, "cannot use 'abacus'"),
        ({"attention": "flash_attention_2"}, ModelError, "dtype is float32"),
        ({"attention": "flash_attention_2", "dtype": "bfloat16"}, ModelError, "got device=cpu"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_is_loaded(
    options: dict[str, str], error: type[Exception], why: str
) -> None:
    for load in (VideoReward.from_pretrained, VideoReward.from_base):
        with pytest.raises(error, match=why):
            load("no such folder", **options)


@pytest.mark.skipif(is_bitsandbytes_available(), reason="bitsandbytes is installed")
def test_without_bitsandbytes_quantisation_is_refused(tiny_base: Path) -> None:
    with pytest.raises(ModelError, match="4bit wants the package bitsandbytes"):
        VideoReward.from_base(tiny_base, quantise="4bit")


@pytest.mark.skipif(not is_bitsandbytes_available(), reason="bitsandbytes is not installed")
@pytest.mark.parametrize(("quantise", "bound"), [("8bit", 0.1), ("4bit", 1.0)])
@pytest.mark.parametrize("make", [small_qwen2_vl, small_qwen2_5_vl, small_qwen3_vl])
def test_quantisation_is_for_the_language_model_alone(
    tiny_base: Path,
    clips: list[Video],
    tmp_path: Path,
    make: Callable[..., PreTrainedModel],
    quantise: str,
    bound: float,
) -> None:
    tokenizer = AutoTokenizer.from_pretrained(tiny_base)
    write_base(tmp_path / "base", make(tokenizer, hidden_size=128, num_heads=4), tokenizer)  # 4 bits go by blocks of 64
    reward = VideoReward.from_base(tmp_path / "base", limits=LIMITS).eval()
    raw = reward.score_raw(clips, PROMPTS)
    reward.save_pretrained(tmp_path / "r")
    small = VideoReward.from_pretrained(tmp_path / "r", quantise=quantise)
    linears = {name: type(m) for name, m in small.backbone.named_modules() if isinstance(m, torch.nn.Linear)}
    assert {kind for name, kind in linears.items() if name.startswith("visual.")} == {torch.nn.Linear}
    assert torch.nn.Linear not in {kind for name, kind in linears.items() if name.startswith("language_model.")}
    assert small.head.weight.dtype == torch.float32
    assert 0 < np.abs(small.score_raw(clips, PROMPTS) - raw).max() < bound
    with pytest.raises(ModelError, match="cannot be saved"):
        small.save_pretrained(tmp_path / "small")


def test_load_options_are_arguments_of_from_pretrained(tiny_base: Path, tmp_path: Path) -> None:
    VideoReward.from_base(tiny_base).save_pretrained(tmp_path)
    options = LoadOptions(dtype="bfloat16", device="cpu")
    assert VideoReward.from_pretrained(tmp_path, **options.model_dump()).backbone.dtype == torch.bfloat16
