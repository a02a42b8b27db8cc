"""A dataset grows by tables and other datasets: what is there stays, what is new comes in once, clashes are refused."""

from __future__ import annotations

import json
import shutil
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from videoalign.cli.main import main
from videoalign.contracts.records import DatasetInfo, Dimension, Judgement, Prompt
from videoalign.data.card import write_card
from videoalign.data.dataset import Dataset
from videoalign.data.merging import Added, merge_dataset
from videoalign.data.people import said_only_in
from videoalign.errors import ConfigError, DataError

PAIRS = "clip_a,clip_b,prompt,rater,VQ"


@pytest.fixture
def clips(tmp_path: Path, make_clip: Callable[..., Path]) -> Path:
    """Two folders, each with 0.mp4 .. 2.mp4, all different."""
    for number in range(3):
        make_clip(tmp_path / f"one/{number}.mp4", tint=20 * number)
        make_clip(tmp_path / f"two/{number}.mp4", tint=20 * number + 10)
    return tmp_path


def data_import(table: Path, *rows: str, out: str = "d", words: tuple[str, ...] = (), code: int = 0) -> Dataset:
    table.write_text("\n".join([PAIRS, *rows]), encoding="utf-8")
    folder = table.parents[1] / out
    assert main(["data", "import", "pairs", str(table), "--out", str(folder), *words]) == code
    return Dataset.open(folder)


def grown_from(clips: Path) -> Dataset:
    return data_import(clips / "one/t.csv", "0.mp4,1.mp4,a,r,A", "1.mp4,2.mp4,a,r,tie")


def contents(dataset: Dataset) -> tuple[Any, ...]:
    return dataset.prompts(), dataset.clips(), dataset.judgements(), dataset.ratings(), dataset.info


def test_a_longer_table_adds_its_new_rows_alone_and_again_adds_nothing(clips: Path, capsys: Any) -> None:
    before = grown_from(clips)
    prompts, rows, said = before.prompts(), before.clips(), before.judgements()
    before.write_prompts([replace(prompts[0], split="val")])
    capsys.readouterr()
    more = ["2.mp4,0.mp4,b,s,B", "1.mp4,0.mp4,a,r,B", "2.mp4,1.mp4,a,r,tie", "0.mp4,2.mp4,a,r,A"]
    after = data_import(clips / "one/more.csv", *more, words=("--add", "--json"))
    told = json.loads(capsys.readouterr().out)
    assert told["added"] == {"prompts": 1, "clips": 2, "judgements": 2, "ratings": 0, "repeated": 2}
    assert (told["prompts"], told["clips"], told["judgements"]) == (2, 5, 4)
    assert [one.split for one in after.prompts()] == ["val", "train"]
    assert after.clips()[:3] == rows and after.judgements()[:2] == said
    held = contents(after)
    files = {file: file.read_bytes() for file in after.path.iterdir()}
    again = data_import(clips / "one/more.csv", *more, words=("--add",))
    assert contents(again) == held
    assert {file: file.read_bytes() for file in again.path.iterdir()} == files


def test_another_file_of_a_name_that_is_taken_is_refused_or_gets_an_id_of_its_own(clips: Path, capsys: Any) -> None:
    before = contents(grown_from(clips))
    row = "0.mp4,1.mp4,a,s,B"
    capsys.readouterr()
    refused = data_import(clips / "two/t.csv", row, words=("--add",), code=2)
    line = capsys.readouterr().err
    assert line.count("\n") == 1 and "is another file there" in line and "--new-ids" in line
    assert contents(refused) == before
    assert [path.name for path in clips.iterdir() if path.name.startswith(".")] == []
    for _ in range(2):
        grown = data_import(clips / "two/t.csv", row, words=("--add", "--new-ids"))
    assert len(grown.clips()) == 5 and len(grown.prompts()) == 1
    paths = {clip.clip_id: Path(clip.path) for clip in grown.clips()}
    last = grown.judgements()[-1]
    assert [paths[last.clip_a].parent.name, paths[last.clip_b].name, last.label] == ["two", "1.mp4", "B"]


def test_copied_clips_come_along_and_one_file_under_two_names_stays_one_clip(clips: Path) -> None:
    grown_from(clips)
    grown = data_import(clips / "two/t.csv", "0.mp4,1.mp4,b,r,A", words=("--add", "copy_clips=true"))
    new = grown.clips()[3:]
    assert {clip.path for clip in new} == {f"clips/{clip.clip_id}.mp4" for clip in new}
    assert grown.load(new[0]).frames.shape[0] == new[0].num_frames
    above = clips / "all"
    above.mkdir()
    again = data_import(above / "t.csv", "../one/0.mp4,../one/2.mp4,a,q,A", words=("--add",))
    assert again.clips() == grown.clips() and len(again.judgements()) == 4


@pytest.mark.parametrize(("words", "says"), [
    (("--add", "--fresh"), "--fresh: replaces the dataset that --add adds to"),
    (("--new-ids",), "--new-ids: no id of a new dataset is taken"),
    (("--add", "rename.VQ=Look"), "judges 'Look', and"),
])  # fmt: skip
def test_what_cannot_be_meant_is_refused_and_nothing_changes(
    clips: Path, capsys: Any, words: tuple[str, ...], says: str
) -> None:
    before = contents(grown_from(clips))
    words = tuple(sorted(words, key=lambda word: word.startswith("--")))
    assert contents(data_import(clips / "two/t.csv", "0.mp4,1.mp4,b,s,B", words=words, code=2)) == before
    assert says in capsys.readouterr().err


