"""Ways to steer side by side: win rates over the unguided clip, evaluations and processor seconds of a clip.

python benchmarks/steering_ways.py --run runs/quickstart        # half an hour of one core

On the sprite world with the rewards of a quickstart, judged by the oracle, which labelled nothing, on held-out prompts.
``--guide NAME=FOLDER`` adds the gradient of another noisy-latent reward, ``--only`` takes some of the rows.
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
from look_ahead import LookAhead
from torch import nn

from videoalign.contracts.generator import Generator, Steering
from videoalign.contracts.records import TOGETHER
from videoalign.evaluation.compare import compare
from videoalign.models.latent_reward import LatentRewardModel
from videoalign.models.videoreward import VideoReward
from videoalign.recipes.generator.generate import open_generator
from videoalign.recipes.generator.steering import GuideSteering, Steer, open_guide
from videoalign.sampling.generate import clip_seed
from videoalign.sampling.guided import RewardGuide
from videoalign.worlds.sprites.oracle import Oracle
from videoalign.worlds.sprites.prompts import HELD_OUT_SENTENCES

BATCH = 18

Way = tuple[Steering | None, int]
"""A way to steer, and the steps of a clip."""


def main() -> None:
    """Prints a Markdown table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--run", type=Path, required=True, help="folder of a quickstart: its guide and its VideoReward")
    parser.add_argument("--guide", metavar="NAME=FOLDER", action="append", default=[], help="another latent reward")
    parser.add_argument("--weights", default="", help="by dimension, as MQ=1; default: all alike, with a sum of 1")
    parser.add_argument("--strength", type=float, default=2.0)
    parser.add_argument("--per-prompt", type=int, default=1)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", nargs="+", metavar="ROW", help="rows, by name or how names begin")
    given = parser.parse_args()
    torch.set_num_threads(1)
    generator, judge = open_generator("sprites"), Oracle()
    texts = [sentence.text() for sentence in HELD_OUT_SENTENCES for _ in range(given.per_prompt)]
    seeds = [clip_seed(given.seed, text, number % given.per_prompt) for number, text in enumerate(texts)]
    counted: dict[str, float] = defaultdict(float)
    _count(counted, "network", generator.network.transformers["transformer"])

    def scored(steering: Steering | None, num_steps: int) -> np.ndarray:
        rows = []
        for begin in range(0, len(texts), BATCH):
            some = texts[begin : begin + BATCH], seeds[begin : begin + BATCH]
            started = time.process_time()
            if steering is None:
                latents = generator.sampler.latents(*some, num_steps=num_steps)
            else:
                latents = steering.latents(generator, *some, num_steps=num_steps)
            counted["seconds"] += time.process_time() - started
            rows.append(judge.score_videos(generator.codec.decode(latents), some[0]))
        return np.concatenate(rows)

    base = scored(None, STEPS)
    print(f"n = {len(texts)} clips of {len(HELD_OUT_SENTENCES)} held-out prompts\n")
    print("| way | network | latent reward | seconds | VQ | MQ | TA | overall |")
    print("| --- | --- | --- | --- | --- | --- | --- | --- |")
    print(f"| unguided | {_each(counted, len(texts))} | | | | |", flush=True)
    ways = _ways(generator, given)
    for name, (steering, num_steps) in ways.items():
        if given.only and not any(name == one if one in ways else name.startswith(one) for one in given.only):
            continue
        counted.clear()
        _count(counted, "reward", _latent_reward(steering))
        found = compare(base, scored(steering, num_steps), texts, judge.dimensions)
        cells = (found[part] for part in (*judge.dimensions, TOGETHER))
        shown = " | ".join(f"{one['win_rate']:.2f} [{one['low']:.2f}, {one['high']:.2f}]" for one in cells)
        print(f"| {name} | {_each(counted, len(texts))} | {shown} |", flush=True)


STEPS = 12
"""Of the base's own sampler."""


def _ways(generator: Generator, given: argparse.Namespace) -> dict[str, Way]:
    """By the name of the row."""
    folder, judge = given.run / "guide", str(given.run / "videoreward" / "model")
    weights = {name: float(value) for name, value in (one.split("=") for one in given.weights.split(",") if one)}
    own = weights or None

    def gradient(guide: Path, strength: float, **how: Any) -> Steering:
        reward = open_guide(generator, guide)
        each = own or dict.fromkeys(reward.dimensions, 1 / len(reward.dimensions))
        return GuideSteering(RewardGuide(reward, each, strength, **how), {}, guide.name)

    def search(way: str, candidates: int) -> Steering | None:
        asked: dict[str, Any] = {"judge": judge} if way == "best-of-n" else {"guide": folder}
        return Steer(way=way, weights=own, candidates=candidates, strength=given.strength, **asked).open(generator)

    def ahead(strength: float, **how: Any) -> Steering:
        reward = VideoReward.from_pretrained(judge)
        each = own or dict.fromkeys(reward.dimensions, 1 / len(reward.dimensions))
        return LookAhead(reward, each, strength, **how)

    ways: dict[str, Way] = {
        "nrg": (gradient(folder, given.strength), STEPS),
        "nrg, normalised 0.1": (gradient(folder, 0.1, normalised=True), STEPS),
        "nrg, normalised 0.2": (gradient(folder, 0.2, normalised=True), STEPS),
        "one-step prediction and VideoReward": (ahead(given.strength), STEPS),
        "one-step prediction and VideoReward, normalised 0.1": (ahead(0.1, normalised=True), STEPS),
    }
    for one in given.guide:
        name, _, path = one.partition("=")
        ways[f"nrg, {name}"] = gradient(Path(path), given.strength), STEPS
        ways[f"nrg, {name}, normalised 0.1"] = gradient(Path(path), 0.1, normalised=True), STEPS
    ways |= {
        "unguided, 48 steps": (None, 4 * STEPS),
        "nrg, 24 steps": (gradient(folder, given.strength), 2 * STEPS),
        "nrg, 48 steps": (gradient(folder, given.strength), 4 * STEPS),
    }
    for way, numbers in {"early-best": (2, 4, 6, 8), "particles": (4, 8), "best-of-n": (2, 4)}.items():
        ways |= {f"{way}, {number}": (search(way, number), STEPS) for number in numbers}
    return ways


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
