from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from videoalign.contracts.records import Judgement, Label
from videoalign.data.dataset import JudgedPair
from videoalign.errors import DataError
from videoalign.evaluation.figures import COMPARISON
from videoalign.evaluation.reward import compare_rewards, evaluate_reward
from videoalign.stats.calibration import (
    brier,
    calibration_error,
    cross_fit_probabilities,
    log_loss,
    verdict_probabilities,
)
from videoalign.stats.pairwise import cross_fit_makers, cross_fit_right

A, B, TIE = Label.A, Label.B, Label.TIE


def pair(prompt: str, a: str, b: str, label: Label | None) -> JudgedPair:
    return JudgedPair(prompt_id=prompt, clip_a=a, clip_b=b, labels={"Q": label}, split="val")


def table(labels: list[int], diff: list[float], prompts: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    return np.array(labels), np.array(diff), numbered(prompts)


def numbered(prompts: str) -> np.ndarray:
    return np.unique(list(prompts), return_inverse=True)[1]


def random_case(num: int = 60) -> tuple[dict[str, list[float]], list[JudgedPair]]:
    rng = np.random.default_rng(0)
    scores = {f"c{k}": [float(rng.normal())] for k in range(2 * num)}
    pairs = []
    for k in range(num):
        truth = scores[f"c{2 * k}"][0] - scores[f"c{2 * k + 1}"][0] + rng.normal()
        label = TIE if abs(truth) < 0.5 else A if truth > 0 else B
        pairs.append(pair(f"p{k % 12}", f"c{2 * k}", f"c{2 * k + 1}", label))
    return scores, pairs


def test_figures_of_a_worked_example() -> None:
    scores = {"a": [2.0], "b": [1.0], "c": [0.9], "d": [0.5]}
    pairs = [pair("p", "a", "b", A), pair("p", "b", "c", TIE), pair("q", "c", "d", B), pair("q", "a", "d", A)]
    pairs.append(pair("q", "b", "d", None))
    figures = evaluate_reward(scores, pairs, ["Q"])["Q"]
    assert figures["n"] == 4
    assert figures["n_decided"] == 3
    assert figures["num_prompts"] == 2
    assert figures["tie_share"] == figures["always_tie"] == 0.25
    assert figures["without_ties"] == pytest.approx(2 / 3)
    # threshold of q {-1: right, wrong} = no ties at all, used on p: 1 of 2; that of p is 0.1, used on q: 1 of 2
    assert figures["with_ties"] == pytest.approx(0.5)
    assert figures["generator_identity"] is None
    assert figures["rater_agreement"] is None


def test_the_tie_threshold_of_a_prompt_comes_from_the_others() -> None:
    labels, diff = [0, 1, 0, 1], [0.1, 0.5, 3.0, 9.0]
    right = cross_fit_right(*table(labels, diff, "ppqq"))
    # p's own threshold is 0.1 and q's 3: under the other's, p calls both ties and q neither
    assert right.tolist() == [1, 0, 0, 1]
    assert np.isnan(cross_fit_right(*table(labels, diff, "pppp"))).all()


@pytest.mark.parametrize("coarse", [False, True])
def test_no_figure_depends_on_row_order_or_on_which_clip_is_called_a(coarse: bool) -> None:
    scores, pairs = random_case()
    if coarse:  # many equal differences, zero among them
        scores = {name: [float(round(value[0]))] for name, value in scores.items()}
    makers = {name: f"m{int(name[1:]) % 5}" for name in scores}
    base = evaluate_reward(scores, pairs, ["Q"], generators=makers, laws={"Q": own_law})
    order = np.random.default_rng(1).permutation(len(pairs))
    turned = [turn(pairs[k]) if k % 2 else pairs[k] for k in order.tolist()]
    assert evaluate_reward(scores, turned, ["Q"], generators=makers, laws={"Q": own_law}) == base
    legacy = [evaluate_reward(scores, rows, ["Q"], legacy=True)["Q"] for rows in (pairs, [turn(p) for p in pairs])]
    assert legacy[0] == legacy[1]


def turn(p: JudgedPair) -> JudgedPair:
    return pair(p.prompt_id, p.clip_b, p.clip_a, {A: B, B: A, TIE: TIE}[p.labels["Q"]])


def own_law(diff: np.ndarray) -> np.ndarray:
    return verdict_probabilities(diff, 0.7, 3.0)


def test_the_official_count_goes_by_row_order_as_it_stood_in_the_table() -> None:
    """Three ties and three decided pairs of one difference: with the ties first all six count, else three."""
    scores = {f"{side}{k}": [1.0 if side == "a" else 0.0] for k in range(6) for side in "ab"}
    ties_first = [pair("p", f"a{5 - k}", f"b{5 - k}", TIE if k < 3 else A) for k in range(6)]
    figures = [
        evaluate_reward(scores, rows, ["Q"], legacy=True)["Q"]["with_ties"] for rows in (ties_first, ties_first[::-1])
    ]
    assert figures == [1.0, 0.5]


def test_the_rewards_own_law_is_counted_beside_the_fitted_one() -> None:
    scores, pairs = random_case()
    figures = evaluate_reward(scores, pairs, ["Q"], laws={"Q": own_law})["Q"]
    value = {A: 1, B: -1, TIE: 0}
    labels = np.array([value[p.labels["Q"]] for p in pairs])
    own = own_law(np.array([scores[p.clip_a][0] - scores[p.clip_b][0] for p in pairs]))
    assert figures["own_log_loss"] == pytest.approx(log_loss(own, labels))
    assert figures["own_brier"] == pytest.approx(brier(own, labels))
    assert figures["own_ece"] == pytest.approx(calibration_error(own, labels))
    assert sum(row["n"] for row in figures["own_reliability"]) == len(pairs)
    assert {"low", "high", "n", "confidence", "right"} == set(figures["reliability"][0])
    without = evaluate_reward(scores, pairs, ["Q"])["Q"]
    assert {without[key] for key in ("own_log_loss", "own_brier", "own_ece", "own_reliability")} == {None}
    assert without["log_loss"] == figures["log_loss"]


def test_figures_of_each_two_generators_add_up_to_those_of_all() -> None:
    scores, pairs = random_case()
    makers = {name: f"m{int(name[1:]) % 5}" for name in scores if name != "c0"}
    figures = evaluate_reward(scores, pairs, ["Q"], generators=makers)["Q"]
    rows = figures["by_generators"]
    assert [row["generators"] for row in rows] == sorted(row["generators"] for row in rows)
    assert sum(row["n"] for row in rows) == len(pairs) - 1  # that of the clip of unknown make is left out
    known = evaluate_reward(scores, pairs[1:], ["Q"], generators=makers, legacy=True)["Q"]
    rows = known["by_generators"]
    for key, weight in (("without_ties", "n_decided"), ("with_ties", "n"), ("tie_share", "n")):
        told = [(row[key], row[weight]) for row in rows if row[weight]]
        assert np.average([v for v, _ in told], weights=[w for _, w in told]) == pytest.approx(known[key])


def test_figures_of_two_generators_by_hand() -> None:
    scores = {"a": [2.0], "b": [1.0], "c": [0.9], "d": [0.5]}
    pairs = [pair("p", "a", "b", A), pair("p", "c", "b", A), pair("q", "c", "d", TIE), pair("q", "b", "c", TIE)]
    rows = evaluate_reward(scores, pairs, ["Q"], generators={"a": "x", "b": "y", "c": "x", "d": "x"})["Q"]
    assert [(row["generators"], row["n"], row["n_decided"]) for row in rows["by_generators"]] == [
        (["x", "x"], 1, 0),
        (["x", "y"], 3, 2),
    ]
    same, other = rows["by_generators"]
    assert (same["without_ties"], same["tie_share"], other["without_ties"]) == (None, 1.0, 0.5)
    assert other["tie_share"] == pytest.approx(1 / 3)


def test_intervals_hold_the_figures_and_skill_beats_the_baselines() -> None:
    figures = evaluate_reward(*random_case(), ["Q"])["Q"]
    assert figures["low"] < figures["without_ties"] < figures["high"]
    assert figures["with_ties_low"] < figures["with_ties"] < figures["with_ties_high"]
    assert figures["auc_low"] < figures["auc"] < figures["auc_high"]
    assert figures["tie_auc_low"] < figures["tie_auc"] < figures["tie_auc_high"]
    assert figures["without_ties"] > 0.7
    assert figures["with_ties"] > figures["always_tie"]
    assert 1 / 3 < figures["random"] < 0.6


def test_legacy_counts_as_the_official_code() -> None:
    human = [1, -1, 0, 1, -1, 0, 1, -1, 0]
    a, b = [0.9, -0.7, 0.1, 0.8, -0.6, 0.2, 0.7, -0.5, 0.3], [0.1, -0.8, 0.5, 0.5, -0.3, 0.3, 0.4, -0.4, 0.4]
    scores = {f"a{k}": [x] for k, x in enumerate(a)} | {f"b{k}": [x] for k, x in enumerate(b)}
    pairs = [pair(f"p{k}", f"a{k}", f"b{k}", {1: A, -1: B, 0: TIE}[label]) for k, label in enumerate(human)]
    figures = evaluate_reward(scores, pairs, ["Q"], legacy=True)["Q"]
    assert figures["with_ties"] == pytest.approx(0.666667, abs=1e-6)
    assert figures["without_ties"] == pytest.approx(0.833333, abs=1e-6)


def test_knowing_the_better_generator_is_a_baseline_fitted_on_other_prompts() -> None:
    def accuracy(labels: list[int], prompts: str, makers: list[tuple[str, str]]) -> float | None:
        return cross_fit_makers(np.array(labels), makers, numbered(prompts))

    assert accuracy([1, -1, 1, 1], "pqrs", [("x", "y"), ("y", "x"), ("x", "y"), ("x", "y")]) == 1.0
    # on each prompt the other generator wins: what the other prompt teaches is wrong every time
    assert accuracy([1, -1], "pq", [("x", "y"), ("x", "y")]) == 0.0
    assert accuracy([1, -1], "pq", [("x", "x"), ("x", "x")]) is None
    assert accuracy([0, 0], "pq", [("x", "y"), ("x", "y")]) is None
    assert accuracy([1, 1], "pp", [("x", "y"), ("x", "y")]) is None  # no other prompt to learn from


def test_raters_are_compared_whatever_side_they_saw() -> None:
    pairs = [pair("p", "a", "b", A), pair("q", "a", "b2", TIE)]
    said = [("a", "b", "A", "r1"), ("b", "a", "B", "r2"), ("a", "b", "tie", "r3"), ("a", "b2", "both_bad", "r1")]
    said += [("a", "b2", "tie", "r2"), ("x", "y", "A", "r1"), ("a", "b", "invalid", "r4")]
    judgements = [
        Judgement(prompt_id="p", clip_a=a, clip_b=b, rater=rater, dimension="Q", label=label)
        for a, b, label, rater in said
    ]
    judgements += [replace(judgements[2], role="repeat"), replace(judgements[2], rater="key", role="gold")]  # no votes
    scores = {"a": [1.0], "b": [0.0], "b2": [0.0]}
    figures = evaluate_reward(scores, pairs, ["Q"], judgements=judgements)["Q"]
    assert figures["rater_agreement"] == pytest.approx(2 / 4)  # A-A same, A-tie twice not, tie-tie same
    assert figures["rater_agreement_without_ties"] == 1.0


def test_a_clip_without_scores_and_no_verdict_at_all_are_errors() -> None:
    with pytest.raises(DataError, match="clip 'b' has none"):
        evaluate_reward({"a": [1.0]}, [pair("p", "a", "b", A)], ["Q"])
    with pytest.raises(DataError, match="got none with a verdict on Q"):
        evaluate_reward({"a": [1.0], "b": [0.0]}, [pair("p", "a", "b", None)], ["Q"])


def test_one_prompt_gives_figures_without_intervals() -> None:
    figures = evaluate_reward({"a": [1.0], "b": [0.0]}, [pair("p", "a", "b", A)], ["Q"])["Q"]
    assert figures["without_ties"] == 1.0
    assert figures["with_ties"] is None
    assert figures["low"] is None
    assert (figures["auc"], figures["tie_auc"], figures["log_loss"]) == (1.0, None, None)


def test_probabilities_come_from_other_prompts_and_beat_the_shares_when_there_is_skill() -> None:
    labels, prompts = np.array([1, -1, 0, 1] * 15), numbered("abcdefghij" * 6)
    skilled, blind = _differences()
    fitted, shares = cross_fit_probabilities(labels, skilled, prompts)
    assert fitted.sum(1) == pytest.approx(np.ones(60))
    assert shares.sum(1) == pytest.approx(np.ones(60))
    own = prompts == 0
    again, _ = cross_fit_probabilities(np.where(own, -1, labels), skilled, prompts)
    assert again[own] == pytest.approx(fitted[own])  # a prompt's own verdicts do not count
    assert log_loss(fitted, labels) < log_loss(shares, labels) - 0.3
    without_skill, _ = cross_fit_probabilities(labels, blind, prompts)
    assert log_loss(without_skill, labels) == pytest.approx(log_loss(shares, labels), abs=0.1)


def _differences() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    return np.array([1.0, -1.0, 0.0, 1.0] * 15) + 0.2 * rng.normal(size=60), rng.normal(size=60)


def test_two_rewards_are_compared_on_the_pairs_that_one_alone_gets_right() -> None:
    clips = [f"{side}{k}" for k in range(8) for side in "ab"]
    pairs = [pair(f"p{k}", f"a{k}", f"b{k}", TIE if k == 7 else A) for k in range(8)]
    first = {name: [1.0 if name[0] == "a" else 0.0] for name in clips}  # right on all seven
    second = {name: [-value[0] if int(name[1]) < 5 else value[0]] for name, value in first.items()}  # on two
    row = compare_rewards(first, second, pairs, ["Q"])["Q"]
    assert (row["n_decided"], row["first"], row["second"]) == (7, 1.0, pytest.approx(2 / 7))
    assert (row["only_first"], row["only_second"]) == (5, 0)
    assert row["p"] == row["p_holm"] == pytest.approx(2 / 32)
    together = compare_rewards(first, second, [replace(p, prompt_id="p") for p in pairs], ["Q"])["Q"]
    assert (together["only_first"], together["num_prompts"], together["p"]) == (5, 1, 1.0)  # one prompt tells nothing
    undecided = compare_rewards(first, second, pairs[7:], ["Q"])["Q"]
    assert undecided == {**{key: None for one in COMPARISON for key in one.keys}, "n_decided": 0, "num_prompts": 0}
    with pytest.raises(DataError, match="clip 'a0' has none"):
        compare_rewards(first, {}, pairs, ["Q"])


def test_two_rewards_exchanged_mirror_every_figure() -> None:
    first, pairs = random_case()
    rng = np.random.default_rng(3)
    second = {name: [float(value[0] + rng.normal())] for name, value in first.items()}
    there, back = compare_rewards(first, second, pairs, ["Q"])["Q"], compare_rewards(second, first, pairs, ["Q"])["Q"]
    names = {name: name.replace("first", "*").replace("second", "first").replace("*", "second") for name in there}
    assert {names[name]: value for name, value in there.items()} == pytest.approx(back)
    assert there["first"] != there["second"]
    assert there["first_low"] < there["first"] < there["first_high"]


def test_the_baseline_of_no_skill_is_what_meaningless_scores_really_reach() -> None:
    rng, told, reached, in_sample = np.random.default_rng(0), [], [], []
    for trial in range(30):
        pairs = [
            pair(f"p{k % 20}", f"a{k}", f"b{k}", TIE if rng.random() < 0.4 else (A, B)[rng.integers(2)])
            for k in range(60)
        ]
        scores = {f"{side}{k}": [float(rng.normal())] for k in range(60) for side in "ab"}
        figures = evaluate_reward(scores, pairs, ["Q"], seed=trial)["Q"]
        told.append(figures["random"])
        reached.append(figures["with_ties"])
        in_sample.append(evaluate_reward(scores, pairs, ["Q"], legacy=True)["Q"]["random"])
    assert np.mean(told) == pytest.approx(np.mean(reached), abs=0.02)
    assert np.mean(in_sample) > np.mean(told) + 0.04


def test_a_perfect_reward_has_an_interval_with_a_width() -> None:
    scores = {f"{side}{k}": [1.0 if side == "a" else 0.0] for k in range(40) for side in "ab"}
    figures = evaluate_reward(scores, [pair(f"p{k % 20}", f"a{k}", f"b{k}", A) for k in range(40)], ["Q"])["Q"]
    assert (figures["without_ties"], figures["high"]) == (1.0, 1.0)
    assert 0.8 < figures["low"] < 0.95


@pytest.mark.parametrize("index", range(5))
def test_legacy_figures_are_those_of_the_official_code(shared: Path, index: int) -> None:
    case = json.loads((shared / "parity" / "accuracy_vectors.json").read_text())[index]
    scores, pairs = {}, []
    for k, (label, diff) in enumerate(zip(case["labels"], case["score_difference"], strict=True)):
        scores |= {f"a{k}": [diff], f"b{k}": [0.0]}
        pairs.append(pair(f"p{k % 7}", f"a{k}", f"b{k}", {1: A, -1: B, 0: TIE}[label]))
    figures = evaluate_reward(scores, pairs, ["Q"], legacy=True)["Q"]
    for name in ("with_ties", "without_ties"):
        assert figures[name] == pytest.approx(case[name], abs=1e-12, rel=0)
