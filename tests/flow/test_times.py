from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from videoalign.flow.times import shift_time, stratified, time_quantiles


@given(shift=st.floats(0.1, 12), t=st.floats(0, 1))
def test_shift_keeps_the_ends_and_is_undone_by_its_inverse(shift: float, t: float) -> None:
    times = torch.tensor([0.0, t, 1.0], dtype=torch.float64)
    shifted = shift_time(times, shift)
    assert shifted[0] == 0
    assert shifted[2] == pytest.approx(1, abs=1e-14)
    torch.testing.assert_close(shift_time(shifted, 1 / shift), times, rtol=0, atol=1e-12)


def test_a_shift_above_one_moves_times_towards_noise_by_the_formula() -> None:
    assert shift_time(torch.tensor(0.5), 3.0).item() == pytest.approx(0.75)
    assert shift_time(torch.tensor(0.25), 5.0).item() == pytest.approx(0.625)


def test_uniform_times_are_uniform_inside_the_open_interval() -> None:
    t = time_quantiles(torch.linspace(0, 1, 20_001))
    assert t.min() > 0
    assert t.max() < 1
    for quantile in (0.1, 0.5, 0.9):
        assert t.quantile(quantile).item() == pytest.approx(quantile, abs=1e-4)


def test_logit_normal_times_are_the_sigmoid_of_a_normal() -> None:
    u = stratified(torch.arange(20_000), torch.tensor(0.5), 20_000)
    logits = time_quantiles(u, law="logit_normal").double().logit()
    assert logits.mean().item() == pytest.approx(0, abs=1e-3)
    assert logits.std().item() == pytest.approx(1, abs=5e-3)


def test_strata_are_equal_parts_in_order() -> None:
    assert stratified(torch.tensor([0, 3]), torch.tensor([0.5, 0.0]), 4).tolist() == [0.125, 0.75]
