from __future__ import annotations

import math

import numpy as np
import pytest

from videoalign.stats.raters import FAR, left_bias, robust_z, share_with_interval


def test_wilson_interval_by_hand() -> None:
    z = 1.959964
    centre, half = (0.8 + z**2 / 20) / (1 + z**2 / 10), z * math.sqrt(0.016 + z**2 / 400) / (1 + z**2 / 10)
    assert share_with_interval(8, 10) == pytest.approx((0.8, centre - half, centre + half), abs=1e-6)
    assert share_with_interval(0, 10).low == 0
    assert all(math.isnan(x) for x in share_with_interval(0, 0))


def test_left_bias_by_hand() -> None:
    assert left_bias(5, 0).p_value == pytest.approx(2 / 32)
    assert left_bias(5, 0).share.value == 1
    assert left_bias(5, 5).p_value == 1
    assert left_bias(2, 9).p_value == pytest.approx(left_bias(9, 2).p_value)
    nobody = left_bias(0, 0)
    assert nobody.num == 0 and math.isnan(nobody.p_value)


def test_robust_z_by_hand_and_unmoved_by_a_far_value() -> None:
    assert robust_z([1, 2, 3, 4, 5]) == pytest.approx(np.array([-2, -1, 0, 1, 2]) * 0.6745)
    near, far = robust_z([1, 2, 3, 4, 50]), robust_z([1, 2, 3, 4, 5000])
    assert near[:4] == pytest.approx(far[:4])
    assert far[4] > near[4] > FAR
    assert robust_z([3, 3, 3]).tolist() == [0, 0, 0]
    assert robust_z([3, 3, 3, 3, 8])[4] == pytest.approx(5 / (1.2533 * 1))
    assert robust_z([]).tolist() == []


def test_robust_z_of_normal_values_is_their_z() -> None:
    values = np.random.default_rng(0).normal(7, 3, 20_000)
    assert robust_z(values) == pytest.approx((values - 7) / 3, abs=0.15)
