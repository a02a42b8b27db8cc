"""Agreement of raters in a dataset, against counting by hand and against FETV's published ratings counted afresh."""

from __future__ import annotations

import csv
import math
from collections import defaultdict
from dataclasses import replace
from itertools import permutations
from pathlib import Path

import numpy as np
import pytest

from videoalign.contracts.plain import plain
from videoalign.contracts.records import Judgement, Rating
from videoalign.data.dataset import Dataset, flip
from videoalign.data.formats import import_data
from videoalign.data.formats.ratings import RatingsOptions
from videoalign.data.judgements.agreement import measure_agreement, measure_rating_agreement

FETV = {"static_quality": "VQ", "temporal_quality": "MQ", "alignment": "TA"}


def said(label: str, rater: str, pair: str, **changes: str) -> Judgement:
    row = Judgement(prompt_id=pair[0], clip_a=f"{pair}a", clip_b=f"{pair}b", rater=rater, dimension="VQ", label=label)
    return replace(row, **changes)


def verdicts() -> list[Judgement]:
    """Ten pairs of five prompts, three raters who mostly agree."""
    rng = np.random.default_rng(0)
    rows = []
    for place in range(10):
        label = ("A", "tie", "B")[int(rng.integers(3))]
        for rater in "xyz":
            given = label if rng.random() < 0.8 else ("A", "tie", "B")[int(rng.integers(3))]
            rows.append(said(given, rater, f"{place // 2}{place}"))
    return rows


def test_everything_is_counted_on_one_side_order() -> None:
    """x and y agree on three pairs though y saw them turned; z judged one of them alone against the rest."""
    rows = [
        said("A", "x", "p1"), said("B", "y", "p1", clip_a="p1b", clip_b="p1a"), said("tie", "z", "p1"),
        said("B", "x", "q2"), said("B", "y", "q2"),
        said("both_bad", "x", "q3"), said("tie", "y", "q3"),
        said("A", "x", "q4"), said("invalid", "y", "q4"),
    ]  # fmt: skip
    found = measure_agreement(rows, ["VQ", "MQ"])["VQ"]
    assert (found.pairs, found.shared_pairs, found.raters, found.votes) == (4, 3, 3, 8)
    assert (found.raw.num_pairs, found.raw.with_ties, found.raw.without_ties) == (5, 3 / 5, 1)
    assert (found.fleiss_raters, found.fleiss_pairs, found.fleiss_kappa) == (2, 2, 1)
    # values A A t | B B | t t: 7 of them, A 2, t 3, B 2; rows differ in 4 of 6 places, which weigh a half each
    assert found.alpha_nominal.value == pytest.approx(1 - 2 / ((49 - 17) / 6))
    nobody = measure_agreement(rows, ["MQ"])["MQ"]
    assert (nobody.pairs, nobody.fleiss_raters) == (0, 0)
    assert plain(nobody)["alpha_ordinal"] == {"value": None, "low": None, "high": None}


def test_only_first_looks_of_raters_count() -> None:
    rows = verdicts()
    extra = [
        replace(rows[0], role="repeat", label="B", source_row="again"),
        replace(rows[0], rater="judge", role="adjudicator", label="B"),
        replace(rows[0], rater="gold", role="gold", label="B"),
        replace(rows[0], label=flip(rows[0].label), source_row="once more"),
    ]
    assert measure_agreement([*rows, *extra], ["VQ"]) == measure_agreement(rows, ["VQ"])


def test_intervals_are_drawn_over_prompts_or_pairs() -> None:
    by_prompt = measure_agreement(verdicts(), ["VQ"])["VQ"].alpha_ordinal
    by_pair = measure_agreement(verdicts(), ["VQ"], cluster="pair")["VQ"].alpha_ordinal
    assert by_prompt.value == by_pair.value
    assert by_prompt.low < by_prompt.value < by_prompt.high
    assert by_prompt != by_pair
    one_prompt = [replace(row, prompt_id="p") for row in verdicts()]
    alone = measure_agreement(one_prompt, ["VQ"])["VQ"].alpha_ordinal
    assert alone.value == by_prompt.value and math.isnan(alone.low)


def test_scores_that_are_the_same_for_all_raters_agree_wholly() -> None:
    rows = [
        Rating(clip_id=clip, rater=rater, dimension="VQ", score=score)
        for clip, score in {"a": 1.0, "b": 3.0, "c": 5.0}.items()
        for rater in "xy"
    ]
    found = measure_rating_agreement(rows, {"a": "p", "b": "p", "c": "q"}, ["VQ", "MQ"])
    assert list(found) == ["VQ"]
    assert (found["VQ"].clips, found["VQ"].raters, found["VQ"].alpha_ordinal.value) == (3, 2, 1)


def alpha(table: list[list[float]], ordinal: bool) -> float:
    """Krippendorff's alpha by its definition, value against value."""
    pooled = [value for row in table for value in row]
    number = {value: pooled.count(value) for value in set(pooled)}

    def far(a: float, b: float) -> float:
        if not ordinal:
            return float(a != b)
        between = sum(count for value, count in number.items() if min(a, b) <= value <= max(a, b))
        return (between - (number[a] + number[b]) / 2) ** 2

    distance = {(a, b): far(a, b) for a in number for b in number}
    inside = sum(distance[a, b] / (len(row) - 1) for row in table for a, b in permutations(row, 2))
    by_chance = sum(number[a] * (number[b] - (a == b)) * d for (a, b), d in distance.items()) / (len(pooled) - 1)
    return 1 - inside / by_chance


def test_alpha_of_fetv_is_that_of_its_table_counted_afresh(shared: Path, tmp_path: Path) -> None:
    source = shared / "data" / "fetv" / "ratings.csv"
    import_data("ratings", source, tmp_path / "d", options=RatingsOptions(dimensions=tuple(FETV), rename=FETV))
    dataset = Dataset.open(tmp_path / "d")
    found = measure_agreement(dataset.judgements(), dataset.dimensions)
    prompts = {clip.clip_id: clip.prompt_id for clip in dataset.clips()}
    of_clips = measure_rating_agreement(dataset.ratings(), prompts, dataset.dimensions)

    texts = {prompt.prompt_id: prompt.text for prompt in dataset.prompts()}
    made_by = {clip.clip_id: clip.generator for clip in dataset.clips()}
    with source.open(encoding="utf-8") as file:
        table = list(csv.DictReader(file))
    for column, name in FETV.items():
        scores: dict[str, dict[str, dict[str, float]]] = defaultdict(lambda: defaultdict(dict))
        for row in table:
            scores[row["prompt"]][row["model"]][row["rater"]] = float(row[column])
        signs = []
        for pair in dataset.judged_pairs():
            models = scores[texts[pair.prompt_id]]
            a, b = models[made_by[pair.clip_a]], models[made_by[pair.clip_b]]
            signs.append([float(np.sign(a[rater] - b[rater])) for rater in a])
        assert len(signs) == 120
        assert found[name].alpha_nominal.value == pytest.approx(alpha(signs, ordinal=False))
        assert found[name].alpha_ordinal.value == pytest.approx(alpha(signs, ordinal=True))
        clips = [list(given.values()) for models in scores.values() for given in models.values()]
        assert of_clips[name].alpha_ordinal.value == pytest.approx(alpha(clips, ordinal=True))
        same = [row.count(x) * (row.count(x) - 1) for row in signs for x in set(row)]
        assert found[name].raw.with_ties == pytest.approx(sum(same) / (120 * 6))
