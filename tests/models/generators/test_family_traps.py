"""What is particular to one family of generators, on the small pipelines of `small_pipelines`."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from diffusers import DiffusionPipeline

from tests.models.generators.small_pipelines import TEXTS, build
from videoalign.errors import ConfigError
from videoalign.models.generators import load_generator
from videoalign.models.generators.generator import PipelineGenerator

SEEDS = [3, 4]


@pytest.mark.parametrize("name", ["LTXPipeline", "MochiPipeline"])
def test_fewer_steps_than_a_schedule_has_parts_are_refused(name: str) -> None:
    generator = PipelineGenerator(build(name), name="tiny")
    with pytest.raises(ConfigError, match=r"num_steps: got 1; .* 'tiny' takes at least 2\. Set num_steps=2\."):
        generator.sampler.latents(TEXTS, SEEDS, num_steps=1)


def test_an_empty_text_blanks_no_other_prompt_of_its_batch() -> None:
    generator = PipelineGenerator(build("MochiPipeline"), name="tiny")
    both, alone = generator.conditioner.encode([TEXTS[0], ""]), generator.conditioner.encode([TEXTS[0]])
    torch.testing.assert_close(both["text"][:1], alone["text"])
    assert both["text_mask"].sum(1).tolist() == [6, 0]


def test_the_guidance_that_a_distilled_model_is_told_is_a_setting_of_training_and_sampling_alike() -> None:
    generator = PipelineGenerator(build("HunyuanVideoPipeline"), name="tiny")
    other = generator.changed({"embedded_guidance": 1.0})
    assert generator.conditioner.encode(TEXTS)["guidance"].tolist() == [4.0, 4.0]
    assert other.conditioner.encode(TEXTS)["guidance"].tolist() == [1.0, 1.0]
    assert other.conditioner.identity() != generator.conditioner.identity()
    assert other.network.identity() == generator.network.identity()
    made = [one.sampler.latents(TEXTS, SEEDS, guidance_scale=1.0) for one in (generator, other)]
    assert (made[0] - made[1]).abs().max() > 1e-4


def test_the_times_of_a_dynamic_schedule_are_shifted_as_its_sampler_shifts_them() -> None:
    generator = PipelineGenerator(build("LTXPipeline"), name="tiny")
    scheduler = type(generator.pipeline.scheduler).from_config(generator.pipeline.scheduler.config, shift_terminal=None)
    generator.pipeline.scheduler = scheduler
    seen: list[float] = []
    generator.sampler.latents(TEXTS, SEEDS, num_steps=4, on_step=lambda: seen.extend(scheduler.sigmas.tolist()))
    even, shift = torch.linspace(1, 0.25, 4), generator.sampler.time_shift
    torch.testing.assert_close(torch.tensor(seen[:4]), shift * even / (1 + (shift - 1) * even))
    assert shift > 1.5


def test_size_and_scale_of_a_model_are_those_of_its_own_transformer_and_guider(tmp_path: Path) -> None:
    build("HunyuanVideo15Pipeline").save_pretrained(tmp_path / "tiny")
    opened = load_generator(tmp_path / "tiny", settings={"num_frames": 9})
    stock = DiffusionPipeline.from_pretrained(tmp_path / "tiny")
    size = stock.video_processor.calculate_default_height_width(9, 16, stock.target_size)
    assert (opened.settings.height, opened.settings.width) == size
    assert opened.settings.guidance_scale == 3.0


def test_steps_are_counted_where_the_call_takes_no_callback() -> None:
    generator, steps = PipelineGenerator(build("HunyuanVideo15Pipeline"), name="tiny"), []
    own = generator.pipeline.scheduler
    generator.sampler.latents(TEXTS, SEEDS, on_step=lambda: steps.append(1))
    assert len(steps) == 2
    assert generator.pipeline.scheduler is own
