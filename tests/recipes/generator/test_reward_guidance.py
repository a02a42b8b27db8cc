"""A reward that steers the own call of every family's pipeline, and leaves it as it was."""

from __future__ import annotations

import copy
import inspect
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from accelerate import cpu_offload
from diffusers import DDIMScheduler, DiffusionPipeline
from diffusers.hooks import FirstBlockCacheConfig, PyramidAttentionBroadcastConfig
from torch import Tensor

import videoalign
from tests.models.generators.small_pipelines import SMALL, TEXTS, build
from videoalign.errors import ConfigError, ModelError
from videoalign.flow.condition import Condition
from videoalign.models.generators.generator import PipelineGenerator
from videoalign.models.latent_reward import LatentRewardModel
from videoalign.recipes.generator.reward_guidance import RewardGuidance
from videoalign.sampling.guided import GuidedScheduler, RewardGuide

SEEDS = [3, 4]
FOLDER = Path(tempfile.mkdtemp())
"""Of pictures."""


class Brighter(LatentRewardModel):
    """Prefers large latents, whatever it is told."""

    def score(self, x_t: Tensor, t: Tensor, condition: Condition) -> Tensor:
        return x_t.flatten(1).mean(1, keepdim=True)


@pytest.fixture(params=SMALL)
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def reward_of(pipe: Any, kind: type[LatentRewardModel] = LatentRewardModel) -> LatentRewardModel:
    constants = PipelineGenerator(pipe).network.constants
    return kind.from_transformer(pipe.transformer, ["VQ"], num_blocks=1, seed=3, constants=constants).eval()


def call(pipe: Any, name: str, scale: float = 3.0) -> Tensor:
    """The latents that the pipeline's own call returns, as it returns them."""
    small, sampler = SMALL[name], PipelineGenerator(pipe).sampler
    settings, told = small.settings, dict(small.call)
    if small.guidance is None:
        pipe.guider = type(pipe.guider)(guidance_scale=scale)
    else:
        told[small.guidance] = scale
    made: Tensor = pipe(
        prompt=TEXTS,
        negative_prompt=["", ""],
        latents=small.laid(torch.stack([sampler.noise(seed) for seed in SEEDS])),
        num_inference_steps=settings.num_steps,
        **small.size(),
        output_type="latent",
        **small.shown(FOLDER),
        generator=small.generators(SEEDS),
        **told,
    )[0]
    return made.float()


def test_without_strength_and_after_it_the_clip_is_the_pipelines_own_to_the_bit(name: str) -> None:
    pipe = build(name)
    reward, own, scheduler, config = reward_of(pipe), call(pipe, name), pipe.scheduler, dict(pipe.config)
    guidance = RewardGuidance.attach(pipe, reward, weights={"VQ": 1.0}, strength=0.0)
    assert torch.equal(call(pipe, name), own)
    guidance.detach()
    steered = RewardGuidance.attach(pipe, reward, weights={"VQ": 1.0}, strength=30.0)
    assert not torch.equal(call(pipe, name), own)
    steered.detach()
    steered.detach()
    assert pipe.scheduler is scheduler and dict(pipe.config) == config and not pipe.transformer._forward_pre_hooks
    assert torch.equal(call(pipe, name), own)


@pytest.mark.parametrize(("name", "scale"), [*((name, 3.0) for name in SMALL), ("LTXPipeline", 1.0)])
def test_what_the_transformer_is_told_is_what_the_prompts_are_encoded_to(name: str, scale: float) -> None:
    pipe = build(name)
    generator, reward = PipelineGenerator(pipe), reward_of(pipe)
    guide = RewardGuide(reward, {"VQ": 1.0}, 30.0)
    wanted = generator.sampler.latents(
        SMALL[name].ask(FOLDER),
        SEEDS,
        guidance_scale=scale,
        wrap_scheduler=lambda own, told: GuidedScheduler(own, guide, told),
    )
    RewardGuidance.attach(pipe, reward, weights={"VQ": 1.0}, strength=30.0)
    found = call(pipe, name, scale)
    torch.testing.assert_close(found, SMALL[name].returned(pipe, wanted), rtol=1e-4, atol=1e-4)


