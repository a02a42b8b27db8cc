"""The table of figures holds what is counted, no more and no less, and whatever shows figures reads it."""

from __future__ import annotations

from typing import Any

import pytest

from tests.evaluation.test_reward import own_law, random_case
from videoalign.evaluation import figures as table_of_figures
from videoalign.evaluation.benchmark_page import benchmark_page
from videoalign.evaluation.figures import COMPARISON, REWARD, Figure, figure, groups
from videoalign.evaluation.report_view import reward_columns
from videoalign.evaluation.reward import compare_rewards, evaluate_reward


@pytest.fixture(scope="module")
def rows() -> dict[str, dict[str, Any]]:
    scores, pairs = random_case()
    makers = {name: f"m{int(name[1:]) % 3}" for name in scores}
    found = evaluate_reward(scores, pairs, ["Q"], generators=makers, laws={"Q": own_law})
    return {name: {**row, "left_out": 0} for name, row in found.items()}


def test_every_figure_that_is_counted_stands_in_the_table_and_the_reverse(rows: dict[str, dict[str, Any]]) -> None:
    keys = [key for one in REWARD for key in one.keys]
    assert len(keys) == len(set(keys))
    assert set(keys) - {"oracle_with_ties", "oracle_without_ties"} == set(rows["Q"])
    by_generators = {key for one in REWARD if one.by_generators for key in one.keys}
    assert {"generators", *by_generators} == set(rows["Q"]["by_generators"][0])
    scores, pairs = random_case()
    compared = compare_rewards(scores, scores, pairs, ["Q"])["Q"]
    assert [key for one in COMPARISON for key in one.keys] == list(compared)


def test_a_figure_in_the_table_is_on_every_page(rows: dict[str, dict[str, Any]], monkeypatch) -> None:
    new = Figure(key="mine", meaning="Mine.", interval=("a", "b"), group="Accuracy", column=("Decided pairs", "Mine"))
    monkeypatch.setattr(table_of_figures, "REWARD", (*REWARD, new))
    monkeypatch.setattr("videoalign.evaluation.report_view.REWARD", (*REWARD, new))
    seen = {"Q": {**rows["Q"], "mine": 0.25, "a": 0.125, "b": None}}
    assert new in groups()["Accuracy"]
    assert reward_columns(seen)["Decided pairs"][-1] is new
    assert new not in reward_columns(rows).get("Decided pairs", [])
    about = {
        "dataset": {"name": "d", "pairs": 1, "clips": 2, "prompts": 1, "split": "all"},
        "settings": {"legacy": False},
    }
    left_out = {"left_out": {"pairs": 0, "rows": [], "clips": [], "repeated_rows": 0}, "versions": {}, "finished": ""}
    seen["Q"]["note"] = "Held out."
    page = benchmark_page({"reward": {"name": "r"}, **about, **left_out, "figures": seen})
    head, _, line = page.split("## Accuracy\n\n")[1].splitlines()[:3]
    assert head.endswith("| mine |") and line.endswith("| 0.250 |")
    shown = {
        one.key for title in ("Accuracy", "Areas and probabilities", "What was counted") for one in groups()[title]
    }
    assert shown == {one.key for one in (*REWARD, new) if one.format != "rows" and "oracle" not in one.key}


def test_a_cell_by_hand() -> None:
    accuracy = figure("without_ties")
    assert accuracy.cell({"without_ties": 0.8125, "low": 0.5, "high": 1.0}) == "0.812 (0.500 to 1.000)"
    assert accuracy.cell({"without_ties": 0.8125, "low": None, "high": None}) == "0.812"
    assert accuracy.cell({"without_ties": None, "low": None, "high": None}) == "-"
    assert figure("n").cell({"n": 1200}) == "1200"
    assert figure("p").cell({"p": 0.03125}) == "0.031"
