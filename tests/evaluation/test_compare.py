from __future__ import annotations

import math

import numpy as np
import pytest

from videoalign.errors import DataError
from videoalign.evaluation.compare import collapsed, compare, guidance_entry, headline

DIMENSIONS = ("VQ", "MQ")


def test_counts_are_the_hand_worked_ones():
    base = np.array([[0.0, 5.0], [1.0, 1.0], [2.0, 2.0], [3.0, 0.0]])
    candidate = np.array([[1.0, 5.0], [2.0, 0.0], [1.0, 2.0], [4.0, 0.5]])
    result = compare(base, candidate, ["a", "a", "b", "b"], DIMENSIONS)
    counts = {name: (row["wins"], row["ties"], row["losses"]) for name, row in result.items()}
    assert counts == {"VQ": (3, 0, 1), "MQ": (1, 2, 1), "overall": (3, 0, 1)}
    assert [result[name]["win_rate"] for name in ("VQ", "MQ", "overall")] == [0.75, 0.5, 0.75]
    assert {(row["n"], row["num_prompts"]) for row in result.values()} == {(4, 2)}


def test_overall_is_the_mean_in_units_of_the_bases_deviation_within_prompts():
    base = np.array([[0.0, 100.0], [0.2, 140.0], [5.0, 0.0], [5.2, 40.0]])
    candidate = base + np.array([[0.2, -30.0], [0.1, -30.0], [-0.1, 10.0], [0.1, -10.0]])
    result = compare(base, candidate, ["a", "a", "b", "b"], DIMENSIONS)
    units = {"VQ": math.sqrt(0.04 / 2), "MQ": math.sqrt(1600 / 2)}  # 0.141 and 28.3
    assert {name: result[name]["unit"] for name in DIMENSIONS} == pytest.approx(units)
    assert "unit" not in result["overall"]
    # 1.41 - 1.06 > 0, 0.71 - 1.06 < 0, -0.71 + 0.35 < 0, 0.71 - 0.35 > 0
    assert [result["overall"][key] for key in ("wins", "losses")] == [2, 2]


def test_overall_depends_on_no_dimensions_scale():
    rng = np.random.default_rng(0)
    base, candidate = rng.normal(size=(2, 60, 3))
    prompts, names = [f"p{i // 3}" for i in range(60)], ("VQ", "MQ", "TA")
    plain = compare(base, candidate, prompts, names)["overall"]
    for scale in ([1, 100, 0.01], [1e3, 1, 1], [1e-4, 1e-4, 1e4]):
        assert compare(base * scale, candidate * scale, prompts, names)["overall"] == plain
    shift = np.array([5, -3, 100])
    assert compare(base + shift, candidate + shift, prompts, names)["overall"] == plain


def test_overall_can_be_made_again_from_the_scores_and_units():
    rng = np.random.default_rng(1)
    base, candidate = rng.normal(size=(2, 40, 2)) * [1, 30]
    prompts = [f"p{i // 2}" for i in range(40)]
    result = compare(base, candidate, prompts, DIMENSIONS)
    mine = [(arm / [result[name]["unit"] for name in DIMENSIONS]).mean(1) for arm in (base, candidate)]
    assert result["overall"]["wins"] == (mine[1] > mine[0]).sum()


def test_a_dimension_without_a_deviation_in_the_base_is_refused_where_it_would_count():
    base, candidate = np.array([[0.0, 1.0], [0.0, 2.0]]), np.array([[0.5, 1.0], [0.0, 2.0]])
    with pytest.raises(DataError, match="VQ is 0 for every clip of the base"):
        compare(base, candidate, ["a", "a"], DIMENSIONS)
    assert compare(base, base, ["a", "a"], DIMENSIONS)["VQ"]["unit"] == 1.0
    assert compare(base[:, :1], candidate[:, :1], ["a", "a"], ("VQ",))["overall"]["wins"] == 1
    assert compare(base, candidate, ["a", "a"], DIMENSIONS, units={"VQ": 2.0, "MQ": 1.0})["overall"]["wins"] == 1
    with pytest.raises(DataError, match="units: MQ has None"):
        compare(base, candidate, ["a", "a"], DIMENSIONS, units={"VQ": 2.0})


def test_one_clip_a_prompt_takes_the_deviation_of_all_clips_of_the_base():
    base = np.array([[1.0, 0.0], [2.0, 10.0], [6.0, 50.0]])
    units = [
        row["unit"] for name, row in compare(base, base, ["a", "b", "c"], DIMENSIONS).items() if name in DIMENSIONS
    ]
    assert units == pytest.approx(base.std(0, ddof=1).tolist())