def test_a_linear_reward_moves_the_latents_the_way_it_says(name: str) -> None:
    pipe = build(name)
    reward = reward_of(pipe, Brighter)
    means = []
    for strength in (0.0, 30.0):
        guidance = RewardGuidance.attach(pipe, reward, weights={"VQ": 1.0}, strength=strength)
        means.append(call(pipe, name).flatten(1).mean(1))
        guidance.detach()
    assert (means[1] > means[0] + 0.06).all()


def test_to_a_pipeline_it_is_the_scheduler_and_its_copies_are_not_steered(name: str) -> None:
    pipe = build(name)
    own = pipe.scheduler
    RewardGuidance.attach(pipe, reward_of(pipe), weights={"VQ": 1.0})
    scheduler = pipe.scheduler
    assert inspect.signature(scheduler.set_timesteps) == inspect.signature(own.set_timesteps)
    assert len(scheduler) == len(own) and scheduler.config is own.config and scheduler.order == own.order
    for copied in (copy.copy(scheduler), copy.deepcopy(scheduler)):
        assert type(copied) is type(own) and copied is not own


@pytest.mark.parametrize("name", ["WanPipeline", "LTXPipeline"])
def test_a_steered_pipeline_is_saved_and_copied_as_the_one_that_it_was(name: str, tmp_path: Path) -> None:
    pipe = build(name)
    own, scheduler = call(pipe, name), type(pipe.scheduler)
    RewardGuidance.attach(pipe, reward_of(pipe), weights={"VQ": 1.0}, strength=30.0)
    assert isinstance(pipe.scheduler, scheduler) and pipe.config["scheduler"] == ("diffusers", scheduler.__name__)
    pipe.save_pretrained(tmp_path)
    again = DiffusionPipeline.from_pretrained(tmp_path)
    assert type(again.scheduler) is scheduler and again.scheduler.to_json_string() == pipe.scheduler.to_json_string()
    assert torch.equal(call(copy.deepcopy(pipe), name), own)


def test_a_guide_of_a_model_that_reads_texts_steers_it_where_it_reads_a_picture() -> None:
    name = "WanImageToVideoPipeline of TI2V"
    pipe = build(name)
    reward = Brighter.from_transformer(pipe.transformer, ["VQ"], num_blocks=1, constants={"time_scale": 1000.0}).eval()
    own = call(pipe, name)
    RewardGuidance.attach(pipe, reward, weights={"VQ": 1.0}, strength=30.0)
    assert (call(pipe, name).flatten(1).mean(1) > own.flatten(1).mean(1) + 0.05).all()


@pytest.mark.parametrize("weights", [np.array([0.0, 1.0]), torch.tensor([0.0, 1.0]), (0, 1)])
def test_weights_of_clips_are_numbers_of_any_kind(weights: Any) -> None:
    assert RewardGuide(reward_of(build("WanPipeline")), {"VQ": weights}).weights == {"VQ": [0.0, 1.0]}


@pytest.mark.parametrize("weights", ["much", None, [], [[1.0]], float("nan")])
def test_weights_that_are_no_numbers_are_refused(weights: Any) -> None:
    with pytest.raises(ConfigError, match="weights: VQ must be a finite number; got "):
        RewardGuide(reward_of(build("WanPipeline")), {"VQ": weights})


