"""What guided sampling must end with, where that is known in closed form: Gaussian data, the exact noisy reward."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
from diffusers import FlowMatchEulerDiscreteScheduler
from torch import Tensor

from tests.sampling.test_guided import TEXT, dpm, euler, heun, unipc
from videoalign.errors import ConfigError
from videoalign.flow.condition import Condition
from videoalign.sampling.guided import GuidedScheduler, RewardGuide

STEPS = 200
MEAN, VARIANCE = 0.3, 0.49


def mochi(num_steps: int) -> FlowMatchEulerDiscreteScheduler:
    """A schedule that runs the other way, as MochiPipeline sets it: sigma is 1 - t, the model predicts data - noise."""
    scheduler = FlowMatchEulerDiscreteScheduler(invert_sigmas=True)
    scheduler.set_timesteps(sigmas=torch.linspace(1, 1 / num_steps, num_steps).tolist())
    return scheduler


SOLVERS = {"Euler": (euler, 0.03), "Heun": (heun, 0.02), "UniPC": (unipc, 0.02), "DPM-Solver": (dpm, 0.02)}
SOLVERS |= {"Mochi": (mochi, 0.03)}
"""With the share that mean and variance may be off; Mochi's schedule is an Euler one."""


class World:
    """Every number of a clip is N(MEAN, VARIANCE), and the reward is the sum over them of a x - b x^2 / 2.

    p(x) exp(w r(x)) is then Gaussian too, with the precision 1 / VARIANCE + w b and the mean (MEAN / VARIANCE + w a)
    over it. Given x_t, x is Gaussian with mean m and variance s, both known, so that log E[exp(w r) | x_t] is, for
    each number and but for a constant, ((m + w a s)^2 / (s + w b s^2) - m^2 / s) / 2.
    """

    dimensions = ("linear", "curved")

    def __init__(self, strength: float, *, slope: float | Tensor = 0.0, bend: float | Tensor = 0.0) -> None:
        self.strength, self.slope, self.bend = strength, slope, bend

    def velocity(self, x: Tensor, t: Tensor) -> Tensor:
        spread = (1 - t) ** 2 * VARIANCE + t**2
        return -MEAN + (t - (1 - t) * VARIANCE) / spread * (x - (1 - t) * MEAN)

    def score(self, x_t: Tensor, t: Tensor, condition: Condition) -> Tensor:
        t = t.reshape(-1, *[1] * (x_t.ndim - 1))
        spread = (1 - t) ** 2 * VARIANCE + t**2
        m = MEAN + (1 - t) * VARIANCE / spread * (x_t - (1 - t) * MEAN)
        s, w = VARIANCE * t**2 / spread, self.strength
        numbers = (m * self.slope * w + w * w * self.slope**2 * s / 2 - w * self.bend * m * m / 2) / (
            1 + w * self.bend * s
        )
        score = numbers.flatten(1).sum(1) / w
        return torch.stack([score, -2 * score], 1)


def ends(world: World, scheduler: Any, weights: dict[str, float], noise: Tensor) -> Tensor:
    """What is sampled from noises (B, numbers)."""
    inner, x = scheduler, noise[:, :, None, None, None]
    scheduler = GuidedScheduler(inner, RewardGuide(world, weights, world.strength), TEXT)
    inverted = inner.config.get("invert_sigmas", False)
    for index, timestep in enumerate(inner.timesteps):
        t = 1 - inner.sigmas[index] if inverted else inner.sigmas[index]
        v = world.velocity(x, t.double())
        x = scheduler.step(-v if inverted else v, timestep, x, return_dict=False)[0]
    return x[:, :, 0, 0, 0]


