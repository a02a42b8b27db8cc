"""Wan from a picture: which clip begins from which, what is refused, and the commands that carry the picture."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import UniPCMultistepScheduler
from PIL import Image

from tests.models.generators.small_pipelines import TEXTS, build, picture_in, wan_image, write_two_pairs
from videoalign.cli.main import main
from videoalign.contracts.records import Label
from videoalign.data.dataset import Dataset
from videoalign.data.judgements.aggregate import JudgedPair
from videoalign.data.prompts_file import beside_picture
from videoalign.errors import ConfigError, DataError, ModelError, VideoError
from videoalign.models.generators import load_generator
from videoalign.models.generators.generator import PipelineGenerator
from videoalign.models.latent_reward import LatentRewardModel
from videoalign.models.small_wan import TINY_SETTINGS, TINY_SIZES, small_wan_generator
from videoalign.recipes.generator.align import align
from videoalign.recipes.generator.align_methods import DpoConfig
from videoalign.recipes.generator.encode import EncodeConfig, encode
from videoalign.recipes.generator.generate import GenerateConfig, generate
from videoalign.recipes.generator.guide import train_guide
from videoalign.recipes.generator.guide_pairs import latent_groups
from videoalign.recipes.generator.guide_settings import GuideTrainConfig
from videoalign.training.loop import FitConfig

QUICK = {"num_steps": 2, "guidance_scale": 1.0, "check_steps": False}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model, two pictures, and a table of one text with each of them."""
    root = tmp_path_factory.mktemp("image")
    PipelineGenerator(build("WanImageToVideoPipeline"), name="tiny").save_pretrained(root / "tiny")
    rows = [{"prompt": TEXTS[0], "media": picture_in(root, seed).name} for seed in (0, 1)]
    (root / "prompts.jsonl").write_text("\n".join(map(json.dumps, rows)))
    return root


@pytest.fixture(scope="module")
def dataset(folder: Path) -> Dataset:
    """Two clips from each picture, by the command, with pairs ``p`` and scores ``s``."""
    out, table = folder / "d", folder / "prompts.jsonl"
    words = [f"{name}={str(value).lower()}" for name, value in QUICK.items()]
    made = ["generate", "--model", str(folder / "tiny"), "--prompts", str(table), "--out", str(out), *words]
    assert main([*made, "per_prompt=2"]) == 0
    assert main([*made, "per_prompt=2"]) == 0, "clips that are there stay"
    dataset = Dataset.open(out)
    clips = dataset.clips()
    write_two_pairs(dataset)
    given = [dict.fromkeys(dataset.dimensions, float(place)) for place in range(4)]
    scores = [{"clip_id": c.clip_id, "raw": s, "normalised": s} for c, s in zip(clips, given, strict=True)]
    dataset.write_scores("s", scores)
    return dataset


def test_each_clip_begins_from_the_picture_of_its_own_prompt(folder: Path) -> None:
    generator = load_generator(folder / "tiny")
    asked = [beside_picture(TEXTS[0], str(picture_in(folder, seed))) for seed in (0, 1, 0)]
    condition = generator.conditioner.encode(asked)
    assert {name: tuple(value.shape) for name, value in condition.tensors.items()} == {
        "text": (3, 8, 16),
        "picture": (3, 16, 3, 4, 4),
        "image": (3, 5, 16),
    }
    mask = condition["picture"][:, :4]
    assert mask[:, :, 0].eq(1).all() and mask[:, :, 1:].eq(0).all()
    assert torch.equal(condition["picture"][0], condition["picture"][2])
    assert (condition["picture"][0] - condition["picture"][1]).abs().max() > 0.1
    together = generator.sampler.latents(asked, [3, 3, 3])
    for row, prompt in enumerate(asked):
        torch.testing.assert_close(generator.sampler.latents([prompt], [3])[0], together[row], rtol=1e-4, atol=1e-4)
    assert (together[0] - together[1]).abs().max() > 1e-3


