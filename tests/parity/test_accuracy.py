"""Accuracy as the official VideoAlign code counts it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from videoalign.stats.pairwise import (
    accuracy_without_ties,
    fit_threshold,
    legacy_right_with_ties,
    right_with_ties,
)


@pytest.mark.parametrize("index", range(5))
def test_accuracies_are_those_of_the_official_code(shared: Path, index: int) -> None:
    case = json.loads((shared / "parity" / "accuracy_vectors.json").read_text())[index]
    labels, diff = case["labels"], case["score_difference"]
    assert legacy_right_with_ties(labels, diff).mean() == pytest.approx(case["with_ties"], abs=1e-12, rel=0)
    assert accuracy_without_ties(labels, diff) == pytest.approx(case["without_ties"], abs=1e-12, rel=0)


@pytest.mark.parametrize("index", range(5))
def test_our_count_does_not_depend_on_row_order_and_the_official_one_may(shared: Path, index: int) -> None:
    case = json.loads((shared / "parity" / "accuracy_vectors.json").read_text())[index]
    labels, diff = np.array(case["labels"]), np.array(case["score_difference"])
    rng = np.random.default_rng(index)
    ours, official = set(), set()
    for _ in range(50):
        order = rng.permutation(len(labels))
        ours.add(right_with_ties(labels[order], diff[order], fit_threshold(labels[order], diff[order])).mean())
        official.add(legacy_right_with_ties(labels[order], diff[order]).mean())
    assert len(ours) == 1
    if case["kind"] == "c":
        assert official == ours, "without repeated differences both counts agree"
    else:
        assert len(official) > 1
        assert max(official) >= ours.pop()
