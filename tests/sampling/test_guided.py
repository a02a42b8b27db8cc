"""Flow-NRG: what a guide does to samples, alone and inside real diffusers schedulers and pipelines."""

from __future__ import annotations

import copy
from collections.abc import Callable

import pytest
import torch
from diffusers import (
    DPMSolverMultistepScheduler,
    FlowMatchEulerDiscreteScheduler,
    FlowMatchHeunDiscreteScheduler,
    UniPCMultistepScheduler,
    WanPipeline,
    WanTransformer3DModel,
)
from torch import Tensor

from videoalign.errors import ConfigError, ModelError
from videoalign.flow.condition import Condition
from videoalign.models.latent_reward import LatentRewardModel
from videoalign.sampling.guided import GuidedScheduler, RewardGuide

SHAPE = (2, 3, 4, 4)
TEXT = Condition({"text": torch.zeros(1, 2, 3)})


class GaussianWorld:
    """Data N(mean, deviation^2) per element, whose velocity and noisy linear reward are known in closed form.

    For r = a x_data the noisy reward log E[exp(w r) | x_t] / w has the gradient a s^2 (1 - t) / D with
    D = (1 - t)^2 s^2 + t^2, and p(x) exp(w r) is the same Gaussian with its mean moved by w s^2 a.
    """

    dimensions = ("up", "down")

    def __init__(self, mean: float = 0.3, deviation: float = 0.7, slope: float = 0.5) -> None:
        self.mean, self.variance, self.slope = mean, deviation**2, slope
        self.calls = 0

    def velocity(self, x: Tensor, t: Tensor) -> Tensor:
        t = t.reshape(-1, *[1] * (x.ndim - 1))
        spread = (1 - t) ** 2 * self.variance + t**2
        return -self.mean + (t - (1 - t) * self.variance) / spread * (x - (1 - t) * self.mean)

    def score(self, x_t: Tensor, t: Tensor, condition: Condition) -> Tensor:
        self.calls += 1
        spread = (1 - t) ** 2 * self.variance + t**2
        up = self.slope * self.variance * (1 - t) / spread * x_t.flatten(1).sum(1)
        return torch.stack([up, -up], 1)


def euler(num_steps: int, shift: float = 1.0) -> FlowMatchEulerDiscreteScheduler:
    scheduler = FlowMatchEulerDiscreteScheduler(shift=shift)
    scheduler.set_timesteps(num_steps)
    return scheduler


def unipc(num_steps: int, shift: float = 1.0) -> UniPCMultistepScheduler:
    scheduler = UniPCMultistepScheduler(
        prediction_type="flow_prediction", use_flow_sigmas=True, flow_shift=shift, num_train_timesteps=1000
    )
    scheduler.set_timesteps(num_steps)
    return scheduler


def heun(num_steps: int, shift: float = 1.0) -> FlowMatchHeunDiscreteScheduler:
    scheduler = FlowMatchHeunDiscreteScheduler(shift=shift)
    scheduler.set_timesteps(num_steps)
    return scheduler


def dpm(num_steps: int, shift: float = 1.0) -> DPMSolverMultistepScheduler:
    scheduler = DPMSolverMultistepScheduler(prediction_type="flow_prediction", use_flow_sigmas=True, flow_shift=shift)
    scheduler.set_timesteps(num_steps)
    return scheduler


@torch.no_grad()
def run(scheduler, world: GaussianWorld, noise: Tensor) -> Tensor:
    x = noise
    for index, timestep in enumerate(scheduler.timesteps):
        sigma = scheduler.sigmas[index]  # the exact noise level, which whole timesteps round
        x = scheduler.step(world.velocity(x, sigma.expand(len(x))), timestep, x, return_dict=False)[0]
    return x


