"""What is written is what is read; nothing that does not belong gets in."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import replace
from pathlib import Path
from typing import Any, get_type_hints

import pandas
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from videoalign.contracts.records import (
    Clip,
    DatasetInfo,
    Dimension,
    Judgement,
    Label,
    Prompt,
    Rating,
    WinLosePair,
)
from videoalign.data.dataset import Dataset, flip, prompt_id_of
from videoalign.data.tables import read_records, write_records
from videoalign.errors import ConfigError, DataError, OutputError

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
VALUES = {
    str: TEXT,
    int: st.integers(-(2**63), 2**63 - 1),
    float: st.floats(allow_nan=False),
}


def rows_of(record: type) -> st.SearchStrategy[list[Any]]:
    hints = get_type_hints(record)
    fields = {field.name: VALUES[hints[field.name]] for field in dataclasses.fields(record)}
    return st.lists(st.builds(record, **fields), max_size=5)


def clip(clip_id: str, prompt_id: str = "p", **changes: Any) -> Clip:
    values = {"path": f"clips/{clip_id}.mp4", "fps": 8.0, "num_frames": 17, "height": 64, "width": 64, **changes}
    return Clip(clip_id=clip_id, prompt_id=prompt_id, **values)


def judgement(label: str, rater: str = "r", pair: str = "ab", dimension: str = "VQ") -> Judgement:
    return Judgement(
        prompt_id="p", clip_a=pair[0], clip_b=pair[1], rater=rater, dimension=dimension, label=label, source_row=rater
    )


@pytest.fixture
def dataset(tmp_path: Path) -> Dataset:
    """One prompt, clips a, b and c."""
    made = Dataset.create(tmp_path / "d", DatasetInfo())
    made.add(prompts=[Prompt(prompt_id="p", text="a red circle")], clips=[clip("a"), clip("b"), clip("c")])
    return made


@pytest.mark.parametrize("record", [Prompt, Clip, Judgement, Rating, WinLosePair])
def test_any_table_reads_back_as_it_was_written(record: type, tmp_path_factory: pytest.TempPathFactory) -> None:
    file = tmp_path_factory.mktemp("table") / "t.parquet"

    @settings(max_examples=10, suppress_health_check=list(HealthCheck))
    @given(rows_of(record))
    def check(rows: list[Any]) -> None:
        write_records(file, record, rows)
        assert read_records(file, record) == rows

    check()


@settings(max_examples=10, suppress_health_check=list(HealthCheck))
@given(
    names=st.lists(
        st.sampled_from(["VQ", "raw", "raw_VQ", "normalised_", "_x", "1"]), min_size=1, max_size=4, unique=True
    ),
    numbers=st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=1, max_size=4),
)
def test_scores_read_back_whatever_the_dimensions_are_called(
    names: list[str], numbers: list[float], tmp_path_factory: pytest.TempPathFactory
) -> None:
    info = DatasetInfo(dimensions=tuple(Dimension(name=name, guideline="x") for name in names))
    made = Dataset.create(tmp_path_factory.mktemp("d"), info)
    rows = [
        {"clip_id": str(k), "raw": dict.fromkeys(names, x), "normalised": dict.fromkeys(names, x / 2)}
        for k, x in enumerate(numbers)
    ]
    made.write_scores("reward", rows)
    assert made.scores("reward") == rows
    assert made.names("scores") == ["reward"]


def test_tables_open_in_pandas_with_the_field_names(dataset: Dataset) -> None:
    frame = pandas.read_parquet(dataset.path / "clips.parquet")
    assert list(frame.columns) == [field.name for field in dataclasses.fields(Clip)]
    assert frame["num_frames"].tolist() == [17, 17, 17]


def test_info_reads_back(tmp_path: Path) -> None:
    info = DatasetInfo(dimensions=(Dimension(name="look", guideline="How it looks."),), provenance={"source": "x"})
    Dataset.create(tmp_path / "d", info)
    assert Dataset.open(tmp_path / "d").info == info
    assert Dataset.open(tmp_path / "d").dimensions == ("look",)


def test_adding_twice_adds_once(dataset: Dataset) -> None:
    rating = Rating(clip_id="a", rater="r", dimension="VQ", score=4.0, source_row="t.csv:2")
    for _ in range(2):
        dataset.add(clips=[clip("a")], judgements=[judgement("A")], ratings=[rating])
    assert [row.clip_id for row in dataset.clips()] == ["a", "b", "c"]
    assert dataset.judgements() == [judgement("A")]
    assert dataset.ratings() == [rating]


def test_adding_leaves_the_split_of_a_prompt_alone(dataset: Dataset) -> None:
    dataset.write_prompts([Prompt(prompt_id="p", text="a red circle", split="val")])
    dataset.add(prompts=[Prompt(prompt_id="p", text="a red circle")])
    assert [prompt.split for prompt in dataset.prompts()] == ["val"]


@pytest.mark.parametrize(("rows", "message"), [
    ({"prompts": [Prompt(prompt_id="p", text="another")]}, "'p' is in the dataset with text 'a red"),
    ({"clips": [clip("a", path="clips/other.mp4")]}, "'a' is in the dataset with path 'clips/a.mp4'"),
    ({"clips": [clip("d", "q")]}, "its prompt 'q' is not in the dataset"),
    ({"judgements": [judgement("A", pair="ax")]}, "clip 'x' is not in the dataset"),
    ({"judgements": [judgement("A", dimension="VQQ")]}, "unknown dimension 'VQQ'. Did you mean 'VQ'"),
    ({"judgements": [judgement("left")]}, "label 'left' is not one of A, B, tie"),
    ({"judgements": [replace(judgement("A"), role="boss")]}, "role 'boss' is not one of rater, repeat, adjudicator"),
    ({"judgements": [replace(judgement("A"), left="C")]}, "left 'C' is not one of A, B, nothing"),
    ({"ratings": [Rating(clip_id="x", rater="r", dimension="VQ", score=1.0)]}, "clip 'x' is not in the dataset"),
])  # fmt: skip
def test_strangers_are_refused_and_nothing_is_written(dataset: Dataset, rows: dict[str, Any], message: str) -> None:
    before = {file.name: file.read_bytes() for file in dataset.path.iterdir()}
    with pytest.raises(DataError, match=message.replace("?", r"\?")):
        dataset.add(**rows)
    assert {file.name: file.read_bytes() for file in dataset.path.iterdir()} == before


@pytest.mark.parametrize(("votes", "verdict"), [
    (["A", "A", "B"], Label.A),
    (["A", "B"], None),
    (["A", "tie", "B"], None),
    (["both_bad", "tie", "B"], Label.TIE),
    (["invalid", "invalid", "A"], None),
    (["invalid", "A", "A"], Label.A),
])  # fmt: skip
def test_verdict_of_a_pair_is_that_of_most_raters(dataset: Dataset, votes: list[str], verdict: Label | None) -> None:
    dataset.write_judgements([judgement(vote, rater=str(k)) for k, vote in enumerate(votes)])
    (pair,) = dataset.judged_pairs()
    assert pair.labels == {"VQ": verdict, "MQ": None, "TA": None}
    assert (pair.clip_a, pair.clip_b, pair.split) == ("a", "b", "train")


def test_invalid_votes_are_left_out_and_both_bad_is_a_tie(dataset: Dataset) -> None:
    votes = ["both_bad", "tie", "B", "invalid", "invalid", "invalid"]
    dataset.write_judgements([judgement(vote, rater=str(k)) for k, vote in enumerate(votes)])
    (pair,) = dataset.judged_pairs()
    assert (pair.labels["VQ"], pair.votes["VQ"]) == (None, (0, 2, 1))


def test_a_pair_shown_the_other_way_round_is_the_same_pair(dataset: Dataset) -> None:
    votes = [judgement("A", "1"), judgement("B", "2", pair="ba"), judgement("B", "3")]
    dataset.write_judgements(votes)
    (pair,) = dataset.judged_pairs()
    assert (pair.clip_a, pair.clip_b, pair.labels["VQ"]) == ("a", "b", Label.A)
    assert pair.votes == {"VQ": (2, 0, 1), "MQ": (0, 0, 0), "TA": (0, 0, 0)}
    assert dataset.judgements() == votes  # raw judgements stay as they were given


def test_judged_pairs_of_a_split_are_those_of_its_prompts(dataset: Dataset) -> None:
    dataset.add(prompts=[Prompt(prompt_id="q", text="x", split="val")], clips=[clip("d", "q"), clip("e", "q")])
    other = Judgement(prompt_id="q", clip_a="d", clip_b="e", rater="r", dimension="TA", label="tie")
    dataset.write_judgements([judgement("A"), other])
    assert [(pair.clip_a, pair.split) for pair in dataset.judged_pairs("val")] == [("d", "val")]
    assert len(dataset.judged_pairs()) == 2


def test_flipping_twice_changes_nothing() -> None:
    assert [flip(label) for label in Label] == [Label.B, Label.A, Label.TIE, Label.BOTH_BAD, Label.INVALID]
    assert all(flip(flip(label)) == label for label in Label)


def test_prompt_id_depends_on_the_text_alone() -> None:
    assert prompt_id_of("a red circle") == prompt_id_of("a red circle") != prompt_id_of("a red square")


def test_a_prompt_that_is_there_keeps_the_id_it_has(dataset: Dataset) -> None:
    old = Prompt(prompt_id="p-0123456789ab", text="a dog", split="val")
    dataset.add(prompts=[old])
    given = dataset.own_prompts(
        ["a dog", "a fox", Prompt(prompt_id="x", text="a dog"), Prompt(prompt_id="y", text="z")]
    )
    assert given == [old, Prompt(prompt_id=prompt_id_of("a fox"), text="a fox"), old, given[3]]
    assert given[3].prompt_id == "y"


def test_create_refuses_what_is_there_and_bad_names(tmp_path: Path) -> None:
    one = DatasetInfo(dimensions=(Dimension(name="VQ", guideline="x"),))
    Dataset.create(tmp_path, one)
    with pytest.raises(OutputError, match="holds a dataset already"):
        Dataset.create(tmp_path, one)
    assert Dataset.create(tmp_path, one, exist_ok=True).info == one
    with pytest.raises(OutputError, match="with dimensions VQ; wanted VQ, MQ, TA"):
        Dataset.create(tmp_path, DatasetInfo(), exist_ok=True)
    spaced = DatasetInfo(dimensions=(Dimension(name="visual quality", guideline="x"),))
    with pytest.raises(DataError, match="'visual quality' must be made of letters"):
        Dataset.create(tmp_path / "other", spaced)


def test_what_is_no_dataset_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no dataset here"):
        Dataset.open(tmp_path)
    for nothing in ("", "{}", "null", '{"dimensions": []}'):
        (tmp_path / "dataset.json").write_text(nothing)
        with pytest.raises(DataError, match=r"dataset\.json: names no dimension; wanted one at least"):
            Dataset.open(tmp_path)
    (tmp_path / "dataset.json").write_text("[]")
    with pytest.raises(ConfigError, match=r"dataset\.json: must hold 'key: value' lines; got list"):
        Dataset.open(tmp_path)
    look = '{{"name": "{}", "guideline": "g", "sees_prompt": true}}'
    for named in (["a b"], ["VQ", "VQ"], ["é"], ["x" * 101], ["../x"]):
        (tmp_path / "dataset.json").write_text(f'{{"dimensions": [{", ".join(map(look.format, named))}]}}')
        with pytest.raises(DataError, match=r"dataset\.json: dimensions: .*Rename it"):
            Dataset.open(tmp_path)
    (tmp_path / "dataset.json").write_text('{"schema_version": 99}')
    with pytest.raises(DataError, match="schema version 99; this videoalign reads up to 1"):
        Dataset.open(tmp_path)
    (tmp_path / "dataset.json").write_text('{"dimension": []}')
    with pytest.raises(ConfigError, match=r"unknown setting 'dimension'\. Did you mean 'dimensions'"):
        Dataset.open(tmp_path)


def test_damaged_tables_are_refused(dataset: Dataset) -> None:
    file = dataset.path / "clips.parquet"
    whole = pq.read_table(file)
    damaged = {
        "column 'fps' is missing": whole.drop_columns(["fps"]),
        "unknown column 'fsp'": whole.append_column("fsp", pa.array([1, 2, 3])),
        "'prompt_id' has empty cells": whole.set_column(1, "prompt_id", pa.array(["p", None, "p"])),
        "another type": whole.set_column(4, "seed", pa.array(["x", "y", "z"])),
    }
    for message, table in damaged.items():
        pq.write_table(table, file)
        with pytest.raises(DataError, match=message):
            dataset.clips()
    file.write_bytes(file.read_bytes()[:100])
    with pytest.raises(DataError, match="truncated or not Parquet"):
        dataset.clips()


def test_a_table_from_before_a_column_reads_with_what_stands_for_unknown(dataset: Dataset) -> None:
    rows = [judgement("A"), judgement("tie", "s")]
    dataset.add(judgements=rows)
    file = dataset.path / "judgements.parquet"
    pq.write_table(pq.read_table(file).drop_columns(["role", "left", "seconds"]), file)
    assert dataset.judgements() == rows
    assert [(row.role, row.left, row.seconds) for row in rows] == [("rater", "", -1.0)] * 2


def test_scores_and_pairs_that_are_not_there_or_not_whole_are_refused(dataset: Dataset) -> None:
    dataset.write_scores("oracle", [{"clip_id": "a", "raw": {"VQ": 1.0}, "normalised": {"VQ": 0.0}}])
    with pytest.raises(DataError, match=r"no scores 'oracl'\. Did you mean 'oracle'"):
        dataset.scores("oracl")
    with pytest.raises(DataError, match="no pairs 'x'"):
        dataset.pairs("x")
    with pytest.raises(DataError, match="the set is empty"):
        dataset.write_pairs("x", [])
    with pytest.raises(DataError, match="the name 'xxx.* 200 of them at most"):
        dataset.named_path("pairs", 201 * "x")
    with pytest.raises(DataError, match=r"the name '\.\./x' must be made of"):
        dataset.write_scores("../x", [])
    with pytest.raises(DataError, match="not a finite number"):
        dataset.write_scores("bad", [{"clip_id": "a", "raw": {"VQ": math.nan}, "normalised": {"VQ": 0.0}}])
    assert dataset.names("scores") == ["oracle"]
