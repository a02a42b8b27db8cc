"""What is known of clips before a reward is trained: which it cannot read, which it cannot tell apart in time."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from videoalign.contracts.records import DEFAULT_DIMENSIONS, Clip
from videoalign.contracts.video import Video
from videoalign.data.dataset import Dataset
from videoalign.errors import VideoError
from videoalign.models.small_qwen import small_qwen2_5_vl, small_qwen3_vl, small_tokenizer, write_base
from videoalign.models.videoreward import VideoReward
from videoalign.models.videoreward.backbone import position_ids
from videoalign.models.videoreward.processing import ReadingLimits
from videoalign.models.videoreward.prompt import default_template
from videoalign.recipes.reward.data import note_on_time
from videoalign.recipes.reward.settings import RewardTrainConfig
from videoalign.recipes.reward.train import train_reward

SMALL = {"min_frame_pixels": 32 * 32, "max_frame_pixels": 32 * 32}


@pytest.fixture(scope="module")
def bases(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A small base of the families that have a place in time."""
    folder = tmp_path_factory.mktemp("bases")
    tokenizer = small_tokenizer(["a red circle moves left", default_template(DEFAULT_DIMENSIONS)] * 9, vocab_size=400)
    for name, make in (("qwen2_5_vl", small_qwen2_5_vl), ("qwen3_vl", small_qwen3_vl)):
        write_base(folder / name, make(tokenizer), tokenizer)
    return {name: folder / name for name in ("qwen2_5_vl", "qwen3_vl")}


def clip(num_frames: int, fps: float) -> Clip:
    name = f"{num_frames}-{fps}"
    return Clip(clip_id=name, prompt_id="p", path=f"{name}.mp4", fps=fps, num_frames=num_frames, height=32, width=32)


@pytest.mark.parametrize(("num_frames", "fps", "read_fps"), [
    (5, 24.0, 2.0), (23, 24.0, 2.0), (24, 24.0, 2.0), (48, 24.0, 2.0), (96, 24.0, 4.0), (96, 24.0, 8.0), (17, 8.0, 2.0),
])  # fmt: skip
def test_the_note_says_which_clips_have_patches_at_one_time(
    bases: dict[str, Path], num_frames: int, fps: float, read_fps: float
) -> None:
    limits = ReadingLimits(fps=read_fps, **SMALL)
    reward = VideoReward.from_base(bases["qwen2_5_vl"], limits=limits).eval()
    patches = reward.processor.read(Video(np.zeros((num_frames, 32, 32, 3), np.uint8), fps))
    inputs = reward.inputs([patches], ["a red circle"])
    places = position_ids(reward.backbone, inputs)[0, 0][inputs.input_ids[0] == reward.backbone.config.video_token_id]
    shared = len(places.unique()) < patches.grid[0]
    note = note_on_time(reward, [clip(num_frames, fps), clip(48, 24.0)])
    assert (note is not None and note.startswith("1 of 2 clips" if read_fps == 2 else "2 of 2 clips")) == shared
    other = VideoReward.from_base(bases["qwen3_vl"], limits=limits)
    assert note_on_time(other, [clip(num_frames, fps)]) is None


def test_the_note_comes_at_the_start_of_training(
    bases: dict[str, Path], judged_dataset: Dataset, tmp_path: Path
) -> None:
    notes: list[str] = []
    limits = ReadingLimits(fps=8.0, **SMALL)
    config = RewardTrainConfig.model_validate({"limits": limits, "fit": {"num_steps": 1, "batch_size": 1}})
    train_reward(judged_dataset, str(bases["qwen2_5_vl"]), tmp_path / "r", config, on_note=notes.append)
    assert len(notes) == 1
    assert "Qwen2.5-VL does not tell apart in time" in notes[0]


def test_clips_that_no_reward_can_read_are_named_before_any_work(
    judged_dataset: Dataset, tiny_base: Path, tmp_path: Path
) -> None:
    copy = Dataset.create(tmp_path / "d", judged_dataset.info)
    clips = [replace(row, path=str(judged_dataset.clip_path(row))) for row in judged_dataset.clips()]
    clips[1] = replace(clips[1], num_frames=1)
    clips[4] = replace(clips[4], height=2, width=500)
    copy.add(prompts=judged_dataset.prompts(), clips=clips, judgements=judged_dataset.judgements())
    with pytest.raises(VideoError, match=r"2 clips cannot be read .*p0c1\.mp4, p1c1\.mp4.*p0c1\.mp4: it has 1 frame"):
        train_reward(copy, str(tiny_base), tmp_path / "r")
    assert not (tmp_path / "r").exists()
