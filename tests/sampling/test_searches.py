"""Searches over noises: who is kept, what a copy goes on from, and what the population follows."""

from __future__ import annotations

from collections import Counter

import pytest
import torch
from torch import Tensor

from tests.sampling.test_guided import TEXT, GaussianWorld, dpm, euler, heun, run, unipc
from videoalign.contracts.video import Video
from videoalign.errors import ConfigError, ModelError
from videoalign.flow.condition import Condition
from videoalign.models.generators.generator import PipelineGenerator
from videoalign.models.small_wan import TINY_SETTINGS, TINY_SIZES, small_wan_generator
from videoalign.sampling.searches import BestOfN, EarlyBest, Particles, Population, candidate_seeds, resampled
from videoalign.sampling.watched import StepTaken, WatchedScheduler, wrapper

SHAPE = (1, 1, 2, 2)


def noise(num: int) -> Tensor:
    return torch.randn(num, *SHAPE, generator=torch.Generator().manual_seed(0))


def test_resampling_draws_each_as_often_as_it_weighs_but_for_less_than_one() -> None:
    assert resampled(torch.tensor([0.5, 0.25, 0.25]), 0.1).tolist() == [0, 0, 1]
    assert resampled(torch.tensor([0.0, 1.0, 0.0]), 0.99).tolist() == [1, 1, 1]
    assert resampled(torch.full((5,), 0.2), 0.5).tolist() == [0, 1, 2, 3, 4]
    weights = torch.softmax(torch.randn(50, generator=torch.Generator().manual_seed(1)), 0)
    for start in (0.0, 0.3, 0.999):
        counts = torch.bincount(resampled(weights, start), minlength=50)
        assert float((counts - 50 * weights).abs().max()) < 1


@pytest.mark.parametrize("make", [euler, unipc, heun, dpm])
def test_a_copy_goes_on_as_its_parent_would_have(make) -> None:
    """Also where the scheduler keeps the past of each sample: without new noise copies end where it does."""
    world, start = GaussianWorld(), noise(6)
    plain = run(make(10), world, start)
    search = Particles(world, {"up": 1.0}, num=6, strength=1e4, looks=(0.4, 0.7), fresh=0.0)
    population = Population(search, seed=0)
    final = run(WatchedScheduler(make(10), population.after, TEXT), world, start)
    torch.testing.assert_close(final, plain[plain.flatten(1).sum(1).argmax()].expand_as(final))
    torch.testing.assert_close(population.scores, world.score(final, torch.zeros(6), TEXT)[:, 0])


@pytest.mark.parametrize("make", [euler, unipc, heun])
def test_without_strength_particles_are_plain_samples(make) -> None:
    world, start = GaussianWorld(), noise(6)
    population = Population(Particles(world, {"up": 1.0}, num=6, strength=0.0), seed=0)
    assert torch.equal(
        run(WatchedScheduler(make(10), population.after, TEXT), world, start), run(make(10), world, start)
    )


@pytest.mark.parametrize("make", [euler, unipc])
@pytest.mark.parametrize("fresh", [0.0, 0.5])
def test_the_population_follows_the_tilted_law(make, fresh: float) -> None:
    """p(x) exp(w r) of a Gaussian and a linear reward is the same Gaussian, moved by w s^2 a."""
    world, num, strength = GaussianWorld(), 6000, 1.0
    looks = (*(step / 40 for step in range(4, 40, 4)), 39 / 40)
    population = Population(Particles(world, {"up": 1.0}, num, strength, looks, fresh), seed=3)
    start = noise(num)
    final = run(WatchedScheduler(make(40), population.after, TEXT), world, start)
    plain = run(make(40), world, start)
    expected = strength * world.variance * world.slope
    assert float(final.mean() - plain.mean()) == pytest.approx(expected, abs=0.03)
    assert float(final.std()) == pytest.approx(float(plain.std()), rel=0.05)


def test_new_noise_makes_copies_differ_and_leaves_the_first_child_alone() -> None:
    world = GaussianWorld()
    search = Particles(world, {"up": 1.0}, num=4, strength=1e4, looks=(0.5,), fresh=0.4)
    before: list[Tensor] = []

    def after(taken: StepTaken) -> Tensor:
        moved = population.after(taken)
        if taken.number == 5:
            before.append(torch.stack([taken.moved[int(population.scores.argmax())], moved[0], moved[1]]))
        return moved

    population = Population(search, seed=0)
    final = run(WatchedScheduler(unipc(10), after, TEXT), world, noise(4))
    assert len({round(float(row.sum()), 4) for row in final}) == 4
    plain = run(unipc(10), world, noise(4))
    best = plain[plain.flatten(1).sum(1).argmax()]
    torch.testing.assert_close(final[0], best)
    assert not torch.allclose(before[0][1], before[0][2])


class Bright:
    """A latent reward and a reward of clips that know one thing: how bright it is."""

    name, digest, dimensions = "bright", "0", ("light", "dark")

    def score(self, x_t: Tensor, t: Tensor, condition: Condition) -> Tensor:
        light = x_t.flatten(1).mean(1)
        return torch.stack([light, -light], 1)

    def score_videos(self, videos: list[Video], prompts: list[str]):
        light = torch.tensor([float(video.frames.mean()) for video in videos])
        return torch.stack([light, -light], 1).numpy()


