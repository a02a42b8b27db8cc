"""Ways to steer side by side: win rates over the unguided clip, evaluations and processor seconds of a clip.

python benchmarks/steering_ways.py --run runs/quickstart        # ten minutes of one core

On the sprite world with the rewards of a quickstart, judged by the oracle, which labelled nothing, on held-out prompts.
"""

from __future__ import annotations

import argparse
import time
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from videoalign.contracts.generator import Steering
from videoalign.contracts.records import TOGETHER
from videoalign.evaluation.compare import compare
from videoalign.models.latent_reward import LatentRewardModel
from videoalign.recipes.generator.generate import open_generator
from videoalign.recipes.generator.steering import Steer
from videoalign.sampling.generate import clip_seed
from videoalign.worlds.sprites.oracle import Oracle
from videoalign.worlds.sprites.prompts import HELD_OUT_SENTENCES

BATCH = 18


def main() -> None:
    """Prints a Markdown table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--run", type=Path, required=True, help="folder of a quickstart: its guide and its VideoReward")
    parser.add_argument("--strength", type=float, default=2.0)
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    torch.set_num_threads(1)
    generator, judge = open_generator("sprites"), Oracle()
    guide, reward = given.run / "guide", str(given.run / "videoreward" / "model")
    texts = [sentence.text() for sentence in HELD_OUT_SENTENCES]
    seeds = [clip_seed(given.seed, text, 0) for text in texts]
    counted: dict[str, float] = defaultdict(float)
    _count(counted, "network", generator.network.transformers["transformer"])
    ways = {
        "nrg": Steer(guide=guide, strength=given.strength),
        "early-best of 2": Steer(way="early-best", guide=guide, candidates=2),
        "early-best of 4": Steer(way="early-best", guide=guide, candidates=4),
        "early-best of 8": Steer(way="early-best", guide=guide, candidates=8),
        "particles, 4": Steer(way="particles", guide=guide, candidates=4, strength=given.strength),
        "particles, 8": Steer(way="particles", guide=guide, candidates=8, strength=given.strength),
        "best-of-n, 2": Steer(way="best-of-n", judge=reward, candidates=2),
        "best-of-n, 4": Steer(way="best-of-n", judge=reward, candidates=4),
    }

    def scored(steering: Steering | None) -> np.ndarray:
        rows = []
        for begin in range(0, len(texts), BATCH):
            some = texts[begin : begin + BATCH], seeds[begin : begin + BATCH]
            started = time.process_time()
            latents = generator.sampler.latents(*some) if steering is None else steering.latents(generator, *some)
            counted["seconds"] += time.process_time() - started
            rows.append(judge.score_videos(generator.codec.decode(latents), some[0]))
        return np.concatenate(rows)

    base = scored(None)
    print("| way | network | latent reward | seconds | VQ | MQ | TA | overall | interval |")
    print("| --- | --- | --- | --- | --- | --- | --- | --- | --- |")
    print(f"| unguided | {_each(counted, len(texts))} | | | | | |", flush=True)
    for name, steer in ways.items():
        counted.clear()
        steering = steer.open(generator)
        _count(counted, "reward", _latent_reward(steering))
        found = compare(base, scored(steering), texts, judge.dimensions)
        cells = " | ".join(f"{found[part]['win_rate']:.2f}" for part in (*judge.dimensions, TOGETHER))
        interval = f"{found[TOGETHER]['low']:.2f} to {found[TOGETHER]['high']:.2f}"
        print(f"| {name} | {_each(counted, len(texts))} | {cells} | {interval} |", flush=True)


def _latent_reward(steering: Any) -> nn.Module | None:
    """The noisy-latent reward that a steering asks, if it asks one."""
    reward = getattr(getattr(steering, "guide", steering), "reward", None)
    return reward.transformer if isinstance(reward, LatentRewardModel) else None


def _count(counted: dict[str, float], what: str, module: nn.Module | None) -> None:
    """Counts the clips that go through a transformer."""
    if module is not None:

        def add(module: nn.Module, args: Any, kwargs: Any) -> None:
            counted[what] += len(args[0] if args else kwargs["hidden_states"])

        module.register_forward_pre_hook(add, with_kwargs=True)


def _each(counted: Mapping[str, float], num: int) -> str:
    return " | ".join(
        f"{counted[what] / num:.{digits}f}" for what, digits in (("network", 0), ("reward", 0), ("seconds", 2))
    )


if __name__ == "__main__":
    main()