def test_two_experts_are_told_the_picture_and_the_pipelines_own_call_agrees(tmp_path: Path) -> None:
    generator = PipelineGenerator(wan_image(boundary=0.6), TINY_SETTINGS, "tiny")
    assert generator.conditioner.names == ("text", "picture")
    asked = [beside_picture(text, str(picture_in(tmp_path))) for text in TEXTS]
    x = torch.stack([generator.sampler.noise(seed) for seed in (1, 2)])
    condition, t = generator.conditioner.encode(asked), torch.tensor([0.3, 0.8])
    with torch.no_grad():
        found = generator.network(x, t, condition)
        for row, part in enumerate((generator.network.transformer_2, generator.network.transformer)):
            told = torch.cat([x, condition["picture"]], 1)[[row]], 1000 * t[[row]], condition["text"][[row]]
            torch.testing.assert_close(found[[row]], part(*told, return_dict=False)[0], rtol=1e-4, atol=1e-5)
        stock = generator.pipeline(
            image=Image.open(picture_in(tmp_path)),
            prompt=TEXTS,
            negative_prompt=["", ""],
            latents=x,
            num_frames=9,
            height=32,
            width=32,
            num_inference_steps=4,
            guidance_scale=3.0,
            max_sequence_length=8,
            output_type="latent",
        ).frames
    torch.testing.assert_close(generator.sampler.latents(asked, [1, 2]), stock, rtol=0, atol=1e-4)


def test_a_dataset_carries_the_picture_from_generate_to_alignment_and_guide(
    folder: Path, dataset: Dataset, tmp_path: Path
) -> None:
    prompts, generator = dataset.prompts(), load_generator(folder / "tiny")
    assert len({one.prompt_id for one in prompts}) == 2 and {one.text for one in prompts} == {TEXTS[0]}
    for seed, one in enumerate(prompts):
        assert (dataset.path / one.media).read_bytes() == picture_in(folder, seed).read_bytes()
    a, b = (dataset.load(clip).frames for clip in dataset.clips()[::2])
    assert not np.array_equal(a, b)
    cache = encode(dataset, generator, [clip.clip_id for clip in dataset.clips()])
    stored = [cache.condition(one.prompt_id) for one in prompts]
    assert (stored[0]["picture"] - stored[1]["picture"]).abs().max() > 0.1
    fit = FitConfig(num_steps=2, batch_size=2, warmup_steps=0)
    run = align("dpo", dataset, generator, "p", tmp_path / "a", DpoConfig(fit=fit, reference_draws=1))
    assert run.history[0]["loss"] == pytest.approx(np.log(2), abs=1e-3)
    config = GuideTrainConfig(fit=fit, num_held_out=0)
    train_guide(dataset, generator, tmp_path / "g", config, scores="s")
    reward = LatentRewardModel.from_pretrained(tmp_path / "g")
    reward.require_base("tiny", generator.network.transformer.config)
    with pytest.raises(ModelError, match=r"in_channels 28\); 'other' has in_channels 12"):
        reward.require_base("other", build("WanPipeline").transformer.config)


def test_what_a_guide_contrasts_is_the_text_beside_one_picture(folder: Path, dataset: Dataset, tmp_path: Path) -> None:
    generator = load_generator(folder / "tiny")
    asked = [beside_picture(text, str(picture_in(folder, seed))) for seed, text in enumerate(TEXTS)]
    made = generate(generator, asked, tmp_path / "d", GenerateConfig(per_prompt=2, **QUICK))  # type: ignore[arg-type]
    clips = made.clips()
    pairs = [
        JudgedPair(prompt_id=a.prompt_id, clip_a=a.clip_id, clip_b=b.clip_id, labels={"VQ": Label.A}, split="train")
        for a, b in (clips[:2], clips[2:])
    ]
    cache = encode(made, generator, [clip.clip_id for clip in clips])
    groups = latent_groups(made, cache, pairs, GuideTrainConfig())
    for group, (own, other) in zip(groups, ((0, 1), (1, 0)), strict=True):
        conditions = [cache.condition(prompt.prompt_id) for prompt in made.prompts()]
        (against,) = group.others
        assert torch.equal(against["text"], conditions[other]["text"])
        assert torch.equal(against["picture"], conditions[own]["picture"])
        assert torch.equal(against["image"], conditions[own]["image"])