def noise(num: int, seed: int = 0) -> Tensor:
    return torch.randn(num, *SHAPE, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("make", [euler, unipc, heun])
def test_weight_zero_is_unguided_sampling_to_the_bit(make) -> None:
    world, start = GaussianWorld(), noise(4)
    plain = run(make(12), world, start)
    for weights, strength in (({"up": 0.0}, 100.0), ({"up": 1.0}, 0.0), ({}, 5.0)):
        guide = RewardGuide(world, weights, strength)
        assert torch.equal(run(GuidedScheduler(make(12), guide, TEXT), world, start), plain)
    assert world.calls == 0
    assert not torch.equal(
        run(GuidedScheduler(make(12), RewardGuide(world, {"up": 1.0}, 1.0), TEXT), world, start), plain
    )


@pytest.mark.parametrize("make", [euler, unipc, heun])
@pytest.mark.parametrize("strength", [0.5, 3.0])
def test_a_linear_reward_moves_a_gaussian_by_weight_times_variance_times_slope(make, strength: float) -> None:
    """The shift of the mean is w s^2 a for the exact tilt; the step skipped at t = 1 costs a first-order share."""
    world, start = GaussianWorld(), noise(512)
    expected = strength * world.variance * world.slope
    errors = {}
    for num_steps in (25, 100):
        guided = run(GuidedScheduler(make(num_steps), RewardGuide(world, {"up": 1.0}, strength), TEXT), world, start)
        moved = guided - run(make(num_steps), world, start)
        errors[num_steps] = abs(float(moved.mean()) - expected) / expected
        assert float(moved.std()) < 1e-3 * expected + 1e-4  # every sample by the same amount
    assert errors[100] < 0.03
    assert errors[25] < 0.12
    assert errors[100] < errors[25] / 2


def test_weights_add_up_and_opposite_rewards_cancel() -> None:
    world, start = GaussianWorld(), noise(8)

    def sample(**weights: float) -> Tensor:
        return run(GuidedScheduler(euler(20), RewardGuide(world, weights, 2.0), TEXT), world, start)

    plain = run(euler(20), world, start)
    torch.testing.assert_close(sample(up=1.0, down=1.0), plain)
    torch.testing.assert_close(sample(down=0.5) - plain, plain - sample(up=0.5))
    torch.testing.assert_close(sample(up=1.0, down=0.25), sample(up=0.75))


@pytest.mark.parametrize("make", [euler, unipc, heun])
def test_pure_noise_is_not_guided_and_every_other_step_is(make) -> None:
    """Schedulers that round timesteps, or start a hair below sigma = 1, still count as pure noise at the start."""
    world = GaussianWorld()
    scheduler = GuidedScheduler(make(10), RewardGuide(world, {"up": 1.0}, 1.0), TEXT)
    seen = []
    world.score = lambda x, t, text, score=world.score: (seen.append(float(t[0])), score(x, t, text))[1]
    run(scheduler, world, noise(2))
    assert len(seen) == len(scheduler.timesteps) - 1
    assert max(seen) < 0.999
    torch.testing.assert_close(torch.tensor(seen), scheduler.sigmas[1 : len(scheduler.timesteps)].float())


@pytest.mark.parametrize("make", [euler, unipc, heun, dpm])
@pytest.mark.parametrize(("shift", "num_steps"), [(5.0, 50), (12.0, 100)])
def test_the_guide_is_told_the_sigma_of_the_step_and_not_a_rounded_timestep(make, shift: float, num_steps: int) -> None:
    """At a large shift whole timesteps are off by up to half, and the second step would be taken for pure noise."""
    world = GaussianWorld()
    scheduler = make(num_steps, shift)
    scheduler.set_begin_index(0)
    guided = GuidedScheduler(scheduler, RewardGuide(world, {"up": 1.0}, 1.0), TEXT)
    seen: list[float] = []
    world.score = lambda x, t, text, score=world.score: (seen.append(float(t[0])), score(x, t, text))[1]
    run(guided, world, noise(2))
    told, true = torch.tensor(seen).double(), scheduler.sigmas[1 : len(scheduler.timesteps)].double()
    assert len(told) == len(true)
    torch.testing.assert_close(told / (1 - told), true / (1 - true), rtol=1e-3, atol=0)


def test_a_copy_of_the_scheduler_is_not_guided() -> None:
    """LTX2Pipeline steps its sound with a deep copy of the scheduler."""
    world = GaussianWorld()
    inner = euler(8)
    outer = GuidedScheduler(inner, RewardGuide(world, {"up": 1.0}, 5.0), TEXT)
    for copied in (copy.deepcopy(outer), copy.copy(outer)):
        assert type(copied) is type(inner) and copied is not inner
        assert torch.equal(run(copied, world, noise(2)), run(euler(8), world, noise(2)))
    assert world.calls == 0


def test_a_time_for_each_token_is_refused_by_name() -> None:
    scheduler = euler(4)
    guided = GuidedScheduler(scheduler, RewardGuide(GaussianWorld(), {"up": 1.0}), TEXT)
    with pytest.raises(ModelError, match="time of its own .* LTXConditionPipeline does; wanted one time per clip"):
        guided.step(noise(2), scheduler.timesteps[1], noise(2), per_token_timesteps=torch.zeros(2, 3))
    assert guided.step(noise(2), scheduler.timesteps[1], noise(2), per_token_timesteps=None).prev_sample.shape[0] == 2


def kept_bytes(action: Callable[[], object]) -> int:
    """What autograd keeps of activations while the action runs, in bytes."""
    seen: dict[int, int] = {}

    def pack(x: Tensor) -> Tensor:
        if not isinstance(x, torch.nn.Parameter):
            seen[x.untyped_storage().data_ptr()] = x.untyped_storage().nbytes()
        return x

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda x: x):
        action()
    return sum(seen.values())


