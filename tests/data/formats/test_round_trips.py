"""What goes out comes back as the same judgements, and tables of any length go through."""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from tests.data.tables import clip, write_table
from videoalign.contracts.records import Clip, DatasetInfo, Dimension, Judgement, Prompt
from videoalign.data import tables as stored
from videoalign.data.dataset import Dataset
from videoalign.data.formats import EXPORTS, FORMATS, export_data, import_data
from videoalign.errors import ConfigError, DataError

NAMES = ("VQ", "MQ", "TA", "Overall")


@pytest.fixture
def dataset(tmp_path: Path, six_clips: Path) -> Dataset:
    """Two prompts, three pairs, three raters with every label, a second look and a side order."""
    dimensions = tuple(Dimension(name=name, guideline=f"{name}.") for name in NAMES)
    made = Dataset.create(tmp_path / "d", DatasetInfo(dimensions=dimensions))
    made.write_prompts([Prompt(prompt_id="p", text='a "cat", two\nlines'), Prompt(prompt_id="q", text="ein Hund é")])
    size = {"fps": 8.0, "num_frames": 5, "height": 16, "width": 16}
    made.write_clips(
        Clip(
            clip_id=f"c{k}",
            prompt_id="pq"[k // 3],
            path=str(six_clips / f"c{k}.mp4"),
            generator=f"m{k % 3}",
            seed=k,
            **size,
        )
        for k in range(6)
    )
    rows = [("c0", "c1", "r", "A B tie both_bad"), ("c1", "c0", "s", "B A tie A"), ("c4", "c5", "r", "invalid A B tie")]
    judgements = [
        Judgement(prompt_id="p" if a == "c0" or a == "c1" else "q", clip_a=a, clip_b=b, rater=rater, dimension=name,
                  label=label, source_row="app", role="rater", left="A", seconds=2.5)
        for a, b, rater, labels in rows
        for name, label in zip(NAMES, labels.split(), strict=True)
    ]  # fmt: skip
    again = Judgement(prompt_id="p", clip_a="c0", clip_b="c1", rater="r", dimension="VQ", label="B", role="repeat")
    made.write_judgements([*judgements, again])
    return made


def told(dataset: Dataset, *fields: str) -> list[tuple[str, ...]]:
    """Of each judgement the files and these fields, whatever the clips are called."""
    places = {one.clip_id: os.path.normpath(one.path) for one in dataset.clips()}
    return sorted(
        (places[row.clip_a], places[row.clip_b], *(str(getattr(row, name)) for name in fields))
        for row in dataset.judgements()
    )


def back(dataset: Dataset, out: Path, exporter: str, importer: str, **options: object) -> Dataset:
    export_data(exporter, dataset, out)
    import_data(importer, out, out.parent / "again", options=options)
    return Dataset.open(out.parent / "again")


@pytest.mark.parametrize("kind", ["jsonl", "json", "csv", "parquet"])
def test_raw_judgements_come_back_whole(dataset: Dataset, tmp_path: Path, kind: str) -> None:
    again = back(dataset, tmp_path / "out" / f"t.{kind}", "pairs", "pairs")
    fields = ("rater", "dimension", "label", "role", "left", "seconds")
    assert told(again, *fields) == told(dataset, *fields)
    assert sorted((one.generator, one.seed) for one in again.clips()) == [("m0", 0), ("m1", 1), ("m1", 4), ("m2", 5)]
    assert {one.text for one in again.prompts()} == {one.text for one in dataset.prompts()}


def test_label_studio_comes_back_with_raters_and_times(dataset: Dataset, tmp_path: Path) -> None:
    again = back(dataset, tmp_path / "t.json", "label-studio", "label-studio")
    fields = ("rater", "dimension", "label", "seconds")
    first = [row for row in dataset.judgements() if row.role == "rater"]
    dataset.write_judgements(first)
    assert told(again, *fields) == told(dataset, *fields)


def test_arena_comes_back_but_for_invalid_votes(dataset: Dataset, tmp_path: Path) -> None:
    again = back(dataset, tmp_path / "t.jsonl", "arena", "arena")
    dataset.write_judgements([row for row in dataset.judgements() if row.role == "rater" and row.label != "invalid"])
    assert told(again, "rater", "dimension", "label") == told(dataset, "rater", "dimension", "label")


@pytest.mark.parametrize(("exporter", "importer", "kind", "options"), [
    ("rewardbench", "rewardbench", "csv", {}),
    ("videoalign", "videoalign", "csv", {"dimensions": NAMES}),
    ("visionreward", "visionreward", "jsonl", {}),
    ("aggregated", "pairs", "parquet", {"dimensions": NAMES}),
])  # fmt: skip
def test_verdicts_of_pairs_come_back(
    dataset: Dataset, tmp_path: Path, exporter: str, importer: str, kind: str, options: dict[str, object]
) -> None:
    again = back(dataset, tmp_path / "out" / f"t.{kind}", exporter, importer, **options)
    one, other = ([pair.labels for pair in made.judged_pairs()] for made in (dataset, again))
    assert [{name: labels.get(name) for name in NAMES} for labels in other] == one
    third = tmp_path / "third" / f"t.{kind}"
    thrice = back(again, third, exporter, importer, **options)
    assert told(thrice, "rater", "dimension", "label") == told(again, "rater", "dimension", "label")


def test_chosen_and_rejected_come_back_as_the_decided_pairs(dataset: Dataset, tmp_path: Path) -> None:
    again = back(dataset, tmp_path / "t.json", "dpo", "videodpo")
    places = {one.clip_id: one.path for one in dataset.clips()}
    decided = sorted(
        (*((a, b) if label == "A" else (b, a)), name)
        for pair in dataset.judged_pairs()
        for a, b in [(places[pair.clip_a], places[pair.clip_b])]
        for name, label in pair.labels.items()
        if label in ("A", "B")
    )
    assert told(again, "dimension") == decided and len(decided) == 4
    assert {row.label for row in again.judgements()} == {"A"}


def test_questions_for_llama_factory_choose_the_better_video(dataset: Dataset, tmp_path: Path) -> None:
    assert export_data("sharegpt", dataset, tmp_path / "t.json") == 4
    rows = json.loads((tmp_path / "t.json").read_text())
    first = rows[0]
    assert (first["chosen"]["value"], first["rejected"]["value"]) == ("A", "B")
    assert first["conversations"][0]["value"].count("<video>") == len(first["videos"]) == 2
    assert [Path(tmp_path / video).resolve().name for video in first["videos"]] == ["c0.mp4", "c1.mp4"]
    assert 'a "cat", two\nlines' in first["conversations"][0]["value"]


def test_the_official_columns_stand_in_the_benchmark_table(dataset: Dataset, tmp_path: Path) -> None:
    export_data("rewardbench", dataset, tmp_path / "t.csv")
    with (tmp_path / "t.csv").open(encoding="utf-8") as file:
        (first, _) = list(csv.DictReader(file))
    assert [first[name] for name in (*NAMES, "A_model", "B_model", "fps_A", "num_frames_B")] == [
        "A", "B", "same", "invalid", "m0", "m1", "8.0", "5.0"
    ]  # fmt: skip
    dataset.write_clips([Clip(**{**vars(one), "generator": ""}) for one in dataset.clips()])
    with pytest.raises(DataError, match="clip 'c0': its generator is unknown"):
        export_data("rewardbench", dataset, tmp_path / "u.csv")
    assert not (tmp_path / "u.csv").exists()


def test_nothing_to_write_and_other_endings_are_refused(dataset: Dataset, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"t\.xlsx must end in \.jsonl, \.json, \.csv, \.parquet"):
        export_data("pairs", dataset, tmp_path / "t.xlsx")
    with pytest.raises(ConfigError, match="no exporter 'areena'. Did you mean 'arena'"):
        export_data("areena", dataset, tmp_path / "t.jsonl")
    dataset.write_judgements([])
    for name in EXPORTS:
        with pytest.raises(DataError, match="to export"):
            export_data(name, dataset, tmp_path / "t.json")
    assert not (tmp_path / "t.json").exists()


def test_every_format_says_in_one_line_what_it_is() -> None:
    from videoalign.data.formats import describe_formats

    lines = describe_formats()
    assert [line.name for line in lines.importers] == list(FORMATS)
    assert [line.name for line in lines.exporters] == list(EXPORTS)
    assert all(20 < len(line.what) < 120 for line in (*lines.importers, *lines.exporters))


def test_rows_are_read_and_written_in_parts(tmp_path: Path, six_clips: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stored, "_ROWS_OF_A_GROUP", 7)
    rows = [
        {"clip_a": clip(k % 5), "clip_b": clip(5), "prompt": f"p{k}", "look": ["A", "B", "tie"][k % 3]}
        for k in range(50)
    ]
    for kind in ("csv", "parquet"):
        counts = import_data("pairs", write_table(tmp_path / f"t.{kind}", rows), tmp_path / kind)
        assert (counts.prompts, counts.clips, counts.pairs, counts.judgements) == (50, 100, 50, 50)
        assert counts.labels["look"] == {"A": 17, "B": 17, "tie": 16, "both_bad": 0, "invalid": 0}
        assert pq.ParquetFile(tmp_path / kind / "judgements.parquet").num_row_groups == 8
    one, other = ([row.label for row in Dataset.open(tmp_path / kind).judgements()] for kind in ("csv", "parquet"))
    assert one == other == [row["look"] for row in rows]


def test_a_benchmark_of_full_size_is_imported_in_little_memory(pytestconfig: pytest.Config) -> None:
    script = pytestconfig.rootpath / "benchmarks" / "import_rows.py"
    result = subprocess.run(
        [sys.executable, str(script), "26457"], capture_output=True, text=True, check=True, timeout=120
    )
    used = json.loads(result.stdout)
    assert used["rows"] == 26_457
    assert used["peak_mb"] < 500
