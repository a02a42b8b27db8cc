"""Each export is written in the layouts that can hold it, and refused in the others."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from tests.data.tables import clip, write_table
from videoalign.data.dataset import Dataset
from videoalign.data.formats import export_data, import_data, writing
from videoalign.errors import ConfigError, DataError


@pytest.fixture
def dataset(tmp_path: Path, six_clips: Path) -> Dataset:
    rows = [
        {
            "path_A": clip(a),
            "path_B": clip(a + 1),
            "prompt": f"p{a}",
            "VQ": "A",
            "MQ": "B",
            "TA": "same",
            "MOS_A_VQ": score,
        }
        for a, score in enumerate(["", "", "", "3.5"])
    ]
    import_data("videoalign", write_table(tmp_path / "t.csv", rows), tmp_path / "d")
    return Dataset.open(tmp_path / "d")


@pytest.mark.parametrize("format", ["label-studio", "sharegpt"])
def test_rows_of_lists_and_objects_are_not_written_as_csv(dataset: Dataset, tmp_path: Path, format: str) -> None:
    with pytest.raises(ConfigError, match=r"must end in \.json, \.jsonl"):
        export_data(format, dataset, tmp_path / "out.csv")
    assert not (tmp_path / "out.csv").exists()


@pytest.mark.parametrize("size", [1, 2, 100])
def test_scores_that_are_absent_at_first_are_numbers_in_parquet(
    dataset: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: int
) -> None:
    monkeypatch.setattr(writing, "_ROWS_OF_A_GROUP", size)
    assert export_data("videoalign", dataset, tmp_path / "out.parquet") == 4
    assert pq.read_table(tmp_path / "out.parquet")["MOS_A_VQ"].to_pylist() == [None, None, None, 3.5]
    again = import_data("videoalign", tmp_path / "out.parquet", tmp_path / "again")
    assert (again.judgements, again.ratings) == (12, 1)
    export_data("videoalign", dataset, tmp_path / "out.csv")
    assert import_data("videoalign", tmp_path / "out.csv", tmp_path / "third").ratings == 1


def test_questions_for_fine_tuning_are_answered_with_the_verdict_of_most(dataset: Dataset, tmp_path: Path) -> None:
    assert export_data("sharegpt-sft", dataset, tmp_path / "out.jsonl") == 12
    rows = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text(encoding="utf-8").splitlines()]
    assert [row["conversations"][1] for row in rows[:3]] == [{"from": "gpt", "value": v} for v in ("A", "B", "tie")]
    question = rows[0]["conversations"][0]["value"]
    assert question.count("<video>") == len(rows[0]["videos"]) == 2 and question.endswith("Answer with A, B or tie.")
    assert export_data("sharegpt", dataset, tmp_path / "pairs.jsonl") == 8


def test_a_prompt_of_its_own_placeholders_adds_no_clip() -> None:
    from videoalign.data.formats.sharegpt import _plain

    assert _plain("a <video> of an < IMAGE > with <audio>, <b>") == "a (video) of an (IMAGE) with (audio), <b>"


@pytest.mark.parametrize("seconds", [float("nan"), float("inf")])
def test_a_number_that_json_has_not_is_told_and_nothing_written(
    dataset: Dataset, tmp_path: Path, seconds: float
) -> None:
    dataset.write_judgements([replace(row, seconds=seconds) for row in dataset.judgements()])
    for ending in ("json", "jsonl"):
        with pytest.raises(DataError, match="column 'seconds' of a row holds a number that is not finite"):
            export_data("pairs", dataset, tmp_path / f"out.{ending}")
        assert not (tmp_path / f"out.{ending}").exists()