def test_the_guide_keeps_no_activations_for_gradients_of_weights() -> None:
    trainable, frozen = (LatentRewardModel.from_transformer(tiny_transformer(), ["VQ"], seed=1) for _ in range(2))
    frozen.requires_grad_(False)
    x, t, text = noise_latents(2), torch.full((2,), 0.5), Condition({"text": torch.ones(2, 6, 8)})
    kept = [
        kept_bytes(lambda reward=reward: RewardGuide(reward, {"VQ": 1.0}).gradient(x, t, text))
        for reward in (trainable, frozen)
    ]
    assert kept[0] == kept[1]
    assert kept[0] < 0.8 * kept_bytes(lambda: trainable.score(x.requires_grad_(), t, text))
    assert all(parameter.requires_grad for parameter in trainable.parameters())


def test_samples_of_a_batch_do_not_touch_each_other() -> None:
    world = GaussianWorld()
    reward = LatentRewardModel.from_transformer(tiny_transformer(), ["VQ", "MQ"], seed=1)
    x, v = noise_latents(4), noise_latents(4, 1)
    text = Condition({"text": torch.randn(4, 6, 8, generator=torch.Generator().manual_seed(3))})
    t = torch.tensor([0.2, 0.5, 0.9, 1.0])
    for max_ratio in (None, 0.2):
        guide = RewardGuide(reward, {"VQ": 1.0, "MQ": 0.5}, 30.0, max_ratio=max_ratio)
        whole = guide.adjust(v, x, t, text)
        assert torch.equal(whole[3], v[3])  # t = 1
        for i in range(4):
            alone = guide.adjust(v[i : i + 1], x[i : i + 1], t[i : i + 1], text.rows(slice(i, i + 1)))
            torch.testing.assert_close(alone[0], whole[i], rtol=1e-4, atol=1e-5)
    assert world.calls == 0


def test_every_clip_of_a_batch_can_have_weights_of_its_own() -> None:
    world, start = GaussianWorld(), noise(3)

    def sample(weights: dict[str, float | list[float]]) -> Tensor:
        return run(GuidedScheduler(euler(20), RewardGuide(world, weights, 2.0), TEXT), world, start)

    mixed = sample({"up": [0.0, 1.0, 0.5], "down": [0.0, 0.0, 1.0]})
    for row, wanted in enumerate([sample({}), sample({"up": 1.0}), sample({"down": 0.5})]):
        torch.testing.assert_close(mixed[row], wanted[row])
    with pytest.raises(ConfigError, match="up has 2 weights for 3 clips"):
        sample({"up": [0.0, 1.0]})


