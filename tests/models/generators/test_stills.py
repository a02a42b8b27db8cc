"""Stills from text-to-image models go the whole way, as clips of two equal frames."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.models.generators.small_pipelines import TEXTS, build, write_two_pairs
from videoalign.cli.main import main
from videoalign.data.dataset import Dataset
from videoalign.errors import ConfigError
from videoalign.models.generators import load_generator
from videoalign.models.generators.generator import PipelineGenerator
from videoalign.models.videoreward import VideoReward
from videoalign.models.videoreward.processing import ReadingLimits
from videoalign.models.videoreward.settings import Normalisation


def test_stills_go_from_generate_to_evaluate(tiny_base: Path, tmp_path: Path) -> None:
    limits = ReadingLimits(fps=4.0, min_frame_pixels=32 * 32, max_frame_pixels=32 * 32)
    reward = VideoReward.from_base(tiny_base, limits=limits)
    normalisation = dict.fromkeys(reward.dimensions, Normalisation(mean=0.1, std=0.7))
    reward.settings = reward.settings.model_copy(update={"normalisation": normalisation})
    reward.save_pretrained(tmp_path / "r")
    PipelineGenerator(build("FluxPipeline"), name="tiny").save_pretrained(tmp_path / "tiny")
    model, data, quick = ["--model", str(tmp_path / "tiny")], str(tmp_path / "d"), ["num_steps=2"]
    for name, texts in (("prompts", TEXTS), ("others", ["a circle", "a square"])):
        (tmp_path / f"{name}.txt").write_text("\n".join(texts))
    made = ["generate", *model, "--prompts", str(tmp_path / "prompts.txt"), "--out", data, "per_prompt=2", *quick]
    assert main([*made, "check_steps=false"]) == 0
    dataset = Dataset.open(data)
    clips = dataset.clips()
    assert {(clip.num_frames, clip.height, clip.width) for clip in clips} == {(2, 16, 16)}
    frames = dataset.load(clips[0]).frames.astype(int)
    assert np.abs(frames[0] - frames[1]).max() <= 8  # written as a video
    write_two_pairs(dataset)
    assert main(["encode", data, *model, "--pairs", "p", "sampler_latents=false"]) == 0
    adapter = str(tmp_path / "a")
    aligned = ["align", "dpo", data, *model, "--pairs", "p", "--out", adapter, "fit.num_steps=1", "fit.batch_size=2"]
    assert main(aligned) == 0
    judged = ["--judge", str(tmp_path / "r"), "--prompts", str(tmp_path / "others.txt"), "--out", str(tmp_path / "e")]
    arms = ["--base", model[1], "--candidate", f"{model[1]}:{adapter}"]
    assert main(["evaluate", *arms, *judged, "per_prompt=1", *quick]) == 0
    assert len(json.loads((tmp_path / "e" / "scores.json").read_text())) == 2


def test_a_still_is_one_picture_and_its_file_is_read_back_as_its_latents() -> None:
    generator = PipelineGenerator(build("StableDiffusion3Pipeline"), name="tiny")
    (video,) = generator.sample(TEXTS[:1], [3], guidance_scale=1.0)
    assert video.frames.shape == (2, 16, 16, 3) and np.array_equal(video.frames[0], video.frames[1])
    assert generator.codec.clip_shape == (2, 16, 16) and generator.codec.latent_shape == (4, 1, 8, 8)
    shown = np.stack([video.frames[0], np.zeros_like(video.frames[0])])
    torch.testing.assert_close(generator.codec.encode_frames(shown[None]), generator.codec.encode([video]))


def test_the_times_of_flux_are_shifted_as_its_sampler_shifts_them() -> None:
    generator = PipelineGenerator(build("FluxPipeline"), name="tiny")
    scheduler, seen = generator.pipeline.scheduler, list[float]()
    generator.sampler.latents(TEXTS, [1, 2], num_steps=4, on_step=lambda: seen.extend(scheduler.sigmas.tolist()))
    even, shift = torch.linspace(1, 0.25, 4), generator.sampler.time_shift
    torch.testing.assert_close(torch.tensor(seen[:4]), shift * even / (1 + (shift - 1) * even))
    assert shift != pytest.approx(3.0, abs=0.1), "the static shift is not used beside a dynamic one"


def test_without_a_guidance_embedding_flux_is_told_none(tmp_path: Path) -> None:
    pipeline = build("FluxPipeline")
    config = {name: value for name, value in pipeline.transformer.config.items() if not name.startswith("_")}
    pipeline.transformer = type(pipeline.transformer).from_config({**config, "guidance_embeds": False}).eval()
    PipelineGenerator(pipeline, name="tiny").save_pretrained(tmp_path / "tiny")
    generator = load_generator(tmp_path / "tiny", settings={"num_frames": 2, "height": 16, "width": 16})
    assert generator.conditioner.names == ("text", "pooled")
    assert generator.sampler.latents(TEXTS, [1, 2], guidance_scale=1.0).isfinite().all()
    with pytest.raises(ConfigError, match="embedded_guidance: got 5, but 'tiny' is told no scale"):
        generator.changed({"embedded_guidance": 5.0})
