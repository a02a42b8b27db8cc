from __future__ import annotations

import math
from itertools import permutations

import evalica
import numpy as np
import pandas
import pytest

from videoalign.stats.agreement import (
    fleiss_kappa,
    human_ceiling,
    krippendorff_alpha,
    majority,
    raw_agreement,
)


def alpha_of(table: list[list[int]], distance="ordinal") -> float:
    """Alpha alone, of rows that belong together."""
    return krippendorff_alpha(table, [0] * len(table), distance, rng=np.random.default_rng(0)).value


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

# The usual worked example of Fleiss' kappa: ten subjects, fourteen raters, five classes; how many chose each.
CHOICES = [
    [0, 0, 0, 0, 14], [0, 2, 6, 4, 2], [0, 0, 3, 5, 6], [0, 3, 9, 2, 0], [2, 2, 8, 1, 1],
    [7, 7, 0, 0, 0], [3, 2, 6, 3, 0], [2, 5, 3, 2, 2], [6, 5, 2, 1, 0], [0, 2, 2, 3, 7],
]  # fmt: skip


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
    assert math.isnan(alpha_of([[1], [0]]))


def test_an_unknown_label_is_refused() -> None:
    with pytest.raises(ValueError, match=r"labels must be \+1, -1 or 0; got \[22\]"):
        raw_agreement([[1, 22]])


@pytest.mark.parametrize(("distance", "expected"), [("nominal", 0.743), ("ordinal", 0.815), ("interval", 0.849)])
def test_alpha_is_the_published_one(distance, expected: float) -> None:
    assert alpha_of(EXAMPLE, distance) == pytest.approx(expected, abs=0.0005)


def test_alpha_is_one_for_agreement_and_about_zero_for_chance() -> None:
    assert alpha_of([[1, 1, 1], [-1, -1], [0, 0, 0]]) == pytest.approx(1)
    random = np.random.default_rng(0).integers(-1, 2, (3000, 3))
    assert alpha_of(random.tolist()) == pytest.approx(0, abs=0.03)
    assert alpha_of([[1, -1]] * 20) < -0.02


def table_with_gaps(seed: int, num_items: int = 60) -> list[list[int]]:
    """Verdicts of up to four raters who see a truth through noise."""
    rng = np.random.default_rng(seed)
    truth = rng.integers(-1, 2, num_items)
    noisy = np.where(rng.random((num_items, 4)) < 0.7, truth[:, None], rng.integers(-1, 2, (num_items, 4)))
    return [row[rng.random(4) < 0.8].tolist() for row in noisy]


def alpha_pair_by_pair(table: list[list[int]], distance: str) -> float:
    """Mean distance of two values of one item, each item's pairs weighing 1 / (m - 1), over that of any two values."""
    table = [row for row in table if len(row) > 1]
    values = sorted({value for row in table for value in row})
    everything = [value for row in table for value in row]
    number = {value: everything.count(value) for value in values}

    def far(a: int, b: int) -> float:
        if distance == "nominal":
            return float(a != b)
        if distance == "interval":
            return float(a - b) ** 2
        low, high = min(a, b), max(a, b)
        return (sum(number[v] for v in values if low <= v <= high) - (number[a] + number[b]) / 2) ** 2

    inside = sum(far(a, b) / (len(row) - 1) for row in table for a, b in permutations(row, 2))
    by_chance = sum(far(a, b) for a, b in permutations(everything, 2)) / (len(everything) - 1)
    return 1 - inside / by_chance


@pytest.mark.parametrize("distance", ["nominal", "ordinal", "interval"])
@pytest.mark.parametrize("seed", range(3))
def test_alpha_is_that_of_counting_pair_by_pair(distance, seed: int) -> None:
    table = table_with_gaps(seed)
    alpha = alpha_of(table, distance)
    assert alpha == pytest.approx(alpha_pair_by_pair(table, distance))
    width = max(map(len, table))
    columns = [[*map(float, row), *[math.nan] * (width - len(row))] for row in table if len(row) > 1]
    assert alpha == pytest.approx(evalica.alpha(pandas.DataFrame(columns).T, distance=distance).alpha)


def test_alpha_does_not_care_which_clip_is_called_a_or_who_said_what() -> None:
    table = table_with_gaps(0)
    turned = [[-label for label in reversed(row)] for row in table]
    for distance in ("nominal", "ordinal"):
        assert alpha_of(turned, distance) == pytest.approx(alpha_of(table, distance))


