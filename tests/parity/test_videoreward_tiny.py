"""The released layout, loaded by hand, must give what the official code gave."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from transformers import AutoTokenizer

from videoalign.contracts.records import DEFAULT_DIMENSIONS
from videoalign.data.video import probe, read_video
from videoalign.models.videoreward import VideoReward
from videoalign.models.videoreward.checkpoint import read_base
from videoalign.models.videoreward.processing import Patches, ReadingLimits
from videoalign.models.videoreward.prompt import ASSISTANT, SYSTEM, USER, reward_token
from videoalign.models.videoreward.settings import Normalisation, RewardSettings

LORA_SCALE = 16 / 8  # lora_alpha / lora_r of model_config.json


def merged(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Weights by their transformers name, the low-rank updates added."""
    weights = {}
    for key, value in state.items():
        name = key.removeprefix("base_model.model.")
        if ".lora_" in name:
            continue
        if ".base_layer.weight" in name:
            down, up = (state[key.replace("base_layer", f"lora_{side}.default")] for side in "AB")
            value = value + LORA_SCALE * up @ down
        weights[name.replace(".base_layer", "")] = value
    return weights


@pytest.fixture(scope="module")
def released(shared: Path) -> VideoReward:
    folder = shared / "parity" / "videoreward_tiny"
    config = json.loads((folder / "checkpoint" / "model_config.json").read_text())
    checkpoint = folder / "checkpoint" / "checkpoint-10"
    weights = merged(torch.load(checkpoint / "model.pth", weights_only=True))
    tokenizer = AutoTokenizer.from_pretrained(checkpoint / "tokenizer")
    backbone, _ = read_base(folder / "base")
    embedding = weights["model.embed_tokens.weight"]
    backbone.set_input_embeddings(nn.Embedding(*embedding.shape))
    language = {k.removeprefix("model."): v for k, v in weights.items() if k.startswith("model.")}
    vision = {k.removeprefix("visual."): v for k, v in weights.items() if k.startswith("visual.")}
    backbone.language_model.load_state_dict(language)
    backbone.visual.load_state_dict(vision)
    assert len(language) + len(vision) + 2 == len(weights)  # lm_head and rm_head
    rubric = (shared / "parity" / "official_template" / "detailed_special.txt").read_text(encoding="utf-8")
    opening = f"<|im_start|>system\n{SYSTEM}<|im_end|>\n{USER}"
    stated = config["inference_config"]
    settings = RewardSettings(
        dimensions=DEFAULT_DIMENSIONS,
        template=opening + rubric.replace("{text_prompt}", "{prompt}") + ASSISTANT,
        limits=ReadingLimits(),
        normalisation={
            d.name: Normalisation(mean=stated[f"{d.name}_mean"], std=stated[f"{d.name}_std"])
            for d in DEFAULT_DIMENSIONS
        },
    )
    ids = [tokenizer.convert_tokens_to_ids(reward_token(d.name)) for d in DEFAULT_DIMENSIONS]
    return VideoReward(backbone, tokenizer, settings, tokens=embedding[ids], head=weights["rm_head.weight"]).eval()


def cases(shared: Path) -> list[dict]:
    return json.loads((shared / "parity" / "videoreward_tiny" / "expected_scores.json").read_text())


def read(reward: VideoReward, shared: Path, case: dict) -> Patches:
    """A clip through our decoder; one case asks for other frames per second."""
    file = shared / "data" / "videoalign_pairs" / case["video"]
    info = probe(file)
    limits = reward.processor.limits.model_copy(update={"fps": case.get("fps", 2.0)})
    kept, reward.processor.limits = reward.processor.limits, limits
    indices = reward.processor.indices(info.num_frames, info.fps)
    reward.processor.limits = kept
    return reward.processor.read_frames(read_video(file, indices).frames)


def test_raw_and_normalised_scores_are_the_official_ones(released: VideoReward, shared: Path) -> None:
    for case in cases(shared):
        clip = read(released, shared, case)
        if "video_grid_thw" in case:
            assert list(clip.grid) == case["video_grid_thw"]
            assert int(released.inputs([clip], [case["prompt"]]).lengths[0]) == case["num_input_tokens"]
        raw = released.score_patches([clip], [case["prompt"]])
        expected = np.array([[case["raw"][name] for name in released.dimensions]])
        assert np.abs(raw - expected).max() < 0.02, case["video"]
        if "normalised" in case:
            wanted = [case["normalised"][name] for name in released.dimensions]
            assert released.normalise(raw)[0] == pytest.approx(wanted, abs=0.02)


def test_from_the_official_frames_scores_agree_to_a_thousandth(released: VideoReward, shared: Path) -> None:
    stored = np.load(shared / "parity" / "example_3_B_frames.npz")
    case = next(case for case in cases(shared) if case["video"] == "example_3_B.mp4")
    info = probe(shared / "data" / "videoalign_pairs" / case["video"])
    assert released.processor.indices(info.num_frames, info.fps) == stored["indices"].tolist()
    clip = released.processor.read_frames(stored["frames"])
    raw = released.score_patches([clip], [case["prompt"]])[0]
    assert raw == pytest.approx([case["raw"][name] for name in released.dimensions], abs=1e-3)
    pixels = released.processor.normalise(clip.values)
    assert float(pixels.mean()) == pytest.approx(case["pixel_mean"], abs=1e-4)
    assert float(pixels.std()) == pytest.approx(case["pixel_std"], abs=1e-4)
