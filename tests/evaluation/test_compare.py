from __future__ import annotations

import numpy as np
import pytest

from videoalign.contracts.video import Video
from videoalign.errors import DataError
from videoalign.evaluation.compare import collapsed, compare, guidance_entry, judge_clips

DIMENSIONS = ("VQ", "MQ")


def test_counts_are_the_hand_worked_ones():
    base = np.array([[0.0, 5.0], [1.0, 1.0], [2.0, 2.0], [3.0, 0.0]])
    candidate = np.array([[1.0, 5.0], [2.0, 0.0], [1.0, 2.0], [4.0, 0.5]])
    result = compare(base, candidate, ["a", "a", "b", "b"], DIMENSIONS, seed=0)
    counts = {name: (row["wins"], row["ties"], row["losses"]) for name, row in result.items()}
    assert counts == {"VQ": (3, 0, 1), "MQ": (1, 2, 1), "overall": (2, 1, 1)}
    assert [result[name]["win_rate"] for name in ("VQ", "MQ", "overall")] == [0.75, 0.5, 0.625]
    assert {(row["n"], row["num_prompts"]) for row in result.values()} == {(4, 2)}


def test_overall_compares_the_mean_of_the_dimensions():
    base, candidate = np.array([[0.0, 1.0], [0.0, 1.0]]), np.array([[0.9, 0.2], [0.7, 0.2]])
    assert compare(base, candidate, ["a", "b"], DIMENSIONS, seed=0)["overall"]["win_rate"] == 0.5


def test_identical_arms_are_exactly_one_half_with_an_interval_of_no_width():
    scores = np.random.default_rng(0).normal(size=(40, 2))
    for row in compare(scores, scores, [f"p{i // 4}" for i in range(40)], DIMENSIONS, seed=3).values():
        assert (row["win_rate"], row["low"], row["high"], row["ties"]) == (0.5, 0.5, 0.5, 40)


def test_swapping_the_arms_mirrors_the_win_rate():
    rng = np.random.default_rng(1)
    base, candidate = rng.normal(size=(2, 60, 2)).round(1)
    prompts = [f"p{i // 3}" for i in range(60)]
    there = compare(base, candidate, prompts, DIMENSIONS, seed=0)
    back = compare(candidate, base, prompts, DIMENSIONS, seed=0)
    for name in there:
        assert there[name]["win_rate"] == pytest.approx(1 - back[name]["win_rate"], abs=1e-12)
        assert there[name]["low"] == pytest.approx(1 - back[name]["high"], abs=1e-12)


def test_clustered_interval_is_wider_when_clips_of_a_prompt_agree():
    rng = np.random.default_rng(2)
    verdict = rng.normal(0.3, 1.0, 20).repeat(10)  # one verdict a prompt, ten clips each
    candidate, base = np.stack([verdict, verdict], 1), np.zeros((200, 2))
    clustered = compare(base, candidate, [f"p{i // 10}" for i in range(200)], DIMENSIONS, seed=0)["VQ"]
    naive = compare(base, candidate, [f"p{i}" for i in range(200)], DIMENSIONS, seed=0)["VQ"]
    width = {name: row["high"] - row["low"] for name, row in (("clustered", clustered), ("naive", naive))}
    assert clustered["win_rate"] == naive["win_rate"]
    assert 2.4 < width["clustered"] / width["naive"] < 4.0  # sqrt(10) = 3.2


def test_interval_covers_the_truth_about_as_often_as_it_says():
    rng = np.random.default_rng(4)
    hits = 0
    for trial in range(100):
        chance = np.clip(rng.normal(0.6, 0.2, 30), 0, 1).repeat(5)
        candidate = (rng.random(150) < chance).astype(float)[:, None]
        row = compare(np.full((150, 1), 0.5), candidate, [f"p{i // 5}" for i in range(150)], ("VQ",), seed=trial)["VQ"]
        hits += row["low"] <= 0.6 <= row["high"]
    assert hits >= 88


