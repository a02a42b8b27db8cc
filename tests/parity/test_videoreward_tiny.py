"""A checkpoint of the official code, converted, must give what the official code gave."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from videoalign.cli.main import main
from videoalign.models.videoreward import VideoReward
from videoalign.models.videoreward.official import read_official
from videoalign.models.videoreward.processing import Patches
from videoalign.video.files import probe, read_video


@pytest.fixture(scope="module")
def released(shared: Path) -> VideoReward:
    folder = shared / "parity" / "videoreward_tiny"
    rubric = shared / "parity" / "official_template" / "detailed_special.txt"
    return read_official(folder / "checkpoint", folder / "base", rubric)


def cases(shared: Path) -> list[dict]:
    return json.loads((shared / "parity" / "videoreward_tiny" / "expected_scores.json").read_text())


def read(reward: VideoReward, shared: Path, case: dict) -> Patches:
    """A clip through our decoder; one case asks for other frames per second."""
    file = shared / "data" / "videoalign_pairs" / case["video"]
    info = probe(file)
    limits = reward.processor.limits.model_copy(update={"fps": case.get("fps", 2.0)})
    kept, reward.processor.limits = reward.processor.limits, limits
    indices = reward.processor.indices(info.num_frames, info.fps)
    reward.processor.limits = kept
    return reward.processor.read_frames(read_video(file, indices).frames)


def test_raw_and_normalised_scores_are_the_official_ones(released: VideoReward, shared: Path) -> None:
    for case in cases(shared):
        clip = read(released, shared, case)
        if "video_grid_thw" in case:
            assert list(clip.grid) == case["video_grid_thw"]
            assert int(released.inputs([clip], [case["prompt"]]).lengths[0]) == case["num_input_tokens"]
        raw = released.score_patches([clip], [case["prompt"]])
        expected = np.array([[case["raw"][name] for name in released.dimensions]])
        assert np.abs(raw - expected).max() < 0.02, case["video"]
        if "normalised" in case:
            wanted = [case["normalised"][name] for name in released.dimensions]
            assert released.normalise(raw)[0] == pytest.approx(wanted, abs=0.02)


def test_from_the_official_frames_scores_agree_to_a_thousandth(released: VideoReward, shared: Path) -> None:
    stored = np.load(shared / "parity" / "example_3_B_frames.npz")
    case = next(case for case in cases(shared) if case["video"] == "example_3_B.mp4")
    info = probe(shared / "data" / "videoalign_pairs" / case["video"])
    assert released.processor.indices(info.num_frames, info.fps) == stored["indices"].tolist()
    clip = released.processor.read_frames(stored["frames"])
    raw = released.score_patches([clip], [case["prompt"]])[0]
    assert raw == pytest.approx([case["raw"][name] for name in released.dimensions], abs=1e-3)
    pixels = released.processor.normalise(clip.values)
    assert float(pixels.mean()) == pytest.approx(case["pixel_mean"], abs=1e-4)
    assert float(pixels.std()) == pytest.approx(case["pixel_std"], abs=1e-4)


def test_the_commands_convert_and_score(shared: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder, out = shared / "parity" / "videoreward_tiny", tmp_path / "r"
    rubric = shared / "parity" / "official_template" / "detailed_special.txt"
    words = ["reward", "import-official", folder / "checkpoint", "--base", folder / "base", "--template", rubric]
    assert main([*map(str, words), "--out", str(out)]) == 0
    case = next(case for case in cases(shared) if "normalised" in case)
    video = shared / "data" / "videoalign_pairs" / case["video"]
    capsys.readouterr()
    score = ["reward", "score", str(out), "--video", str(video), "--prompt", case["prompt"], "--json"]
    assert main(score) == 0
    (row,) = json.loads(capsys.readouterr().out)
    for name, wanted in case["normalised"].items():
        if name in row["scores"]:
            assert row["scores"][name] == pytest.approx(wanted, abs=0.02)
    assert main([*map(str, words), "--out", str(shared)]) == 2
    assert "no run of videoalign" in capsys.readouterr().err
