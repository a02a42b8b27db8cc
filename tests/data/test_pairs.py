"""Which pairs come out of which scores."""

from __future__ import annotations

import math
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from videoalign.contracts.records import Clip, DatasetInfo, Prompt
from videoalign.data.dataset import Dataset
from videoalign.data.pairs import PairsConfig, combine, make_pairs
from videoalign.errors import ConfigError, DataError

DIMENSIONS = ("VQ", "MQ", "TA")


def build(folder: Path, scores: dict[str, list[float]]) -> tuple[Dataset, list[dict]]:
    """A dataset with clips ``<prompt><k>`` whose VQ is the k-th number, MQ its opposite and TA 0."""
    dataset = Dataset.create(folder, DatasetInfo(), exist_ok=True)
    dataset.write_prompts(
        [Prompt(prompt_id=name, text=name, split="val" if name == "v" else "train") for name in scores]
    )
    clips, rows = [], []
    for name, numbers in scores.items():
        for k, number in enumerate(numbers):
            clip_id = f"{name}{k}"
            clips.append(Clip(clip_id=clip_id, prompt_id=name, path=clip_id, fps=8.0, num_frames=1, height=2, width=2))
            values = {"VQ": number, "MQ": -number, "TA": 0.0}
            rows.append({"clip_id": clip_id, "raw": values, "normalised": values})
    dataset.write_clips(clips)
    return dataset, rows


def names(pairs: list) -> list[str]:
    return [f"{pair.clip_win}>{pair.clip_lose}" for pair in pairs]


def test_reward_is_the_weighted_mean_of_normalised_scores() -> None:
    row = {"clip_id": "a", "raw": {}, "normalised": {"VQ": 1.0, "MQ": 4.0, "TA": -2.0}}
    assert combine([row], DIMENSIONS, None) == {"a": 1.0}  # (1 + 4 - 2) / 3
    assert combine([row], DIMENSIONS, {"VQ": 3.0, "TA": 1.0}) == {"a": 0.25}  # (3 - 2) / 4


def test_equal_weights_have_an_equal_say_whatever_the_scales() -> None:
    """Two prompts of two clips; VQ moves by 0.1 and MQ by 20 within each, so MQ must not decide alone."""
    moves = {"a0": (0.0, 0.0), "a1": (0.1, -20.0), "b0": (5.0, 20.0), "b1": (5.1, 0.0)}
    rows = [{"clip_id": k, "raw": {}, "normalised": dict(zip(("VQ", "MQ"), v, strict=True))} for k, v in moves.items()]
    prompts = {clip_id: clip_id[0] for clip_id in moves}
    unit = {"VQ": 0.1 / math.sqrt(2), "MQ": 20 / math.sqrt(2)}  # of two clips at distance d: d / sqrt(2)
    rewards = combine(rows, DIMENSIONS, None, prompts)
    assert rewards == pytest.approx({k: (v / unit["VQ"] + m / unit["MQ"]) / 2 for k, (v, m) in moves.items()})
    assert rewards["a0"] == pytest.approx(rewards["a1"])
    favoured = combine(rows, DIMENSIONS, {"VQ": 2.0, "MQ": 1.0}, prompts)
    assert favoured["a1"] > favoured["a0"] and favoured["b1"] > favoured["b0"]
    assert combine(rows, DIMENSIONS, {"VQ": 2.0, "MQ": 1.0})["a1"] < 0


def test_scaling_a_dimension_changes_no_pair_and_no_reward(tmp_path: Path) -> None:
    dataset, rows = build(tmp_path, {"p": [0.3, 0.9, 0.1], "q": [0.2, 0.4, 0.7]})
    rng = np.random.default_rng(0)
    rows = [{**row, "normalised": dict(zip(DIMENSIONS, rng.normal(size=3), strict=True))} for row in rows]
    larger = [{**row, "normalised": {**row["normalised"], "TA": 50 * row["normalised"]["TA"]}} for row in rows]
    for strategy in ("best_worst", "all"):
        pairs = [make_pairs(dataset, found, None, PairsConfig(strategy=strategy)) for found in (rows, larger)]
        assert names(pairs[0]) == names(pairs[1])
        assert [p.reward_win for p in pairs[0]] == pytest.approx([p.reward_win for p in pairs[1]])
    stored = PairsConfig(strategy="all", units="normalised")
    assert names(make_pairs(dataset, rows, None, stored)) != names(make_pairs(dataset, larger, None, stored))


def test_best_against_worst_then_second_best_against_second_worst(tmp_path: Path) -> None:
    dataset, rows = build(tmp_path, {"p": [0.3, 0.9, 0.1, 0.5, 0.7]})
    assert names(make_pairs(dataset, rows, {"VQ": 1.0})) == ["p1>p2"]
    assert names(make_pairs(dataset, rows, {"VQ": 1.0}, PairsConfig(max_per_prompt=9))) == ["p1>p2", "p4>p0"]
    (pair,) = make_pairs(dataset, rows, {"VQ": 1.0}, PairsConfig(units="normalised"))
    assert (pair.reward_win, pair.reward_lose, pair.prompt_id) == (0.9, 0.1, "p")


def test_weights_decide_who_wins(tmp_path: Path) -> None:
    dataset, rows = build(tmp_path, {"p": [0.2, 0.8]})
    assert names(make_pairs(dataset, rows, {"VQ": 1.0})) == ["p1>p0"]
    assert names(make_pairs(dataset, rows, {"MQ": 1.0})) == ["p0>p1"]