def test_same_seed_gives_the_same_interval():
    base, candidate = np.random.default_rng(5).normal(size=(2, 30, 2))
    prompts = [f"p{i // 3}" for i in range(30)]
    assert compare(base, candidate, prompts, DIMENSIONS, seed=1) == compare(
        base, candidate, prompts, DIMENSIONS, seed=1
    )


def test_one_prompt_says_nothing_about_others():
    row = compare(np.zeros((3, 1)), np.ones((3, 1)), ["a", "a", "a"], ("VQ",), seed=0)["VQ"]
    assert (row["win_rate"], row["low"], row["high"]) == (1.0, 0.0, 1.0)


def test_collapse_is_a_dimension_that_falls_while_the_whole_rises():
    def row(low: float, high: float) -> dict[str, float]:
        return {"win_rate": (low + high) / 2, "low": low, "high": high}

    good, bad, unsure = row(0.7, 0.9), row(0.1, 0.3), row(0.4, 0.6)
    assert collapsed({"VQ": good, "MQ": bad, "TA": unsure, "overall": good}) == ("MQ",)
    assert collapsed({"VQ": good, "MQ": bad, "TA": unsure, "overall": unsure}) == ()
    assert collapsed({"VQ": bad, "MQ": bad, "TA": bad, "overall": bad}) == ()


def test_guidance_entry_holds_the_rates_and_the_counts_behind_them():
    result = compare(np.zeros((4, 2)), np.eye(4, 2), ["a", "a", "b", "b"], DIMENSIONS, seed=0)
    entry = guidance_entry({"VQ": 1.0, "MQ": 0.0}, result)
    assert entry["weights"] == {"VQ": 1.0, "MQ": 0.0}
    assert (entry["VQ"], entry["MQ"], entry["overall"]) == (0.625, 0.625, 0.75)
    assert entry["details"] == result


@pytest.mark.parametrize(
    ("base", "candidate", "prompts", "dimensions", "says"),
    [
        (np.zeros((2, 2)), np.zeros((3, 2)), ["a", "b"], DIMENSIONS, "candidate scores: got shape (3, 2), wanted"),
        (np.zeros((2, 2)), np.array([[0, 0], [0, np.nan]]), ["a", "b"], DIMENSIONS, "MQ of row 1 (prompt b) is nan"),
        (np.zeros((0, 2)), np.zeros((0, 2)), [], DIMENSIONS, "got 0 clips"),
        (np.zeros((1, 1)), np.zeros((1, 1)), ["a"], ("overall",), "rename the dimension"),
    ],
)  # fmt: skip
def test_scores_that_cannot_be_compared_are_refused(base, candidate, prompts, dimensions, says):
    with pytest.raises(DataError) as error:
        compare(base, candidate, prompts, dimensions, seed=0)
    assert says in str(error.value)
    assert "\n" not in str(error.value)


class Brightness:
    """Scores a clip by its mean grey level, and remembers how many it was shown at once."""

    name, dimensions = "brightness", ("VQ",)

    def __init__(self) -> None:
        self.batches: list[int] = []

    def score_videos(self, videos, prompts):
        self.batches.append(len(videos))
        return np.array([[video.frames.mean()] for video in videos])


def test_judging_in_batches_keeps_the_order():
    videos = [Video(np.full((2, 4, 4, 3), level, dtype=np.uint8), 8.0) for level in range(5)]
    judge = Brightness()
    assert judge_clips(judge, videos, ["a"] * 5, batch_size=2).tolist() == [[0], [1], [2], [3], [4]]
    assert judge.batches == [2, 2, 1]
    for num_prompts, says in ((4, "more clips than the 4 prompts"), (6, "5 clips but 6 prompts")):
        with pytest.raises(DataError, match=says):
            judge_clips(judge, iter(videos), ["a"] * num_prompts)
