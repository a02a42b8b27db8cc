"""Laws of the Wan adapter, on a small random WanPipeline."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import FlowMatchEulerDiscreteScheduler

from videoalign.contracts.video import Video
from videoalign.errors import ConfigError, DataError, ModelError
from videoalign.flow.condition import Condition
from videoalign.models.generators import load_generator
from videoalign.models.generators.generator import PipelineGenerator
from videoalign.models.lora import LoraSettings, add_lora, remove_adapter
from videoalign.models.small_wan import TINY_SETTINGS, TINY_SIZES, small_wan_generator, word_tokenizer

TEXTS = ["a red circle moves left", "a blue square moves right"]


@pytest.fixture
def generator() -> PipelineGenerator:
    made = small_wan_generator(TEXTS, TINY_SIZES, settings=TINY_SETTINGS, seed=1)
    made.pipeline.vae.register_to_config(
        latents_mean=torch.linspace(-1, 1, 12).tolist(), latents_std=torch.linspace(0.5, 2, 12).tolist()
    )
    return made


@pytest.fixture(scope="module")
def clip() -> Video:
    return Video(frames=np.random.default_rng(0).integers(0, 256, (9, 32, 32, 3), dtype=np.uint8), fps=8)


def test_latents_are_the_posterior_mean_less_mean_over_deviation(generator: PipelineGenerator, clip: Video) -> None:
    pixels = torch.from_numpy(clip.frames).permute(3, 0, 1, 2)[None].float() / 127.5 - 1
    raw = generator.pipeline.vae.encode(pixels).latent_dist.mode()[0]
    latents = generator.codec.encode([clip])[0]
    assert latents.shape == generator.codec.latent_shape == (12, 3, 4, 4)
    torch.testing.assert_close(latents[0], (raw[0] + 1) / 0.5)
    torch.testing.assert_close(latents[11], (raw[11] - 1) / 2.0)


def test_decode_undoes_the_normalisation(generator: PipelineGenerator, clip: Video) -> None:
    latents = generator.codec.encode([clip])
    mean, std = torch.linspace(-1, 1, 12), torch.linspace(0.5, 2, 12)
    pixels = generator.pipeline.vae.decode(latents * std.view(1, 12, 1, 1, 1) + mean.view(1, 12, 1, 1, 1)).sample
    want = ((pixels[0].clamp(-1, 1) + 1) * 127.5).permute(1, 2, 3, 0).round()
    got = generator.codec.decode(latents)[0]
    assert got.fps == 8.0
    assert np.abs(got.frames.astype(int) - want.detach().numpy()).max() <= 1


@torch.no_grad()
def test_sampling_is_the_schedulers_steps_on_the_guided_velocity_from_the_clips_own_noise(
    generator: PipelineGenerator,
) -> None:
    generator.pipeline.scheduler = FlowMatchEulerDiscreteScheduler()
    got = generator.sample(TEXTS, [3, 4])
    x = torch.stack([generator.sampler.noise(3), generator.sampler.noise(4)])
    text, empty = generator.conditioner.encode(TEXTS), generator.conditioner.encode(["", ""])
    sigmas = [*torch.linspace(1.0, 0.001, 4).tolist(), 0.0]
    for now, after in zip(sigmas, sigmas[1:], strict=False):
        t = torch.full((2,), now)
        told, untold = generator.network(x, t, text), generator.network(x, t, empty)
        v = untold + 3.0 * (told - untold)
        x = x + (after - now) * v
    for one, other in zip(got, generator.codec.decode(x), strict=True):
        assert np.abs(one.frames.astype(int) - other.frames).max() <= 1


def test_the_transformer_is_told_a_thousand_times_t(generator: PipelineGenerator) -> None:
    x = torch.randn(2, *generator.codec.latent_shape, generator=torch.Generator().manual_seed(0))
    text = generator.conditioner.encode(TEXTS)
    got = generator.network(x, torch.tensor([0.25, 0.5]), text)
    want = generator.network.transformer(x, torch.tensor([250.0, 500.0]), text["text"], return_dict=False)[0]
    torch.testing.assert_close(got, want)


def test_a_clip_depends_on_its_seed_and_not_on_its_batch(generator: PipelineGenerator) -> None:
    together = generator.sample([TEXTS[0]] * 3, [1, 2, 1], num_steps=2)
    alone = generator.sample([TEXTS[0]], [2], num_steps=2)
    assert np.abs(together[1].frames.astype(int) - alone[0].frames).max() <= 1
    assert np.abs(together[0].frames.astype(int) - together[2].frames).max() <= 1
    assert np.abs(together[0].frames.astype(int) - together[1].frames).max() > 10


def test_text_states_are_zero_after_the_end(generator: PipelineGenerator) -> None:
    states = generator.conditioner.encode(["a red circle", ""])["text"]
    assert states.shape == (2, 8, 16)
    assert states[0, :4].abs().sum(-1).min() > 0  # three words and the end
    assert torch.equal(states[0, 4:], torch.zeros(4, 16))
    assert torch.equal(states[1, 1:], torch.zeros(7, 16))


def test_tokens_are_words_with_an_end() -> None:
    tokenizer = word_tokenizer(["one circle , red"])
    ids = tokenizer("Red, circle dog").input_ids
    assert tokenizer.convert_ids_to_tokens(ids) == ["red", ",", "circle", "<unk>", "</s>"]


def test_a_wrapped_scheduler_serves_one_call_and_sees_the_text(generator: PipelineGenerator) -> None:
    own, seen = generator.pipeline.scheduler, []

    def wrap(scheduler: Any, condition: Condition) -> Any:
        seen.append((scheduler, condition["text"]))
        return type(scheduler).from_config(scheduler.config, flow_shift=9.0)

    plain = generator.sample(TEXTS[:1], [0])
    wrapped = generator.sample(TEXTS[:1], [0], wrap_scheduler=wrap)
    assert np.abs(plain[0].frames.astype(int) - wrapped[0].frames).max() > 1
    assert seen[0][0] is own
    torch.testing.assert_close(seen[0][1], generator.conditioner.encode(TEXTS[:1])["text"])
    assert generator.pipeline.scheduler is own

    def broken(scheduler: Any, condition: Condition) -> Any:
        raise RuntimeError("no")

    with pytest.raises(RuntimeError, match="no"):
        generator.sample(TEXTS[:1], [0], wrap_scheduler=broken)
    assert generator.pipeline.scheduler is own


def test_progress_counts_every_step(generator: PipelineGenerator) -> None:
    steps: list[int] = []
    generator.sample(TEXTS[:1], [0], num_steps=3, on_step=lambda: steps.append(1))
    assert len(steps) == 3


def test_a_saved_folder_loads_in_float32_and_halved_weights_are_close(
    generator: PipelineGenerator, tmp_path: Path
) -> None:
    generator.save_pretrained(tmp_path / "full")
    generator.save_pretrained(tmp_path / "half", half=True)
    full, half = (load_generator(tmp_path / name) for name in ("full", "half"))
    sizes = [sum(file.stat().st_size for file in (tmp_path / name).rglob("*.safetensors")) for name in ("full", "half")]
    assert sizes[1] < 0.6 * sizes[0]
    assert full.settings == half.settings == TINY_SETTINGS
    assert {p.dtype for p in half.network.transformer.parameters()} == {torch.float32}
    x, t, text = torch.stack([generator.sampler.noise(1)]), torch.tensor([0.5]), generator.conditioner.encode(TEXTS[:1])
    want = generator.network(x, t, text)
    torch.testing.assert_close(full.network(x, t, full.conditioner.encode(TEXTS[:1])), want, atol=1e-5, rtol=0)
    torch.testing.assert_close(half.network(x, t, text), want, atol=2e-2, rtol=0)
    assert {**full.identity(), "name": ""} == {**generator.identity(), "name": ""}


def test_identity_sees_any_weight_of_the_base_but_no_adapter(generator: PipelineGenerator) -> None:
    before = generator.identity()
    add_lora(generator.network.transformer, LoraSettings(rank=2))
    assert generator.identity() == before
    remove_adapter(generator.network.transformer)
    weight = generator.network.transformer.blocks[1].attn2.to_q.weight.view(-1)
    own = weight.detach().clone()
    with torch.no_grad():
        weight[77] += 1
        changed = generator.identity()
        weight.copy_(own)
    assert {key for key in before if before[key] != changed[key]} == {"transformer"}
    assert generator.identity() == before


def test_mistakes_are_one_line_errors(generator: PipelineGenerator, clip: Video, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"holds no model_index.json"):
        load_generator(tmp_path)
    (tmp_path / "model_index.json").write_text("{}")
    with pytest.raises(ModelError, match="cannot be opened as a generator"):
        load_generator(tmp_path)
    with pytest.raises(DataError, match=r"it reads 'a red \? moves left'"):
        generator.sample(["a red dog moves left"], [1])
    with pytest.raises(DataError, match="has 9 tokens; 'small' reads 8"):
        generator.conditioner.encode(["a red circle moves left a red circle"])
    with pytest.raises(DataError, match=r"\(5, 32, 32, 3\)"):
        generator.codec.encode([clip, Video(frames=clip.frames[:5], fps=8)])
    with pytest.raises(ConfigError, match="num_steps: got 0"):
        generator.sample(TEXTS[:1], [1], num_steps=0)


def test_tokens_are_counted_of_the_text_that_the_model_reads(generator: PipelineGenerator) -> None:
    long = "a red circle&amp;amp;   moves \n\t left"  # cleaned: a red circle& moves left
    clean = "a red circle& moves left"
    limit = len(generator.pipeline.tokenizer(clean).input_ids)
    assert len(generator.pipeline.tokenizer(long).input_ids) > limit
    conditioner = generator.changed({"max_text_tokens": limit, "known_words_only": False}).conditioner
    conditioner.check([long])
    torch.testing.assert_close(conditioner.encode([long])["text"], conditioner.encode([clean])["text"])
    torch.testing.assert_close(conditioner.tokenize([long]), conditioner.tokenize([clean]))
    short = generator.changed({"max_text_tokens": limit - 1, "known_words_only": False})
    with pytest.raises(DataError, match=f"has {limit} tokens; 'small' reads {limit - 1}"):
        short.conditioner.check([long])


def test_the_sprite_base_takes_enough_steps_to_follow_its_own_velocity() -> None:
    generator = load_generator("sprites")
    texts, seeds = [TEXTS[0], TEXTS[1]], [3, 4]
    own = generator.sampler.latents(texts, seeds)
    fine = generator.sampler.latents(texts, seeds, num_steps=8 * generator.settings.num_steps)
    assert (own - fine).square().mean().sqrt() < 0.1  # latents have deviation 1
