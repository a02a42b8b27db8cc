from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from videoalign.losses.flow_rwr import rwr_weights
from videoalign.randomness import fold_in


def test_weights_by_hand() -> None:
    """exp(0), exp(ln 3): 1 and 3, mean 2."""
    weights = rwr_weights(torch.tensor([0.0, math.log(3)], dtype=torch.float64), clip_quantile=1.0)
    torch.testing.assert_close(weights, torch.tensor([0.5, 1.5], dtype=torch.float64))


def test_temperature_divides_the_reward() -> None:
    rewards = torch.randn(50, generator=fold_in(0), dtype=torch.float64)
    torch.testing.assert_close(rwr_weights(rewards, temperature=2.0), rwr_weights(rewards / 2))
    torch.testing.assert_close(rwr_weights(rewards, temperature=1e9), torch.ones(50, dtype=torch.float64))


@given(
    rewards=st.lists(st.floats(-50, 50), min_size=1, max_size=40),
    temperature=st.floats(0.1, 10),
    clip_quantile=st.floats(0.5, 1),
)
def test_weights_have_mean_one_and_keep_the_order_of_the_rewards(
    rewards: list[float], temperature: float, clip_quantile: float
) -> None:
    given_rewards = torch.tensor(rewards, dtype=torch.float64)
    weights = rwr_weights(given_rewards, temperature=temperature, clip_quantile=clip_quantile)
    assert weights.mean().item() == pytest.approx(1)
    assert (weights >= 0).all()
    assert (weights[given_rewards.argsort()].diff() >= 0).all()


@given(offset=st.floats(-1e4, 1e4))
def test_a_constant_added_to_every_reward_changes_nothing(offset: float) -> None:
    rewards = torch.randn(30, generator=fold_in(1), dtype=torch.float64)
    torch.testing.assert_close(rwr_weights(rewards + offset), rwr_weights(rewards), rtol=1e-8, atol=1e-10)


def test_clipping_holds_the_best_at_the_quantile() -> None:
    rewards = torch.linspace(0, 10, 101, dtype=torch.float64)
    clipped = rwr_weights(rewards, clip_quantile=0.9)
    assert (clipped[90:] == clipped[90]).all()
    assert clipped[89] < clipped[90]
    assert (clipped[90] / clipped[0]).item() == pytest.approx(math.exp(9))


@pytest.mark.parametrize(
    ("rewards", "options", "message"),
    [
        (torch.zeros(0), {}, "N at least 1"),
        (torch.zeros(2, 2), {}, "shape"),
        (torch.tensor([0.0, math.nan]), {}, "finite"),
        (torch.zeros(3), {"temperature": 0.0}, "temperature must be above 0"),
        (torch.zeros(3), {"clip_quantile": 0.0}, "clip_quantile must be in"),
        (torch.zeros(3), {"clip_quantile": 1.1}, "clip_quantile must be in"),
    ],
)
def test_what_cannot_be_weighed_is_refused(rewards: torch.Tensor, options: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        rwr_weights(rewards, **options)