def test_max_ratio_shortens_the_change_and_keeps_its_direction() -> None:
    world = GaussianWorld(slope=5.0)
    x, v, t = noise(3), noise(3, 1), torch.tensor([0.05, 0.5, 0.95])
    free = RewardGuide(world, {"up": 1.0}, 1.0).adjust(v, x, t, TEXT) - v
    capped = RewardGuide(world, {"up": 1.0}, 1.0, max_ratio=0.5).adjust(v, x, t, TEXT) - v
    ratios = capped.flatten(1).norm(dim=1) / v.flatten(1).norm(dim=1)
    wanted = (free.flatten(1).norm(dim=1) / v.flatten(1).norm(dim=1)).clamp_max(0.5)
    torch.testing.assert_close(ratios, wanted)
    assert wanted[0] < 0.5 == wanted[1]
    torch.testing.assert_close(torch.cosine_similarity(free.flatten(1), capped.flatten(1)), torch.ones(3))


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode, torch.enable_grad])
def test_the_guide_works_inside_every_autograd_mode_and_leaves_no_graph(mode) -> None:
    reward = LatentRewardModel.from_transformer(tiny_transformer(), ["VQ"], seed=1)
    with mode():
        x, v, text = noise_latents(2), noise_latents(2, 1), Condition({"text": torch.ones(2, 6, 8)})
        guided = RewardGuide(reward, {"VQ": 1.0}, 10.0).adjust(v, x, torch.tensor([0.3, 0.3]), text)
        assert not guided.requires_grad
        assert (guided - v).abs().max() > 1e-4
    assert all(parameter.grad is None for parameter in reward.parameters())


def test_half_precision_velocities_keep_their_type() -> None:
    world, v = GaussianWorld(), noise(2).bfloat16()
    guided = RewardGuide(world, {"up": 1.0}, 1.0).adjust(v, v, torch.full((2,), 0.5), TEXT)
    assert guided.dtype == torch.bfloat16
    torch.testing.assert_close(
        (guided - v).float().mean(),
        torch.tensor(-world.slope * world.variance * 0.5 / (0.25 * world.variance + 0.25)),
        rtol=0.02,
        atol=0,
    )


@pytest.mark.parametrize("make", [euler, unipc, heun])
def test_everything_but_step_is_the_wrapped_schedulers_own(make) -> None:
    inner = make(7)
    outer = GuidedScheduler(inner, RewardGuide(GaussianWorld(), {"up": 1.0}), TEXT)
    assert len(outer) == len(inner) == 1000
    assert outer.config is inner.config
    assert outer.order == inner.order
    assert outer.timesteps is inner.timesteps
    assert outer.sigmas is inner.sigmas
    outer.set_timesteps(3)
    assert outer.timesteps is inner.timesteps
    outer.set_begin_index(0)
    assert (outer.begin_index, outer.step_index) == (inner.begin_index, inner.step_index) == (0, None)
    x = noise(2)
    result = outer.step(x, outer.timesteps[0], x)
    assert result.prev_sample.shape == x.shape
    assert outer.step_index == inner.step_index == 1
    outer.custom = 5
    assert inner.custom == 5
    assert not hasattr(outer, "no_such_attribute")


def test_a_schedule_that_runs_the_other_way_is_guided_to_the_same_samples() -> None:
    """As Mochi's: sigma is 1 - t and the model predicts data - noise."""
    guide, ends = RewardGuide(GaussianWorld(), {"up": 1.0}, 2.0), []
    for inverted in (False, True):
        plain = FlowMatchEulerDiscreteScheduler(invert_sigmas=inverted)
        plain.set_timesteps(sigmas=[1.0, 0.7, 0.4, 0.1])
        scheduler, x = GuidedScheduler(plain, guide, TEXT), noise(3)
        for timestep in plain.timesteps:
            velocity = 0.1 * x
            x = scheduler.step(-velocity if inverted else velocity, timestep, x, return_dict=False)[0]
        ends.append(x)
    torch.testing.assert_close(*ends, rtol=1e-4, atol=1e-5)


