"""Each change does what it says and nothing else; verdicts follow from the interval and what was expected."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest

from videoalign.contracts.video import Video
from videoalign.errors import DataError, OutputError
from videoalign.evaluation import probe_changes as changes
from videoalign.evaluation.probe_report import FILES, plot, require_free, table_rows, write_probe_report
from videoalign.evaluation.probes import (
    BAND,
    PROBES,
    Expectation,
    Quality,
    count_changes,
    deviations,
    expectation,
    expected_range,
    wrong_ones,
)

PROBE = {probe.name: probe for probe in PROBES}
PROMPTS_20 = [f"p{number % 10}" for number in range(20)]


def rng(name: str = "c") -> np.random.Generator:
    return changes.draws(0, name)


def numbered(num_frames: int) -> Video:
    """Frame k is grey of level 10 k."""
    levels = (10 * np.arange(num_frames)).astype(np.uint8)
    return Video(np.broadcast_to(levels[:, None, None, None], (num_frames, 8, 12, 3)).copy(), 8.0)


def order(video: Video) -> list[int]:
    """The number of each frame of `numbered`, changed or not."""
    assert (video.frames == video.frames[:, :1, :1, :1]).all()
    return [int(level) // 10 for level in video.frames[:, 0, 0, 0]]


@pytest.fixture(scope="module")
def picture() -> Video:
    """Five frames of blotches, 24 x 40."""
    return Video(np.random.default_rng(1).integers(0, 256, (5, 24, 40, 3)).astype(np.uint8), 8.0)


@pytest.mark.parametrize(
    ("change", "of_five", "of_four"),
    [
        (changes.freeze, [2, 2, 2, 2, 2], [2, 2, 2, 2]),
        (changes.reverse, [4, 3, 2, 1, 0], [3, 2, 1, 0]),
        (changes.loop, [0, 1, 2, 0, 1], [0, 1, 0, 1]),
        (changes.unchanged, [0, 1, 2, 3, 4], [0, 1, 2, 3]),
        (changes.double_rate, [0, 1, 2, 3, 4], [0, 1, 2, 3]),
        (changes.halve_rate, [0, 1, 2, 3, 4], [0, 1, 2, 3]),
    ],
)
def test_frames_come_in_the_order_that_the_change_names(change: Any, of_five: list[int], of_four: list[int]) -> None:
    assert order(change(numbered(5), rng())) == of_five
    assert order(change(numbered(4), rng())) == of_four


def test_a_shuffle_keeps_every_frame_and_never_the_order() -> None:
    for number in range(40):
        assert order(changes.shuffle(numbered(2), rng(str(number)))) == [1, 0]
        mixed = order(changes.shuffle(numbered(5), rng(str(number))))
        assert sorted(mixed) == [0, 1, 2, 3, 4] != mixed


def test_a_relabelled_rate_changes_nothing_but_the_rate(picture: Video) -> None:
    for change, fps in ((changes.double_rate, 16.0), (changes.halve_rate, 4.0)):
        told = change(picture, rng())
        assert told.fps == fps
        assert (told.frames == picture.frames).all()


def test_grey_is_the_luma_of_each_pixel() -> None:
    frames = np.zeros((2, 1, 3, 3), np.uint8)
    frames[:, 0] = [[100, 0, 0], [0, 100, 0], [255, 255, 255]]
    told = changes.grey(Video(frames, 8.0), rng()).frames
    assert told[0, 0].tolist() == [[30, 30, 30], [59, 59, 59], [255, 255, 255]]
    assert (told[0] == told[1]).all()


def test_blur_levels_the_pixels_and_keeps_their_mean() -> None:
    frames = np.random.default_rng(0).integers(0, 256, (2, 100, 100, 3)).astype(np.uint8)
    soft = changes.blur(Video(frames, 8.0), rng()).frames.astype(float)
    # a Gaussian of deviation s leaves 1 / (4 pi s^2) of the variance of white noise; s is 100 / 50 pixels
    assert soft.var() / frames.var() == pytest.approx(1 / (4 * np.pi * 4), rel=0.15)
    assert soft.mean() == pytest.approx(frames.mean(), abs=1.0)


def test_noise_has_the_stated_deviation_and_is_new_in_every_frame() -> None:
    flat = Video(np.full((2, 64, 64, 3), 128, np.uint8), 8.0)
    added = changes.add_noise(flat, rng()).frames.astype(float) - 128
    assert added.std() == pytest.approx(changes.NOISE_LEVEL, rel=0.02)
    assert added.mean() == pytest.approx(0.0, abs=0.5)
    assert abs(np.corrcoef(added[0].ravel(), added[1].ravel())[0, 1]) < 0.03
    bounded = changes.add_noise(Video(np.full((1, 64, 64, 3), 255, np.uint8), 8.0), rng()).frames
    assert bounded.min() > 128  # what is too bright is cut off, not wrapped round


@pytest.mark.parametrize(("level", "shows"), [(0, 102), (255, 153)])
def test_stripes_show_on_black_and_on_white_at_the_same_places_of_every_frame(level: int, shows: int) -> None:
    frames = changes.overlay(Video(np.full((3, 48, 64, 3), level, np.uint8), 8.0), rng()).frames
    assert sorted(np.unique(frames).tolist()) == sorted({level, shows})
    assert np.mean(frames == shows) == pytest.approx(0.25, abs=0.01)
    assert (frames == frames[:1]).all()


def test_a_resized_clip_is_three_quarters_as_high_and_wide(picture: Video) -> None:
    assert changes.resize(picture, rng()).frames.shape == (5, 18, 30, 3)
    flat = changes.resize(Video(np.full((1, 64, 1, 3), 77, np.uint8), 8.0), rng()).frames
    assert flat.shape == (1, 48, 1, 3)
    assert (flat == 77).all()


@pytest.mark.parametrize("probe", PROBES, ids=lambda probe: probe.name)
def test_a_change_follows_from_seed_and_clip_and_leaves_the_clip_alone(probe: Any, picture: Video) -> None:
    before = picture.frames.copy()
    first, again, other = (
        probe.change(picture, changes.draws(seed, clip, probe.name)) for seed, clip in ((3, "a"), (3, "a"), (3, "b"))
    )
    assert first.fps == again.fps
    assert (first.frames == again.frames).all()
    assert (picture.frames == before).all()
    assert len(first.frames) == 5
    drawn = probe.name in ("noise", "shuffled frames")
    assert (first.frames != other.frames).any() == drawn


def test_a_swapped_prompt_differs_and_shares_few_words() -> None:
    prompts = ["a red circle moves left", "A red  circle moves LEFT", "a red circle moves right", "two dogs run"]
    for number in range(20):
        assert changes.swap_prompt(prompts[0], prompts, rng(str(number))) == "two dogs run"
        assert changes.swap_prompt(prompts[0], prompts[:3], rng(str(number))) == prompts[2]
    with pytest.raises(DataError, match="worded like 'a red circle moves left'"):
        changes.swap_prompt(prompts[0], prompts[:2], rng())


def test_every_probe_says_for_every_role_what_it_expects_and_why() -> None:
    assert len(PROBE) == len(PROBES) == 12
    for probe in PROBES:
        assert set(probe.expected) == set(get_args(Quality))
        assert all(one.reason.endswith(".") and one.reason.count(".") == 1 for one in probe.expected.values())
    assert PROBE["static frame"].expected["motion_quality"].direction == "down"
    assert [probe.name for probe in PROBES if probe.swaps_prompt] == ["prompt swapped"]


def test_the_guide_says_what_is_expected_and_why() -> None:
    page = (Path(__file__).resolve().parents[2] / "docs" / "guides" / "probes.md").read_text(encoding="utf-8")
    for probe in PROBES:
        told = " | ".join(f"**{one.direction}**: {one.reason}" for one in probe.expected.values())
        assert f"| {probe.name} | {probe.what} | {told} |" in page


def test_a_dimension_that_does_not_see_the_prompt_may_not_move_when_it_is_swapped() -> None:
    swapped, static = PROBE["prompt swapped"], PROBE["static frame"]

    def direction(probe: Any, role: Quality | None, sees_prompt: bool | None) -> str | None:
        told = expectation(probe, role, sees_prompt=sees_prompt)
        return None if told is None else told.direction

    assert direction(swapped, "visual_quality", False) == "fixed"
    assert direction(swapped, None, False) == "fixed"
    assert direction(swapped, "visual_quality", True) == "none"
    assert direction(swapped, "visual_quality", None) == "none"
    assert direction(swapped, "text_alignment", False) == "down"
    assert direction(static, None, False) is None
    assert direction(static, "motion_quality", False) == "down"


def counted(direction: Any, values: Any, prompt_ids: Any = PROMPTS_20, **settings: Any) -> dict[str, Any]:
    return count_changes(np.array(values, dtype=float), prompt_ids, Expectation(direction, "Because."), **settings)


@pytest.mark.parametrize(
    ("direction", "verdicts"),
    [
        ("down", ["ok", "wrong", "unclear", "wrong"]),
        ("none", ["wrong", "ok", "unclear", "wrong"]),
        ("not up", ["ok", "ok", "ok", "wrong"]),
        ("fixed", ["wrong", "wrong", "wrong", "wrong"]),
        ("any", [None, None, None, None]),
    ],
)
def test_verdicts_follow_from_the_interval(direction: Any, verdicts: list[str | None]) -> None:
    straddling = [-0.5] * 5 + [0.0] * 5  # half of the prompts fall, so the interval reaches over -0.25
    cases = [[-1.0] * 20, [-0.2] * 20, straddling * 2, [1.0] * 20]
    assert [counted(direction, values)["verdict"] for values in cases] == verdicts


def test_what_may_not_move_is_told_by_the_one_clip_that_moved_most() -> None:
    still = [0.0] * 19
    assert counted("fixed", [*still, 9e-5])["verdict"] == "ok"
    assert counted("fixed", [*still, -2e-4])["verdict"] == "wrong"
    assert counted("fixed", [*still, -2e-4])["largest"] == pytest.approx(2e-4)


def test_figures_of_a_worked_case() -> None:
    row = counted("down", [-1.0, -0.5, -0.1, 0.4], ["p", "p", "q", "q"])
    assert (row["n"], row["num_prompts"], row["verdict"]) == (4, 2, None)
    assert row["change"] == pytest.approx(-0.3)
    assert (row["low"], row["high"]) == (pytest.approx(-0.75), pytest.approx(0.15))  # both draws of one prompt
    assert (row["share"], row["largest"]) == (0.5, 1.0)  # -0.1 is less than the band
    assert counted("not up", [-1.0, 0.2, 0.25, 0.4], ["p", "p", "q", "q"])["share"] == 0.75
    assert counted("any", [1.0, 2.0], ["p", "q"])["share"] is None


def test_there_is_no_verdict_on_few_clips_or_few_prompts() -> None:
    assert counted("down", [-1.0] * 19, PROMPTS_20[:19])["verdict"] is None
    assert counted("down", [-1.0] * 19, PROMPTS_20[:19], min_clips=19)["verdict"] == "ok"
    assert counted("down", [-1.0] * 20, ["p", "q", "r", "s"] * 5)["verdict"] is None
    alone = counted("down", [-1.0] * 20, ["p"] * 20)
    assert (alone["change"], alone["low"], alone["high"], alone["verdict"]) == (-1.0, None, None, None)
    nothing = counted("down", [], [])
    assert (nothing["n"], nothing["change"], nothing["verdict"], nothing["expected"]) == (0, None, None, "down")


def test_a_wider_band_lets_more_pass_as_none() -> None:
    assert counted("none", [-0.4] * 20)["verdict"] == "wrong"
    assert counted("none", [-0.4] * 20, band=0.5)["verdict"] == "ok"
    assert expected_range("none", BAND) == (-0.25, 0.25)


def test_a_dimension_without_a_role_is_counted_without_a_verdict() -> None:
    row = count_changes(np.full(20, -1.0), PROMPTS_20, None)
    assert (row["change"], row["low"], row["expected"], row["verdict"]) == (-1.0, -1.0, None, None)


def test_changes_are_measured_in_deviations_of_the_untouched_scores() -> None:
    assert deviations(np.array([[1.0, 7.0], [3.0, 7.0]])).tolist() == [1.0, 1.0]
    assert deviations(np.array([[0.0], [4.0]])).tolist() == [2.0]


@pytest.fixture
def result() -> dict[str, Any]:
    """Two dimensions under all probes: VQ always falls by one deviation, X has no role; one probe was refused."""
    probes = []
    for probe in PROBES:
        num_clips = 0 if probe.name == "resized" else 20
        change, ids = np.full(num_clips, -1.0), PROMPTS_20[:num_clips]
        rows = {
            "VQ": count_changes(change, ids, probe.expected["visual_quality"]),
            "X": count_changes(change, ids, None),
        }
        refusal = {"refused": 20 - num_clips, "refusal": None if num_clips else "too small"}
        probes.append({"probe": probe.name, "what": probe.what, **refusal, "dimensions": rows})
    settings = {"split": "val", "seed": 0, "band": 0.25, "min_clips": 20}
    about = {"reward": "r", "dataset": "d", "settings": settings, "clips": 20, "prompts": 10}
    return {**about, "deviation": {"VQ": 1.0, "X": 2.0}, "probes": probes}


def test_the_report_holds_every_row_its_reason_and_what_was_refused(result: dict[str, Any], tmp_path: Path) -> None:
    write_probe_report(tmp_path / "out", result)
    assert sorted(file.name for file in (tmp_path / "out").iterdir()) == sorted(FILES)
    assert json.loads((tmp_path / "out" / "probes.json").read_text()) == result
    page = (tmp_path / "out" / "probes.md").read_text()
    assert "| blur | VQ | down | -1.00 [-1.00, -1.00] | 100% [81%, 100%] | ok | 20 | Edges and detail are lost" in page
    assert "| resized | VQ | none | - | - | - | 0 |" in page
    assert "resized: 20 of 20 clips were refused; the first: too small" in page
    assert len(table_rows(result)) == 24
    assert (tmp_path / "out" / "probes.png").read_bytes()[1:4] == b"PNG"
    assert ("static frame", "VQ") in wrong_ones(result)
    assert not [name for name, dimension in wrong_ones(result) if dimension == "X" or name in ("blur", "noise")]


def test_the_plot_has_a_panel_per_dimension_and_every_interval_in_it(result: dict[str, Any]) -> None:
    panels = plot(result).axes
    assert [panel.get_title(loc="left") for panel in panels] == ["VQ", "X"]
    low, high = panels[0].get_xlim()
    assert low < -1.0 < 0.25 < high
    assert [label.get_text() for label in panels[0].get_yticklabels()] == list(PROBE)
    assert len(panels[0].patches) == 12  # what is expected, on every row
    assert len(panels[1].patches) == 0  # nothing is expected of X


def test_a_report_never_takes_the_place_of_other_files(result: dict[str, Any], tmp_path: Path) -> None:
    out = tmp_path / "out"
    write_probe_report(out, result)
    with pytest.raises(OutputError, match="holds a probe report already; give another folder"):
        write_probe_report(out, result)
    write_probe_report(out, {**result, "reward": "other"}, fresh=True)
    assert json.loads((out / "probes.json").read_text())["reward"] == "other"
    (out / "mine.txt").write_text("keep me")
    with pytest.raises(OutputError, match="holds other files"):
        require_free(out, fresh=True)
    with pytest.raises(OutputError, match="is a file"):
        require_free(out / "mine.txt")
    with pytest.raises(ValueError, match="Out of range"):
        write_probe_report(tmp_path / "new", {**result, "clips": float("nan")})
    assert not (tmp_path / "new").exists()