def test_a_dataset_that_grew_is_not_replaced_by_one_of_its_tables(clips: Path, capsys: Any) -> None:
    grown = grown_from(clips)
    assert said_only_in(grown.path) is None
    data_import(clips / "two/t.csv", "0.mp4,1.mp4,b,r,A", words=("--add",))
    assert "cannot be imported again" in str(said_only_in(grown.path))
    data_import(clips / "two/t.csv", "0.mp4,1.mp4,b,r,A", "0.mp4,2.mp4,b,r,A", words=("--add",))
    assert Dataset.open(grown.path).info.provenance["added"] == f'["{clips}/two/t.csv"]', "each source once"
    assert "| added | t.csv |" in write_card(Dataset.open(grown.path)).read_text(encoding="utf-8")
    data_import(clips / "one/t.csv", "0.mp4,1.mp4,a,r,A", words=("--fresh",), code=2)
    assert "is not replaced" in capsys.readouterr().err


def programme_rows(dataset: Dataset, key: str, label: str) -> None:
    first, second, *_ = dataset.clips()
    dataset.write_judgements([
        Judgement(
            prompt_id=first.prompt_id, clip_a=first.clip_id, clip_b=second.clip_id, rater=rater, dimension="VQ",
            label=label, source_row=f"annotate-{key}:{number}", role=role, guideline=1,
        )
        for number, (rater, role) in enumerate([("rater-1", "rater"), ("gold", "gold")])
    ])  # fmt: skip


def test_raters_of_two_programmes_are_not_taken_for_the_same_people(clips: Path) -> None:
    grown = grown_from(clips)
    other = data_import(clips / "one/t.csv", "0.mp4,1.mp4,a,r,A", out="other")
    programme_rows(grown, "aaaaaaaa11", "A")
    programme_rows(other, "bbbbbbbb22", "B")
    added = merge_dataset(grown, other)
    assert added == Added(prompts=0, clips=0, judgements=2, ratings=0, repeated=0)
    assert [(row.rater, row.label, row.guideline) for row in grown.judgements()] == [
        ("rater-1", "A", 1), ("gold", "A", 1), ("rater-1.bbbbbbbb", "B", 0), ("gold", "B", 1),
    ]  # fmt: skip
    assert merge_dataset(grown, other).repeated == 2
    copy = Dataset.open(shutil.copytree(grown.path, clips / "copy"))
    assert merge_dataset(grown, copy) == Added(0, 0, 0, 0, 4), "a copy of itself adds nothing"


def test_prompts_are_the_same_by_what_they_ask_and_ids_that_clash_are_refused(clips: Path) -> None:
    grown = grown_from(clips)
    other = data_import(clips / "two/t.csv", "0.mp4,1.mp4,a,r,A", out="other", words=("copy_clips=true",))
    other.write_prompts([Prompt(prompt_id="mine", text="a")])
    other.write_clips([replace(clip, prompt_id="mine", clip_id=f"x{k}") for k, clip in enumerate(other.clips())])
    other.write_judgements([])
    assert merge_dataset(grown, other).clips == 2
    assert {clip.prompt_id for clip in grown.clips()} == {grown.prompts()[0].prompt_id}
    assert all(grown.clip_path(clip).is_file() for clip in grown.clips())
    other.write_prompts([Prompt(prompt_id=grown.prompts()[0].prompt_id, text="something else")])
    with pytest.raises(DataError, match=r"is 'a' there, 'something else' here\. Give it another id"):
        merge_dataset(grown, other)
    with pytest.raises(ConfigError, match="is the dataset that it is to be added to"):
        merge_dataset(grown, grown)


@pytest.mark.parametrize(("column", "value"), [("generator", "g"), ("num_frames", 4), ("fps", 9.0)])
def test_one_file_that_is_said_to_be_two_things_is_refused(clips: Path, column: str, value: Any) -> None:
    grown = grown_from(clips)
    other = Dataset.open(shutil.copytree(grown.path, clips / "other"))
    first, *rest = other.clips()
    other.write_clips([replace(first, **{column: value}), *rest])
    with pytest.raises(DataError, match=f"has {column} '.*' there and '{value}' here, although it is the same file"):
        merge_dataset(grown, other, new_ids=True)


def test_a_dimension_that_is_not_judged_is_refused_and_merging_speaks_one_line(clips: Path, capsys: Any) -> None:
    grown = grown_from(clips)
    other = Dataset.open(shutil.copytree(grown.path, clips / "other"))
    other = Dataset(other.path, DatasetInfo(dimensions=(Dimension(name="Look", guideline=""),)))
    other.write_judgements([replace(row, dimension="Look") for row in other.judgements()])
    before = contents(grown)
    capsys.readouterr()
    assert main(["data", "merge", str(other.path), "--into", str(grown.path)]) == 2
    line = capsys.readouterr().err
    assert "'Look' is judged there and not in" in line and line.count("\n") == 1
    assert contents(grown) == before


def test_writers_at_the_same_time_lose_nothing(clips: Path) -> None:
    grown = grown_from(clips)

    def add(number: int) -> None:
        for part in range(4):
            Dataset.open(grown.path).add(prompts=[Prompt(prompt_id=f"{number}-{part}", text=f"{number} {part}")])

    writers = [threading.Thread(target=add, args=(number,)) for number in range(4)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert len(grown.prompts()) == 17