def test_a_wrong_setting_is_one_line() -> None:
    world = GaussianWorld()
    with pytest.raises(ConfigError, match=r"no dimension 'upp'\. Did you mean 'up'"):
        RewardGuide(world, {"upp": 1.0})
    with pytest.raises(ConfigError, match="strength"):
        RewardGuide(world, {"up": 1.0}, -1.0)
    with pytest.raises(ConfigError, match="finite"):
        RewardGuide(world, {"up": float("nan")})
    with pytest.raises(ConfigError, match="max_ratio"):
        RewardGuide(world, {"up": 1.0}, max_ratio=0.0)
    guide = RewardGuide(world, {"up": 1.0})
    with pytest.raises(ModelError, match="does not follow a flow"):
        GuidedScheduler(UniPCMultistepScheduler(), guide, TEXT)
    scheduler = euler(4)
    with pytest.raises(ModelError, match="conditions of 3 samples"):
        GuidedScheduler(scheduler, guide, TEXT.expand(3)).step(noise(2), scheduler.timesteps[1], noise(2))
    with pytest.raises(ModelError, match="not finite"):
        RewardGuide(GaussianWorld(slope=float("inf")), {"up": 1.0}).adjust(
            noise(1), noise(1), torch.tensor([0.5]), TEXT
        )


def tiny_transformer() -> WanTransformer3DModel:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return WanTransformer3DModel(
            num_attention_heads=2,
            attention_head_dim=16,
            in_channels=4,
            out_channels=4,
            text_dim=8,
            freq_dim=16,
            ffn_dim=48,
            num_layers=4,
            rope_max_seq_len=32,
        ).eval()


def noise_latents(num: int, seed: int = 0) -> Tensor:
    return torch.randn(num, 4, 3, 4, 4, generator=torch.Generator().manual_seed(seed))


@pytest.fixture
def reward() -> LatentRewardModel:
    return LatentRewardModel.from_transformer(tiny_transformer(), ["VQ", "MQ"], num_blocks=2, seed=4)


class TestRealPipeline:
    """A WanPipeline of random weights; its latents, so that no codec is needed."""

    def sample(self, scheduler, wrap=lambda scheduler, text: scheduler, num: int = 3) -> tuple[Tensor, Tensor]:
        generator = torch.Generator().manual_seed(2)
        text, empty = torch.randn(3, 6, 8, generator=generator)[:num], torch.zeros(num, 6, 8)
        pipe = WanPipeline(
            tokenizer=None, text_encoder=None, vae=None, transformer=tiny_transformer(), scheduler=scheduler
        )
        pipe.set_progress_bar_config(disable=True)
        pipe.scheduler = wrap(pipe.scheduler, Condition({"text": text}))
        latents = pipe(
            prompt_embeds=text,
            negative_prompt_embeds=empty,
            latents=noise_latents(3)[:num],
            height=32,
            width=32,
            num_frames=9,
            num_inference_steps=10,
            guidance_scale=3.0,
            output_type="latent",
        ).frames
        return latents, Condition({"text": text})

    @pytest.mark.parametrize("make", [euler, unipc])
    def test_the_reward_of_what_is_sampled_rises_with_the_strength(self, make, reward) -> None:
        plain, text = self.sample(make(10, 3.0))
        scores = []
        for strength in (0.0, 10.0, 40.0):
            guide = RewardGuide(reward, {"VQ": 1.0}, strength, max_ratio=0.5)
            guided, _ = self.sample(make(10, 3.0), lambda inner, text, g=guide: GuidedScheduler(inner, g, text))
            scores.append(reward.score(guided, torch.full((3,), 0.05), text)[:, 0])
            if strength == 0:
                assert torch.equal(guided, plain)
        assert (scores[1] > scores[0]).all()
        assert (scores[2] > scores[1]).all()

    def test_each_sample_is_guided_as_if_it_were_alone(self, reward) -> None:
        guide = RewardGuide(reward, {"MQ": 1.0}, 20.0)
        many, _ = self.sample(euler(10), lambda inner, text: GuidedScheduler(inner, guide, text))
        one, _ = self.sample(euler(10), lambda inner, text: GuidedScheduler(inner, guide, text), num=1)
        assert torch.isfinite(many).all()
        torch.testing.assert_close(one[0], many[0], rtol=1e-3, atol=1e-3)
