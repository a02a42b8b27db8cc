"""Judgements come in parts that hold whole pairs, in the order of their first judgement, none lost and none twice."""

from __future__ import annotations

import random
from dataclasses import replace
from pathlib import Path

import pytest

from videoalign.contracts.records import Clip, DatasetInfo, Judgement, Prompt
from videoalign.data.dataset import Dataset
from videoalign.data.judgements import whole_pairs as parts_of
from videoalign.data.judgements.aggregate import aggregate_pairs
from videoalign.data.tables import stream_records, write_records


def scattered(seed: int = 0) -> list[Judgement]:
    """300 judgements of 30 pairs by five raters in no order, either clip first."""
    rng = random.Random(seed)
    rows = [
        Judgement(
            prompt_id=f"p{pair % 7}",
            clip_a=f"c{pair}-{turned}",
            clip_b=f"c{pair}-{1 - turned}",
            rater=f"r{rater}",
            dimension=name,
            label=rng.choice(["A", "B", "tie", "both_bad", "invalid"]),
            source_row=f"t.csv:{pair}",
            seconds=float(rater),
        )
        for pair in range(30)
        for rater in range(5)
        for name in ("VQ", "MQ")
        for turned in [rng.randrange(2)]
    ]
    return rng.sample(rows, len(rows))


@pytest.mark.parametrize("size", [1, 7, 64, 10_000])
def test_each_part_holds_everything_that_was_said_of_its_pairs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: int
) -> None:
    monkeypatch.setattr(parts_of, "_ROWS_OF_A_PART", size)
    rows = scattered()
    write_records(tmp_path / "j.parquet", Judgement, rows)
    parts = list(parts_of.whole_pairs(tmp_path / "j.parquet"))
    pairs_of = [{frozenset((row.clip_a, row.clip_b)) for row in part} for part in parts]
    assert sum(map(len, pairs_of)) == 30 == len(set().union(*pairs_of))
    found = [row for part in parts for row in part]
    by_first: dict[frozenset[str], list[Judgement]] = {}
    for row in rows:
        by_first.setdefault(frozenset((row.clip_a, row.clip_b)), []).append(row)
    assert found == [row for group in by_first.values() for row in group]
    assert all(len(part) >= min(size, 10) for part in parts[:-1])


def test_no_table_and_an_empty_table_have_no_parts(tmp_path: Path) -> None:
    assert list(parts_of.whole_pairs(tmp_path / "j.parquet")) == []
    write_records(tmp_path / "j.parquet", Judgement, [])
    assert list(parts_of.whole_pairs(tmp_path / "j.parquet")) == []


@pytest.mark.parametrize("how", ["majority", "shares", "adjudicated", "dawid_skene"])
def test_pairs_judged_in_parts_are_those_of_the_whole_table(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    monkeypatch.setattr(parts_of, "_ROWS_OF_A_PART", 20)
    rows = [replace(row, role="adjudicator") if row.rater == "r4" else row for row in scattered(1)]
    dataset = Dataset.create(tmp_path / "d", DatasetInfo())
    texts = sorted({row.prompt_id for row in rows})
    shown = {clip: row.prompt_id for row in rows for clip in (row.clip_a, row.clip_b)}
    dataset.add(
        prompts=[Prompt(prompt_id=name, text=name) for name in texts],
        clips=[
            Clip(clip_id=name, prompt_id=prompt, path=name, fps=8.0, num_frames=4, height=16, width=16)
            for name, prompt in shown.items()
        ],
        judgements=rows,
    )
    splits = dict.fromkeys(texts, "train")
    assert dataset.judged_pairs(aggregate=how) == aggregate_pairs(rows, dataset.dimensions, splits, how)  # type: ignore[arg-type]


def test_rows_that_are_read_hold_equal_texts_once(tmp_path: Path) -> None:
    write_records(tmp_path / "j.parquet", Judgement, scattered())
    rows = list(stream_records(tmp_path / "j.parquet", Judgement))
    assert rows == scattered()
    assert len({id(row.rater) for row in rows}) == 5 and len({id(row.clip_a) for row in rows}) == 60
