"""A small random WanPipeline in a folder, and preferences about its clips."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from videoalign.contracts.records import WinLosePair
from videoalign.data.dataset import Dataset
from videoalign.models.generators.generator import PipelineGenerator
from videoalign.models.small_wan import TINY_SETTINGS, TINY_SIZES, small_wan_generator
from videoalign.recipes.generator.generate import GenerateConfig, generate, open_generator

TEXTS = ["a red circle moves left", "a blue square moves right", "a red square moves left"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Holds ``model``, ``prompts.txt`` and the dataset ``prefs`` with pairs ``p``: brighter clips win."""
    root = tmp_path_factory.mktemp("align")
    made = small_wan_generator(TEXTS, TINY_SIZES, settings=TINY_SETTINGS, name="tiny")
    with torch.no_grad():  # wider weights, so that a random model makes clips that differ
        for value in made.pipeline.vae.decoder.parameters():
            value *= 1.5
    made.save_pretrained(root / "model")
    (root / "prompts.txt").write_text("\n".join(TEXTS))
    dataset = generate(open_generator(root / "model"), TEXTS, root / "prefs", GenerateConfig(per_prompt=4, num_steps=2))
    rows = []
    for prompt in dataset.prompts():
        clips = [clip for clip in dataset.clips() if clip.prompt_id == prompt.prompt_id]
        bright = sorted(clips, key=lambda clip: -dataset.load(clip).frames.mean())
        rows += [
            WinLosePair(
                prompt_id=prompt.prompt_id,
                clip_win=win.clip_id,
                clip_lose=lose.clip_id,
                reward_win=1.0 + place,
                reward_lose=-1.0,
            )
            for place, (win, lose) in enumerate([(bright[0], bright[3]), (bright[1], bright[2])])
        ]
    dataset.write_pairs("p", rows)
    return root


@pytest.fixture(scope="module")
def dataset(folder: Path) -> Dataset:
    return Dataset.open(folder / "prefs")


@pytest.fixture
def generator(folder: Path) -> PipelineGenerator:
    return open_generator(folder / "model")
