"""Wan 2.2 TI2V, from a text or a picture: its residual autoencoder, the time that its pipeline tells every token, and a
first latent frame that is the picture's."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.models.generators.small_pipelines import build, own_clips, picture_in, write_two_pairs
from videoalign.cli.main import main
from videoalign.contracts.records import WinLosePair
from videoalign.data.dataset import Dataset
from videoalign.data.prompts_file import beside_picture
from videoalign.errors import ConfigError
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
from videoalign.training.objectives.flow import velocity_errors

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
    assert np.array_equal(own_clips(generator, TEXTS, [1, 2]), [video.frames for video in made])


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


def test_the_frame_that_the_picture_gives_costs_nothing_and_no_noise_of_it_is_seen(tmp_path: Path) -> None:
    generator = PipelineGenerator(build("WanImageToVideoPipeline of TI2V"), TINY_SETTINGS, "tiny")
    condition = generator.conditioner.encode([beside_picture(TEXTS[0], str(picture_in(tmp_path)))])
    data, noise = (torch.randn(1, *generator.codec.latent_shape) for _ in range(2))
    t = torch.tensor([0.6])
    with torch.no_grad():
        error = velocity_errors(generator.network, data, condition, t, noise)
        v = generator.network(0.4 * data + 0.6 * noise, t, condition)
        torch.testing.assert_close(error, (v - noise + data)[:, :, 1:].square().mean()[None])
        data[:, :, 0], noise[:, :, 0] = 7, -7
        torch.testing.assert_close(velocity_errors(generator.network, data, condition, t, noise), error)


def test_a_model_of_texts_is_opened_for_pictures_by_a_setting_and_its_adapter_serves_both(
    generator: PipelineGenerator, tmp_path: Path
) -> None:
    model, out, adapter = tmp_path / "model", tmp_path / "d", tmp_path / "a"
    generator.save_pretrained(model)
    rows = [{"prompt": text, "media": picture_in(tmp_path, seed).name} for seed, text in enumerate(TEXTS)]
    (tmp_path / "prompts.jsonl").write_text("\n".join(map(json.dumps, rows)))
    asked = ["--model", str(model), "from_picture=true"]
    short = ["per_prompt=2", "num_steps=2", "check_steps=false"]
    assert main(["generate", *asked, "--prompts", str(tmp_path / "prompts.jsonl"), "--out", str(out), *short]) == 0
    dataset = Dataset.open(out)
    write_two_pairs(dataset)
    fit = ["fit.num_steps=8", "fit.batch_size=2", "fit.learning_rate=1e-2", "fit.warmup_steps=0", "beta=500"]
    assert main(["plan", str(out), *asked]) == 0
    made = ["align", "dpo", str(out), *asked, "--pairs", "p", "--out", str(adapter), *fit]
    assert main([*made, "reference_draws=2", "frame_weights=[1,2]", "--dry-run"]) == 0
    assert main([*made, "reference_draws=2"]) == 0
    log = [json.loads(line) for line in (adapter / "log.jsonl").read_text().splitlines()]
    assert log[0]["loss"] == pytest.approx(np.log(2), abs=1e-3) and log[-1]["margin"] > 0.1
    beside = beside_picture(TEXTS[0], str(picture_in(tmp_path)))
    for from_picture, prompt in ((False, TEXTS[0]), (True, beside)):
        opened = load_generator(model, settings={"from_picture": from_picture})
        before = opened.sampler.latents([prompt], [7])
        load_adapter(opened.network.transformer, adapter, base=opened.identity())
        assert (opened.sampler.latents([prompt], [7]) - before).abs().max() > 1e-2


def test_what_a_model_makes_clips_from_is_told_where_it_cannot_be_chosen(
    generator: PipelineGenerator, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    generator.save_pretrained(tmp_path / "both")
    small_wan_generator(TEXTS, TINY_SIZES, settings=TINY_SETTINGS).save_pretrained(tmp_path / "text")
    picture = str(picture_in(tmp_path))
    for model, words, says in (
        (
            "text",
            ["from_picture=true"],
            "from_picture: got true; 'text' is a WanPipeline, which makes clips from a text",
        ),
        ("both", ["--image", picture], "'both' reads no picture; set from_picture=true, or leave the picture out"),
        ("both", ["from_picture=true"], "Give it with --image, or in a column 'media'"),
    ):
        asked = ["sample", "--model", str(tmp_path / model), "--prompt", TEXTS[0], "--out", str(tmp_path / "o"), *words]
        assert main(asked) == 2
        error = capsys.readouterr().err
        assert says in error and error.count("\n") == 1 and not (tmp_path / "o").exists()
    with pytest.raises(ConfigError, match="is open as a WanPipeline; say it where the model is opened"):
        generator.changed({"from_picture": True})
    with pytest.raises(ConfigError, match="num_frames: got 1; 'both' wants 1 more than .* Set num_frames=5"):
        load_generator(tmp_path / "both", settings={"from_picture": True, "num_frames": 1})
