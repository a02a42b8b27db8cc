"""EM climbs, does not care about sides, and beats the majority where raters differ in skill."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from videoalign.stats.agreement import majority
from videoalign.stats.dawid_skene import fit_dawid_skene

SKILL = (0.95, 0.9, 0.45, 0.4, 0.4)


def simulated(seed: int, num_items: int = 300) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Truth (N,), and items, raters and labels of the verdicts of five raters of different skill, a fifth missing."""
    rng = np.random.default_rng(seed)
    truth = rng.choice([1, 0, -1], size=num_items, p=[0.35, 0.3, 0.35])
    right = rng.random((num_items, 5)) < SKILL
    wrong = np.array([rng.choice([x for x in (1, 0, -1) if x != t], size=5) for t in truth])
    said = np.where(right, truth[:, None], wrong)
    there = rng.random((num_items, 5)) < 0.8
    there[:, 0] |= ~there.any(1)
    items, raters = np.nonzero(there)
    return truth, items, raters, said[there]


@pytest.mark.parametrize("smoothing", [0.0, 0.3, 1.0, 10.0])
@pytest.mark.parametrize("seed", range(3))
def test_the_objective_never_falls(seed: int, smoothing: float) -> None:
    _, items, raters, labels = simulated(seed, 80)
    found = fit_dawid_skene(items, raters, labels, smoothing=smoothing)
    assert found.converged
    assert len(found.objective) > 3
    assert np.diff(found.objective).min() > -1e-9


def test_without_smoothing_the_objective_is_the_log_likelihood() -> None:
    _, items, raters, labels = simulated(0, 40)
    found = fit_dawid_skene(items, raters, labels, smoothing=0.0, tolerance=1e-12)
    total = 0.0
    for item in range(40):
        of_item = [(r, 1 - x) for i, r, x in zip(items, raters, labels, strict=True) if i == item]
        total += np.log(sum(found.prior[k] * np.prod([found.confusion[r, k, x] for r, x in of_item]) for k in range(3)))
    assert found.objective[-1] == pytest.approx(total, abs=1e-6)


@pytest.mark.parametrize("seed", range(5))
def test_skilled_raters_count_for_more_than_the_majority_lets_them(seed: int) -> None:
    truth, items, raters, labels = simulated(seed)
    found = fit_dawid_skene(items, raters, labels)
    by_em = np.mean(1 - found.posterior.argmax(1) == truth)
    by_majority = np.mean([majority(labels[items == item].tolist()) == truth[item] for item in range(len(truth))])
    assert by_em > by_majority + 0.05
    assert found.accuracy == pytest.approx(SKILL, abs=0.12)
    assert found.accuracy[:2].min() > found.accuracy[2:].max()


def test_posteriors_are_as_sure_as_they_are_right() -> None:
    parts = [simulated(seed) for seed in range(5)]
    fits = [fit_dawid_skene(*rest) for _, *rest in parts]
    sure = np.concatenate([found.posterior.max(1) for found in fits])
    right = np.concatenate([1 - f.posterior.argmax(1) == truth for f, (truth, *_) in zip(fits, parts, strict=True)])
    assert sure.mean() == pytest.approx(right.mean(), abs=0.04)


def test_nothing_changes_when_clips_trade_places() -> None:
    _, items, raters, labels = simulated(1, 100)
    turned = np.random.default_rng(0).random(100) < 0.5
    there = fit_dawid_skene(items, raters, labels)
    back = fit_dawid_skene(items, raters, np.where(turned[items], -labels, labels))
    expected = np.where(turned[:, None], there.posterior[:, ::-1], there.posterior)
    assert back.posterior == pytest.approx(expected, abs=1e-9)
    assert back.confusion == pytest.approx(there.confusion, abs=1e-9)
    assert there.prior[0] == there.prior[2]
    assert there.confusion == pytest.approx(there.confusion[:, ::-1, ::-1])


def test_chances_add_up_and_the_order_of_verdicts_does_not_matter() -> None:
    _, items, raters, labels = simulated(2, 60)
    found = fit_dawid_skene(items, raters, labels)
    assert found.posterior.sum(1) == pytest.approx(np.ones(60))
    assert found.confusion.sum(2) == pytest.approx(np.ones((5, 3)))
    order = np.random.default_rng(0).permutation(len(items))
    again = fit_dawid_skene(items[order], raters[order], labels[order])
    assert again.posterior == pytest.approx(found.posterior, abs=1e-9)


def test_raters_who_all_agree_are_believed() -> None:
    truth = np.array([1, 0, -1, 1, -1, 0])
    found = fit_dawid_skene(np.repeat(np.arange(6), 3), np.tile(np.arange(3), 6), np.repeat(truth, 3))
    assert (1 - found.posterior.argmax(1) == truth).all()
    assert found.posterior.max(1).min() > 0.95


def test_a_first_step_by_hand() -> None:
    """One item, two raters who differ: A and tie. Shares .5, .5, 0; with sides alike the prior is 1/4, 1/2, 1/4."""
    found = fit_dawid_skene([0, 0], [0, 1], [1, 0], smoothing=0.0, max_steps=1)
    assert found.prior == pytest.approx([0.25, 0.5, 0.25])
    # rater 0 said A, truth A or tie: rows A -> A, tie -> A or B alike; rater 1 said tie whatever the truth
    assert found.confusion[0] == pytest.approx(np.array([[1, 0, 0], [0.5, 0, 0.5], [0, 0, 1]]))
    assert found.confusion[1] == pytest.approx(np.array([[0, 1, 0]] * 3))
    assert found.posterior[0] == pytest.approx([0.5, 0.5, 0])
    assert found.objective == pytest.approx((np.log(0.5),))
    assert not found.converged


@pytest.mark.parametrize(("items", "raters", "labels", "message"), [
    ([], [], [], "1 or more"),
    ([0], [0, 1], [1], "as many"),
    ([0], [0], [2], "labels must be"),
    ([0, 2], [0, 0], [1, 1], "without gaps"),
])  # fmt: skip
def test_what_is_no_verdict_is_refused(items: list[int], raters: list[int], labels: list[int], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        fit_dawid_skene(items, raters, labels)


def test_the_simulation_is_hard_for_the_majority() -> None:
    _, items, _, _ = simulated(0)
    assert min(Counter(items.tolist()).values()) >= 1
