from __future__ import annotations

import math

import numpy as np
import pytest

from videoalign.stats.agreement import krippendorff_alpha, majority, raw_agreement

# Krippendorff, "Computing Krippendorff's Alpha-Reliability" (2011), example C: four observers, twelve units.
EXAMPLE = [
    [1, 1, 1],
    [2, 2, 3, 2],
    [3, 3, 3, 3],
    [3, 3, 3, 3],
    [2, 2, 2, 2],
    [1, 2, 3, 4],
    [4, 4, 4, 4],
    [1, 1, 2, 1],
    [2, 2, 2, 2],
    [5, 5, 5],
    [1, 1],
    [3],
]


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        (["A", "A", "B"], "A"),
        (["tie", "B", "tie"], "tie"),
        (["A", "B", "tie"], None),
        (["A", "A", "B", "B", "tie"], None),
        (["A", "A", "B", "tie"], "A"),
        (["B"], "B"),
        ([], None),
    ],
)
def test_majority_is_the_sole_leader_or_nothing(labels: list[str], expected: str | None) -> None:
    assert majority(labels) == expected
    assert majority(reversed(labels)) == expected


def test_raw_agreement_by_hand() -> None:
    """Rows give 1 of 3, 1 of 1, 0 of 3 and no rater pairs; without ties 1 of 1, 0 of 0 and 0 of 1."""
    agreement = raw_agreement([[1, 1, 0], [0, 0], [1, -1, 0], [1]])
    assert agreement == (2 / 7, 1 / 2, 7, 2)


def test_raw_agreement_does_not_care_who_said_what() -> None:
    rng = np.random.default_rng(0)
    table = rng.integers(-1, 2, (40, 5))
    expected = raw_agreement(table.tolist())
    assert raw_agreement(rng.permuted(table, axis=1).tolist()) == expected
    assert raw_agreement((-table).tolist()) == expected
    same = [(table[:, i] == table[:, j]).mean() for i in range(5) for j in range(i)]
    assert expected.with_ties == pytest.approx(np.mean(same))


def test_nothing_to_compare_is_nan() -> None:
    agreement = raw_agreement([[1], [], [0]])
    assert math.isnan(agreement.with_ties)
    assert math.isnan(agreement.without_ties)
    assert agreement.num_pairs == 0
    assert math.isnan(raw_agreement([[0, 0]]).without_ties)
    assert math.isnan(krippendorff_alpha([[1], [0]]))


def test_an_unknown_label_is_refused() -> None:
    with pytest.raises(ValueError, match=r"labels must be \+1, -1 or 0; got \[22\]"):
        raw_agreement([[1, 22]])


@pytest.mark.parametrize(("distance", "expected"), [("nominal", 0.743), ("ordinal", 0.815), ("interval", 0.849)])
def test_alpha_is_the_published_one(distance, expected: float) -> None:
    assert krippendorff_alpha(EXAMPLE, distance) == pytest.approx(expected, abs=0.0005)


def test_alpha_is_one_for_agreement_and_about_zero_for_chance() -> None:
    assert krippendorff_alpha([[1, 1, 1], [-1, -1], [0, 0, 0]]) == pytest.approx(1)
    random = np.random.default_rng(0).integers(-1, 2, (3000, 3))
    assert krippendorff_alpha(random.tolist()) == pytest.approx(0, abs=0.03)
    assert krippendorff_alpha([[1, -1]] * 20) < -0.02
