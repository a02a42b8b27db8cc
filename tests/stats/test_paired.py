from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import binomtest, permutation_test

from videoalign.stats.paired import holm, sign_flip


def test_with_one_question_a_cluster_it_is_mcnemars_exact_test() -> None:
    for first, second in ((0, 5), (1, 5), (5, 1), (4, 4), (30, 12)):
        differences = [1] * first + [-1] * second + [0] * 7
        wanted = binomtest(first, first + second, 0.5).pvalue
        assert sign_flip(differences, range(len(differences))) == pytest.approx(wanted)
    assert sign_flip([0, 0, 0], "abc") == sign_flip([], []) == 1.0


def test_clusters_by_hand() -> None:
    # sums 3 and -1: of +-3 +-1, all four are 2 or more away from 0
    assert sign_flip([1, 1, 1, -1], "aaab") == 1.0
    # sums 3, 2, 1: 6 away only with all signs alike, 2 of 8
    assert sign_flip([1, 1, 1, 1, 1, 1], "aaabbc") == 0.25


def test_it_is_scipys_permutation_test_and_is_the_same_from_the_other_side() -> None:
    rng = np.random.default_rng(0)
    for _ in range(5):
        differences, clusters = rng.choice([-1, 0, 1], 40, p=[0.2, 0.4, 0.4]), rng.integers(10, size=40)
        sums = np.bincount(clusters, differences, 10)
        wanted = permutation_test((sums,), np.sum, permutation_type="samples", vectorized=False, n_resamples=2000)
        found = sign_flip(differences, clusters)
        assert found == pytest.approx(wanted.pvalue)
        assert sign_flip(-differences, clusters) == pytest.approx(found, abs=1e-12)


def test_alike_judges_are_told_apart_no_more_often_than_the_level_says_where_mcnemar_does() -> None:
    """Twelve prompts of ten questions whose differences share a sign."""
    rng, flipped, plain = np.random.default_rng(1), 0, 0
    clusters = np.repeat(np.arange(12), 10)
    for _ in range(200):
        differences = np.repeat(rng.choice([-1, 1], 12), 10) * (rng.random(120) < 0.5)
        flipped += sign_flip(differences, clusters) < 0.05
        plain += sign_flip(differences, range(120)) < 0.05
    assert flipped / 200 <= 0.07
    assert plain / 200 > 0.3


def test_what_is_no_difference_is_refused() -> None:
    with pytest.raises(ValueError, match="must be -1, 0 or 1"):
        sign_flip([2], ["a"])
    with pytest.raises(ValueError, match="must be -1, 0 or 1"):
        sign_flip([1], ["a", "b"])


def test_holm_by_hand_in_the_order_given() -> None:
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([0.5, 0.9]) == [1.0, 1.0]
    assert holm([0.2]) == [0.2]
    assert holm([]) == []
