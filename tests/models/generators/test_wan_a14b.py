"""Wan 2.2 A14B: two transformers, one for the times from the boundary on and one for those below."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from videoalign.contracts.records import WinLosePair
from videoalign.data.dataset import Dataset
from videoalign.errors import ConfigError, ModelError
from videoalign.models.adapter_files import adapter_file_digest
from videoalign.models.generators import load_generator
from videoalign.models.generators.generator import PipelineGenerator
from videoalign.models.lora import LoraSettings
from videoalign.models.network_adapters import (
    add_adapters,
    carries_adapter,
    drop_adapters,
    load_adapters,
    read_adapters,
    reference_of,
    save_adapters,
)
from videoalign.models.small_wan import TINY_SETTINGS, TINY_SIZES, small_wan_generator
from videoalign.recipes.generator.align import align
from videoalign.recipes.generator.align_methods import DpoConfig, SftConfig
from videoalign.recipes.generator.generate import GenerateConfig, generate, open_generator
from videoalign.recipes.generator.guide import train_guide
from videoalign.recipes.generator.guide_settings import GuideTrainConfig
from videoalign.training.loop import FitConfig

TEXTS = ["a red circle moves left", "a blue square moves right"]
SIZES = TINY_SIZES.model_copy(update={"boundary": 0.6})


@pytest.fixture
def generator() -> PipelineGenerator:
    return small_wan_generator(TEXTS, SIZES, settings=TINY_SETTINGS, seed=1)


def latents(generator: PipelineGenerator, *seeds: int) -> torch.Tensor:
    return torch.stack([generator.sampler.noise(seed) for seed in seeds])


def test_each_time_is_served_by_its_own_transformer_whatever_else_is_in_the_batch(
    generator: PipelineGenerator,
) -> None:
    high, low = generator.network.transformers.values()
    x, t = latents(generator, 1, 2, 3, 4), torch.tensor([0.2, 0.6, 0.59, 0.95])
    condition = generator.conditioner.encode([TEXTS[0], TEXTS[1], TEXTS[1], TEXTS[0]])
    with torch.no_grad():
        got = generator.network(x, t, condition)
        for row, part in enumerate((low, high, low, high)):
            one = slice(row, row + 1)
            want = part(x[one], 1000 * t[one], condition["text"][one], return_dict=False)[0]
            torch.testing.assert_close(got[one], want, rtol=1e-4, atol=1e-5)
        for same in (0.1, 0.9):
            assert generator.network(x, torch.full((4,), same), condition).shape == x.shape


def test_the_pipelines_own_call_changes_at_the_same_time(
    generator: PipelineGenerator, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: dict[str, list[float]] = {}
    for part, transformer in generator.network.transformers.items():
        plain = transformer.forward

        def forward(timestep: Any, name: str = part, own: Any = plain, **inputs: Any) -> Any:
            told.setdefault(name, []).append(float(timestep[0]) / 1000)
            return own(timestep=timestep, **inputs)

        monkeypatch.setattr(transformer, "forward", forward)
    generator.sample(TEXTS[:1], [1], num_steps=8)
    assert min(told["transformer"]) >= 0.6 > max(told["transformer_2"])


def test_its_identity_is_of_both_transformers_and_of_the_boundary(generator: PipelineGenerator) -> None:
    before, clips = generator.network.identity(), generator.clip_identity()
    generator.pipeline.register_to_config(boundary_ratio=0.7)
    assert generator.changed({}).network.identity() != before
    generator.pipeline.register_to_config(boundary_ratio=0.6)
    other = generator.changed({"guidance_scale_2": 1.5})
    assert other.network.identity() == before and other.clip_identity() != clips
    with torch.no_grad():
        next(generator.network.transformer_2.parameters()).add_(1)
    assert generator.network.identity() != before


@pytest.fixture
def made(generator: PipelineGenerator, tmp_path: Path) -> Dataset:
    """Two clips of each prompt, and their pairs as ``p``."""
    options = GenerateConfig(per_prompt=2, num_steps=2, check_steps=False)
    dataset = generate(generator, TEXTS, tmp_path / "d", options)
    by_prompt: dict[str, list[str]] = {}
    for clip in dataset.clips():
        by_prompt.setdefault(clip.prompt_id, []).append(clip.clip_id)
    pairs = [
        WinLosePair(prompt_id=key, clip_win=a, clip_lose=b, reward_win=1.0, reward_lose=0.0)
        for key, (a, b) in by_prompt.items()
    ]
    dataset.write_pairs("p", pairs)
    return dataset


FIT = FitConfig(num_steps=12, batch_size=2, learning_rate=1e-2, warmup_steps=0)


@pytest.mark.parametrize("draws", [0, 3])
def test_alignment_trains_both_from_the_reference_and_leaves_the_model_bare(
    generator: PipelineGenerator, made: Dataset, tmp_path: Path, draws: int
) -> None:
    x, t = latents(generator, 1, 2), torch.tensor([0.3, 0.8])
    condition = generator.conditioner.encode(TEXTS)
    with torch.no_grad():
        before = generator.network(x, t, condition)
    config = DpoConfig(fit=FIT, beta=500.0, reference_draws=draws)
    run = align("dpo", made, generator, "p", tmp_path / "a", config)
    assert run.history[0]["loss"] == pytest.approx(np.log(2), abs=1e-3)
    assert run.history[-1]["margin"] > 0.05
    assert not carries_adapter(generator.network)
    load_adapters(generator.network, run.adapter, base=generator.identity())
    with torch.no_grad():
        after = generator.network(x, t, condition)
        with reference_of(generator.network):
            assert torch.equal(generator.network(x, t, condition), before)
    assert ((after - before).abs().amax((1, 2, 3, 4)) > 1e-3).all(), "low noise and high noise have both moved"


def test_a_stopped_run_ends_with_the_weights_of_the_unbroken_one_and_another_starts_from_it(
    generator: PipelineGenerator, made: Dataset, tmp_path: Path
) -> None:
    def weights(folder: Path) -> dict[str, bytes]:
        return {str(file.relative_to(folder)): file.read_bytes() for file in folder.rglob("adapter_model.safetensors")}

    whole = align("sft", made, generator, "p", tmp_path / "whole", SftConfig(fit=FIT)).adapter
    half = SftConfig(fit=FIT.model_copy(update={"num_steps": 5}))
    align("sft", made, generator, "p", tmp_path / "cut", half)
    cut = align("sft", made, generator, "p", tmp_path / "cut", SftConfig(fit=FIT)).adapter
    assert weights(whole) == weights(cut)
    assert set(weights(whole)) == {"adapter_model.safetensors", "transformer_2/adapter_model.safetensors"}
    further = DpoConfig(fit=FIT.model_copy(update={"num_steps": 1}), start=whole)
    run = align("dpo", made, generator, "p", tmp_path / "further", further)
    assert run.history[0]["loss"] == pytest.approx(np.log(2), abs=1e-3)
    shutil.rmtree(whole / "transformer_2")
    with pytest.raises(ModelError, match="start: holds no adapter for 'transformer_2'"):
        align("dpo", made, generator, "p", tmp_path / "none", further)
    assert not carries_adapter(generator.network)


def test_both_adapters_are_written_and_read(generator: PipelineGenerator, tmp_path: Path) -> None:
    generator.save_pretrained(tmp_path / "model")
    parameters = add_adapters(generator.network, LoraSettings(rank=4), seed=2)
    assert {name.partition(".")[0] for name in parameters} == {"transformer", "transformer_2"}
    with torch.no_grad():
        for value in parameters.values():
            value.add_(0.1 * torch.randn(value.shape, generator=torch.Generator().manual_seed(7)))
    save_adapters(generator.network, tmp_path / "a", generator.identity())
    x, condition = latents(generator, 1), generator.conditioner.encode(TEXTS[:1])
    with torch.no_grad():
        want = [generator.network(x, torch.tensor([time]), condition) for time in (0.8, 0.3)]
    digest = adapter_file_digest(tmp_path / "a")
    opened = open_generator(tmp_path / "model", tmp_path / "a")
    with torch.no_grad():
        torch.testing.assert_close(opened.network(x, torch.tensor([0.3]), condition), want[1], rtol=1e-4, atol=1e-5)
    config = tmp_path / "a" / "transformer_2" / "adapter_config.json"
    config.write_text(json.dumps({**json.loads(config.read_text()), "lora_alpha": 1.0}))
    assert adapter_file_digest(tmp_path / "a") != digest, "the second adapter counts"
    drop_adapters(generator.network)
    assert not carries_adapter(generator.network)


def test_a_start_that_fits_the_first_alone_leaves_neither_adapted(generator: PipelineGenerator, tmp_path: Path) -> None:
    starts = []
    for rank in (4, 2):
        add_adapters(generator.network, LoraSettings(rank=rank))
        save_adapters(generator.network, tmp_path / str(rank), generator.identity())
        with pytest.raises(ModelError, match="has one already"):
            add_adapters(generator.network, LoraSettings(rank=rank))
        assert carries_adapter(generator.network), "what was there before stays"
        drop_adapters(generator.network)
        starts.append(read_adapters(generator.network, tmp_path / str(rank), generator.identity()))
    mixed = {"transformer": starts[0]["transformer"], "transformer_2": starts[1]["transformer_2"]}
    with pytest.raises(ConfigError, match="its adapter has rank 2"):
        add_adapters(generator.network, LoraSettings(rank=4), start=mixed)
    assert not carries_adapter(generator.network)


def test_what_two_transformers_cannot_do_is_refused(
    generator: PipelineGenerator, made: Dataset, tmp_path: Path
) -> None:
    made.write_scores(
        "s",
        [
            {
                "clip_id": c.clip_id,
                "raw": {d: float(k) for d in made.dimensions},
                "normalised": {d: float(k) for d in made.dimensions},
            }
            for k, c in enumerate(made.clips())
        ],
    )
    with pytest.raises(ModelError, match="'small' has 2 transformers, each for some of the times"):
        train_guide(made, generator, tmp_path / "g", GuideTrainConfig(num_held_out=0), scores="s")
    generator.save_pretrained(tmp_path / "model")
    opened = load_generator(tmp_path / "model")
    assert opened.identity()["transformer"] == generator.identity()["transformer"]
