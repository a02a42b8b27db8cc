"""Recipes of released models: what a step takes follows from their shapes; from pairs to an adapter they are whole."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

import videoalign
from videoalign.contracts.records import WinLosePair
from videoalign.models.generators.released import Released, released
from videoalign.models.lora import LoraSettings
from videoalign.models.small_wan import TINY_SETTINGS, TINY_SIZES, small_wan_generator
from videoalign.recipes.generator import named
from videoalign.recipes.generator.generate import GenerateConfig, generate
from videoalign.training.loop import FitConfig

NAMES = ("wan21_1_3b", "wan22_5b", "wan22_14b", "ltx", "ltx2", "hunyuan15")


def tiny(name: str, num_layers: int) -> Released:
    """The model with few and narrow blocks, reading short texts."""
    whole = released(name)
    narrow = {"num_attention_heads": 2, "num_layers": num_layers}
    narrow |= {"attention_head_dim": 16, "cross_attention_dim": 32} if name == "ltx" else {"ffn_dim": 64}
    texts = {key: (min(size[0], 8), *size[1:]) if size else size for key, size in whole.condition.items()}
    kept = {key: value for key, value in narrow.items() if key in whole.transformer}
    return replace(whole, transformer={**whole.transformer, **kept}, condition=texts)


@pytest.mark.parametrize("name", ["wan22_14b"])
def test_the_cost_of_many_blocks_follows_from_that_of_two_and_three(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = getattr(videoalign, name)()
    small = replace(recipe, config=recipe.config.model_copy(update={"num_frames": 17, "height": 64, "width": 64}))
    told = tiny(name, 5)
    monkeypatch.setattr(named, "released", lambda _: told)
    found, whole = small.cost(), small._cost(told, 5)
    assert found.operations == whole.operations
    heads, width = told.transformer["num_attention_heads"], told.transformer["attention_head_dim"]
    clip = told.latent_shape(17, 64, 64)
    tokens = clip[1] * clip[2] * clip[3] // (1 if name == "ltx" else 4)
    attention = 2 * 2 * tokens**2 * heads * width * told.num_layers  # one pass of one clip
    assert found.operations > 2 * 3.5 * attention, "forwards and backwards of both clips, attention included"
    assert found.activations_bytes == pytest.approx(whole.activations_bytes, rel=0.02)
    assert found.weights_bytes == told.transformers * whole.weights_bytes
    assert found.optimizer_bytes == told.transformers * whole.optimizer_bytes
    weights = sum(value.numel() * value.element_size() for value in told.outline(torch.bfloat16, 5).parameters())
    added = whole.optimizer_bytes // 3  # gradients and two moments, all float32 as the factors
    assert whole.weights_bytes == weights + added


def test_a_recipe_is_the_papers_settings_and_says_which_model() -> None:
    for name in NAMES:
        recipe = getattr(videoalign, name)()
        assert recipe.model.count("/") == 1 and recipe.config.beta == 500.0
        assert (recipe.config.lora.rank, recipe.config.lora.alpha) == (64, 128)
        assert recipe.config.fit.batch_size * recipe.config.fit.accumulate_steps == 16


def test_a_recipe_runs_from_pairs_to_an_adapter(tmp_path: Path) -> None:
    made = small_wan_generator(["a", "b"], TINY_SIZES, settings=TINY_SETTINGS.model_copy(update={"num_steps": 1}))
    made.save_pretrained(tmp_path / "model")
    dataset = generate(made, ["a", "b"], tmp_path / "prefs", GenerateConfig(per_prompt=2, check_steps=False))
    clips = dataset.clips()
    rows = [
        WinLosePair(
            prompt_id=win.prompt_id, clip_win=win.clip_id, clip_lose=lose.clip_id, reward_win=1.0, reward_lose=0.0
        )
        for win, lose in zip(clips[::2], clips[1::2], strict=True)
    ]
    dataset.write_pairs("p", rows)
    recipe = videoalign.wan21_1_3b()
    sizes = {"num_frames": None, "height": None, "width": None, "lora": LoraSettings(rank=2)}
    fit = FitConfig(num_steps=1, batch_size=1, accumulate_steps=2, warmup_steps=0, dtype="bfloat16")
    small = replace(recipe, config=recipe.config.model_copy(update={**sizes, "fit": fit}))
    result = small.run(tmp_path / "prefs", "p", tmp_path / "a", model=tmp_path / "model", device="cpu")
    assert result.num_pairs == 2 and result.history[0]["loss"] == pytest.approx(0.693, abs=0.02)
    assert "Flow-DPO" in (tmp_path / "a" / "README.md").read_text()
