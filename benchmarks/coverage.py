"""How often the 95% intervals of a share hold the true one, over simulated experiments; prints two tables.

Clips of one prompt share an effect: each prompt has a chance of winning of its own, normal in the logit or beta
distributed around the true rate, and its clips win with that chance. All experiments in which every clip wins have one
and the same interval; the second table says how many those are, and so by how much a cell of the first one jumps with
whether that interval holds the rate. Nothing is measured on a machine: the tables are the same everywhere. Run:
``python benchmarks/coverage.py``.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable

import numpy as np
from scipy.special import expit

from videoalign.stats.shares import share_of_sums

RATES = (0.5, 0.7, 0.9, 0.95, 0.97)
PROMPTS = (36, 100)
PER_PROMPT = 2

Draw = Callable[[float, np.random.Generator, tuple[int, ...]], np.ndarray]
"""From the true rate, draws and a shape to chances of winning whose mean is the true rate."""


def logit_normal(spread: float) -> Draw:
    """A normal effect of this deviation on the log-odds of each prompt."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(60)

    def draw(rate: float, rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
        low, high = -20.0, 20.0
        while high - low > 1e-9:
            middle = (low + high) / 2
            mean = weights @ expit(middle + spread * nodes) / weights.sum()
            low, high = (middle, high) if mean < rate else (low, middle)
        return np.asarray(expit(low + spread * rng.standard_normal(shape)))

    return draw


def beta(concentration: float) -> Draw:
    """Chances from a beta distribution; clips of one prompt correlate by 1 / (1 + concentration)."""
    return lambda rate, rng, shape: rng.beta(rate * concentration, (1 - rate) * concentration, shape)


EFFECTS: dict[str, Draw] = {
    "none": lambda rate, rng, shape: np.full(shape, rate),
    "logit, deviation 1": logit_normal(1.0),
    "logit, deviation 2": logit_normal(2.0),
    "beta, correlation 0.11": beta(8.0),
    "beta, correlation 0.33": beta(2.0),
}


def coverage(draw: Draw, rate: float, num_prompts: int, num: int, seed: int) -> tuple[float, float, float]:
    """The share of ``num`` experiments whose interval holds the rate, the narrowest width, and the share of those in
    which every clip wins."""
    rng = np.random.default_rng(seed)
    wins = rng.binomial(PER_PROMPT, draw(rate, rng, (num, num_prompts)))
    kinds, which = np.unique(np.sort(wins, axis=1), axis=0, return_inverse=True)
    found = [share_of_sums(row, np.full(num_prompts, PER_PROMPT)) for row in kinds]
    held = np.array([low <= rate <= high for _, low, high in found])
    all_win = float((wins.sum(axis=1) == PER_PROMPT * num_prompts).mean())
    return float(held[which.reshape(-1)].mean()), min(high - low for _, low, high in found), all_win


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--experiments", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    tables: tuple[list[str], list[str]] = ([], [])
    for num_prompts in PROMPTS:
        for name, draw in EFFECTS.items():
            rows = [coverage(draw, rate, num_prompts, options.experiments, options.seed) for rate in RATES]
            held, all_win = (" | ".join(f"{row[place]:.3f}" for row in rows) for place in (0, 2))
            tables[0].append(f"| {num_prompts} | {name} | {held} | {min(row[1] for row in rows):.3f} |")
            tables[1].append(f"| {num_prompts} | {name} | {all_win} |")
    head = f"| prompts, {PER_PROMPT} clips each | effect of a prompt | {' | '.join(map(str, RATES))} |"
    print(f"Share of intervals that hold the true rate:\n\n{head} narrowest |\n|{'---|' * (len(RATES) + 3)}")
    print("\n".join(tables[0]))
    print(f"\nShare of experiments in which every clip wins:\n\n{head}\n|{'---|' * (len(RATES) + 2)}")
    print("\n".join(tables[1]))


if __name__ == "__main__":
    main()
