"""Simulated raters do what their habits say; counts are compared with what chance allows at four deviations."""

from __future__ import annotations

from collections import Counter
from itertools import combinations

import numpy as np
import pytest
from scipy.stats import norm

from videoalign.contracts.records import Label
from videoalign.worlds.sprites.annotators import NOTICEABLE, PANEL, Annotator, judge_pairs

NUM = 4000


def shares(rater: Annotator, difference: float, seed: int = 0) -> dict[Label, float]:
    rng = np.random.default_rng(seed)
    counts = Counter(rater.judge(difference, rng) for _ in range(NUM))
    return {label: counts[label] / NUM for label in (Label.A, Label.TIE, Label.B)}


def expected(rater: Annotator, difference: float) -> dict[Label, float]:
    """(1 - careless) times the normal law of the perceived difference, plus a third of the carelessness."""
    over = float(norm.sf((rater.tie_band - difference) / rater.noise))
    under = float(norm.cdf((-rater.tie_band - difference) / rater.noise))
    plain = {Label.A: over, Label.TIE: 1 - over - under, Label.B: under}
    return {label: (1 - rater.careless_share) * p + rater.careless_share / 3 for label, p in plain.items()}


def near(share: float, chance: float, num: int = NUM) -> bool:
    return abs(share - chance) <= 4 * np.sqrt(chance * (1 - chance) / num) + 1e-9


@pytest.mark.parametrize("rater", PANEL, ids=lambda rater: rater.name)
@pytest.mark.parametrize("difference", [-10.0, -2.0, 0.0, 1.0, 3.0])
def test_verdicts_come_as_often_as_noise_tie_band_and_carelessness_say(rater: Annotator, difference: float) -> None:
    seen, wanted = shares(rater, difference), expected(rater, difference)
    assert all(near(seen[label], wanted[label]) for label in wanted)


def test_a_rater_without_noise_or_carelessness_follows_the_band_exactly() -> None:
    exact = Annotator("exact", noise=0.0, tie_band=0.1, careless_share=0.0)
    rng = np.random.default_rng(0)
    verdicts = [exact.judge(difference, rng) for difference in (-0.2, -0.1, 0.0, 0.1, 0.2)]
    assert verdicts == [Label.B, Label.TIE, Label.TIE, Label.TIE, Label.A]


def test_a_wider_band_gives_more_ties_and_more_noise_fewer_at_zero() -> None:
    bands = [shares(Annotator("r", tie_band=band), 0.0)[Label.TIE] for band in (0.7, 2.0, 5.0)]
    noises = [shares(Annotator("r", noise=noise), 0.0)[Label.TIE] for noise in (0.7, 2.0, 7.0)]
    assert bands[0] < bands[1] < bands[2]
    assert noises[0] > noises[1] > noises[2]


def test_a_careless_rater_is_wrong_two_times_in_three_of_the_careless_share() -> None:
    seen = shares(Annotator("r", noise=0.3, careless_share=0.3), 30.0)
    assert near(seen[Label.TIE] + seen[Label.B], 0.2)
    assert near(seen[Label.B], 0.1)


def test_exchanging_the_clips_mirrors_the_verdicts() -> None:
    here, there = (shares(PANEL[0], difference, seed) for difference, seed in ((1.7, 1), (-1.7, 2)))
    for label, mirrored in ((Label.A, Label.B), (Label.TIE, Label.TIE), (Label.B, Label.A)):
        assert abs(here[label] - there[mirrored]) < 4 * np.sqrt(0.5 / NUM)


def test_raters_agree_as_often_as_their_habits_imply() -> None:
    """Given the difference raters are independent, so agreement is the mean over pairs of sum_l p(l) q(l)."""
    rng = np.random.default_rng(3)
    num_pairs = 700
    scores = {f"c{i}": tuple(rng.uniform(0, 1, 2)) for i in range(2 * num_pairs)}
    pairs = [("p", f"c{2 * i}", f"c{2 * i + 1}") for i in range(num_pairs)]
    judgements = judge_pairs(pairs, scores, ("VQ", "MQ"), rng)
    verdicts = {(row.clip_a, row.dimension, row.rater): row.label for row in judgements}
    agreed, chances = [], []
    for _, a, b in pairs:
        for index, dimension in enumerate(("VQ", "MQ")):
            for one, other in combinations(PANEL, 2):
                agreed.append(verdicts[a, dimension, one.name] == verdicts[a, dimension, other.name])
                difference = (scores[a][index] - scores[b][index]) / NOTICEABLE[dimension]
                p, q = (expected(rater, difference) for rater in (one, other))
                chances.append(sum(p[label] * q[label] for label in p))
    # three comparisons of one verdict hang together: count each pair and dimension once in the deviation
    spread = 4 * np.sqrt(np.mean(chances) * (1 - np.mean(chances)) / (2 * num_pairs))
    assert abs(np.mean(agreed) - np.mean(chances)) < spread
    assert 0.7 < np.mean(agreed) < 0.95  # people, neither coins nor copies


def test_every_rater_judges_every_pair_on_every_dimension_once() -> None:
    scores = {"a": (0.9, 0.1), "b": (0.1, 0.9)}
    rng = np.random.default_rng(0)
    rows = judge_pairs([("p", "a", "b")], scores, ("VQ", "MQ"), rng, [Annotator("x", careless_share=0.0)])
    assert [(row.prompt_id, row.clip_a, row.clip_b, row.rater, row.dimension, row.label) for row in rows] == [
        ("p", "a", "b", "x", "VQ", "A"),
        ("p", "a", "b", "x", "MQ", "B"),
    ]
    assert len(judge_pairs([("p", "a", "b")], scores, ("VQ", "MQ"), rng)) == 2 * len(PANEL)
    again = [judge_pairs([("p", "a", "b")], scores, ("VQ",), np.random.default_rng(7)) for _ in range(2)]
    assert again[0] == again[1]
