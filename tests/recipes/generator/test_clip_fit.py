"""Clips of another rate, length or size than the model's are refused, or brought to it as asked."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from videoalign.cli.main import main
from videoalign.contracts.records import Clip, DatasetInfo, Prompt, WinLosePair
from videoalign.contracts.video import Video
from videoalign.data.dataset import Dataset
from videoalign.errors import DataError
from videoalign.models.generators.generator import PipelineGenerator
from videoalign.models.small_wan import TINY_SETTINGS, TINY_SIZES, small_wan_generator
from videoalign.recipes.generator.clip_fit import ClipFit, ClipSettings, resized
from videoalign.recipes.generator.encode import encode
from videoalign.video.files import write_video

TEXT = "a red circle moves left"
CLIPS = ("a", "b")


@pytest.fixture(scope="module")
def generator() -> PipelineGenerator:
    return small_wan_generator([TEXT], TINY_SIZES, settings=TINY_SETTINGS)  # 9 frames of 32 x 32 at 8 per second


def ramp(num_frames: int, height: int = 32, width: int = 32) -> np.ndarray:
    """Frame k is grey of level 4 k."""
    levels = 4 * np.arange(num_frames)
    return np.broadcast_to(levels[:, None, None, None], (num_frames, height, width, 3)).astype(np.uint8)


def dataset_of(folder: Path, frames: np.ndarray, fps: float) -> Dataset:
    """Two clips of one prompt, and their pair."""
    dataset = Dataset.create(folder / "d", DatasetInfo())
    clips = []
    for name in ("a", "b"):
        write_video(dataset.path / f"clips/{name}.mp4", Video(frames, fps))
        num, height, width, _ = frames.shape
        about = {"fps": fps, "num_frames": num, "height": height, "width": width}
        clips.append(Clip(clip_id=name, prompt_id="p", path=f"clips/{name}.mp4", **about))
    dataset.add(prompts=[Prompt(prompt_id="p", text=TEXT)], clips=clips)
    return dataset


def shown(dataset: Dataset, generator: PipelineGenerator, **settings: str) -> np.ndarray:
    """Grey levels over 4 of the frames that the model gets of the first clip."""
    fit = ClipFit.of(generator, ClipSettings(**settings))  # type: ignore[arg-type]
    video = fit.load(dataset.clip_source(dataset.clips()[0]), dataset.clips()[0])
    assert (video.frames.shape, video.fps) == ((9, 32, 32, 3), 8.0)
    return (video.frames.mean((1, 2, 3)) / 4).round()


@pytest.mark.parametrize(
    ("frames", "fps", "says"),
    [
        (
            ramp(9),
            30.0,
            r"clip 'a' has 30 frames per second; 'small' works in 8, .* 0\.267 times as fast.*other_fps=resample",
        ),
        (ramp(9), 4.0, r"has 4 frames per second; 'small' works in 8, .* 2 times as fast.*or leave them out\."),
        (ramp(13), 8.0, r"\(13, 32, 32\); 'small' works in \(9, 32, 32\).*other_length=trim"),
        (ramp(5), 8.0, r"\(5, 32, 32\); 'small' works in \(9, 32, 32\)\. It is too short"),
        (ramp(9, 32, 48), 8.0, r"\(9, 32, 48\); 'small' works in \(9, 32, 32\).*other_size=crop or other_size=pad"),
    ],
)
def test_another_rate_length_or_size_is_refused_with_both_numbers_and_the_way_out(
    generator: PipelineGenerator, tmp_path: Path, frames: np.ndarray, fps: float, says: str
) -> None:
    dataset = dataset_of(tmp_path, frames, fps)
    with pytest.raises(DataError, match=says):
        encode(dataset, generator, CLIPS)
    assert not (dataset.path / "latents").exists()


def test_rates_that_are_rounded_otherwise_are_one(tmp_path: Path) -> None:
    film = small_wan_generator([TEXT], TINY_SIZES, settings=TINY_SETTINGS.model_copy(update={"fps": 24.0}))
    dataset = dataset_of(tmp_path, ramp(9), 24000 / 1001)
    assert encode(dataset, film, CLIPS).clip_ids == {"a", "b"}


def test_resampling_takes_the_frames_nearest_in_time(generator: PipelineGenerator, tmp_path: Path) -> None:
    dataset = dataset_of(tmp_path, ramp(31), 30.0)
    want = [0, 4, 8, 11, 15, 19, 22, 26, 30]  # round(30 k / 8)
    assert shown(dataset, generator, other_fps="resample").tolist() == want
    latents = encode(dataset, generator, CLIPS, ClipSettings(other_fps="resample")).clips(["a"])["a"]
    plain = dataset.load(dataset.clips()[0])
    by_hand = generator.codec.encode([Video(np.ascontiguousarray(plain.frames[want]), 8.0)])[0]
    torch.testing.assert_close(latents, by_hand)


def test_a_clip_that_is_too_short_in_seconds_is_refused_even_so(generator: PipelineGenerator, tmp_path: Path) -> None:
    dataset = dataset_of(tmp_path, ramp(17), 30.0)  # as long as 5 of the model's frames
    with pytest.raises(DataError, match=r"\(17, 32, 32\), 5 frames at 8 per second; .* too short"):
        encode(dataset, generator, CLIPS, ClipSettings(other_fps="resample", other_length="trim"))


def test_trimming_keeps_the_first_frames(generator: PipelineGenerator, tmp_path: Path) -> None:
    dataset = dataset_of(tmp_path, ramp(40), 16.0)
    want = [2 * place for place in range(9)]
    assert shown(dataset, generator, other_fps="resample", other_length="trim").tolist() == want
    with pytest.raises(DataError, match=r"20 frames at 8 per second; .* other_length=trim"):
        shown(dataset, generator, other_fps="resample")


def test_cropping_covers_and_padding_keeps_all_undistorted() -> None:
    wide = np.zeros((1, 64, 128, 3), np.uint8)
    wide[:, :, :64, 0], wide[:, :, 64:, 1] = 200, 200  # left half red, right half green
    crop, pad = resized(wide, 32, 32, cover=True), resized(wide, 32, 32, cover=False)
    assert crop[0, 16, 8].tolist() == [200, 0, 0]
    assert crop[0, 16, 23].tolist() == [0, 200, 0]
    assert (crop.sum(-1) > 0).all()
    assert (pad[0, :8] == 0).all()
    assert (pad[0, 24:] == 0).all()
    assert (pad[0, 8:24].sum(-1) > 0).all()
    assert pad[0, 16, 2].tolist() == [200, 0, 0]
    assert pad[0, 16, 29].tolist() == [0, 200, 0]
    tall = wide.transpose(0, 2, 1, 3)
    assert np.array_equal(resized(tall, 32, 32, cover=False), pad.transpose(0, 2, 1, 3))
    assert np.array_equal(resized(wide, 64, 128, cover=True), wide)
    assert resized(wide, 48, 80, cover=True).shape == (1, 48, 80, 3)


def test_what_was_done_is_part_of_the_key_and_told_in_the_manifest(
    generator: PipelineGenerator, tmp_path: Path
) -> None:
    dataset = dataset_of(tmp_path, np.random.default_rng(0).integers(0, 255, (9, 32, 64, 3), np.uint8), 8.0)
    made = {way: encode(dataset, generator, CLIPS, ClipSettings(other_size=way)) for way in ("crop", "pad")}  # type: ignore[arg-type]
    one, other = (cache.clips(["a"])["a"] for cache in made.values())
    assert (one - other).abs().max() > 0.01
    told = json.loads((dataset.path / "latents" / "latents.json").read_text())
    changes = [about["changed_to"] for about in told.values() if "changed_to" in about]
    want = [{"height": 32, "width": 32, "other_size": way} for way in ("crop", "pad")]
    assert sorted(changes, key=str) == sorted(want, key=str)
    again = encode(dataset, generator, CLIPS, ClipSettings(other_size="crop"))
    assert torch.equal(again.clips(["a"])["a"], one)


def test_clips_that_fit_are_the_same_whatever_is_asked_of_others(generator: PipelineGenerator, tmp_path: Path) -> None:
    dataset = dataset_of(tmp_path, ramp(9), 8.0)
    asked = ClipSettings(other_fps="resample", other_length="trim", other_size="crop")
    assert encode(dataset, generator, CLIPS).identity() == encode(dataset, generator, CLIPS, asked).identity()


def test_a_file_that_was_replaced_by_another_kind_of_clip_is_told(generator: PipelineGenerator, tmp_path: Path) -> None:
    dataset = dataset_of(tmp_path, ramp(9), 8.0)
    for video, says in (
        (Video(ramp(9), 30.0), r"its file has 9 frames at 30, the dataset's table says 9 at 8 per second"),
        (Video(ramp(13), 8.0), r"its file has 13 frames at 8"),
        (Video(ramp(9, 16, 32), 8.0), r"its file has 32x16 pixels, the dataset's table says 32x32"),
    ):
        write_video(dataset.path / "clips/a.mp4", video)
        with pytest.raises(DataError, match=says):
            encode(dataset, generator, CLIPS)


def test_the_commands_refuse_and_resample(
    generator: PipelineGenerator, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    generator.save_pretrained(tmp_path / "model")
    dataset = dataset_of(tmp_path, ramp(31, 48, 64), 30.0)
    pair = WinLosePair(prompt_id="p", clip_win="a", clip_lose="b", reward_win=1.0, reward_lose=0.0)
    dataset.write_pairs("p", [pair])
    data = [str(dataset.path), "--model", str(tmp_path / "model"), "--pairs", "p"]
    align = [
        "align",
        "sft",
        *data,
        "--out",
        str(tmp_path / "a"),
        "fit.num_steps=1",
        "lora.rank=2",
        "fit.warmup_steps=0",
    ]
    for command, group in ((["encode", *data], ""), (align, "encode.")):
        for way in ("other_fps=resample", "other_size=crop"):  # each message names a setting of this very command
            assert main(command) == 2
            error = capsys.readouterr().err
            assert "'model' works in " in error and error.count("\n") == 1
            assert f" {group}{way}" in error
            assert not (tmp_path / "a").exists()
            command.append(f"{group}{way}")
        assert main(command) == 0
    assert (tmp_path / "a" / "adapter_model.safetensors").is_file()
