"""Labels to a noisy-latent reward that steers sampling."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from videoalign.cli.main import main
from videoalign.contracts.generator import SchedulerWrapper
from videoalign.contracts.records import Clip, DatasetInfo, Dimension, Judgement, Label, Prompt, WinLosePair
from videoalign.contracts.video import Video
from videoalign.data.clip_content import input_keys
from videoalign.data.dataset import Dataset
from videoalign.data.latents import ConditionStore, LatentCache, TensorStore
from videoalign.data.lineage import prompt_hash, read_lineage
from videoalign.errors import ConfigError, DataError, ModelError, OutputError
from videoalign.flow.condition import Condition
from videoalign.models.generators.generator import PipelineGenerator
from videoalign.models.latent_reward import LatentRewardModel
from videoalign.models.small_wan import SMALL_SETTINGS, SmallWanConfig, small_wan_generator
from videoalign.recipes.generator.guide import train_guide
from videoalign.recipes.generator.guide_pairs import labelled_pairs, latent_groups
from videoalign.recipes.generator.guide_settings import GuideTrainConfig
from videoalign.recipes.generator.steering import guide_wrapper
from videoalign.training.loop import FitConfig
from videoalign.training.objectives.latent_reward import LatentGroup, measure_by_noise
from videoalign.video.files import write_video

SETTINGS = SMALL_SETTINGS.model_copy(
    update={"num_frames": 5, "height": 32, "width": 32, "num_steps": 4, "guidance_scale": 1.0}
)
TEXTS = ("a red circle", "a blue square", "a green cross")
LEVELS = (0.0, 0.3, 0.6, 0.9)
CONFIG = GuideTrainConfig(fit=FitConfig(num_steps=4, batch_size=2, learning_rate=1e-3, save_every_steps=2))


@pytest.fixture
def generator() -> PipelineGenerator:
    sizes = SmallWanConfig(num_layers=2, num_heads=2, head_width=16, text_width=16, text_layers=1, vae_width=4)
    return small_wan_generator(TEXTS, sizes, settings=SETTINGS)


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    """Three prompts of four clips of rising brightness; ``bright`` prefers more of it, ``dark`` less."""
    info = DatasetInfo(
        dimensions=(Dimension(name="bright", guideline="More."), Dimension(name="dark", guideline="Less."))
    )
    made = Dataset.create(tmp_path_factory.mktemp("guide") / "data", info)
    rng = np.random.default_rng(0)
    prompts = [Prompt(prompt_id=f"p{i}", text=text, split="val" if i == 2 else "train") for i, text in enumerate(TEXTS)]
    clips, scores = [], []
    for prompt in prompts:
        for level in LEVELS:
            clip_id = f"{prompt.prompt_id}-{level}"
            frames = np.clip(255 * level + rng.normal(0, 20, (5, 32, 32, 3)), 0, 255).astype(np.uint8)
            write_video(made.path / "clips" / f"{clip_id}.mp4", Video(frames, 8.0))
            about = {"fps": 8.0, "num_frames": 5, "height": 32, "width": 32}
            clips.append(Clip(clip_id=clip_id, prompt_id=prompt.prompt_id, path=f"clips/{clip_id}.mp4", **about))
            value = {"bright": level, "dark": -level}
            scores.append({"clip_id": clip_id, "raw": value, "normalised": value})
    judgements = [
        Judgement(prompt_id="p0", clip_a="p0-0.0", clip_b=f"p0-{b}", rater=rater, dimension="bright", label=label)
        for b, labels in ((0.3, ("B", "B", "A")), (0.6, ("tie", "tie", "A")), (0.9, ("A", "A", "A")))
        for rater, label in zip("xyz", labels, strict=True)
    ]
    made.add(prompts=prompts, clips=clips, judgements=judgements)
    made.write_scores("light", scores)
    made.write_pairs(
        "some", [WinLosePair(prompt_id="p0", clip_win="p0-0.3", clip_lose="p0-0.0", reward_win=1, reward_lose=0)]
    )
    return made


A, B, TIE = Label.A, Label.B, Label.TIE


def test_scores_label_every_two_clips_of_a_prompt_and_near_ones_are_ties(dataset: Dataset) -> None:
    pairs = labelled_pairs(dataset, CONFIG.model_copy(update={"tie_band": 0.4}), scores="light")
    labels = {(pair.clip_a, pair.clip_b): pair.labels for pair in pairs}
    wide = [(a, b) for a, b in combinations(LEVELS, 2) if b - a > 0.4]
    assert len(pairs) == 3 * len(wide)
    for prompt_id in ("p0", "p1", "p2"):
        for a, b in wide:
            assert labels[f"{prompt_id}-{a}", f"{prompt_id}-{b}"] == {"bright": B, "dark": A}


def test_stale_scores_label_nothing(dataset: Dataset, tmp_path: Path) -> None:
    copy = Dataset.open(shutil.copytree(dataset.path, tmp_path / "d"))
    clips = copy.clips()
    rows = [{**row, "content": key} for row, key in zip(copy.scores("light"), input_keys(copy, clips), strict=True)]
    copy.write_scores("light", rows)
    assert len(labelled_pairs(copy, CONFIG, scores="light")) == 18
    shutil.copy(copy.clip_path(clips[0]), copy.clip_path(clips[1]))
    with pytest.raises(DataError, match=f"scores 'light' are stale for 1 clips.*{clips[1].clip_id}"):
        labelled_pairs(copy, CONFIG, scores="light")


def test_raters_verdicts_label_the_pairs_that_they_decided(dataset: Dataset) -> None:
    pairs = labelled_pairs(dataset, CONFIG)
    assert [(p.clip_a, p.clip_b, p.labels) for p in pairs] == [
        ("p0-0.0", "p0-0.3", {"bright": B, "dark": None}),
        ("p0-0.0", "p0-0.9", {"bright": A, "dark": None}),
    ]


def test_a_table_of_pairs_chooses_among_the_labelled_ones_whichever_way_round(dataset: Dataset) -> None:
    assert [p.clip_b for p in labelled_pairs(dataset, CONFIG, pairs="some")] == ["p0-0.3"]
    assert [p.clip_b for p in labelled_pairs(dataset, CONFIG, pairs="some", scores="light")] == ["p0-0.3"]


def test_groups_hold_every_pair_once_with_its_label(
    dataset: Dataset, generator: PipelineGenerator, tmp_path: Path
) -> None:
    pairs = labelled_pairs(dataset, CONFIG, scores="light")
    store, prompts = TensorStore(tmp_path, "clips", {}), ConditionStore(tmp_path, {}, ("text",), {"text": 4})
    clips = {clip.clip_id: torch.full((2, 1, 2, 2), float(clip.clip_id[3:])) for clip in dataset.clips()}
    texts = {prompt.prompt_id: Condition({"text": torch.ones(1, 3, 4)}, {"text": 4}) for prompt in dataset.prompts()}
    store.add(clips)
    prompts.add(texts)
    places = {key: store.place(key) for key in clips}, {key: prompts.place(key) for key in texts}
    cache = LatentCache(tmp_path, *places, prompts)
    for max_clips in (2, 3, 8):
        groups = latent_groups(dataset, cache, pairs, CONFIG.model_copy(update={"max_clips": max_clips}))
        assert max(len(group.latents) for group in groups) <= max_clips
        levels = []
        for group in groups:
            first, second = (
                torch.stack(list(group.latents))[side].mean((1, 2, 3, 4)) for side in group.pairs.unbind(1)
            )
            assert (group.labels[:, 0] == (first - second).sign()).all()
            assert (group.labels[:, 1] == (second - first).sign()).all()
            levels += [(round(float(a), 1), round(float(b), 1)) for a, b in zip(first, second, strict=True)]
        assert sorted(levels) == sorted(3 * list(combinations(LEVELS, 2)))


def test_latents_stay_in_their_files_and_training_ends_with_the_same_weights(
    dataset: Dataset, generator: PipelineGenerator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = GuideTrainConfig(fit=FitConfig(num_steps=3, batch_size=2, save_every_steps=1000), num_blocks=1)
    mapped = train_guide(dataset, generator, tmp_path / "mapped", config, scores="light").reward.state_dict()
    kept: list[list[LatentGroup]] = []

    def copied(*args: Any) -> list[LatentGroup]:
        kept.append(latent_groups(*args))
        return [
            replace(one, latents=torch.stack([*one.latents]), others=tuple(other.detach() for other in one.others))
            for one in kept[-1]
        ]

    monkeypatch.setattr("videoalign.recipes.generator.guide.latent_groups", copied)
    held = train_guide(dataset, generator, tmp_path / "held", config, scores="light").reward.state_dict()
    assert all(torch.equal(value, held[name]) for name, value in mapped.items())
    texts = {group.condition.tensors["text"].data_ptr() for group in kept[0]}
    others = {other.tensors["text"].data_ptr() for group in kept[0] for other in group.others}
    assert others == texts, "each stands in memory once"


def test_training_learns_the_planted_preference_and_steers_sampling(
    dataset: Dataset, generator: PipelineGenerator, tmp_path: Path
) -> None:
    before = {name: value.clone() for name, value in generator.network.transformer.state_dict().items()}
    config = GuideTrainConfig(
        fit=FitConfig(num_steps=60, batch_size=2, learning_rate=3e-3, save_every_steps=1000), num_blocks=1
    )
    result = train_guide(dataset, generator, tmp_path / "guide", config, scores="light")
    assert result.num_pairs == 12
    lineage = read_lineage(tmp_path / "guide")
    assert lineage is not None
    assert [teacher.name for teacher in lineage.teachers] == ["light"]
    assert lineage.prompts == tuple(sorted(map(prompt_hash, TEXTS[:2])))  # the third is held out
    assert result.accuracy["accuracy/bright/t0.00-0.33"] > 0.9
    assert result.accuracy["accuracy/dark/t0.00-0.33"] > 0.9
    assert result.history[-1]["val/accuracy/bright"] == result.accuracy["accuracy/bright"]
    assert all((before[name] == value).all() for name, value in generator.network.transformer.state_dict().items())

    loaded = LatentRewardModel.from_pretrained(tmp_path / "guide")
    assert (loaded.dimensions, loaded.base, loaded.num_blocks) == (("bright", "dark"), generator.name, 1)
    condition, light, latents = generator.conditioner.encode(TEXTS[:2]), {}, {}
    for name, weights in (("none", {}), ("bright", {"bright": 1.0}), ("dark", {"dark": 1.0})):
        latents[name] = sampled_latents(generator, guide_wrapper(generator, tmp_path / "guide", weights, 20.0))
        light[name] = loaded.score(latents[name], torch.full((2,), 0.02), condition)[:, 0]
    assert torch.equal(latents["none"], sampled_latents(generator, lambda scheduler, text: scheduler))
    assert (light["bright"] > light["none"]).all()
    assert (light["none"] > light["dark"]).all()


def test_what_is_trained_is_what_was_asked_for(dataset: Dataset, generator: PipelineGenerator, tmp_path: Path) -> None:
    """Adapters end in the weights, frozen blocks stay, and recomputing activations changes nothing."""
    own = {name: value.clone() for name, value in generator.network.transformer.state_dict().items()}
    made: dict[str, LatentRewardModel] = {}
    for name, settings in {
        "lora": {"train": "lora", "lora": {"rank": 2, "alpha": 2}},
        "recomputed": {"train": "lora", "lora": {"rank": 2, "alpha": 2}, "gradient_checkpointing": True},
        "frozen": {"train": "frozen"},
    }.items():
        config = GuideTrainConfig.model_validate({**CONFIG.model_dump(), "num_blocks": 1, **settings})
        made[name] = train_guide(dataset, generator, tmp_path / name, config, scores="light").reward
    changed = {
        kind: {name for name, value in reward.transformer.state_dict().items() if not torch.equal(value, own[name])}
        for kind, reward in made.items()
    }
    assert changed["frozen"] == set()
    assert (
        changed["lora"] == changed["recomputed"] and all("attn" in name for name in changed["lora"]) and changed["lora"]
    )
    loaded = LatentRewardModel.from_pretrained(tmp_path / "lora").state_dict()
    for name, value in made["lora"].state_dict().items():
        assert torch.equal(value, loaded[name])
        torch.testing.assert_close(value, made["recomputed"].state_dict()[name])
    head = made["frozen"].head_names()
    untrained = LatentRewardModel.from_transformer(generator.network.transformer, dataset.dimensions, num_blocks=1)
    assert any(not torch.equal(made["frozen"].state_dict()[name], untrained.state_dict()[name]) for name in head)


def test_ties_teach_under_a_law_that_knows_them_and_the_page_says_what_is_known(
    dataset: Dataset, generator: PipelineGenerator, tmp_path: Path
) -> None:
    """What raters call a tie counts, widths and doubts are learnt and kept, and a run that stopped ends the same."""
    asked = {"loss": "thurstone", "learn_ties": True, "tie_width": 0.5, "num_blocks": 1, "tie_band": 0.4}
    config = GuideTrainConfig.model_validate({**CONFIG.model_dump(), **asked})
    bt, thurstone = (labelled_pairs(dataset, one) for one in (CONFIG, config))
    assert ({p.clip_b for p in bt}, {p.clip_b for p in thurstone}) == (
        {"p0-0.3", "p0-0.9"},
        {"p0-0.3", "p0-0.6", "p0-0.9"},
    )

    class Stop(Exception):
        pass

    def stop(row: dict[str, float]) -> None:
        if row["step"] == 3:
            raise Stop

    whole = train_guide(dataset, generator, tmp_path / "whole", config, scores="light")
    with pytest.raises(Stop):
        train_guide(dataset, generator, tmp_path / "cut", config, scores="light", on_step=stop)
    cut = train_guide(dataset, generator, tmp_path / "cut", config, scores="light")
    assert all(torch.equal(cut.reward.state_dict()[name], value) for name, value in whole.reward.state_dict().items())
    assert cut.reward.width == whole.reward.width != (0.5, 0.5)
    times = torch.tensor([0.0, 0.4, 1.0])
    fresh = LatentRewardModel.from_transformer(generator.network.transformer, ["a", "b"], law="thurstone")
    deviation = LatentRewardModel.from_pretrained(tmp_path / "cut").deviation(times)
    assert torch.equal(deviation, whole.reward.deviation(times))
    assert not torch.equal(deviation, fresh.deviation(times))
    page = (tmp_path / "cut" / "README.md").read_text()
    told = f"{whole.accuracy['accuracy/bright/t0.00-0.33']:.3f}", f"{whole.calibration['log_loss/dark']:.3f}"
    assert all(number in page for number in (*told, f"{float(deviation[2, 1].detach()):.2f}"))
    assert (
        "| dark | 0.67 to 1.00 |" in page and "(noise.png)" in page and (tmp_path / "cut" / "noise.png").stat().st_size
    )
    for given, said in (
        ({"loss": "bt"}, "tie_width: loss=bt knows no ties; use loss=btt, davidson or thurstone"),
        ({"loss": "btt"}, "tie_width: must be above 1 for loss=btt; got 0.5"),
        ({"clean": True, "times": {"shift": 3.0}}, "clean: trains at t = 0 alone"),
        ({"lora": {"rank": 2}}, "lora: is for train=lora; got train=full"),
        ({"train": "frozen", "gradient_checkpointing": True}, "gradient_checkpointing: with train=frozen"),
    ):
        with pytest.raises(ConfigError, match=said):
            train_guide(dataset, generator, tmp_path / "bad", config.model_copy(update=given), scores="light")
    (tmp_path / "theirs").mkdir()
    (tmp_path / "theirs" / "README.md").write_text("Mine.")
    with pytest.raises(OutputError, match="somebody else"):
        train_guide(dataset, generator, tmp_path / "theirs", config, scores="light")


def test_held_out_prompts_are_judged_once(
    dataset: Dataset, generator: PipelineGenerator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The validation that ends the training is the accuracy that is told, also of a run that was done before."""
    figures = []

    def judged(*args: Any, **kwargs: Any) -> dict[str, float]:
        figures.append(measure_by_noise(*args, **kwargs))
        return figures[-1]

    monkeypatch.setattr("videoalign.recipes.generator.guide.measure_by_noise", judged)
    first, again = (train_guide(dataset, generator, tmp_path / "guide", CONFIG, scores="light") for _ in range(2))
    assert figures == [{**first.accuracy, **first.calibration}]
    assert again.accuracy == first.accuracy != {}
    assert again.calibration == first.calibration != {}