@pytest.fixture(scope="module")
def generator() -> PipelineGenerator:
    return small_wan_generator(PROMPTS, TINY_SIZES, settings=TINY_SETTINGS)


PROMPTS, SEEDS = ["a red circle moves left", "a blue square stands still"], [5, 6]


def test_candidates_begin_with_the_clips_own_noise_and_hang_on_nothing_else() -> None:
    assert candidate_seeds(7, 1) == [7]
    assert candidate_seeds(7, 3) == candidate_seeds(7, 5)[:3]
    assert len({*candidate_seeds(7, 50), *candidate_seeds(8, 50)}) == 100


def test_one_candidate_is_sampling_as_ever_to_the_bit(generator: PipelineGenerator) -> None:
    plain = generator.sampler.latents(PROMPTS, SEEDS)
    reward, weights = Bright(), {"light": 1.0}
    for search in (BestOfN(reward, weights, 1), EarlyBest(reward, weights, 1), Particles(reward, weights, 1)):
        assert torch.equal(search.latents(generator, PROMPTS, SEEDS), plain)


@pytest.mark.parametrize(("dimension", "pick"), [("light", max), ("dark", min)])
def test_best_of_n_keeps_the_candidate_of_the_best_clip(generator: PipelineGenerator, dimension: str, pick) -> None:
    found = BestOfN(Bright(), {dimension: 2.0}, 3).latents(generator, PROMPTS, SEEDS)
    for row, (prompt, seed) in enumerate(zip(PROMPTS, SEEDS, strict=True)):
        seeds = candidate_seeds(seed, 3)
        latents = generator.sampler.latents([prompt] * 3, seeds)
        lights = [float(video.frames.mean()) for video in generator.codec.decode(latents, seeds)]
        torch.testing.assert_close(found[row], latents[lights.index(pick(lights))], atol=1e-3, rtol=1e-3)


def test_early_best_finishes_the_best_noise_alone_and_takes_no_other_step(generator: PipelineGenerator) -> None:
    rows: Counter[str] = Counter()
    hook = generator.network.transformers["transformer"].register_forward_pre_hook(
        lambda module, args, kwargs: rows.update({"rows": len(kwargs["hidden_states"])}), with_kwargs=True
    )
    found = EarlyBest(Bright(), {"light": 1.0}, 3, share=0.5).latents(generator, PROMPTS, SEEDS, num_steps=4)
    hook.remove()
    halves = 2 if generator.settings.guidance_scale > 1 else 1
    assert rows["rows"] == halves * len(SEEDS) * (3 * 2 + 4)
    assert type(generator.pipeline.scheduler).__name__ == "UniPCMultistepScheduler"
    for row, (prompt, seed) in enumerate(zip(PROMPTS, SEEDS, strict=True)):
        early: list[list[float]] = []

        def look(taken: StepTaken, early: list[list[float]] = early) -> Tensor:
            early.append(taken.moved.flatten(1).mean(1).tolist())
            return taken.moved

        seeds = candidate_seeds(seed, 3)
        plain = generator.sampler.latents([prompt] * 3, seeds, num_steps=4, wrap_scheduler=wrapper(look))
        torch.testing.assert_close(found[row], plain[early[1].index(max(early[1]))], atol=1e-3, rtol=1e-3)


def test_particles_keep_the_brightest_and_hang_on_the_clip_alone(generator: PipelineGenerator) -> None:
    search = Particles(Bright(), {"light": 1.0}, 4, strength=50.0, looks=(0.5,))
    found = search.latents(generator, PROMPTS, SEEDS, num_steps=4)
    plain = generator.sampler.latents(PROMPTS, SEEDS, num_steps=4)
    assert (found.flatten(1).mean(1) > plain.flatten(1).mean(1)).all()
    torch.testing.assert_close(search.latents(generator, PROMPTS[1:], SEEDS[1:], num_steps=4)[0], found[1])


def test_settings_that_cannot_be_met_are_refused() -> None:
    reward = Bright()
    with pytest.raises(ConfigError, match="no dimension 'ligt'. Did you mean 'light'"):
        BestOfN(reward, {"ligt": 1.0})
    with pytest.raises(ConfigError, match="num: must be at least 1 candidate; got 0"):
        EarlyBest(reward, {"light": 1.0}, 0)
    with pytest.raises(ConfigError, match="light must be a finite number; got nan"):
        Particles(reward, {"light": float("nan")})
    for share in (0.0, 1.5):
        with pytest.raises(ConfigError, match="share: must be above 0 and at most 1"):
            EarlyBest(reward, {"light": 1.0}, share=share)
    for looks in ((0.5, 0.4), (0.0,), (0.5, 0.5)):
        with pytest.raises(ConfigError, match="looks: must be shares between 0 and 1, rising"):
            Particles(reward, {"light": 1.0}, looks=looks)
    with pytest.raises(ConfigError, match="fresh: must be from 0 to 1; got 2"):
        Particles(reward, {"light": 1.0}, fresh=2.0)


def test_a_score_that_is_not_finite_ends_the_search(generator: PipelineGenerator) -> None:
    reward = Bright()
    reward.score = lambda x_t, t, condition: torch.full((len(x_t), 2), float("nan"))  # type: ignore[method-assign]
    with pytest.raises(ModelError, match="score that is not finite"):
        EarlyBest(reward, {"light": 1.0}).latents(generator, PROMPTS, SEEDS)
    assert type(generator.pipeline.scheduler).__name__ == "UniPCMultistepScheduler"
