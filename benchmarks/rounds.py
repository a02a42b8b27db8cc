"""Two rounds of Flow-DPO against one with as many clips, pairs and steps, on the sprite world, judged by the oracle.

Of finished runs of ``videoalign quickstart``, a seed each, the reward is taken, or the oracle labels too
(``--reward oracle``); all clips are made anew. One round with twice the clips, pairs and steps stands against two: with
the base as the reference, with the last round's model as the reference, with a safeguard of the winners' error, and at
half the rate. A run that stopped goes on. Prints a table a seed and one of all seeds together.
"""

from __future__ import annotations

import argparse
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np

from videoalign.contracts.records import DatasetInfo, Prompt
from videoalign.data.dataset import Dataset, prompt_id_of
from videoalign.data.pairs import PairsConfig
from videoalign.evaluation.compare import base_units, compare
from videoalign.recipes.generator.align_methods import DpoConfig
from videoalign.recipes.generator.rounds import rounds
from videoalign.recipes.generator.rounds_settings import RoundsConfig
from videoalign.training.loop import FitConfig
from videoalign.worlds.sprites.prompts import HELD_OUT_SENTENCES, TRAIN_SENTENCES

NUM_PROMPTS, CLIPS, PAIRS, STEPS = 54, 6, 2, 40
"""Training prompts; clips and pairs of each, and steps, in one round of two."""

ARMS = {
    "one": "one round, twice of all",
    "base": "two rounds, reference base",
    "last": "two rounds, reference last",
    "safe": "two rounds, safeguard 0.6",
    "slow": "two rounds, half the rate",
}


def prompts_of(folder: Path, seed: int) -> Dataset:
    """A dataset of prompts alone: some to train on, drawn by the seed, and all held-out ones."""
    if (folder / "dataset.json").is_file():
        return Dataset.open(folder)
    drawn = np.random.default_rng(seed).permutation(len(TRAIN_SENTENCES))[:NUM_PROMPTS]
    texts = [(TRAIN_SENTENCES[place].text(), "train") for place in sorted(drawn)]
    texts += [(sentence.text(), "test") for sentence in HELD_OUT_SENTENCES]
    dataset = Dataset.create(folder, DatasetInfo(), exist_ok=True)
    dataset.add(prompts=[Prompt(prompt_id=prompt_id_of(text), text=text, split=split) for text, split in texts])
    return dataset


def settings(arm: str, seed: int, reward: str | Path) -> RoundsConfig:
    """The same budget for every arm: clips, pairs and steps."""
    times = 2 if arm == "one" else 1
    rate = 5e-4 if arm == "slow" else 1e-3
    fit = FitConfig(
        num_steps=STEPS * times, batch_size=16, learning_rate=rate, warmup_steps=10, schedule="cosine", seed=seed
    )
    return RoundsConfig(
        num_rounds=2 // times,
        reference="last" if arm == "last" else "base",
        per_prompt=CLIPS * times,
        batch_size=24,
        seed=seed,
        pairs=PairsConfig(max_per_prompt=PAIRS * times),
        dpo=DpoConfig(fit=fit, beta=100.0, reference_draws=4, safeguard=0.6 if arm == "safe" else None),
        judged_per_prompt=2,
        allow_teacher_judge=reward == "oracle",
    )


def run(arm: str, reward: str | Path, out: Path, seed: int) -> list[dict[str, Any]]:
    """The rows of ``scores.json`` after one arm: a clip each, with the scores of the base and after each round."""
    dataset = prompts_of(out / f"seed{seed}" / "prompts", seed)
    folder, first = out / f"seed{seed}" / arm, out / f"seed{seed}" / "base"
    if arm == "last" and not folder.exists() and (first / "results.json").is_file():
        take_first_round(first, folder)
    rounds(dataset, "sprites", reward, folder, settings(arm, seed, reward), judge="oracle", say=print)
    return json.loads((folder / "scores.json").read_text())


def take_first_round(done: Path, folder: Path) -> None:
    """The first round starts from the base, whatever the reference of the second is, so it is made once."""
    shutil.copytree(done, folder, ignore=shutil.ignore_patterns("round-2", "results.json", "scores.json"))
    identity = json.loads((folder / "run.json").read_text())
    (folder / "run.json").write_text(json.dumps({**identity, "reference": "last"}))


def table(scores: dict[str, list[dict[str, Any]]]) -> None:
    """Win rates over the base, and of two rounds over one, in the units of the base's clips."""
    dimensions = list(next(iter(scores.values()))[0]["base"])

    def column(arm: str, name: str) -> np.ndarray:
        return np.array([[row[name][dimension] for dimension in dimensions] for row in scores[arm]])

    first = next(iter(scores))
    prompts = [row["prompt"] for row in scores[first]]
    units = base_units(column(first, "base"), prompts, dimensions)
    print("| arm | against | " + " | ".join([*dimensions, "overall"]) + " |\n" + "| --- " * (len(dimensions) + 3) + "|")
    wanted = [("one", "round-1", "one", "base"), ("base", "round-1", "base", "base")]
    for arm in list(ARMS)[1:]:
        wanted += [(arm, "round-2", *other) for other in ((arm, "base"), (arm, "round-1"), ("one", "round-1"))]
    pairs = [row for row in wanted if row[0] in scores and row[2] in scores]
    for arm, name, other, against in pairs:
        found = compare(column(other, against), column(arm, name), prompts, dimensions, units=units)
        cells = [f"{row['win_rate']:.2f} [{row['low']:.2f}, {row['high']:.2f}]" for row in found.values()]
        what = "the first round of two" if name == "round-1" and arm != "one" else ARMS[arm]
        than = "the base" if against == "base" else ARMS["one"] if other == "one" else "its first round"
        print(f"| {what} | {than} | " + " | ".join(cells) + " |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quickstart", nargs="+", type=Path, required=True, help="runs of seed 0, 1, ... in order")
    parser.add_argument("--out", type=Path, default=Path("runs/rounds"))
    parser.add_argument("--reward", choices=["videoreward", "oracle"], default="videoreward", help="which labels")
    parser.add_argument("--arms", nargs="+", default=list(ARMS), choices=ARMS)
    options = parser.parse_args()
    together: dict[str, list[dict[str, Any]]] = {arm: [] for arm in options.arms}
    for seed, quickstart in enumerate(options.quickstart):
        reward = options.reward if options.reward == "oracle" else quickstart / options.reward
        found = {arm: run(arm, reward, options.out, seed) for arm in options.arms}
        print(f"\nseed {seed}")
        table(found)
        for arm, rows in found.items():
            together[arm] += rows
    if len(options.quickstart) > 1:
        print(f"\n{len(options.quickstart)} seeds together")
        table(together)


if __name__ == "__main__":
    main()
