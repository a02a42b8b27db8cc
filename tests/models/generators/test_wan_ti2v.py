"""Wan 2.2 TI2V from a text: its residual autoencoder, and the time that its pipeline tells every token."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from videoalign.contracts.records import WinLosePair
from videoalign.models.generators import load_generator
from videoalign.models.generators.generator import PipelineGenerator
from videoalign.models.latent_reward import LatentRewardModel
from videoalign.models.lora import load_adapter
from videoalign.models.small_wan import TINY_SETTINGS, TINY_SIZES, small_wan_generator
from videoalign.recipes.generator.align import align
from videoalign.recipes.generator.align_methods import DpoConfig
from videoalign.recipes.generator.generate import GenerateConfig, generate
from videoalign.sampling.guided import GuidedScheduler, RewardGuide
from videoalign.training.loop import FitConfig

TEXTS = ["a red circle moves left", "a blue square moves right"]
SIZES = TINY_SIZES.model_copy(update={"is_second": True, "vae_multipliers": (1, 2, 2)})


@pytest.fixture(scope="module")
def generator() -> PipelineGenerator:
    return small_wan_generator(TEXTS, SIZES, settings=TINY_SETTINGS, seed=1)


def test_one_time_for_a_clip_gives_the_velocity_of_that_time_for_each_of_its_tokens(
    generator: PipelineGenerator,
) -> None:
    x = torch.stack([generator.sampler.noise(seed) for seed in (1, 2)])
    t, text = torch.tensor([0.3, 0.8]), generator.conditioner.encode(TEXTS)
    tokens = x.shape[2] * (x.shape[3] // 2) * (x.shape[4] // 2)
    each = (1000 * t)[:, None].expand(-1, tokens)
    with torch.no_grad():
        want = generator.network.transformer(x, each, text["text"], return_dict=False)[0]
        torch.testing.assert_close(generator.network(x, t, text), want, rtol=1e-4, atol=1e-5)


def test_the_pipelines_own_call_tells_every_token_and_makes_the_clips_that_we_make(
    generator: PipelineGenerator, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[tuple[int, ...]] = []
    transformer, plain = generator.network.transformer, generator.network.transformer.forward

    def forward(hidden_states: Any, timestep: Any, *args: Any, **named: Any) -> Any:
        told.append(tuple(timestep.shape))
        return plain(hidden_states, timestep, *args, **named)

    monkeypatch.setattr(transformer, "forward", forward)
    made = generator.sample(TEXTS, [1, 2])
    assert set(told) == {(2, 12)}
    text, negative = (generator.conditioner.encode(texts)["text"] for texts in (TEXTS, [""]))
    stock = generator.pipeline(
        prompt_embeds=text,
        negative_prompt_embeds=negative.expand_as(text),
        latents=torch.stack([generator.sampler.noise(seed) for seed in (1, 2)]),
        num_frames=9,
        height=32,
        width=32,
        num_inference_steps=4,
        guidance_scale=3.0,
    ).frames
    for frames, video in zip(stock, made, strict=True):
        assert np.array_equal((frames * 255).round().astype(np.uint8), video.frames)


def test_a_folder_of_it_is_opened_aligned_and_its_adapter_moves_the_clips(
    generator: PipelineGenerator, tmp_path: Path
) -> None:
    generator.save_pretrained(tmp_path / "model")
    opened = load_generator(tmp_path / "model")
    dataset = generate(opened, TEXTS, tmp_path / "d", GenerateConfig(per_prompt=2, num_steps=2, check_steps=False))
    ids = [clip.clip_id for clip in dataset.clips()]
    prompts = [clip.prompt_id for clip in dataset.clips()]
    pairs = [
        WinLosePair(prompt_id=prompts[k], clip_win=ids[k], clip_lose=ids[k + 1], reward_win=1.0, reward_lose=0.0)
        for k in (0, 2)
    ]
    dataset.write_pairs("p", pairs)
    fit = FitConfig(num_steps=8, batch_size=2, learning_rate=1e-2, warmup_steps=0)
    run = align("dpo", dataset, opened, "p", tmp_path / "a", DpoConfig(fit=fit, beta=500.0, reference_draws=2))
    assert run.history[0]["loss"] == pytest.approx(np.log(2), abs=1e-3)
    assert run.history[-1]["margin"] > 0.1
    before = opened.sample(TEXTS[:1], [7])[0].frames.astype(int)
    load_adapter(opened.network.transformer, run.adapter, base=opened.identity())
    assert np.abs(opened.sample(TEXTS[:1], [7])[0].frames - before).max() > 2


def test_a_reward_from_its_blocks_steers_it(generator: PipelineGenerator) -> None:
    reward = LatentRewardModel.from_transformer(generator.network.transformer, ["VQ"], num_blocks=1, seed=3).eval()
    made = {}
    for strength in (0.0, 50.0):
        guide = RewardGuide(reward, {"VQ": 1.0}, strength)
        made[strength] = generator.sampler.latents(
            TEXTS, [1, 2], wrap_scheduler=lambda scheduler, condition, g=guide: GuidedScheduler(scheduler, g, condition)
        )
    condition, t = generator.conditioner.encode(TEXTS), torch.full((2,), 0.05)
    with torch.no_grad():
        plain, steered = (reward.score(latents, t, condition)[:, 0] for latents in made.values())
    assert (steered > plain).all()