def test_calling_the_other_clip_of_some_pairs_a_changes_what_chance_gives_and_nothing_else() -> None:
    """1 - alpha is observed over expected disagreement; the latter is largest where A and B are named as often."""
    table = [row for row in table_with_gaps(1, 200) if len(row) > 1]
    rng = np.random.default_rng(0)
    observed, alphas, uneven = [], [], []
    for _ in range(30):
        side = rng.random() < rng.random(len(table))
        turned = [[-label if turn else label for label in row] for row, turn in zip(table, side, strict=True)]
        labels = np.concatenate(turned)
        share = np.array([(labels == label).mean() for label in (-1, 0, 1)])
        alphas.append(alpha_of(turned, "nominal"))
        observed.append((1 - alphas[-1]) * (1 - (share**2).sum()))
        uneven.append(abs(share[0] - share[2]))
        assert raw_agreement(turned) == raw_agreement(table)
    assert observed == pytest.approx([observed[0]] * 30)
    assert (np.diff(np.array(alphas)[np.argsort(uneven)]) < 1e-9).all(), "alpha falls as one side is named more often"


def test_alpha_of_one_value_alone_is_nan() -> None:
    assert math.isnan(alpha_of([[0, 0], [0, 0, 0]]))


def test_the_interval_of_alpha_is_that_of_drawing_clusters_of_rows() -> None:
    table = table_with_gaps(3)
    clusters = [f"p{item // 4}" for item in range(len(table))]
    found = krippendorff_alpha(table, clusters, "ordinal", rng=np.random.default_rng(0), num=300)
    assert found.value == pytest.approx(alpha_of(table, "ordinal"))
    rng = np.random.default_rng(0)
    drawn = [alpha_of([row for c in rng.integers(15, size=15) for row in table[4 * c : 4 * c + 4]]) for _ in range(300)]
    assert found[1:] == pytest.approx(np.quantile(drawn, [0.025, 0.975]))
    with pytest.raises(ValueError, match="one length; got 60 and 1"):
        krippendorff_alpha(table, ["p"], rng=rng)


def test_few_large_clusters_widen_the_interval() -> None:
    rng = np.random.default_rng(0)
    hard = rng.random(12) < 0.5  # in half of the prompts the raters toss coins, in the others they agree
    table, prompts = [], []
    for prompt, is_hard in enumerate(hard):
        for _ in range(20):
            label = int(rng.integers(-1, 2))
            table.append(rng.integers(-1, 2, 3).tolist() if is_hard else [label] * 3)
            prompts.append(prompt)
    by_prompt = krippendorff_alpha(table, prompts, rng=np.random.default_rng(0))
    by_pair = krippendorff_alpha(table, range(len(table)), rng=np.random.default_rng(0))
    assert by_prompt.high - by_prompt.low > 2 * (by_pair.high - by_pair.low)


def test_fleiss_kappa_is_the_published_one() -> None:
    assert np.sum(CHOICES, axis=0).tolist() == [20, 28, 39, 21, 32]
    table = [[label for label, count in enumerate(row) for _ in range(count)] for row in CHOICES]
    assert fleiss_kappa(table) == pytest.approx(0.210, abs=0.0005)
    assert fleiss_kappa([row[::-1] for row in reversed(table)]) == pytest.approx(fleiss_kappa(table))


def test_fleiss_kappa_by_hand_and_at_its_ends() -> None:
    # pairs that agree: (1 + 1 + 0) / 3; labels +1: 4 of 6, -1: 2 of 6 -> chance 20 / 36
    assert fleiss_kappa([[1, 1], [1, 1], [-1, -1]]) == 1
    assert fleiss_kappa([[1, 1], [-1, -1], [1, -1]]) == pytest.approx((2 / 3 - 1 / 2) / (1 / 2))
    assert math.isnan(fleiss_kappa([]))
    assert math.isnan(fleiss_kappa([[0, 0, 0], [0, 0, 0]]))


@pytest.mark.parametrize("table", [[[1, 1], [1, 1, 0]], [[1], [0]], [[]]])
def test_fleiss_kappa_wants_the_same_raters_everywhere(table: list[list[int]]) -> None:
    with pytest.raises(ValueError, match="the same number of raters, 2 or more"):
        fleiss_kappa(table)


def test_human_ceiling_by_hand() -> None:
    """Row 1: A, A against (A, tie: no majority), tie against A; row 2: two ties each against the other; row 3: +1 and
    -1 against each other; row 4: nobody else."""
    ceiling = human_ceiling([[1, 1, 0], [0, 0], [1, -1], [1]], ["p", "p", "q", "q"])
    assert (ceiling.num_verdicts, ceiling.num_decided) == (5, 2)
    assert ceiling.with_ties.value == pytest.approx(2 / 5)
    assert ceiling.without_ties.value == 0
    assert 0 <= ceiling.with_ties.low <= 2 / 5 <= ceiling.with_ties.high <= 1
    nobody = human_ceiling([[1], [0]], ["p", "q"])
    assert nobody.num_verdicts == 0 and math.isnan(nobody.with_ties.value)
    assert human_ceiling([], []).num_decided == 0
