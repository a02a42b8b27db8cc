"""Clips of several shapes in one dataset: each in a bucket, pairs in one, batches of one shape, the same training."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from videoalign.cli.main import main
from videoalign.contracts.records import Clip, DatasetInfo, Prompt, WinLosePair
from videoalign.contracts.video import Video
from videoalign.data.dataset import Dataset
from videoalign.errors import ConfigError, DataError
from videoalign.models.generators.generator import PipelineGenerator
from videoalign.models.lora import LoraSettings
from videoalign.models.small_wan import TINY_SETTINGS, TINY_SIZES, small_wan_generator
from videoalign.recipes.generator.align import align
from videoalign.recipes.generator.align_methods import method_config
from videoalign.recipes.generator.clip_fit import ClipSettings
from videoalign.recipes.generator.encode import clips_of_pairs, encode, pair_examples
from videoalign.recipes.generator.guide import train_guide
from videoalign.recipes.generator.guide_settings import GuideTrainConfig
from videoalign.training.loop import FitConfig
from videoalign.video.files import write_video

TEXTS = ["a red circle moves left", "a blue square moves right", "a red square moves left"]
SHAPES = [(9, 32, 32), (9, 32, 64), (5, 64, 32)]
BUCKETS = ClipSettings(buckets=SHAPES[1:])  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def generator() -> PipelineGenerator:
    return small_wan_generator(TEXTS, TINY_SIZES, settings=TINY_SETTINGS)


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    """Three clips of each prompt, those of a prompt in one shape; pairs ``p`` within, ``q`` across the shapes."""
    made = Dataset.create(tmp_path_factory.mktemp("shapes") / "d", DatasetInfo())
    rng, clips, pairs = np.random.default_rng(0), [], []
    prompts = [Prompt(prompt_id=f"p{k}", text=text) for k, text in enumerate(TEXTS)]
    for k, (num, height, width) in enumerate(SHAPES):
        for name in "abc":
            frames = rng.integers(0, 256, (num, height, width, 3), dtype=np.uint8)
            write_video(made.path / f"clips/{name}{k}.mp4", Video(frames, 8.0))
            about = {"fps": 8.0, "num_frames": num, "height": height, "width": width}
            clips.append(Clip(clip_id=f"{name}{k}", prompt_id=f"p{k}", path=f"clips/{name}{k}.mp4", **about))
        pairs += [pair(f"a{k}", f"{lose}{k}", k) for lose in "bc"]
    other = Clip(**{**vars(clips[3]), "clip_id": "x", "prompt_id": "p0"})  # of the first prompt in the second shape
    made.add(prompts=prompts, clips=[*clips, other])
    made.write_pairs("p", pairs)
    made.write_pairs("q", [*pairs, pair("a0", "x", 0)])
    scores = [
        {"clip_id": clip.clip_id, "raw": values, "normalised": values}
        for place, clip in enumerate([*clips, other])
        for values in [dict.fromkeys(made.dimensions, float(place))]
    ]
    made.write_scores("r", scores)
    return made


def pair(win: str, lose: str, prompt: int) -> WinLosePair:
    return WinLosePair(prompt_id=f"p{prompt}", clip_win=win, clip_lose=lose, reward_win=1.0 + prompt, reward_lose=0.0)


def links(pairs: list[WinLosePair]) -> list[tuple[str, str]]:
    return [(pair.clip_win, pair.clip_lose) for pair in pairs]


def test_clips_of_several_shapes_stand_in_one_folder_each_as_the_model_reads_it(
    dataset: Dataset, generator: PipelineGenerator
) -> None:
    pairs = dataset.pairs("p")
    cache = encode(dataset, generator, clips_of_pairs(dataset, pairs), BUCKETS, together=links(pairs))
    clips = {clip.clip_id: clip for clip in dataset.clips()}
    for k, (num, height, width) in enumerate(SHAPES):
        reads = generator.changed({"num_frames": num, "height": height, "width": width})
        assert cache.shape(f"a{k}") == reads.codec.latent_shape == cache.clip(f"a{k}").shape
        by_hand = reads.codec.encode([dataset.load(clips[f"a{k}"])])[0]
        torch.testing.assert_close(cache.clip(f"a{k}"), by_hand, atol=1e-5, rtol=1e-5)
    assert len(list(cache.folder.glob("clips-*.safetensors"))) == 1


def test_a_pair_across_shapes_is_refused_or_brought_to_one_as_asked(
    dataset: Dataset, generator: PipelineGenerator
) -> None:
    pairs = dataset.pairs("q")
    ids = clips_of_pairs(dataset, pairs)
    says = r"clip 'a0' has .*\(9, 32, 32\) and clip 'x', which .*, \(9, 32, 64\); both .* one bucket\..*other_size=crop"
    with pytest.raises(DataError, match=says):
        encode(dataset, generator, ids, BUCKETS, together=links(pairs))
    crop = BUCKETS.model_copy(update={"other_size": "crop"})
    cache = encode(dataset, generator, ids, crop, together=links(pairs))
    assert {cache.shape(clip_id) for clip_id in ("a0", "b0", "c0", "x")} == {generator.codec.latent_shape}
    assert cache.shape("a1") != cache.shape("a0")  # the others stay as they are
    apart = encode(dataset, generator, ids, BUCKETS)
    with pytest.raises(DataError, match="latents of clip 'a0' have shape .* those of 'x', which it is compared"):
        pair_examples(apart, pairs)


def test_a_clip_goes_where_least_has_to_be_changed(dataset: Dataset, generator: PipelineGenerator) -> None:
    few = ClipSettings(buckets=((5, 32, 48), (5, 32, 64), (9, 48, 48)), other_size="crop", other_length="trim")
    cache = encode(dataset, generator, ["a0", "a1", "a2"], few)
    shapes = {name: cache.shape(name)[1:] for name in ("a0", "a1", "a2")}
    assert shapes == {"a0": (3, 4, 4), "a1": (2, 4, 8), "a2": (2, 4, 6)}, "as it is; trimmed; the nearest sides"
    with pytest.raises(DataError, match=r"'small' works in \(9, 32, 32\) or \(9, 64, 64\)\. .*other_size=crop"):
        encode(dataset, generator, ["a1"], ClipSettings(buckets=((9, 64, 64),)))
    with pytest.raises(ConfigError, match=r"encode.buckets: got \[7, 32, 32\]; num_frames: got 7"):
        encode(dataset, generator, ["a1"], ClipSettings(buckets=((7, 32, 32),)), group="encode.")


def trained(dataset: Dataset, generator: PipelineGenerator, out: Path, method: str, **fit: Any) -> dict[str, Any]:
    more = {"reference_draws": 2, "beta": 20.0} if method == "dpo" else {}
    settings = FitConfig(**{"num_steps": 3, "batch_size": 6, "learning_rate": 1e-2, "warmup_steps": 0, **fit})
    config = method_config(method)(fit=settings, lora=LoraSettings(rank=2), encode=BUCKETS, **more)
    run = align(method, dataset, generator, "p", out, config)
    assert len(run.history) == settings.num_steps
    return load_file(run.adapter / "adapter_model.safetensors")


@pytest.mark.parametrize("method", ["sft", "rwr", "dpo"])
def test_a_step_over_several_shapes_is_the_same_in_one_batch_and_in_many_and_after_a_stop(
    dataset: Dataset, generator: PipelineGenerator, tmp_path: Path, method: str
) -> None:
    whole = trained(dataset, generator, tmp_path / "whole", method)
    cut = trained(dataset, generator, tmp_path / "cut", method, batch_size=2, accumulate_steps=3)
    moved = torch.cat([value.flatten() for name, value in whole.items() if "lora_B" in name]).norm()
    assert torch.cat([(whole[name] - cut[name]).flatten() for name in whole]).norm() < 0.02 * moved
    trained(dataset, generator, tmp_path / "again", method, num_steps=2)
    again = trained(dataset, generator, tmp_path / "again", method)
    assert all(torch.equal(whole[name], again[name]) for name in whole)


def test_a_guide_learns_from_groups_of_several_shapes(
    dataset: Dataset, generator: PipelineGenerator, tmp_path: Path
) -> None:
    fit = FitConfig(num_steps=2, batch_size=3, warmup_steps=0)
    config = GuideTrainConfig(fit=fit, encode=BUCKETS, num_blocks=1)
    result = train_guide(dataset, generator, tmp_path / "g", config, scores="r", pairs="p")
    assert result.num_pairs == 6 and result.history[-1]["step"] == 2


def test_the_commands_take_buckets_and_leave_nothing_of_a_pair_across_them(
    dataset: Dataset, generator: PipelineGenerator, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    generator.save_pretrained(tmp_path / "model")
    data = [str(dataset.path), "--model", str(tmp_path / "model"), "--pairs"]
    shapes = f"buckets={[list(shape) for shape in SHAPES]}"
    assert main(["encode", *data, "p", shapes]) == 0
    align_q = ["align", "sft", *data, "q", "--out", str(tmp_path / "a"), f"encode.{shapes}"]
    capsys.readouterr()
    for command in (["encode", *data, "q", shapes], align_q):
        assert main(command) == 2
        error = capsys.readouterr().err
        assert "both clips of a pair go into one bucket" in error and error.count("\n") == 1
    assert not (tmp_path / "a").exists()
