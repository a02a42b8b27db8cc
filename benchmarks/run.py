"""Ratios of running times, each measured side by side in this run: what a method costs over a plainer one.

Training and sampling run the models of the embedded world with random weights, on one batch of random latents, so
nothing has to be trained or downloaded first; scoring runs on the reference data, where that is at hand. Run by
``make bench``; the result is one JSON file, one entry a ratio.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scoring import SHARED, memory_growth, scoring_rates
from torch.profiler import ProfilerActivity, profile

from videoalign.contracts.output import write_json
from videoalign.models.generators.generator import PipelineGenerator
from videoalign.models.latent_reward import LatentRewardModel
from videoalign.models.lora import LoraSettings, add_lora, as_reference
from videoalign.models.small_wan import small_wan_generator
from videoalign.randomness import Draws, fold_in
from videoalign.sampling.guided import RewardGuide
from videoalign.training.objectives.dpo import DpoObjective, reference_errors
from videoalign.training.objectives.flow import PairBatch, PairExample, TimeSettings, collate_pairs
from videoalign.training.objectives.sft import SftObjective
from videoalign.worlds.sprites.prompts import ALL_SENTENCES

NUM_PAIRS = 8
NUM_DRAWS = 4
MEMORY = "nrg_over_cfg_memory"
"""The ratio that is of bytes and not of seconds."""
SENTENCES = [sentence.text() for sentence in ALL_SENTENCES[:NUM_PAIRS]]


def examples(generator: PipelineGenerator) -> list[PairExample]:
    conditions = generator.conditioner.encode(SENTENCES).split()
    latents = torch.randn(2, NUM_PAIRS, *generator.codec.latent_shape, generator=fold_in(0, "bench"))
    return [PairExample(win=latents[0, i], lose=latents[1, i], condition=conditions[i]) for i in range(NUM_PAIRS)]


def training_steps() -> dict[str, Callable[[], object]]:
    """One whole training step of each method on the same clips: loss, gradient, optimizer.

    Flow-DPO sends both clips of a pair through the network, so SFT gets both as winners: as many clips, as much work.
    """
    generator = small_wan_generator([sentence.text() for sentence in ALL_SENTENCES])
    parameters = add_lora(generator.network.transformer, LoraSettings())
    times, plain = TimeSettings(), examples(generator)
    cached = reference_errors(generator.network, plain, seeds=range(len(plain)), num_draws=NUM_DRAWS, times=times)
    with_reference = [
        replace(example, reference=type(cached)(**{name: value[i] for name, value in vars(cached).items()}))
        for i, example in enumerate(plain)
    ]

    def step(objective: Any, batch: PairBatch) -> Callable[[], object]:
        optimizer = torch.optim.AdamW(parameters.values(), lr=1e-5)

        def run() -> None:
            optimizer.zero_grad()
            num = len(batch.win)
            objective.loss(batch, Draws(0, 0, range(num), num)).value.mean().backward()
            optimizer.step()

        return run

    dpo = DpoObjective(
        generator.network, parameters, times, lambda: as_reference(generator.network.transformer), beta=100.0
    )
    sft = SftObjective(generator.network, parameters, times)
    return {
        "sft": step(sft, collate_pairs([*plain, *(replace(e, win=e.lose, lose=e.win) for e in plain)])),
        "dpo_live": step(dpo, collate_pairs(plain)),
        "dpo_cached": step(dpo, collate_pairs(with_reference)),
    }


def sampling_steps() -> tuple[dict[str, Callable[[], object]], dict[str, int]]:
    """One denoising step of one batch, with classifier-free guidance and with the reward's gradient on top, and the
    bytes of the weights that each runs."""
    generator = small_wan_generator([sentence.text() for sentence in ALL_SENTENCES])
    text, empty = generator.conditioner.encode(SENTENCES), generator.conditioner.encode([""] * NUM_PAIRS)
    x_t = torch.randn(NUM_PAIRS, *generator.codec.latent_shape, generator=fold_in(0, "bench"))
    t = torch.full((NUM_PAIRS,), 0.5)
    guide = RewardGuide(
        LatentRewardModel.from_transformer(generator.network.transformer, ("VQ", "MQ", "TA")), {"MQ": 1.0}
    )

    @torch.no_grad()
    def cfg() -> torch.Tensor:
        v_text, v_empty = generator.network(x_t, t, text), generator.network(x_t, t, empty)
        return v_empty + 4.0 * (v_text - v_empty)

    def nrg() -> None:
        guide.adjust(cfg(), x_t, t, text)

    network, reward = (
        sum(value.numel() * value.element_size() for value in one.parameters())
        for one in (generator.network.transformer, guide.reward)
    )
    return {"cfg": cfg, "nrg": nrg}, {"cfg": network, "nrg": network + reward}


def step_memory(steps: dict[str, Callable[[], object]], weights: dict[str, int]) -> dict[str, float | int | str]:
    """What a guided step holds at most, weights and all, over what a step without guide does, as one entry."""
    most = {name: weights[name] + peak_bytes(step) for name, step in steps.items()}
    ratio, clips = most["nrg"] / most["cfg"], f"{NUM_PAIRS} clips"
    what = f"most memory of the guided step over that of the other, weights of transformer and reward included; {clips}"
    return {"value": ratio, "low": ratio, "high": ratio, "n": 1, "what": what}


def peak_bytes(action: Callable[[], object]) -> int:
    """Most bytes of tensors that an action holds at a time beside those that were there before."""
    action()
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as seen:
        action()
    events = [event for event in seen.profiler.kineto_results.events() if event.name() == "[memory]"]
    held = np.cumsum([event.nbytes() for event in sorted(events, key=lambda event: event.start_ns())])
    return int(held.max())


def ratio(slow: Callable[[], object], fast: Callable[[], object], num: int) -> dict[str, float | int]:
    """Median of the ratios of neighbouring runs, in turn so that both see the same machine, with a 95% interval."""
    slow(), fast()
    ratios = np.array([seconds(slow) / seconds(fast) for _ in range(num)])
    resampled = np.median(np.random.default_rng(0).choice(ratios, (2000, num)), axis=1)
    low, high = np.quantile(resampled, [0.025, 0.975])
    return {"value": float(np.median(ratios)), "low": float(low), "high": float(high), "n": num}


def seconds(action: Callable[[], object]) -> float:
    begin = time.perf_counter()
    action()
    return time.perf_counter() - begin


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("runs/bench.json"), help="where the JSON file goes")
    parser.add_argument("--num", type=int, default=30, help="measurements of each ratio")
    parser.add_argument("--num-scoring", type=int, default=5, help="measurements of the rates of scoring")
    parser.add_argument("--only", nargs="+", metavar="RATIO", help="measure these alone, of those that need no data")
    options = parser.parse_args()
    results = {}
    if SHARED.is_dir() and not options.only:  # first, as long as nothing else has filled the memory
        results["score_memory_growth"] = memory_growth()
    train, (sample, weights) = training_steps(), sampling_steps()
    pairs = f"{NUM_PAIRS} pairs, the small Wan of the embedded world, LoRA"
    what = {
        "dpo_live_over_sft": (
            train["dpo_live"],
            train["sft"],
            f"training step of Flow-DPO, reference run in the step, over one of SFT on the same clips; {pairs}",
        ),
        "dpo_cached_over_sft": (
            train["dpo_cached"],
            train["sft"],
            f"training step of Flow-DPO, reference errors from the cache, over one of SFT on the same clips; {pairs}",
        ),
        "nrg_over_cfg_step": (
            sample["nrg"],
            sample["cfg"],
            f"denoising step with classifier-free guidance and Flow-NRG over one without Flow-NRG; {NUM_PAIRS} clips",
        ),
    }
    names = [*what, MEMORY]
    if unknown := {*(options.only or ())} - {*names}:
        parser.error(f"--only: no ratio {min(unknown)}; wanted some of {', '.join(names)}")
    if MEMORY in (options.only or names):
        results[MEMORY] = step_memory(sample, weights)
    for name in what if not options.only else [name for name in options.only if name != MEMORY]:
        slow, fast, text = what[name]
        results[name] = {**ratio(slow, fast, options.num), "what": text}
    for name, (baseline, score, text) in ({} if options.only else scoring_rates()).items():
        results[name] = {**ratio(baseline, score, options.num_scoring), "what": text}
    for name, row in results.items():
        print(f"{name}: {row['value']:.2f} ({row['low']:.2f} to {row['high']:.2f})")
    write_json(options.out, results)


if __name__ == "__main__":
    main()
