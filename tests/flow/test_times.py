from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from videoalign.flow.times import fold_in, logit_normal_times, shift_time, uniform_times


def test_a_stream_depends_on_seed_and_ids_alone() -> None:
    first = torch.randn(5, generator=fold_in(3, "epoch", 7))
    torch.randn(100)
    assert torch.equal(torch.randn(5, generator=fold_in(3, "epoch", 7)), first)


def test_streams_of_other_seeds_and_ids_differ() -> None:
    streams = [
        fold_in(0),
        fold_in(1),
        fold_in(0, 1),
        fold_in(0, "1"),
        fold_in(0, 1, 0),
        fold_in(0, 0, 1),
        fold_in(1, 0),
    ]
    assert len({generator.initial_seed() for generator in streams}) == len(streams)


def test_the_seed_of_a_stream_never_changes_between_versions() -> None:
    assert fold_in(0, "epoch", 1).initial_seed() == 0x6E2D05656FB569
    assert fold_in(42, 7).initial_seed() == 0x26CDE9DC12E2B0


def test_drawing_leaves_the_global_generator_alone() -> None:
    before = torch.get_rng_state()
    uniform_times(8, fold_in(0))
    logit_normal_times(8, fold_in(0))
    assert torch.equal(torch.get_rng_state(), before)


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
    t = uniform_times(20_000, fold_in(0, "uniform"))
    assert t.shape == (20_000,)
    assert t.min() > 0
    assert t.max() < 1
    for quantile in (0.1, 0.5, 0.9):
        assert t.quantile(quantile).item() == pytest.approx(quantile, abs=0.015)


def test_logit_normal_times_are_the_sigmoid_of_a_normal() -> None:
    logits = logit_normal_times(20_000, fold_in(0, "normal")).double().logit()
    assert logits.mean().item() == pytest.approx(0, abs=0.03)
    assert logits.std().item() == pytest.approx(1, abs=0.03)
