"""Scores of many clips: those of the clips one by one, in their order, a broken one reported at its index."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from videoalign.contracts.video import Video
from videoalign.errors import DataError, ModelError
from videoalign.models.videoreward import VideoReward
from videoalign.models.videoreward.processing import Patches
from videoalign.models.videoreward.scoring import MAX_PATCHES, MAX_PATCHES_CPU, batches
from videoalign.models.videoreward.settings import Normalisation

PROMPT = "a red circle moves left"


@pytest.fixture
def ready(reward: VideoReward) -> VideoReward:
    stored = {name: Normalisation(mean=0.25, std=0.5) for name in reward.dimensions}
    reward.settings = reward.settings.model_copy(update={"normalisation": stored})
    return reward


@pytest.fixture
def files(tmp_path: Path, make_clip: Callable[..., Path]) -> list[Path]:
    return [make_clip(tmp_path / f"{k}.mp4", num_frames=4 + 3 * k, tint=20 * k) for k in range(5)]


def test_files_bytes_and_frames_together_score_as_each_alone(ready: VideoReward, files: list[Path]) -> None:
    frames = Video(np.random.default_rng(0).integers(0, 256, (8, 16, 16, 3), dtype=np.uint8), 8.0)
    videos = [*files, files[2].read_bytes(), frames, (frames.frames, 8.0)]
    prompts = [f"{PROMPT} {k}" for k in range(len(videos))]
    together = ready.score(videos, prompts, batch_size=3, workers=2)
    for video, prompt, result in zip(videos, prompts, together, strict=True):
        (alone,) = ready.score([video], prompt)
        assert result.raw == pytest.approx(alone.raw, abs=1e-5)
        assert result.error is None
        for name, raw in result.raw.items():
            assert result.scores[name] == pytest.approx((raw - 0.25) / 0.5, abs=1e-9)
        assert result.overall == pytest.approx(sum(result.scores.values()) / 3)
    raw = ready.score_raw([frames], prompts[6:7])[0]
    assert list(together[6].raw.values()) == pytest.approx(raw.tolist(), abs=1e-5)


def test_broken_clip_is_told_in_its_place_and_changes_no_other(ready: VideoReward, files: list[Path]) -> None:
    whole = ready.score(files, PROMPT, batch_size=2)
    broken = [files[0], b"no clip", files[1], files[2].with_name("absent.mp4"), files[2], files[3], files[4]]
    prompts = [PROMPT] * 5 + ["", PROMPT]
    results = ready.score(broken, prompts, batch_size=2)
    reasons = {1: "7 bytes: truncated or not a video", 3: "absent.mp4: no such file", 5: "prompt: it is empty"}
    for place, result in enumerate(results):
        if place in reasons:
            assert reasons[place] in result.error
            assert (result.scores, result.raw, result.overall) == (None, None, None)
    good = [result.raw for result in results if result.error is None]
    for one, other in zip(good, [whole[k].raw for k in (0, 1, 2, 4)], strict=True):
        assert one == pytest.approx(other, abs=1e-5)


def test_a_score_that_is_not_finite_is_an_error(ready: VideoReward, files: list[Path]) -> None:
    ready.head.weight.data.fill_(float("nan"))
    (result,) = ready.score(files[:1], PROMPT)
    assert "wanted finite scores" in result.error
    assert result.scores is None


def test_a_stream_is_read_no_further_than_two_batches_ahead(ready: VideoReward, files: list[Path]) -> None:
    taken: list[int] = []

    def endless() -> Iterator[tuple[Path, str]]:
        number = 0
        while True:
            taken.append(number)
            yield files[number % len(files)], PROMPT
            number += 1

    stream = ready.score_stream(endless(), batch_size=2, workers=2)
    for done in range(1, 12):
        assert next(stream).error is None
        assert len(taken) <= done + 2 * 2 + 2
    before = threading.active_count()
    stream.close()
    assert threading.active_count() <= before


def test_what_cannot_be_scored_at_all_is_an_error(reward: VideoReward, ready: VideoReward, files: list[Path]) -> None:
    assert ready.score([], []) == []
    with pytest.raises(DataError, match="got 2 for 1 videos"):
        ready.score(files[:1], [PROMPT] * 2)
    reward.settings = reward.settings.model_copy(update={"normalisation": None})
    with pytest.raises(ModelError, match="no normalisation"):
        reward.score(files[:1], PROMPT)


@pytest.mark.parametrize(("device", "most"), [("cuda", MAX_PATCHES), ("cpu", MAX_PATCHES_CPU)])
def test_batches_hold_so_many_clips_and_patches_and_leave_none_out(device: str, most: int) -> None:
    def cut(sizes: list[int], batch_size: int) -> list[list[int]]:
        clips = [Patches(torch.zeros((size, 1), dtype=torch.uint8), (1, 1, size)) for size in sizes]
        return [sizes[part] for part in batches(clips, batch_size, torch.device(device))]

    assert cut([], 4) == []
    assert cut([1, 2, 3, 4, 5], 2) == [[1, 2], [3, 4], [5]]
    assert cut([most - 1, 1, 1, most + 7, 3], 9) == [[most - 1, 1], [1], [most + 7], [3]]
