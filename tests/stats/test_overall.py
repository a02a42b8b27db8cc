from __future__ import annotations

import math

import numpy as np
import pytest

from videoalign.stats.overall import overall, within_deviation


def test_deviation_within_prompts_by_hand() -> None:
    scores = np.array([[1.0, 10.0], [3.0, 10.0], [10.0, 40.0], [10.0, 20.0], [13.0, 30.0]])
    prompts = ["a", "a", "b", "b", "b"]
    # a: 2, 3 around 2 and nothing; b: 10, 10, 13 around 11 and 40, 20, 30 around 30; 5 clips less 2 prompts
    assert within_deviation(scores, prompts).tolist() == [math.sqrt((2 + 6) / 3), math.sqrt(200 / 3)]


def test_deviation_ignores_what_differs_between_prompts_alone() -> None:
    rng = np.random.default_rng(0)
    scores, prompts = rng.normal(size=(40, 2)), [i // 4 for i in range(40)]
    moved = scores + 100 * np.arange(10).repeat(4)[:, None]
    assert within_deviation(moved, prompts) == pytest.approx(within_deviation(scores, prompts))


def test_one_clip_a_prompt_or_none_that_varies_takes_the_deviation_of_all_clips() -> None:
    scores = np.array([[1.0], [2.0], [6.0]])
    assert within_deviation(scores, ["a", "b", "c"]).tolist() == [math.sqrt(14 / 2)]  # around 3
    twice = np.array([[1.0, 0.1], [1.0, 0.1], [5.0, 0.1], [5.0, 0.1]])
    assert within_deviation(twice, ["a", "a", "b", "b"]) == pytest.approx([math.sqrt(16 / 3), 0.0])
    assert within_deviation(np.array([[7.0]]), ["a"]).tolist() == [0.0]


def test_rounding_is_no_variation() -> None:
    third = np.array([1 / 3, 1 / 3 + 1e-9, 1 / 3 - 1e-9, 1 / 3])[:, None]
    assert within_deviation(third, ["a", "a", "b", "b"]).tolist() == [0.0]


def test_overall_is_free_of_the_scales() -> None:
    rng = np.random.default_rng(1)
    scores, prompts = rng.normal(size=(30, 3)), [i // 3 for i in range(30)]
    scale = np.array([0.01, 1.0, 500.0])
    first, second = (overall(s, within_deviation(s, prompts)) for s in (scores, scores * scale))
    assert first == pytest.approx(second)
    for column in range(3):
        alone = np.zeros_like(scores)
        alone[:, column] = scores[:, column]
        part = overall(alone, within_deviation(scores, prompts))
        assert within_deviation(part[:, None], prompts) == pytest.approx([1 / 3])


def test_weights_by_hand_and_what_is_refused() -> None:
    assert overall([[2.0, 6.0]], [2.0, 3.0]).tolist() == [1.5]
    assert overall([[2.0, 6.0]], [2.0, 3.0], [3.0, 1.0]).tolist() == [1.25]
    with pytest.raises(ValueError, match="units must be above 0"):
        overall([[1.0]], [0.0])
    with pytest.raises(ValueError, match="one row a prompt"):
        within_deviation([[1.0], [2.0]], ["a"])
    with pytest.raises(ValueError, match="must be finite"):
        within_deviation([[1.0], [math.nan]], ["a", "a"])
