"""A verdict is a label of the clip that was judged: not of another file that lies there later."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from videoalign.cli.main import main
from videoalign.contracts.records import Aggregation
from videoalign.data.check import check_dataset
from videoalign.data.clip_content import input_keys
from videoalign.data.dataset import Dataset
from videoalign.data.formats import EXPORTS, export_data, import_data
from videoalign.data.merging import merge_dataset
from videoalign.errors import DataError

Make = Callable[..., Path]
STALE = r"judgements are stale for 1 clips, whose files or prompts were replaced since they were judged \({}\); put"


@pytest.fixture
def judged(tmp_path: Path, make_clip: Make) -> Dataset:
    """Prompts a and b with two judged clips each, b held out."""
    for number in range(4):
        make_clip(tmp_path / f"{number}.mp4", tint=20 * number)
    (tmp_path / "t.csv").write_text(
        "clip_a,clip_b,prompt,rater,VQ,model_a,model_b\n0.mp4,1.mp4,a,r,A,g,h\n2.mp4,3.mp4,b,r,B,g,h\n"
    )
    import_data("pairs", tmp_path / "t.csv", tmp_path / "d")
    dataset = Dataset.open(tmp_path / "d")
    dataset.write_prompts(
        [replace(prompt, split="val") if prompt.text == "b" else prompt for prompt in dataset.prompts()]
    )
    return dataset


def clip_ids(dataset: Dataset) -> list[str]:
    return [clip.clip_id for clip in dataset.clips()]


def test_judgements_tell_the_clip_and_prompt_that_they_were_given_on(judged: Dataset) -> None:
    keys = input_keys(judged, judged.clips())
    assert [(row.content_a, row.content_b) for row in judged.judgements()] == [(keys[0], keys[1]), (keys[2], keys[3])]
    assert len({*keys}) == 4 and "" not in keys


@pytest.mark.parametrize(("format", "options"), [("pairs", {"copy_clips": True}), ("ratings", {"clip": "clip_a"})])
def test_so_do_those_of_copied_clips_and_those_that_follow_from_ratings(
    judged: Dataset, format: str, options: dict[str, Any], tmp_path: Path
) -> None:
    table = tmp_path / "r.csv"
    if format == "ratings":
        table.write_text("clip_a,prompt,rater,VQ\n0.mp4,a,r,1\n1.mp4,a,r,2\n")
    import_data(format, table if table.exists() else tmp_path / "t.csv", tmp_path / "e", options=options)
    made = Dataset.open(tmp_path / "e")
    keys = dict(zip(clip_ids(made), input_keys(made, made.clips()), strict=True))
    assert all((keys[r.clip_a], keys[r.clip_b]) == (r.content_a, r.content_b) for r in made.judgements())


def test_another_file_under_the_name_is_no_longer_labelled_and_the_old_one_is_again(
    judged: Dataset, tmp_path: Path, make_clip: Make, capsys: Any
) -> None:
    labels, first = judged.judged_pairs(), clip_ids(judged)[0]
    kept = (tmp_path / "0.mp4").read_bytes()
    make_clip(tmp_path / "0.mp4", tint=90)
    for read in (judged.judged_pairs, judged.stream_judged_pairs, judged.judgements_by_pair):
        with pytest.raises(DataError, match=STALE.format(first)):
            list(read())
    for rule in Aggregation:
        with pytest.raises(DataError, match=STALE.format(first)):
            judged.judged_pairs("train", rule)
    assert judged.judged_pairs("val") == labels[1:], "whose clips are what was judged"
    for name in EXPORTS:
        with pytest.raises(DataError, match=STALE.format(first)):
            export_data(name, judged, tmp_path / "out.json")
    assert not (tmp_path / "out.json").exists()
    capsys.readouterr()
    assert main(["annotate", "leaderboard", str(judged.path)]) == 2
    assert capsys.readouterr().err.count("\n") == 1
    assert [(one.kind, one.where) for one in check_dataset(judged)] == [("replaced_clip", first)]
    (tmp_path / "0.mp4").write_bytes(kept)
    os.utime(tmp_path / "0.mp4", (1, 1))
    assert judged.judged_pairs() == labels
    assert check_dataset(judged) == []


def test_another_text_under_the_id_of_a_prompt_is_another_prompt(judged: Dataset) -> None:
    first, *rest = judged.prompts()
    judged.write_prompts([replace(first, text="something else"), *rest])
    with pytest.raises(DataError, match="judgements are stale for 2 clips"):
        judged.judged_pairs()


def test_a_new_clip_under_an_id_of_its_own_leaves_the_old_verdict_out(
    judged: Dataset, tmp_path: Path, make_clip: Make
) -> None:
    make_clip(tmp_path / "0.mp4", tint=90)
    first, *rest = judged.clips()
    judged.write_clips([replace(first, clip_id="new"), *rest])
    assert [pair.prompt_id for pair in judged.judged_pairs()] == [judged.prompts()[1].prompt_id]


def test_a_clip_that_is_not_there_and_a_table_that_does_not_tell_pass(
    judged: Dataset, tmp_path: Path, make_clip: Make
) -> None:
    labels = judged.judged_pairs()
    kept = (tmp_path / "0.mp4").rename(tmp_path / "away.mp4")
    assert judged.judged_pairs() == labels, "as where tables alone were published"
    kept.rename(tmp_path / "0.mp4")
    table = pq.read_table(judged.path / "judgements.parquet")
    pq.write_table(table.drop_columns(["content_a", "content_b"]), judged.path / "judgements.parquet")
    make_clip(tmp_path / "0.mp4", tint=90)
    assert judged.judged_pairs() == labels
    assert {row.content_a for row in judged.judgements()} == {""}


def test_verdicts_take_what_they_were_given_on_into_another_dataset(
    judged: Dataset, tmp_path: Path, make_clip: Make
) -> None:
    (tmp_path / "u.csv").write_text("clip_a,clip_b,prompt,rater,VQ,model_a,model_b\n0.mp4,1.mp4,a,s,tie,g,h\n")
    import_data("pairs", tmp_path / "u.csv", tmp_path / "e", options={"copy_clips": True})
    other = Dataset.open(tmp_path / "e")
    make_clip(other.path / other.clips()[0].path, tint=90)
    said = [(row.content_a, row.content_b) for row in other.judgements()]
    merge_dataset(judged, other, new_ids=True)
    assert [(row.content_a, row.content_b) for row in judged.judgements()][2:] == said
    with pytest.raises(DataError, match="judgements are stale for 1 clips"):
        judged.judged_pairs()
