"""How much of a method's figure is chance: the alignments of quickstarts again, with other seeds of the training.

python benchmarks/chance.py --runs runs/seed0 runs/seed1 runs/seed2        # two minutes of one core a training

Clips, labels, pairs and the clips that are judged stay as each run has them. A run that stopped goes on.
"""

from __future__ import annotations

import argparse
import json
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy.stats import bootstrap

from videoalign.contracts.records import TOGETHER
from videoalign.data.dataset import Dataset
from videoalign.evaluation.compare import compare
from videoalign.recipes.generator.align import align
from videoalign.recipes.generator.generate import GenerateConfig, generate, open_generator
from videoalign.recipes.judges import JudgedClips, judge_dataset
from videoalign.recipes.quickstart_settings import METHODS, QuickstartConfig
from videoalign.worlds.sprites.oracle import Oracle
from videoalign.worlds.sprites.prompts import HELD_OUT_SENTENCES

HELD_OUT = [sentence.text() for sentence in HELD_OUT_SENTENCES]
FIRST = "dpo"
"""The method that the others are compared with."""


def main() -> None:
    """Prints a Markdown row for each run and method, and how far the others stay behind over all of them."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=Path, nargs="+", required=True, help="folders of quickstarts")
    parser.add_argument("--out", type=Path, required=True, help="folder of adapters and clips")
    parser.add_argument("--seeds", type=int, nargs="+", default=[10, 11, 12, 13], help="of the trainings")
    parser.add_argument("--methods", nargs="+", default=list(METHODS), choices=list(METHODS))
    given = parser.parse_args()
    torch.set_num_threads(1)
    wins: dict[str, list[float]] = defaultdict(list)
    print(f"| run | method | overall by seed {', '.join(map(str, given.seeds))} | mean; VQ, MQ, TA | mean overall |")
    print("| --- | --- | --- | --- | --- |", flush=True)
    for run in given.runs:
        config, out = _settings(run), given.out / run.name
        base = _judged(out / "base", config, None)
        for method in given.methods:
            rates = [_rates(run, config, base, method, seed, out) for seed in given.seeds]
            overall = [rate[TOGETHER]["win_rate"] for rate in rates]
            wins[method] += overall
            parts = ", ".join(
                f"{np.mean([rate[name]['win_rate'] for rate in rates]):.2f}" for name in ("VQ", "MQ", "TA")
            )
            each = ", ".join(f"{rate:.2f}" for rate in overall)
            print(f"| {run.name} | {method} | {each} | {parts} | {np.mean(overall):.2f} |", flush=True)
    for method in set(given.methods) - {FIRST}:
        gain = np.subtract(wins[FIRST], wins[method])
        inside = bootstrap((gain,), np.mean, rng=0).confidence_interval
        ahead = f"ahead in {(gain > 0).sum()}, level in {(gain == 0).sum()} of {len(gain)} trainings"
        print(f"\n{FIRST} over {method}: {gain.mean():+.3f} [{inside.low:+.3f}, {inside.high:+.3f}], {ahead}")


def _settings(run: Path) -> QuickstartConfig:
    told = json.loads((run / "run.json").read_text())
    return QuickstartConfig.model_validate({key: told[key] for key in QuickstartConfig.model_fields if key in told})


def _rates(run: Path, config: QuickstartConfig, base: JudgedClips, method: str, seed: int, out: Path) -> dict[str, Any]:
    adapter = out / f"{method}_{seed}"
    if not (adapter / "lineage.json").exists():
        name, pairs, training = METHODS[method](config)
        training = training.model_copy(update={"fit": training.fit.model_copy(update={"seed": seed})})
        align(name, Dataset.open(run / "dataset"), open_generator("sprites"), pairs, adapter, training)
    aligned = _judged(out / f"{method}_{seed}_clips", config, adapter)
    return compare(base.scores, aligned.scores, base.prompts, Oracle().dimensions)


def _judged(folder: Path, config: QuickstartConfig, adapter: Path | None) -> JudgedClips:
    options = GenerateConfig(
        per_prompt=config.judged_per_prompt, seed=config.seed + 1, batch_size=24, keep_latents=False, check_steps=False
    )
    return judge_dataset(Oracle(), generate(open_generator("sprites", adapter), HELD_OUT, folder, options), HELD_OUT)


if __name__ == "__main__":
    main()
