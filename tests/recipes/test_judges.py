"""A judge of frames is asked as every reward is: in an order that arms share, and again only where it was stopped."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest

from videoalign.contracts.records import Clip, DatasetInfo, Prompt
from videoalign.contracts.reward import RewardModel
from videoalign.contracts.video import Video
from videoalign.data.dataset import Dataset
from videoalign.errors import DataError, ModelError
from videoalign.models.videoreward import VideoReward
from videoalign.recipes.judges import JUDGES, judge_dataset, open_judge
from videoalign.video.judge import FrameJudge
from videoalign.worlds.sprites.oracle import Oracle


class Brightness(FrameJudge):
    """Mean grey level and number of frames; stops for good after so many clips."""

    name, dimensions = "brightness", ("light", "frames")

    def __init__(self, stop_after: int = 1000) -> None:
        self.left, self.num_scored = stop_after, 0

    def score_videos(self, videos: Sequence[Video], prompts: Sequence[str]) -> np.ndarray:
        if self.left < len(videos):
            raise KeyboardInterrupt
        self.left -= len(videos)
        self.num_scored += len(videos)
        return np.array([[video.frames.mean(), len(video.frames)] for video in videos])


@pytest.fixture
def dataset(tmp_path: Path, make_clip: Callable[..., Path]) -> Dataset:
    """Three clips of each of two prompts, the later seeds first, the clip with seed n having 4 + n frames."""
    made = Dataset.create(tmp_path / "clips", DatasetInfo())
    prompts = [Prompt(prompt_id=name, text=f"a {name}") for name in ("cat", "dog")]
    clips = []
    for prompt in prompts:
        for seed in (2, 0, 1):
            clip_id = f"{prompt.prompt_id}{seed}"
            make_clip(made.path / f"{clip_id}.mp4", tint=40 * (prompt.prompt_id == "dog"), num_frames=4 + seed)
            about = {"fps": 8.0, "num_frames": 4 + seed, "height": 16, "width": 16}
            clips.append(Clip(clip_id=clip_id, prompt_id=prompt.prompt_id, path=f"{clip_id}.mp4", seed=seed, **about))
    made.add(prompts=prompts, clips=clips)
    return made


def test_scores_come_by_prompt_as_given_and_then_by_seed(dataset: Dataset) -> None:
    found = judge_dataset(Brightness(), dataset, ["a dog", "a cat"])
    assert [(clip.prompt_id, clip.seed) for clip in found.clips] == [(p, s) for p in ("dog", "cat") for s in (0, 1, 2)]
    assert found.prompts == ["a dog"] * 3 + ["a cat"] * 3
    assert found.scores[:, 1].tolist() == [4, 5, 6, 4, 5, 6]
    assert (found.scores[:3, 0] > found.scores[3:, 0] + 30).all(), "clips of the dog are brighter"
    assert judge_dataset(Brightness(), dataset, ["a bird"]).scores.shape == (0, 2)


def test_judging_goes_on_where_it_was_stopped(dataset: Dataset, tmp_path: Path) -> None:
    keep, order = tmp_path / "kept", ["a cat", "a dog"]
    with pytest.raises(KeyboardInterrupt):
        judge_dataset(Brightness(stop_after=4), dataset, order, keep=keep)
    going_on = Brightness()
    found = judge_dataset(going_on, dataset, order, keep=keep)
    assert going_on.num_scored == 2
    assert np.array_equal(found.scores, judge_dataset(Brightness(), dataset, order).scores)
    other = Brightness()
    other.name = "another"
    judge_dataset(other, dataset, order, keep=keep)
    assert other.num_scored == 6, "scores of one judge are not those of another"


def test_a_judge_is_called_by_its_name_and_a_reward_by_its_folder(tmp_path: Path, tiny_base: Path) -> None:
    assert type(open_judge("oracle")) is JUDGES["oracle"]
    VideoReward.from_base(tiny_base).save_pretrained(tmp_path / "mine")
    assert isinstance(open_judge(tmp_path / "mine"), VideoReward)
    with pytest.raises(ModelError):
        open_judge(tmp_path / "nothing")


def test_oracle_and_videoreward_are_what_a_reward_promises_to_be(tiny_base: Path) -> None:
    for reward in (Oracle(), VideoReward.from_base(tiny_base)):
        assert isinstance(reward, RewardModel)
        assert list(reward.about())[:2] == ["name", "dimensions"]
    clip = Video(np.zeros((4, 8, 8, 3), dtype=np.uint8), 8.0)
    (refused,) = Oracle().score_read([(clip, "a red disc moves left")])
    assert isinstance(refused, DataError)
    assert "8x8" in str(refused)
