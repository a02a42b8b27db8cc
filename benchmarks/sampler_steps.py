"""How far the sprite base's clips are from those of twice the steps, and from those of many: one row a sampler.

python benchmarks/sampler_steps.py        # a minute of one core
"""

from __future__ import annotations

from typing import Any

import torch
from diffusers import FlowMatchEulerDiscreteScheduler
from torch import Tensor

from videoalign.models.generators import load_generator
from videoalign.sampling.step_check import step_error
from videoalign.worlds.sprites.prompts import TRAIN_SENTENCES

SEEDS = (1, 2, 3, 4)
MANY = 100
STEPS = {"UniPC, shift 3": (6, 8, 12, 24), "Euler, shift 1": (8, 16, 32), "Euler, shift 3": (8, 16, 32)}


def main() -> None:
    """Prints a Markdown table."""
    torch.set_num_threads(1)
    generator = load_generator("sprites")
    texts = [sentence.text() for sentence in TRAIN_SENTENCES[:: len(TRAIN_SENTENCES) // len(SEEDS)][: len(SEEDS)]]
    schedulers: dict[str, Any] = {
        "UniPC, shift 3": generator.pipeline.scheduler,
        "Euler, shift 1": FlowMatchEulerDiscreteScheduler(shift=1.0),
        "Euler, shift 3": FlowMatchEulerDiscreteScheduler(shift=3.0),
    }
    made: dict[tuple[str, int], Tensor] = {}

    def clips(name: str, steps: int) -> Tensor:
        if (name, steps) not in made:
            generator.pipeline.scheduler = schedulers[name]
            made[name, steps] = generator.sampler.latents(texts, SEEDS, num_steps=steps)
        return made[name, steps]

    true = clips("UniPC, shift 3", MANY)
    print(f"| sampler | steps | from twice the steps | clip by clip | from {MANY} of UniPC |")
    print("| --- | --- | --- | --- | --- |")
    for name, numbers in STEPS.items():
        for steps in numbers:
            some, twice = clips(name, steps), clips(name, 2 * steps)
            each = [step_error(one[None], other[None]) for one, other in zip(some, twice, strict=True)]
            span = f"{min(each):.2f} to {max(each):.2f}"
            print(f"| {name} | {steps} | {step_error(some, twice):.3f} | {span} | {step_error(some, true):.3f} |")


if __name__ == "__main__":
    main()
