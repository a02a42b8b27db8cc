"""What is particular to LTX-2: sound beside the video, guidances of its own, and texts that pass connectors."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from tests.models.generators.small_ltx2 import ltx2
from tests.models.generators.small_pipelines import SMALL, TEXTS, build
from videoalign.errors import ModelError
from videoalign.models.generators import load_generator
from videoalign.models.generators.generator import PipelineGenerator
from videoalign.models.generators.ltx2 import AUDIO
from videoalign.models.latent_reward import LatentRewardModel
from videoalign.models.lora import LoraSettings
from videoalign.models.network_adapters import add_adapters, drop_adapters
from videoalign.sampling.guided import GuidedScheduler

SEEDS = [3, 4]
SMALL_LTX2 = SMALL["LTX2Pipeline"]


def generator_of(**kind: Any) -> PipelineGenerator:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        return PipelineGenerator(ltx2(**kind), SMALL_LTX2.settings, "tiny")


@pytest.fixture(scope="module")
def generator() -> PipelineGenerator:
    return PipelineGenerator(build("LTX2Pipeline"), name="tiny")


@pytest.fixture
def calls(generator: PipelineGenerator) -> Iterator[list[dict[str, Any]]]:
    """What the transformer is told, call after call."""
    told: list[dict[str, Any]] = []
    hook = generator.pipeline.transformer.register_forward_pre_hook(
        lambda _, inputs, named: told.append(named), with_kwargs=True
    )
    yield told
    hook.remove()


def test_without_guidance_a_step_is_one_call_for_video_and_sound_and_with_it_the_pipelines_three(
    generator: PipelineGenerator, calls: list[dict[str, Any]]
) -> None:
    generator.sampler.latents(TEXTS, SEEDS, num_steps=2, guidance_scale=1.0)
    assert [(len(told["hidden_states"]), told["isolate_modalities"]) for told in calls] == [(2, False)] * 2
    calls.clear()
    generator.sampler.latents(TEXTS, SEEDS, num_steps=2)
    kinds = [
        (len(told["hidden_states"]), told["isolate_modalities"], told["spatio_temporal_guidance_blocks"])
        for told in calls
    ]
    assert kinds == [(4, False, None), (2, False, [28]), (2, True, None)] * 2
    assert all(told["audio_hidden_states"].shape[1:] == (16, 4) for told in calls), "25 tokens of sound a second"


def test_blocks_that_cannot_be_skipped_are_not_computed_twice_and_the_clip_is_the_same() -> None:
    generator = generator_of(first=True)
    pipeline, told = generator.pipeline, []
    stock = pipeline(
        prompt=TEXTS,
        negative_prompt=["", ""],
        latents=SMALL_LTX2.laid(torch.stack([generator.sampler.noise(seed) for seed in SEEDS])),
        num_inference_steps=2,
        generator=SMALL_LTX2.generators(SEEDS),
        output_type="latent",
        **SMALL_LTX2.size(),
        **SMALL_LTX2.call,
    )[0]
    pipeline.transformer.register_forward_pre_hook(lambda *inputs: told.append(1))
    ours = generator.sampler.latents(TEXTS, SEEDS, num_steps=2)
    torch.testing.assert_close(SMALL_LTX2.returned(pipeline, ours), stock, rtol=0, atol=1e-4)
    assert len(told) == 2 * 2
    network, condition = generator.network, generator.conditioner.encode(TEXTS)
    reward = LatentRewardModel.from_transformer(pipeline.transformer, ["VQ"], num_blocks=1, constants=network.constants)
    assert reward.score(ours, torch.tensor([0.1, 0.2]), condition).shape == (2, 1), "texts are as wide as it says"


def test_the_sound_follows_the_seed_of_its_clip_and_has_its_say(
    generator: PipelineGenerator, monkeypatch: pytest.MonkeyPatch
) -> None:
    both = generator.sampler.latents(TEXTS, SEEDS, num_steps=2)
    alone = generator.sampler.latents(TEXTS[1:], SEEDS[1:], num_steps=2)
    torch.testing.assert_close(alone, both[1:], rtol=0, atol=1e-4)
    own = type(generator.sampler).drawn
    monkeypatch.setattr(type(generator.sampler), "drawn", lambda sampler, seeds: own(sampler, [s + 1 for s in seeds]))
    assert (generator.sampler.latents(TEXTS, SEEDS, num_steps=2) - both).abs().max() > 1e-3


class Counting:
    """A guide that changes nothing and keeps what it is given."""

    def __init__(self) -> None:
        self.seen: list[torch.Size] = []

    def adjust(self, velocity: Tensor, x_t: Tensor, t: Tensor, condition: Any) -> Tensor:
        self.seen.append(x_t.shape)
        return velocity


def test_a_guide_sees_the_video_of_every_step_and_never_the_sound(generator: PipelineGenerator) -> None:
    guide = Counting()
    generator.sampler.latents(
        TEXTS, SEEDS, num_steps=3, wrap_scheduler=lambda own, told: GuidedScheduler(own, guide, told)
    )
    assert guide.seen == [(2, *generator.codec.latent_shape)] * 3


def test_a_call_that_breaks_off_leaves_the_pipeline_as_it_was(generator: PipelineGenerator) -> None:
    pipeline = generator.pipeline
    before = dict(pipeline.components), dict(pipeline.config)

    def breaks() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        generator.sampler.latents(TEXTS, SEEDS, on_step=breaks)
    assert (dict(pipeline.components), dict(pipeline.config)) == before


@pytest.mark.parametrize("targets", ["attention", "attention+ffn"])
def test_every_layer_that_is_adapted_moves_the_video(generator: PipelineGenerator, targets: Any) -> None:
    network, condition = generator.network, generator.conditioner.encode(TEXTS)
    x = torch.stack([generator.sampler.noise(seed) for seed in SEEDS])
    parameters = add_adapters(network, LoraSettings(rank=2, targets=targets))
    try:
        network(x, torch.tensor([0.3, 0.8]), condition).square().mean().backward()
        assert not [name for name in parameters if re.search(AUDIO, name)]
        moving = {name: value.grad for name, value in parameters.items() if ".lora_B." in name}
        assert len(moving) == 2 * {"attention": 8, "attention+ffn": 10}[targets]
        assert all(grad is not None and bool(grad.abs().max() > 0) for grad in moving.values())
    finally:
        drop_adapters(network)


def test_a_text_of_any_length_is_read_at_all_positions_and_conditions_are_kept_whole(
    generator: PipelineGenerator,
) -> None:
    conditioner, texts = generator.conditioner, [TEXTS[0], "a"]
    both = conditioner.encode(texts)
    assert bool(both["text_mask"].all()) and bool((both["text"] != 0).any(-1).all())
    for row, one in enumerate(both.split()):
        assert torch.equal(one.tensors["text"], both["text"][row : row + 1])
        torch.testing.assert_close(conditioner.encode([f" {texts[row]} "])["text"], one["text"])
    assert (both["text"][0] - both["text"][1]).abs().max() > 1e-3


def test_parts_are_opened_in_silence_where_they_are_used_and_what_is_missing_is_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    generator_of().save_pretrained(tmp_path / "tiny")
    index, vae = tmp_path / "tiny" / "model_index.json", tmp_path / "tiny" / "vae" / "config.json"
    told = json.loads(index.read_text())
    index.write_text(json.dumps({**told, "prompt_enhancer": ["transformers", "Gemma4ForConditionalGeneration"]}))
    opened = load_generator(tmp_path / "tiny")
    assert opened.pipeline.prompt_enhancer is None, "it writes prompts anew, which nobody asks for"
    closed = opened.conditioner.identity()
    opened.conditioner.encode(TEXTS)
    assert opened.conditioner.identity() == closed
    assert {name: part.device.type for name, part in opened.pipeline.components.items() if hasattr(part, "device")} == {
        **dict.fromkeys(("transformer", "vae", "audio_vae", "vocoder"), "meta"),
        **dict.fromkeys(("text_encoder", "connectors"), "cpu"),
    }
    opened.sampler.latents(TEXTS[:1], SEEDS[:1], num_steps=2, guidance_scale=1.0)
    assert not [told for told in caplog.records if told.name.startswith("diffusers")]
    index.write_text(json.dumps({**told, "connectors": [None, None]}))
    with pytest.raises(ModelError, match="lacks the connectors of its LTX2Pipeline; wanted a whole model"):
        load_generator(tmp_path / "tiny")
    index.write_text(json.dumps(told))
    vae.write_text(json.dumps({**json.loads(vae.read_text()), "timestep_conditioning": True}))
    with pytest.raises(ModelError, match="is told a time when it decodes; wanted one that is not, as of LTX-2"):
        load_generator(tmp_path / "tiny")