@pytest.mark.parametrize("name", SOLVERS)
def test_a_linear_and_a_quadratic_reward_tilt_a_gaussian_as_the_formula_says(name: str) -> None:
    """A straight line leads from noise to clip, so that two noises tell mean and variance of all."""
    (make, most), strength = SOLVERS[name], 2.0
    slope, bend = torch.tensor([[1.5, 0.0, 1.0], [0.0, 1.5, 0.5]], dtype=torch.float64)  # linear, quadratic, both
    noise = torch.tensor([[-1.0], [1.0]], dtype=torch.float64).expand(2, 3)
    world = World(strength, slope=slope.reshape(3, 1, 1, 1), bend=bend.reshape(3, 1, 1, 1))
    low, high = ends(world, make(STEPS), {"linear": 1.0}, noise)
    precision = 1 / VARIANCE + strength * bend
    torch.testing.assert_close((low + high) / 2, (MEAN / VARIANCE + strength * slope) / precision, rtol=most, atol=0)
    torch.testing.assert_close(((high - low) / 2) ** 2, 1 / precision, rtol=most, atol=0)


@pytest.mark.parametrize("name", SOLVERS)
def test_without_weight_the_steps_are_the_solvers_own_to_the_bit(name: str) -> None:
    make, noise = SOLVERS[name][0], torch.tensor([[-1.0], [0.5]])
    world, still = World(2.0, slope=1.0, bend=0.5), World(0.0, slope=1.0)
    plain = ends(world, make(12), {}, noise)
    assert torch.equal(ends(world, make(12), {"linear": 0.0, "curved": 0.0}, noise), plain)
    assert torch.equal(ends(still, make(12), {"linear": 1.0}, noise), plain)


def test_weights_are_linear_in_the_velocity() -> None:
    world, draw = World(1.0, slope=1.0, bend=0.5), torch.Generator().manual_seed(0)
    x, v = torch.randn(2, 5, 3, 2, 4, 4, generator=draw)
    t = torch.tensor([0.02, 0.3, 0.5, 0.8, 0.97])

    def change(strength: float = 1.0, **weights: float) -> Tensor:
        return RewardGuide(world, weights, strength).adjust(v, x, t, TEXT) - v

    one, other = change(linear=1.0), change(curved=1.0)
    close: Callable[..., None] = partial(torch.testing.assert_close, rtol=1e-6, atol=2e-6)
    close(change(linear=0.3, curved=0.9), 0.3 * one + 0.9 * other)
    close(change(strength=2.5, linear=0.4), 2.5 * 0.4 * one)
    close(change(linear=1.0, curved=0.5), torch.zeros_like(v))


def test_a_normalised_gradient_changes_each_velocity_by_a_share_of_its_length() -> None:
    """Whatever the reward's scale and the time; pure noise and a flat reward are left alone."""
    draw = torch.Generator().manual_seed(0)
    x, v = torch.randn(2, 4, 3, 2, 4, 4, generator=draw)
    t, changes = torch.tensor([0.05, 0.5, 0.95, 1.0]), []
    for slope in (0.01, 100.0):
        guide = RewardGuide(World(1.0, slope=slope), {"linear": 1.0}, 0.25, normalised=True)
        changes.append(guide.adjust(v, x, t, TEXT) - v)
    torch.testing.assert_close(*changes, rtol=1e-4, atol=1e-5)
    lengths = changes[0].flatten(1).norm(dim=1) / v.flatten(1).norm(dim=1)
    torch.testing.assert_close(lengths, torch.tensor([0.25, 0.25, 0.25, 0.0]), rtol=1e-4, atol=1e-6)
    raw = RewardGuide(World(1.0, slope=1.0), {"linear": 1.0}).adjust(v, x, t, TEXT) - v
    cosines = torch.cosine_similarity(raw[:3].flatten(1), changes[0][:3].flatten(1))
    torch.testing.assert_close(cosines, torch.ones(3))
    flat = RewardGuide(World(1.0), {"linear": 1.0}, 0.25, normalised=True)
    assert torch.equal(flat.adjust(v, x, t, TEXT), v)
    with pytest.raises(ConfigError, match="max_ratio: bounds changes that 'normalised' gives one length already"):
        RewardGuide(World(1.0), {"linear": 1.0}, 0.25, normalised=True, max_ratio=0.5)
