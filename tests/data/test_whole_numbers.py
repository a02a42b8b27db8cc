"""Whole numbers keep every digit from the table to the dataset and back; what is none is told."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.data.tables import write_table
from videoalign.contracts.records import SEEDS, Clip, DatasetInfo, Prompt
from videoalign.data.dataset import Dataset
from videoalign.data.formats import export_data, import_data
from videoalign.data.source_table import Row
from videoalign.errors import DataError

LARGEST = 2**64 - 1
SEED_CELLS: list[tuple[Any, int]] = [
    (str(LARGEST), LARGEST),
    (LARGEST, LARGEST),
    ("9007199254740993", 9007199254740993),
    ("-9223372036854775808", -(2**63)),
    ("0", 0),
    (" +7 ", 7),
    ("7.0", 7),
    (7.0, 7),
    ("7e3", 7000),
    ("", -1),
    (None, -1),
    (float("nan"), -1),
]
WRONG_CELLS: list[tuple[Any, str]] = [
    ("1.9", "must hold a whole number with all its digits; got '1.9'"),
    ("1.84467E+19", "must hold a whole number with all its digits"),
    ("1.2345e3", "must hold a whole number with all its digits"),
    ("9007199254740993.0", "must hold a whole number with all its digits"),
    (2.0**53, "must hold a whole number with all its digits"),
    ("1e19", "must hold a whole number with all its digits"),
    ("1,000", "must hold a whole number"),
    ("1_000", "must hold a whole number"),
    ("0x1F", "must hold a whole number"),
    ("inf", "must hold a whole number"),
    (True, "must hold a whole number"),
    (str(LARGEST + 1), f"must hold a whole number from {SEEDS[0]} to {LARGEST}; got '{LARGEST + 1}'"),
    (str(-(2**63) - 1), "must hold a whole number from"),
]


@pytest.mark.parametrize(("cell", "number"), SEED_CELLS)
def test_a_whole_number_is_read_to_its_last_digit(cell: Any, number: int) -> None:
    assert Row(1, {"seed": cell}).whole_or_none("seed", SEEDS) == (None if number == -1 else number)


@pytest.mark.parametrize("format", ["folder", "pairs"])
@pytest.mark.parametrize(("cell", "says"), WRONG_CELLS)
def test_what_is_no_whole_number_is_told_with_its_row(
    tmp_path: Path, six_clips: Path, format: str, cell: Any, says: str
) -> None:
    row = {"clip": "c0.mp4", "clip_a": "c0.mp4", "clip_b": "c1.mp4", "prompt": "p", "VQ": "A"}
    rows = [row, {**row, "clip": "c1.mp4", "prompt": "q", "seed": cell, "seed_b": cell}]
    rows[0] |= {"seed": LARGEST, "seed_b": LARGEST}
    source = six_clips / "t.jsonl"
    source.write_text("".join(json.dumps(row) + "\n" for row in rows))
    options = {"need_all": False} if format == "folder" else {"dimensions": ("VQ",)}
    column = "seed" if format == "folder" else "seed_b"
    with pytest.raises(DataError) as caught:
        import_data(format, source, tmp_path / "d", options=options)
    assert str(caught.value).startswith(f"t.jsonl:2: column '{column}' {says}")
    counts = import_data(format, source, tmp_path / "d", options={**options, "skip_broken": True})
    assert [one["row"] for one in counts.rejected] == ["t.jsonl:2"]
    assert LARGEST in {clip.seed for clip in Dataset.open(tmp_path / "d").clips()}


@pytest.mark.parametrize("kind", ["csv", "jsonl", "json", "parquet"])
def test_seeds_come_back_from_every_export(tmp_path: Path, six_clips: Path, kind: str) -> None:
    seeds = {"c0.mp4": LARGEST, "c1.mp4": -1, "c2.mp4": 9007199254740993, "c3.mp4": -(2**63)}
    rows = [
        {"clip_a": a, "clip_b": b, "prompt": "p", "VQ": "A", "seed_a": str(seeds[a]), "seed_b": str(seeds[b])}
        for a, b in (("c0.mp4", "c1.mp4"), ("c2.mp4", "c3.mp4"))
    ]
    import_data("pairs", write_table(six_clips / "t.csv", rows), tmp_path / "d")
    assert [clip.seed for clip in Dataset.open(tmp_path / "d").clips()] == list(seeds.values())
    export_data("pairs", Dataset.open(tmp_path / "d"), tmp_path / f"out.{kind}")
    import_data("pairs", tmp_path / f"out.{kind}", tmp_path / "e")
    assert [clip.seed for clip in Dataset.open(tmp_path / "e").clips()] == list(seeds.values())


def test_tables_with_integer_seeds_are_read_and_others_are_not(tmp_path: Path) -> None:
    dataset = Dataset.create(tmp_path, DatasetInfo())
    clip = Clip(clip_id="a", prompt_id="p", path="a.mp4", seed=5, fps=8.0, num_frames=5, height=16, width=16)
    dataset.add(prompts=[Prompt(prompt_id="p", text="a cat")], clips=[clip])
    file = tmp_path / "clips.parquet"
    whole = pq.read_table(file)
    place = whole.schema.get_field_index("seed")
    for kind in (pa.int64(), pa.int32(), pa.uint64()):
        pq.write_table(whole.set_column(place, "seed", pa.array([5], kind)), file)
        assert dataset.clips() == [clip]
    pq.write_table(whole.set_column(place, "seed", pa.array([1.5])), file)
    with pytest.raises(DataError, match="another type than it needs: 'seed' must hold whole numbers"):
        dataset.clips()


def test_other_libraries_read_seeds_whole(tmp_path: Path) -> None:
    pandas = pytest.importorskip("pandas")
    dataset = Dataset.create(tmp_path, DatasetInfo())
    clips = [
        Clip(clip_id=str(seed), prompt_id="p", path="a.mp4", seed=seed, fps=8.0, num_frames=5, height=16, width=16)
        for seed in (LARGEST, -1, 9007199254740993)
    ]
    dataset.write_clips(clips)
    assert list(pandas.read_parquet(tmp_path / "clips.parquet").seed) == [LARGEST, -1, 9007199254740993]