def test_identical_arms_are_exactly_one_half_within_a_narrow_interval():
    scores = np.random.default_rng(0).normal(size=(40, 2))
    for row in compare(scores, scores, [f"p{i // 4}" for i in range(40)], DIMENSIONS).values():
        assert (row["win_rate"], row["ties"]) == (0.5, 40)
        assert row["low"] == pytest.approx(1 - row["high"], abs=1e-15)
        assert 0.01 < row["high"] - row["low"] < 0.2


def test_swapping_the_arms_mirrors_every_figure():
    rng = np.random.default_rng(1)
    base, candidate = rng.normal(size=(2, 60, 2)).round(1)
    prompts = [f"p{i // 3}" for i in range(60)]
    there = compare(base, candidate, prompts, DIMENSIONS)
    back = compare(candidate, base, prompts, DIMENSIONS, units={name: there[name]["unit"] for name in DIMENSIONS})
    for name, row in there.items():
        mirrored = {
            **row,
            "win_rate": 1 - row["win_rate"],
            "low": 1 - row["high"],
            "high": 1 - row["low"],
            "wins": row["losses"],
            "losses": row["wins"],
        }
        assert back[name] == pytest.approx(mirrored, abs=1e-12)


def test_clustered_interval_is_wider_when_clips_of_a_prompt_agree():
    rng = np.random.default_rng(2)
    verdict = rng.normal(0.3, 1.0, 20).repeat(10)  # one verdict a prompt, ten clips each
    candidate, base = verdict[:, None], np.zeros((200, 1))
    clustered = compare(base, candidate, [f"p{i // 10}" for i in range(200)], ("VQ",))["VQ"]
    naive = compare(base, candidate, [f"p{i}" for i in range(200)], ("VQ",))["VQ"]
    width = {name: row["high"] - row["low"] for name, row in (("clustered", clustered), ("naive", naive))}
    assert clustered["win_rate"] == naive["win_rate"]
    assert 2.4 < width["clustered"] / width["naive"] < 4.0  # sqrt(10) = 3.2


def test_one_prompt_says_nothing_about_others():
    row = compare(np.zeros((3, 1)), np.ones((3, 1)), ["a", "a", "a"], ("VQ",))["VQ"]
    assert (row["win_rate"], row["low"], row["high"]) == (1.0, 0.0, 1.0)


def test_collapse_is_a_dimension_that_falls_while_the_whole_rises():
    def row(low: float, high: float) -> dict[str, float]:
        return {"win_rate": (low + high) / 2, "low": low, "high": high}

    good, bad, unsure = row(0.7, 0.9), row(0.1, 0.3), row(0.4, 0.6)
    assert collapsed({"VQ": good, "MQ": bad, "TA": unsure, "overall": good}) == ("MQ",)
    assert collapsed({"VQ": good, "MQ": bad, "TA": unsure, "overall": unsure}) == ()
    assert collapsed({"VQ": bad, "MQ": bad, "TA": bad, "overall": bad}) == ()


def test_guidance_entry_holds_the_rates_and_the_counts_behind_them():
    result = compare(np.eye(4, 2), 2 * np.eye(4, 2), ["a", "a", "b", "b"], DIMENSIONS)
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
        compare(base, candidate, prompts, dimensions)
    assert says in str(error.value)
    assert "\n" not in str(error.value)


def test_headline_is_the_best_method_with_an_interval_that_allows_for_the_choice():
    rng = np.random.default_rng(6)
    base, prompts = rng.normal(size=(60, 2)), [f"p{i // 2}" for i in range(60)]
    arms = {
        name: compare(base, base + rng.normal(gain, 1, (60, 2)), prompts, DIMENSIONS)
        for name, gain in (("weak", 0.0), ("strong", 0.8), ("middle", 0.3))
    }
    found, row = headline(arms), arms["strong"]["overall"]
    assert (found["method"], found["win_rate"], found["num_methods"]) == ("strong", row["win_rate"], 3)
    assert found["low"] < row["low"] < row["high"] < found["high"]
    alone = headline({"strong": arms["strong"]})
    assert (alone["low"], alone["high"]) == (row["low"], row["high"])


def test_best_of_equal_methods_is_called_better_no_more_often_than_its_level_says():
    rng, claimed = np.random.default_rng(7), {"adjusted": 0, "plain": 0}
    prompts = [f"p{i // 2}" for i in range(72)]
    for _ in range(200):
        base = rng.normal(size=(72, 1))
        arms = {str(k): compare(base, rng.normal(size=(72, 1)), prompts, ("VQ",)) for k in range(4)}
        found = headline(arms)
        claimed["adjusted"] += found["low"] > 0.5
        claimed["plain"] += arms[found["method"]]["overall"]["low"] > 0.5
    assert claimed["adjusted"] / 200 <= 0.05 < claimed["plain"] / 200
