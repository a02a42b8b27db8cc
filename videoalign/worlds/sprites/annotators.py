"""Simulated raters: they see the oracle's scores through noise, call near things ties and are careless at times."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from videoalign.contracts.records import SIMULATED, Judgement, Label

NOTICEABLE: Mapping[str, float] = {"VQ": 0.03, "MQ": 0.08, "TA": 0.06}
"""Least difference of scores that people notice: half the deviation among the base's clips of one sentence."""


@dataclass(frozen=True)
class Annotator:
    """One rater's habits, in units of `NOTICEABLE`."""

    name: str
    noise: float = 1.0
    """Standard deviation of the error in a perceived difference."""
    tie_band: float = 1.0
    """Perceived differences within this are called a tie."""
    careless_share: float = 0.04
    """Share of verdicts given at random."""

    def judge(self, difference: float, rng: np.random.Generator) -> Label:
        """The verdict on score A - score B of one dimension, in units of `NOTICEABLE`."""
        if rng.random() < self.careless_share:
            return Label((Label.A, Label.TIE, Label.B)[int(rng.integers(3))])
        perceived = difference + self.noise * rng.normal()
        if abs(perceived) <= self.tie_band:
            return Label.TIE
        return Label.A if perceived > 0 else Label.B


PANEL: tuple[Annotator, ...] = (
    Annotator("ada", noise=1.0, tie_band=1.0, careless_share=0.03),
    Annotator("ben", noise=1.3, tie_band=1.0, careless_share=0.05),
    Annotator("cyd", noise=1.0, tie_band=1.6, careless_share=0.04),
)
"""Three raters per pair, as in the paper."""


def judge_pairs(
    pairs: Iterable[tuple[str, str, str]],
    scores: Mapping[str, Sequence[float]],
    dimensions: Sequence[str],
    rng: np.random.Generator,
    panel: Sequence[Annotator] = PANEL,
) -> list[Judgement]:
    """Every rater's verdict on every pair and dimension.

    Args:
        pairs: (prompt id, clip A, clip B).
        scores: clip id to the oracle's scores, one per dimension.
        dimensions: their names, in the order of the scores; each in `NOTICEABLE`.
        rng: draws the noise.
        panel: the raters.
    """
    return [
        Judgement(
            prompt_id=prompt_id,
            clip_a=clip_a,
            clip_b=clip_b,
            rater=rater.name,
            dimension=dimension,
            label=rater.judge((scores[clip_a][index] - scores[clip_b][index]) / NOTICEABLE[dimension], rng).value,
            source_row=f"{SIMULATED}{rater.name}",
        )
        for prompt_id, clip_a, clip_b in pairs
        for rater in panel
        for index, dimension in enumerate(dimensions)
    ]
