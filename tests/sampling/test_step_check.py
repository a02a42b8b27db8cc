"""A sampler that is too coarse for its model is told in one line, where a dataset begins."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import FlowMatchEulerDiscreteScheduler
from torch import Tensor

from videoalign.models.generators import load_generator
from videoalign.models.generators.generator import PipelineGenerator
from videoalign.models.small_wan import TINY_SETTINGS, TINY_SIZES, small_wan_generator
from videoalign.recipes.generator.generate import GenerateConfig, generate
from videoalign.sampling.step_check import COARSE, step_error

TEXTS = ["a red circle moves left", "a blue square moves right"]
FEW = GenerateConfig(per_prompt=2, num_steps=2, batch_size=3)


class Rough(PipelineGenerator):
    """Makes latents that are off by ``error`` deviations / steps, whatever the network says; counts its clips."""

    error = 0.0
    last: Rough

    def __init__(self, *made_of: Any) -> None:
        super().__init__(*made_of)
        self.made: list[tuple[int, int]] = []
        self.sampler = RoughSampler(self)

    def changed(self, settings: Any) -> Rough:
        Rough.last = Rough(self.pipeline, self.settings.changed(settings), self.name)
        Rough.last.error = self.error
        return Rough.last


class RoughSampler:
    """The sampler of a `Rough`, but for its latents."""

    def __init__(self, owner: Rough) -> None:
        self.owner, self.own = owner, owner.sampler

    def __getattr__(self, name: str) -> Any:
        return getattr(self.own, name)

    def latents(self, prompts: list[str], seeds: list[int], **options: Any) -> Tensor:
        steps = int(options.get("num_steps") or self.num_steps)
        self.owner.made.append((len(seeds), steps))
        true = torch.stack([self.noise(seed) for seed in seeds])
        sign = torch.where(torch.arange(true.shape[-1]) % 2 == 0, 1.0, -1.0)
        return true + self.owner.error * sign / steps


@pytest.fixture
def rough() -> Rough:
    inner = small_wan_generator(TEXTS, TINY_SIZES, settings=TINY_SETTINGS)
    return Rough(inner.pipeline, inner.settings, inner.name)


def test_the_error_is_a_share_of_the_deviation_within_clips() -> None:
    finer = torch.tensor([1.0, -1.0]).repeat(8).reshape(1, 1, 1, 4, 4) * 3 + 50
    assert step_error(finer + 0.3, finer) == pytest.approx(0.1, abs=1e-5)
    assert step_error(finer, finer) == 0.0
    one, other = torch.randn(2, 4, 4, 8, 16, 16, generator=torch.Generator().manual_seed(0))
    assert step_error(one, other) == pytest.approx(math.sqrt(2), abs=0.02)


def test_two_clips_of_a_new_dataset_are_made_again_and_no_others(rough: Rough, tmp_path: Path) -> None:
    notes: list[str] = []
    rough.error = 4 * 0.5  # off by 1 in 2 steps and by 0.5 in 4, so that they differ by 0.5
    dataset = generate(rough, TEXTS, tmp_path / "d", FEW, on_note=notes.append)
    assert sorted(Rough.last.made) == [(1, 2), (2, 4), (3, 2)]
    assert len(dataset.clips()) == 4
    (note,) = notes
    assert "\n" not in note
    for part in ("num_steps=2 of UniPCMultistepScheduler", "2 clips differ", "in 4 steps by 0.", "num_steps=4"):
        assert part in note
    generate(rough, [*TEXTS, "a red square"], dataset, FEW, on_note=notes.append)
    assert len(notes) == 1  # clips were there
    off = FEW.model_copy(update={"check_steps": False})
    generate(rough, TEXTS, tmp_path / "off", off, on_note=notes.append)
    assert len(notes) == 1 and (2, 4) not in Rough.last.made
    rough.error = 4 * 0.9 * COARSE * 0.9
    generate(rough, TEXTS, tmp_path / "fine", FEW, on_note=notes.append)
    assert len(notes) == 1 and (2, 4) in Rough.last.made
    rough.error = 2.0
    generate(rough, TEXTS[:1], tmp_path / "one", GenerateConfig(num_steps=2), on_note=notes.append)
    assert len(notes) == 2 and "1 clips differ" in notes[1]


def test_the_sprite_base_is_sampled_finely_enough_by_its_own_scheduler_and_not_by_sixteen_euler_steps(
    tmp_path: Path,
) -> None:
    generator, notes = load_generator("sprites"), []
    generate(generator, TEXTS, tmp_path / "own", GenerateConfig(), on_note=notes.append)
    assert notes == []
    generator.pipeline.scheduler = FlowMatchEulerDiscreteScheduler()
    generate(generator, TEXTS, tmp_path / "euler", GenerateConfig(num_steps=16), on_note=notes.append)
    (note,) = notes
    assert note.startswith("num_steps=16 of FlowMatchEulerDiscreteScheduler, shift 1 is too coarse for 'sprites'")