@pytest.mark.parametrize("name", ["WanPipeline", "LTXPipeline"])
def test_what_was_heard_and_not_stepped_does_not_reach_the_next_call(name: str) -> None:
    pipe, seen = build(name), {}
    reward = reward_of(pipe)
    RewardGuidance.attach(pipe, reward, weights={"VQ": 1.0}, strength=30.0)
    handle = pipe.transformer.register_forward_pre_hook(lambda _, a, k: seen.update(a=a, k=k), with_kwargs=True)
    steered = call(pipe, name)
    handle.remove()
    with torch.no_grad():
        pipe.transformer(
            *(x[:1] for x in seen["a"]), **{n: x[:1] if torch.is_tensor(x) else x for n, x in seen["k"].items()}
        )
    assert torch.equal(call(pipe, name), steered)
    pipe.scheduler = pipe.scheduler.__class__.from_config(pipe.scheduler.config)
    with pytest.raises(
        ModelError, match=r"given a .* after the guide was attached.*; call detach\(\), and attach again"
    ):
        call(pipe, name)


def test_a_window_leaves_the_other_steps_alone() -> None:
    pipe = build("WanPipeline")
    velocities: dict[tuple[float, float], list[Tensor]] = {}
    for window in ((0.0, 1.0), (0.0, 0.7)):
        guidance = RewardGuidance.attach(pipe, reward_of(pipe), weights={"VQ": 1.0}, strength=30.0, window=window)
        inner, seen = guidance._inner.step, velocities.setdefault(window, [])
        guidance._inner.step = lambda v, t, x, *a, keep=seen, own=inner, **k: (
            keep.append(v.clone()),
            own(v, t, x, *a, **k),
        )[1]
        call(pipe, "WanPipeline")
        del guidance._inner.step
        guidance.detach()
    pipe.scheduler.set_timesteps(SMALL["WanPipeline"].settings.num_steps)
    acts = (pipe.scheduler.sigmas[:-1] <= 0.7).tolist()
    assert acts == sorted(acts) and len(set(acts)) == 2
    first = acts.index(True)
    assert torch.equal(velocities[0.0, 0.7][0], velocities[0.0, 1.0][0])  # pure noise: nothing in either
    assert not torch.equal(velocities[0.0, 0.7][first], velocities[0.0, 1.0][first])


def test_what_has_no_weight_can_be_held() -> None:
    """A dimension that is another one under a second name cannot rise where that is held."""

    class Twice(Brighter):
        def score(self, x_t: Tensor, t: Tensor, condition: Condition) -> Tensor:
            return super().score(x_t, t, condition).repeat(1, 2)

    pipe = build("WanPipeline")
    constants = PipelineGenerator(pipe).network.constants
    reward = Twice.from_transformer(pipe.transformer, ["VQ", "MQ"], num_blocks=1, constants=constants).eval()
    own = call(pipe, "WanPipeline")
    guidance = RewardGuidance.attach(pipe, reward, weights={"VQ": 1.0}, strength=30.0, hold="others")
    torch.testing.assert_close(call(pipe, "WanPipeline"), own, atol=1e-4, rtol=1e-4)
    guidance.detach()
    with pytest.raises(ConfigError, match="hold: got 'all'; wanted 'others'"):
        RewardGuidance.attach(pipe, reward, weights={"VQ": 1.0}, hold="all")  # type: ignore[arg-type]
    assert not pipe.transformer._forward_pre_hooks


def wrapped(pipe: Any) -> None:
    """What is compiled takes the transformer's place."""
    pipe.transformer = torch.compile(pipe.transformer, backend="eager")


WAYS: dict[str, Callable[[Any], Any]] = {
    "half precision": lambda pipe: pipe.transformer.to(torch.bfloat16),
    "compiled": lambda pipe: pipe.transformer.compile(backend="eager"),
    "compiled and wrapped": wrapped,
    "first block cache": lambda pipe: pipe.transformer.enable_cache(FirstBlockCacheConfig(threshold=0.05)),
    "attention broadcast": lambda pipe: pipe.transformer.enable_cache(
        PyramidAttentionBroadcastConfig(spatial_attention_block_skip_range=2, current_timestep_callback=lambda: 500)
    ),
    "parts kept off": lambda pipe: pipe.enable_model_cpu_offload(device="cpu"),
    "layers kept off": lambda pipe: cpu_offload(pipe.transformer, "cpu"),
}
"""How a transformer may run; on a processor, parts that are kept off it are brought to where they are."""