def test_sample_takes_the_picture_and_another_one_makes_another_clip(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    one = ["sample", "--model", str(folder / "tiny"), "--prompt", TEXTS[0], "num_steps=2", "--out", str(tmp_path / "o")]
    assert main([*one, "--image", str(picture_in(folder))]) == 0
    (clip,) = (tmp_path / "o").glob("*.mp4")
    before = clip.read_bytes()
    capsys.readouterr()
    assert main([*one, "--image", str(picture_in(folder, 1))]) == 2, "the folder is another run's"
    assert main([*one, "--image", str(picture_in(folder, 1)), "--fresh"]) == 0
    assert clip.read_bytes() != before


def test_pictures_that_are_missing_or_not_wanted_are_one_line(
    folder: Path, tmp_path: Path, make_clip: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    small_wan_generator(TEXTS, TINY_SIZES, settings=TINY_SETTINGS).save_pretrained(tmp_path / "t2v")
    clip, table = make_clip(tmp_path / "begin.mp4"), tmp_path / "t.csv"
    for model, media, says in (
        (folder / "tiny", "", "has no picture beside it; 'tiny' makes clips that begin from one. Give it with --image"),
        (folder / "tiny", clip.name, "begin.mp4: is not a picture that can be read"),
        (folder / "tiny", "gone.png", "gone.png: what was asked with is not there"),
        (tmp_path / "t2v", str(picture_in(folder)), "but 't2v' reads no picture"),
    ):
        table.write_text(f"prompt,media\n{TEXTS[0]},{media}\n")
        made = ["generate", "--model", str(model), "--prompts", str(table), "--out", str(tmp_path / "o")]
        assert main(made) == 2
        error = capsys.readouterr().err
        assert says in error and error.count("\n") == 1
        assert not (tmp_path / "o").exists()
    generator = load_generator(folder / "tiny")
    with pytest.raises(DataError, match="has no picture"):
        generator.sampler.latents(TEXTS[:1], [1])
    with pytest.raises(VideoError):
        generator.conditioner.check([beside_picture(TEXTS[0], str(clip))])


def test_what_cannot_work_from_a_picture_is_refused(folder: Path, dataset: Dataset) -> None:
    generator = load_generator(folder / "tiny")
    with pytest.raises(ConfigError, match="buckets: 'tiny' reads pictures in one size"):
        encode(dataset, generator, [dataset.clips()[0].clip_id], EncodeConfig(buckets=((5, 32, 32),)))
    pipeline = wan_image()
    pipeline.register_to_config(expand_timesteps=True)
    with pytest.raises(ModelError, match="reads 28 channels where the autoencoder makes 12"):
        PipelineGenerator(pipeline, TINY_SETTINGS, "tiny")


def test_evaluate_asks_both_models_with_the_picture(folder: Path, tmp_path: Path) -> None:
    model, out = str(folder / "tiny"), tmp_path / "e"
    sizes = ["num_steps=1", "guidance_scale=1", "per_prompt=1", "num_frames=17", "height=64", "width=64"]
    made = ["evaluate", "--base", model, "--candidate", model, "--prompts", str(folder / "prompts.jsonl")]
    assert main([*made, "--judge", "oracle", "--out", str(out), *sizes]) == 0
    prompts = Dataset.open(out / "base").prompts()
    assert len(prompts) == 2 and all((out / "base" / one.media).is_file() for one in prompts)
    assert len(json.loads((out / "scores.json").read_text())) == 2


def test_steps_that_round_to_one_timestep_are_all_taken(folder: Path) -> None:
    """The scheduler is not left to look for its place among them."""
    pipeline = build("WanImageToVideoPipeline")
    pipeline.scheduler = UniPCMultistepScheduler(prediction_type="flow_prediction", use_flow_sigmas=True, flow_shift=90)
    own, steps = pipeline.scheduler, []
    generator = PipelineGenerator(pipeline, TINY_SETTINGS, name="tiny")
    asked = [beside_picture(TEXTS[0], str(picture_in(folder, seed))) for seed in (0, 1)]
    generator.sample(asked, [1, 2], num_steps=13, guidance_scale=1.0, on_step=lambda: steps.append(own.step_index))
    assert steps == 2 * [*range(1, 14)]
    assert generator.pipeline.scheduler is own
    timesteps = own.timesteps.tolist()
    assert timesteps[0] == timesteps[1], "nothing to look for"
