"""Dimensions without weight: what a step takes off the gradient, and what is held along a whole path."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from tests.sampling.test_guided import TEXT, euler, run, unipc
from videoalign.flow.condition import Condition
from videoalign.sampling.guided import GuidedScheduler, RewardGuide
from videoalign.sampling.holding import MOST, HoldingGuide, PathScores, held_gradient

DEVIATIONS = torch.tensor([0.3, 1.5]).reshape(2, 1, 1, 1)


class UnequalWorld:
    """Two numbers with independent Gaussian data of unlike deviations, and two linear rewards that share the first.

    For r = a x the noisy reward log E[exp r | x_t] has the gradient a s^2 (1 - t) / D, D = (1 - t)^2 s^2 + t^2.
    """

    dimensions = ("own", "other")
    slopes = torch.tensor([[1.0, 0.5], [1.0, -0.1]]).reshape(2, 2, 1, 1, 1)

    def spread(self, t: Tensor) -> Tensor:
        t = t.reshape(-1, 1, 1, 1, 1)
        return (1 - t) ** 2 * DEVIATIONS**2 + t**2

    def velocity(self, x: Tensor, t: Tensor) -> Tensor:
        time = t.reshape(-1, 1, 1, 1, 1)
        return (time - (1 - time) * DEVIATIONS**2) / self.spread(t) * x

    def score(self, x_t: Tensor, t: Tensor, condition: Condition) -> Tensor:
        known = DEVIATIONS**2 * (1 - t.reshape(-1, 1, 1, 1, 1)) / self.spread(t) * x_t
        return (known[:, None] * self.slopes).flatten(2).sum(2)


def ends(world: UnequalWorld, guide, make, num_steps: int) -> Tensor:
    """Scores (B, D) of the clips themselves."""
    start = torch.randn(64, 2, 1, 1, 1, generator=torch.Generator().manual_seed(0))
    scheduler = make(num_steps) if guide is None else GuidedScheduler(make(num_steps), guide, TEXT)
    return world.score(run(scheduler, world, start), torch.zeros(64), TEXT)


@pytest.mark.parametrize("make", [euler, unipc])
def test_along_its_unguided_path_a_dimension_is_held_where_a_projection_alone_loses_it(make) -> None:
    world, steps = UnequalWorld(), 100
    seen = PathScores(world)
    plain = ends(world, seen, make, steps)
    assert torch.equal(plain, ends(world, None, make, steps))
    moved = {
        name: (ends(world, guide, make, steps) - plain).mean(0)
        for name, guide in {
            "let go": RewardGuide(world, {"own": 1.0}, 2.0),
            "projected": HoldingGuide(world, {"own": 1.0}, 2.0),
            "held": HoldingGuide(world, {"own": 1.0}, 2.0, path=seen.scores),
        }.items()
    }
    # the exact tilt moves r_j by w sum_i a_own,i a_j,i s_i^2
    torch.testing.assert_close(moved["let go"], torch.tensor([1.305, -0.045]), rtol=0.05, atol=0.05)
    assert float(moved["held"][0]) > 0.3
    assert abs(float(moved["projected"][1])) > 0.1
    assert abs(float(moved["held"][1])) < 0.02


def test_where_all_weigh_something_nothing_is_held() -> None:
    world, weights = UnequalWorld(), {"own": 1.0, "other": 0.5}
    one = ends(world, HoldingGuide(world, weights, 1.0), euler, 10)
    torch.testing.assert_close(one, ends(world, RewardGuide(world, weights, 1.0), euler, 10))


def test_what_is_taken_off_by_hand() -> None:
    gradients = torch.tensor([[[1.0, 0.0, 0.0], [1.0, 1.0, 0.0], [0.0, 0.0, 2.0]]])
    weights = torch.tensor([[2.0, 0.0, 0.0]])
    # (2, 0, 0) less its part along (1, 1, 0), which is (1, 1, 0)
    nothing = torch.zeros(1, 3)
    torch.testing.assert_close(held_gradient(gradients, weights, nothing), torch.tensor([[1.0, -1.0, 0.0]]))
    wanted = torch.tensor([[9.0, 1.0, -4.0]])  # the first is not held, so its 9 is not read
    found = held_gradient(gradients, weights, wanted)
    torch.testing.assert_close(gradients[0] @ found[0], torch.tensor([1.5, 1.0, -4.0]))
    far = held_gradient(gradients, weights, 1e6 * wanted)
    assert float((far - torch.tensor([[2.0, 0.0, 0.0]])).norm()) == pytest.approx(MOST * 2)


def test_gradients_that_leave_no_room_are_no_trouble() -> None:
    """Held dimensions whose gradients are one and the same, or nothing at all."""
    same = torch.tensor([[[1.0, 2.0], [0.5, 1.0], [0.5, 1.0]]])
    weights = torch.tensor([[1.0, 0.0, 0.0]])
    torch.testing.assert_close(held_gradient(same, weights, torch.zeros(1, 3)), torch.zeros(1, 2), atol=1e-6, rtol=0)
    still = torch.tensor([[[1.0, 2.0], [0.0, 0.0], [0.0, 0.0]]])
    torch.testing.assert_close(held_gradient(still, weights, torch.ones(1, 3)), still[:, 0])


def test_each_clip_holds_what_it_does_not_weigh() -> None:
    gradients = torch.tensor([[[1.0, 0.0], [1.0, 1.0]]]).repeat(2, 1, 1)
    found = held_gradient(gradients, torch.tensor([[1.0, 0.0], [0.0, 1.0]]), torch.zeros(2, 2))
    torch.testing.assert_close(found, torch.tensor([[0.5, -0.5], [0.0, 1.0]]))