@pytest.mark.parametrize("split", ["train", "val"])
def test_without_held_out_prompts_there_is_no_accuracy_and_nothing_else_changes(
    dataset: Dataset, generator: PipelineGenerator, tmp_path: Path, split: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """A dataset that was never split, and one of which nothing is to be held out."""
    copy = shutil.copytree(dataset.path, tmp_path / "d")
    if split == "train":
        prompts = pq.read_table(copy / "prompts.parquet").to_pylist()
        pq.write_table(pa.Table.from_pylist([row | {"split": "train"} for row in prompts]), copy / "prompts.parquet")
    config = CONFIG.model_copy(update={"num_held_out": 0 if split == "val" else 30})
    result = train_guide(Dataset.open(copy), generator, tmp_path / "guide", config, scores="light")
    assert result.accuracy == {}
    assert result.num_pairs == (18 if split == "train" else 12)
    assert len(result.history) == 4
    generator.save_pretrained(tmp_path / "model")
    command = ["guide", "train", str(copy), "--model", str(tmp_path / "model"), "--reward", "light", "--json"]
    settings = ["num_held_out=0", "fit.num_steps=1", "fit.batch_size=2"]
    assert main([*command, "--out", str(tmp_path / "other"), *settings]) == 0
    assert json.loads(capsys.readouterr().out)["accuracy"] == {}
    assert main([*command, "--out", str(tmp_path / "third"), *settings, "fit.validate_every_steps=1"]) == 2
    assert "fit.validate_every_steps: there is nothing held out" in capsys.readouterr().err


def sampled_latents(generator: PipelineGenerator, wrap: SchedulerWrapper) -> torch.Tensor:
    """What the pipeline ends with, before the autoencoder."""
    condition, pipeline = generator.conditioner.encode(TEXTS[:2]), generator.pipeline
    own = pipeline.scheduler
    pipeline.scheduler = wrap(own, condition)
    try:
        return pipeline(
            prompt_embeds=condition["text"],
            latents=torch.stack([generator.sampler.noise(seed) for seed in (0, 1)]),
            num_frames=SETTINGS.num_frames,
            height=SETTINGS.height,
            width=SETTINGS.width,
            num_inference_steps=8,
            guidance_scale=1.0,
            output_type="latent",
        ).frames
    finally:
        pipeline.scheduler = own


def test_a_finished_run_is_not_trained_again_and_another_is_refused(
    dataset: Dataset, generator: PipelineGenerator, tmp_path: Path
) -> None:
    steps: list[float] = []
    first = train_guide(
        dataset, generator, tmp_path / "g", CONFIG, scores="light", on_step=lambda r: steps.append(r["step"])
    )
    again = train_guide(
        dataset, generator, tmp_path / "g", CONFIG, scores="light", on_step=lambda r: steps.append(r["step"])
    )
    assert steps == [1, 2, 3, 4]
    state = first.reward.state_dict()
    assert all((state[name] == value).all() for name, value in again.reward.state_dict().items())
    with pytest.raises(OutputError, match=r"differs in .*tie_band"):
        train_guide(dataset, generator, tmp_path / "g", CONFIG.model_copy(update={"tie_band": 0.4}), scores="light")


def test_what_cannot_be_trained_on_is_said_in_one_line_and_leaves_nothing(
    dataset: Dataset, generator: PipelineGenerator, tmp_path: Path
) -> None:
    out = tmp_path / "g"
    with pytest.raises(DataError, match=r"no scores 'lite'\. Did you mean 'light'"):
        train_guide(dataset, generator, out, CONFIG, scores="lite")
    with pytest.raises(DataError, match="none of them decided on any dimension by the scores 'light'"):
        train_guide(dataset, generator, out, CONFIG.model_copy(update={"tie_band": 5.0}), scores="light")
    with pytest.raises(ModelError, match="num_blocks must be 1 to 2"):
        train_guide(dataset, generator, out, CONFIG.model_copy(update={"num_blocks": 3}), scores="light")
    assert not out.exists()
    train_guide(dataset, generator, out, CONFIG, scores="light")
    with pytest.raises(ConfigError, match=r"no dimension 'brite'\. Did you mean 'bright'"):
        guide_wrapper(generator, out, {"brite": 1.0}, 1.0)


def test_the_command_trains_and_reports(
    dataset: Dataset, generator: PipelineGenerator, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    generator.save_pretrained(tmp_path / "model")
    command = ["guide", "train", str(dataset.path), "--model", str(tmp_path / "model"), "--out", str(tmp_path / "g")]
    settings = ["fit.num_steps=2", "fit.batch_size=4", "num_blocks=1"]
    assert main([*command, "--reward", "runs/light", "--json", *settings]) == 0, capsys.readouterr().err
    told = json.loads(capsys.readouterr().out)
    assert (told["pairs"], told["last"]["step"]) == (12, 2)
    assert LatentRewardModel.from_pretrained(tmp_path / "g").dimensions == dataset.dimensions
    assert main([*command, "--reward", "light", "num_block=1"]) == 2
    assert "Did you mean 'num_blocks'" in capsys.readouterr().err