def test_all_pairs_come_clearest_first_and_obey_margin_limit_and_split(tmp_path: Path) -> None:
    dataset, rows = build(tmp_path, {"p": [0.0, 1.0, 3.0], "v": [5.0, 6.0]})
    weights = {"VQ": 1.0}
    every = PairsConfig(strategy="all", split="all")
    assert names(make_pairs(dataset, rows, weights, every)) == ["p2>p0", "p2>p1", "p1>p0", "v1>v0"]
    two = PairsConfig(strategy="all", min_margin=2.0, units="normalised")
    assert names(make_pairs(dataset, rows, weights, two)) == ["p2>p0", "p2>p1"]
    one = PairsConfig(strategy="all", max_per_prompt=1, split="train")
    assert names(make_pairs(dataset, rows, weights, one)) == ["p2>p0"]


def test_held_out_prompts_give_no_pairs_unless_asked_for(tmp_path: Path) -> None:
    dataset, rows = build(tmp_path, {"p": [0.0, 1.0], "v": [5.0, 6.0], "t": [2.0, 3.0], "x": [7.0, 8.0]})
    splits = {"p": "train", "v": "val", "t": "test", "x": "another"}
    dataset.write_prompts([Prompt(prompt_id=name, text=name, split=split) for name, split in splits.items()])
    chosen = {
        split: names(make_pairs(dataset, rows, {"VQ": 1.0}, PairsConfig(split=split)))
        for split in (None, "train", "val", "test", "all")
    }
    assert chosen == {
        None: ["p1>p0", "x1>x0"],
        "train": ["p1>p0"],
        "val": ["v1>v0"],
        "test": ["t1>t0"],
        "all": ["p1>p0", "v1>v0", "t1>t0", "x1>x0"],
    }
    dataset.write_prompts([Prompt(prompt_id=name, text=name, split="val") for name in splits])
    with pytest.raises(DataError, match=r"all prompts of .* are held out \(val, test\); set split=all"):
        make_pairs(dataset, rows, {"VQ": 1.0})


def test_winner_scores_higher_and_ties_never_pair(tmp_path: Path) -> None:
    dataset, rows = build(tmp_path, {"p": [0.0] * 6})

    @settings(max_examples=30)
    @given(st.lists(st.sampled_from([0.0, 0.5, 1.0, 2.0]), min_size=6, max_size=6))
    def check(numbers: list[float]) -> None:
        scores = [{**row, "normalised": {"VQ": x}} for row, x in zip(rows, numbers, strict=True)]
        expected = sum(a != b for a, b in combinations(numbers, 2))
        if not expected:
            with pytest.raises(DataError, match="1 have only clips of equal reward"):
                make_pairs(dataset, scores)
            return
        pairs = make_pairs(dataset, scores, None, PairsConfig(strategy="all"))
        assert len(pairs) == expected
        assert all(pair.reward_win > pair.reward_lose for pair in pairs)
        (best,) = make_pairs(dataset, scores, None, PairsConfig(units="normalised"))
        assert (best.reward_win, best.reward_lose) == (max(numbers), min(numbers))

    check()


def test_an_empty_set_says_why(tmp_path: Path) -> None:
    dataset, rows = build(tmp_path, {"p": [0.5], "q": [1.0, 1.0], "r": [0.1, 0.2]})
    with pytest.raises(DataError, match=r"of 3 prompts, 1 have fewer than two clips, 1 have only .* 1 differ by less"):
        make_pairs(dataset, rows, {"VQ": 1.0}, PairsConfig(min_margin=0.5, units="normalised"))
    with pytest.raises(DataError, match=r"split 'val' of .* has no prompts"):
        make_pairs(dataset, rows, None, PairsConfig(split="val"))


def test_scores_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    dataset, rows = build(tmp_path, {"p": [0.5, 0.6]})
    with pytest.raises(DataError, match="1 clips have no score, first 'p1'"):
        make_pairs(dataset, rows[:1])
    stranger = {**rows[0], "clip_id": "x"}
    with pytest.raises(DataError, match="1 scored clips are not in it, first 'x'"):
        make_pairs(dataset, [*rows, stranger])
    for weights, message in {
        (("VQQ", 1.0),): "unknown dimension 'VQQ'. Did you mean 'VQ'",
        (("VQ", -1.0),): "VQ must be a number of at least 0",
        (("VQ", 0.0),): "at least one must be above 0",
        (("VQ", 1e308), ("MQ", 1e308)): "their sum a number; got inf",
    }.items():
        with pytest.raises(ConfigError, match=message):
            make_pairs(dataset, rows, dict(weights))


def test_ties_are_taken_where_they_are_asked_for(tmp_path: Path) -> None:
    dataset, rows = build(tmp_path, {"p": [3.0, 1.0, 0.9, 0.9]})
    plain = {"strategy": "all", "units": "normalised"}
    taken = make_pairs(dataset, rows, {"VQ": 1.0}, PairsConfig(**plain))
    assert names(taken) == ["p0>p2", "p0>p3", "p0>p1", "p1>p2", "p1>p3"]
    assert {pair.preference for pair in taken} == {1.0}
    assert taken[0].differences == "VQ=2.1,MQ=-2.1,TA=0"
    tied = make_pairs(dataset, rows, {"VQ": 1.0}, PairsConfig(**plain, ties=0.2, min_margin=1.0))
    assert names(tied) == ["p0>p2", "p0>p3", "p0>p1", "p1>p2", "p1>p3", "p2>p3"]
    assert [pair.preference for pair in tied] == [1.0, 1.0, 1.0, 0.5, 0.5, 0.5]
    exact = make_pairs(dataset, rows, {"VQ": 1.0}, PairsConfig(**plain, ties=0.0))
    assert [(pair.clip_lose, pair.preference) for pair in exact][-1] == ("p3", 0.5)
    dataset.write_pairs("t", tied)
    assert dataset.pairs("t") == tied
