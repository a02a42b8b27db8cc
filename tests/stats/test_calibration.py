from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.stats import mannwhitneyu

from videoalign.stats.calibration import (
    brier,
    calibration_error,
    fit_tie_law,
    log_loss,
    ordering_auc,
    reliability,
    tie_auc,
    verdict_probabilities,
)


def drawn(num: int, scale: float, theta: float, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Verdicts drawn from the law itself."""
    rng = np.random.default_rng(seed)
    diff = rng.normal(size=num)
    edges = verdict_probabilities(diff, scale, theta).cumsum(1)
    return 1 - (rng.random(num)[:, None] > edges[:, :2]).sum(1), diff


def test_probabilities_by_hand() -> None:
    """With e^d = 2 and theta = 5: P(A) = 2 / 7, P(tie) = 48 / 77, P(B) = 1 / 11."""
    (row,) = verdict_probabilities(np.array([math.log(2) / 3]), 3.0, 5.0)
    assert row == pytest.approx([2 / 7, 48 / 77, 1 / 11])


def test_the_fit_finds_the_law_that_drew_the_verdicts() -> None:
    labels, diff = drawn(20000, 1.7, 3.0)
    scale, theta = fit_tie_law(labels, diff)
    assert scale == pytest.approx(1.7, rel=0.05)
    assert theta == pytest.approx(3.0, rel=0.05)
    again, same = fit_tie_law(labels, 100 * diff)
    assert (100 * again, same) == pytest.approx((scale, theta), rel=1e-3)
    swapped = fit_tie_law(-labels, -diff)
    assert swapped == pytest.approx((scale, theta), rel=1e-4)


@pytest.mark.parametrize("labels", [[1, 1, -1], [0, 0, 0], [1]])
def test_extreme_data_still_have_an_answer(labels: list[int]) -> None:
    diff = np.array([2.0, 0.5, -1.0])[: len(labels)]
    scale, theta = fit_tie_law(np.array(labels), diff)
    assert 0 < scale < 1e4 and 1 < theta < math.inf
    assert math.isfinite(log_loss(verdict_probabilities(diff, scale, theta), np.array(labels)))


def test_proper_scores_by_hand() -> None:
    probabilities = np.array([[0.5, 0.3, 0.2], [0.1, 0.1, 0.8], [0.25, 0.5, 0.25]])
    labels = np.array([1, -1, 1])
    assert log_loss(probabilities, labels) == pytest.approx(-(math.log(0.5) + math.log(0.8) + math.log(0.25)) / 3)
    squares = (0.25 + 0.09 + 0.04) + (0.01 + 0.01 + 0.04) + (0.5625 + 0.25 + 0.0625)
    assert brier(probabilities, labels) == pytest.approx(squares / 3)
    # bins: 0.5 twice (one right), 0.8 once (right)
    assert calibration_error(probabilities, labels) == pytest.approx((2 * 0.0 + 0.2) / 3)


def test_the_law_itself_is_calibrated_and_a_wrong_scale_is_not() -> None:
    labels, diff = drawn(20000, 1.7, 3.0)
    right, wrong = (verdict_probabilities(diff, scale, 3.0) for scale in (1.7, 8.0))
    assert calibration_error(right, labels) < 0.02 < 0.1 < calibration_error(wrong, labels)
    assert log_loss(right, labels) < log_loss(wrong, labels)
    assert brier(right, labels) < brier(wrong, labels)


def test_areas_by_hand_and_whichever_clip_is_called_a() -> None:
    labels, diff = np.array([1, -1, 1, 0, 0]), np.array([2.0, -1.0, -0.5, 0.2, -1.5])
    # aligned 2, 1, -0.5 against their negatives -2, -1, 0.5: 3 + 3 + 2 of 9
    assert ordering_auc(labels, diff).value == pytest.approx(8 / 9)
    # |2|, |1|, |0.5| against |0.2|, |1.5|: 2 + 1 + 1 of 6
    assert tie_auc(labels, diff).value == pytest.approx(4 / 6)
    turned = np.array([1, -1, -1, 1, -1])
    assert ordering_auc(turned * labels, turned * diff) == pytest.approx(ordering_auc(labels, diff), nan_ok=True)
    assert math.isnan(ordering_auc(np.array([0, 0]), np.ones(2)).value)
    assert math.isnan(tie_auc(np.array([1]), np.ones(1)).value)
    assert ordering_auc(np.array([1, -1]), np.zeros(2)).value == 0.5


def test_intervals_of_areas_are_those_of_plain_resampling() -> None:
    """As a plain loop finds them with scipy's ranks, and nan for one cluster."""
    labels, diff = drawn(120, 1.0, 2.0)
    prompts = np.arange(120) % 15

    def by_ranks(rows: np.ndarray) -> float:
        aligned = (rows[:, 0] * rows[:, 1])[rows[:, 0] != 0]
        return float(mannwhitneyu(aligned, -aligned).statistic / len(aligned) ** 2)

    found = ordering_auc(labels, diff, prompts)
    rows, rng = np.stack([labels, diff], 1), np.random.default_rng(1)
    samples = [np.concatenate([rows[prompts == p] for p in rng.choice(15, 15)]) for _ in range(1000)]
    wanted = np.quantile([by_ranks(some) for some in samples], [0.025, 0.975])
    assert found.value == pytest.approx(by_ranks(np.stack([labels, diff], 1)))
    assert found[1:] == pytest.approx(wanted, abs=0.02)
    assert found.low < found.value < found.high
    ties = tie_auc(labels, diff, prompts)
    assert ties.low < ties.value < ties.high
    assert math.isnan(ordering_auc(labels, diff, np.zeros(120, dtype=np.int64)).low)


def test_bins_of_reliability_by_hand() -> None:
    probabilities = np.array([[0.5, 0.3, 0.2], [0.1, 0.1, 0.8], [0.25, 0.5, 0.25], [1.0, 0.0, 0.0]])
    bins = reliability(probabilities, np.array([1, -1, 1, 1]))
    assert [tuple(b) for b in bins] == [(0.5, 0.6, 2, 0.5, 0.5), (0.8, 0.9, 1, 0.8, 1.0), (0.9, 1.0, 1, 1.0, 1.0)]
    assert reliability(probabilities[:1], np.array([-1]), num_bins=2)[0].right == 0.0


def test_verdicts_that_are_equally_likely_count_their_part_whichever_clip_is_called_a() -> None:
    labels, diff = np.array([1, 1, -1, 0]), np.zeros(4)
    for turned in (labels, -labels):
        likely = verdict_probabilities(diff, 1.0, 1.2)  # A and B beat a tie, and neither the other
        assert [b.right for b in reliability(likely, turned)] == [3 / 8]
        assert calibration_error(likely, turned) == pytest.approx(abs(3 / 8 - likely[0, 0]))
