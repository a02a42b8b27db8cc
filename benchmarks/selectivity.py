"""Whether a weight moves its own dimension alone: each dimension guided by itself, with the others let go or held.

python benchmarks/selectivity.py --guide runs/quickstart/guide        # a quarter of an hour of one core

On the sprite world, judged by its oracle on held-out prompts.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch

from videoalign.contracts.generator import Steering
from videoalign.evaluation.compare import compare
from videoalign.recipes.generator.generate import open_generator
from videoalign.recipes.generator.steering import GuideSteering, guide_wrapper, holding_wrapper, open_guide
from videoalign.sampling.generate import clip_seed
from videoalign.sampling.holding import HoldingGuide
from videoalign.worlds.sprites.oracle import Oracle
from videoalign.worlds.sprites.prompts import HELD_OUT_SENTENCES

BATCH = 18


def main() -> None:
    """Prints a Markdown table: win rates over the unguided clip of the same noise."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--guide", type=Path, required=True)
    parser.add_argument("--strength", type=float, default=2.0)
    parser.add_argument("--per-prompt", type=int, default=1)
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    torch.set_num_threads(1)
    generator, judge = open_generator("sprites"), Oracle()
    reward = open_guide(generator, given.guide)
    texts = [sentence.text() for sentence in HELD_OUT_SENTENCES for _ in range(given.per_prompt)]
    seeds = [clip_seed(given.seed, text, number % given.per_prompt) for number, text in enumerate(texts)]

    def scored(steering: Steering | None) -> np.ndarray:
        rows = []
        for begin in range(0, len(texts), BATCH):
            some = texts[begin : begin + BATCH], seeds[begin : begin + BATCH]
            latents = generator.sampler.latents(*some) if steering is None else steering.latents(generator, *some)
            rows.append(judge.score_videos(generator.codec.decode(latents), some[0]))
        return np.concatenate(rows)

    base = scored(None)
    print("| the others | weight on | VQ | MQ | TA | mean of the others |")
    print("| --- | --- | --- | --- | --- | --- |", flush=True)
    for own in judge.dimensions:
        weights = {own: 1.0}
        ways: dict[str, Steering] = {
            "let go": guide_wrapper(generator, given.guide, weights, given.strength),
            "projected": GuideSteering(HoldingGuide(reward, weights, given.strength), {}, "projected"),
            "held": holding_wrapper(generator, given.guide, weights, given.strength),
        }
        for way, steering in ways.items():
            found = compare(base, scored(steering), texts, judge.dimensions)
            rates = {name: found[name]["win_rate"] for name in judge.dimensions}
            others = np.mean([rate for name, rate in rates.items() if name != own])
            cells = " | ".join(f"{rate:.2f}" for rate in rates.values())
            print(f"| {way} | {own} | {cells} | {others:.2f} |", flush=True)


if __name__ == "__main__":
    main()