@pytest.mark.parametrize("way", WAYS)
def test_however_the_transformer_runs_it_is_steered_alike_and_left_as_it_was(way: str) -> None:
    pipe = build("WanPipeline")
    reward = reward_of(pipe, Brighter)
    WAYS[way](pipe)
    own = call(pipe, "WanPipeline")
    guidance = RewardGuidance.attach(pipe, reward, weights={"VQ": 1.0}, strength=30.0)
    moved = call(pipe, "WanPipeline") - own
    assert next(reward.parameters()).device.type == "cpu"
    guidance.detach()
    torch.testing.assert_close(moved.flatten(1).mean(1), torch.full((2,), 0.105), atol=0.002, rtol=0)
    torch.testing.assert_close(call(pipe, "WanPipeline"), own)


def test_in_a_loop_of_ones_own_it_is_given_the_condition() -> None:
    pipe = build("WanPipeline")
    reward, condition = reward_of(pipe), PipelineGenerator(pipe).conditioner.encode(TEXTS)
    x, v = torch.randn(2, 2, *PipelineGenerator(pipe).codec.latent_shape)
    made = []
    for kind in ("ours", "theirs"):
        pipe.scheduler.set_timesteps(4)
        guide = RewardGuide(reward, {"VQ": 1.0}, 30.0)
        guided: Any = GuidedScheduler(pipe.scheduler, guide, condition)
        if kind == "ours":
            guided = RewardGuidance(pipe.scheduler, reward, weights={"VQ": 1.0}, strength=30.0, condition=condition)
        guided.set_begin_index(2)
        made.append(guided.step(v, guided.timesteps[2], x, return_dict=False)[0])
    assert torch.equal(*made)
    scores = reward.score(x, torch.tensor([0.4, 0.6]), condition)
    assert scores.shape == (2, 1)


def test_what_cannot_be_steered_is_refused_by_name() -> None:
    pipe, other = build("WanPipeline"), build("LTXPipeline")
    reward, weights = reward_of(pipe), {"VQ": 1.0}
    with pytest.raises(ModelError, match="made for .*LTXPipeline"):
        RewardGuidance.attach(other, reward, weights=weights)
    with pytest.raises(ConfigError, match="no dimension 'MQ'"):
        RewardGuidance.attach(pipe, reward, weights={"MQ": 1.0})
    with pytest.raises(ConfigError, match="window"):
        RewardGuidance.attach(pipe, reward, weights=weights, window=(0.9, 0.2))
    with pytest.raises(ConfigError, match="hold: counts on changes as long as the gradient says"):
        RewardGuidance.attach(pipe, reward, weights=weights, hold="others", normalised=True)
    scheduler = pipe.scheduler
    pipe.scheduler = DDIMScheduler()
    with pytest.raises(ModelError, match="DDIMScheduler does not follow a flow"):
        RewardGuidance.attach(pipe, reward, weights=weights)
    pipe.scheduler = scheduler
    assert not pipe.transformer._forward_pre_hooks
    guidance = RewardGuidance.attach(pipe, reward, weights=weights)
    with pytest.raises(ModelError, match="steered already"):
        RewardGuidance.attach(pipe, reward, weights=weights)
    guidance.set_timesteps(4)
    x = torch.zeros(1, *PipelineGenerator(pipe).codec.latent_shape)
    with pytest.raises(ModelError, match="was not heard"):
        guidance.step(x, guidance.timesteps[0], x)


def test_it_is_public() -> None:
    assert videoalign.RewardGuidance is RewardGuidance
    with pytest.raises(AttributeError):
        _ = videoalign.NoSuchName
