"""A picture or clip that was asked with beside the prompt comes in, is part of what was asked, and goes out again."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from videoalign.cli.main import main
from videoalign.contracts.records import DatasetInfo, Prompt
from videoalign.data.card import published
from videoalign.data.check import check_dataset
from videoalign.data.dataset import Dataset
from videoalign.errors import DataError

COLUMNS = "clip_a,clip_b,prompt,media,VQ"


@pytest.fixture
def folder(tmp_path: Path, make_clip: Callable[..., Path]) -> Path:
    """Six clips, two pictures, a clip to begin from, and a file that is no picture."""
    for number in range(6):
        make_clip(tmp_path / f"{number}.mp4", tint=30 * number)
    make_clip(tmp_path / "start.mp4", tint=200)
    (tmp_path / "in").mkdir()
    for name, colour in (("in/red.png", "red"), ("in/blue.jpg", "blue")):
        Image.new("RGB", (16, 16), colour).save(tmp_path / name)
    (tmp_path / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\nnothing")
    (tmp_path / "notes.txt").write_text("no picture")
    return tmp_path


def import_pairs(folder: Path, *rows: str, out: str = "out", code: int = 0, settings: tuple[str, ...] = ()) -> Path:
    (folder / "t.csv").write_text("\n".join([COLUMNS, *rows]), encoding="utf-8")
    words = ["data", "import", "pairs", str(folder / "t.csv"), *settings, "--out", str(folder / out)]
    assert main(words) == code
    return folder / out


def test_the_same_text_with_another_picture_is_another_prompt(folder: Path) -> None:
    rows = ["0.mp4,1.mp4,it moves,in/red.png,A", "2.mp4,3.mp4,it moves,in/blue.jpg,B", "4.mp4,5.mp4,it moves,,tie"]
    dataset = Dataset.open(import_pairs(folder, *rows, "1.mp4,0.mp4,it moves,in/../in/red.png,A"))
    prompts = dataset.prompts()
    assert [(one.text, Path(one.media).name) for one in prompts] == [
        ("it moves", "red.png"), ("it moves", "blue.jpg"), ("it moves", ""),
    ]  # fmt: skip
    assert len({one.prompt_id for one in prompts}) == 3
    by_prompt = {
        one.prompt_id: [c.path[-5:] for c in dataset.clips() if c.prompt_id == one.prompt_id] for one in prompts
    }
    assert list(by_prompt.values()) == [["0.mp4", "1.mp4"], ["2.mp4", "3.mp4"], ["4.mp4", "5.mp4"]]
    assert [one.label for one in dataset.judgements()] == ["A", "B", "tie", "A"]


def test_one_picture_under_two_names_is_one_and_two_under_one_name_are_two(folder: Path) -> None:
    shutil.copyfile(folder / "in/red.png", folder / "again.png")
    other = folder / "other"
    (other / "in").mkdir(parents=True)
    Image.new("RGB", (16, 16), "green").save(other / "in/red.png")
    rows = ["0.mp4,1.mp4,it moves,in/red.png,A", "0.mp4,2.mp4,it moves,again.png,B"]
    (asked,) = Dataset.open(import_pairs(folder, *rows)).prompts()
    for name in ("4.mp4", "5.mp4"):
        shutil.copyfile(folder / name, other / name)
    (green,) = Dataset.open(import_pairs(other, "4.mp4,5.mp4,it moves,in/red.png,A")).prompts()
    assert green.prompt_id != asked.prompt_id


def test_every_layout_of_ours_and_each_that_has_a_column_for_it_reads_pictures(folder: Path) -> None:
    picture = (folder / "in/red.png").read_bytes()
    shown = {"prompt": "it moves", "media": "in/red.png"}
    pair = {"file_name1": "0.mp4", "file_name2": "1.mp4", "weighted_results1_VQ": 0.9, "weighted_results2_VQ": 0.1}
    acted = {
        "label": {"action": "left"},
        "left": {"video": "0.mp4", "model": "a"},
        "right": {"video": "1.mp4", "model": "b"},
    }
    tables: dict[str, dict[str, Any]] = {
        "folder": {"clip": "0.mp4", **shown},
        "ratings": {"clip": "0.mp4", "VQ": 4, **shown},
        "rapidata": {"prompt": "it moves", "prompt_asset": {"bytes": picture, "path": None}, **pair},
        "worldreward-bench": {
            "input_caption": "it moves",
            "input_image": "in/red.png",
            "label": {"action": "left"},
            **acted,
        },
    }
    found = {}
    for layout, row in tables.items():
        table = folder / f"{layout}.parquet"
        pq.write_table(pa.Table.from_pylist([row]), table)
        words = ["need_all=false"] if layout == "folder" else ["dimensions=[action]"] if "label" in row else []
        assert main(["data", "import", layout, str(table), *words, "--out", str(folder / layout)]) == 0
        dataset = Dataset.open(folder / layout)
        (prompt,) = dataset.prompts()
        found[layout] = (prompt.prompt_id, (dataset.path / prompt.media).read_bytes())
    assert len({*found.values()}) == 1
    assert next(iter(found.values()))[1] == picture


def test_a_clip_that_was_asked_with_need_not_be_judged(folder: Path) -> None:
    few = folder / "few"
    few.mkdir()
    for name in ("0.mp4", "start.mp4"):
        shutil.copyfile(folder / name, few / name)
    (few / "t.csv").write_text("clip,prompt,media\n0.mp4,it goes on,start.mp4\n")
    assert main(["data", "import", "folder", str(few), "--out", str(folder / "out")]) == 0


def test_the_check_tells_of_a_picture_that_was_lost_and_the_card_publishes_those_inside(folder: Path) -> None:
    rows = ["0.mp4,1.mp4,it moves,in/red.png,A", "2.mp4,3.mp4,it goes on,start.mp4,B"]
    dataset = Dataset.open(import_pairs(folder, *rows, settings=("copy_clips=true",)))
    assert check_dataset(dataset) == []
    assert {*published(dataset)} >= {"clips/*.mp4", "clips/*.png"}
    lost = dataset.prompts()[0]
    (dataset.path / lost.media).unlink()
    assert [(one.kind, one.where) for one in check_dataset(dataset)] == [("broken_media", lost.prompt_id)]


def test_what_is_written_comes_back_with_its_pictures(folder: Path) -> None:
    first = Dataset.open(import_pairs(folder, "0.mp4,1.mp4,it moves,in/red.png,A", "2.mp4,3.mp4,it rests,,B"))
    table = folder / "elsewhere" / "again.csv"
    table.parent.mkdir()
    assert main(["data", "export", "pairs", str(first.path), "--out", str(table)]) == 0
    again = folder / "again"
    assert main(["data", "import", "pairs", str(table), "--out", str(again)]) == 0
    media = [Path(one.media).resolve() for one in Dataset.open(again).prompts() if one.media]
    assert media == [(folder / "in/red.png").resolve()]
    plain = Dataset.open(import_pairs(folder, "2.mp4,3.mp4,it rests,,B", out="plain"))
    assert main(["data", "export", "pairs", str(plain.path), "--out", str(folder / "plain.jsonl")]) == 0
    assert "media" not in json.loads((folder / "plain.jsonl").read_text())


def test_pictures_are_copied_with_the_clips(folder: Path) -> None:
    rows = ["0.mp4,1.mp4,it moves,in/red.png,A", "2.mp4,3.mp4,it goes on,start.mp4,B"]
    dataset = Dataset.open(import_pairs(folder, *rows, settings=("copy_clips=true",)))
    for prompt, source in zip(dataset.prompts(), ("in/red.png", "start.mp4"), strict=True):
        assert prompt.media == f"clips/{prompt.prompt_id}{Path(source).suffix}"
        assert (dataset.path / prompt.media).read_bytes() == (folder / source).read_bytes()


@pytest.mark.parametrize(
    ("media", "reason"),
    [
        ("gone.png", "is not there"),
        ("broken.png", "not a picture that can be read"),
        ("notes.txt", "must be a picture"),
    ],
)
def test_a_picture_that_nobody_could_see_is_an_error_in_its_row(
    folder: Path, capsys: pytest.CaptureFixture[str], media: str, reason: str
) -> None:
    out = import_pairs(folder, f"0.mp4,1.mp4,it moves,{media},A", code=2)
    said = capsys.readouterr().err
    assert reason in said and ":2" in said
    assert not out.exists()


def test_a_prompt_with_a_picture_is_not_taken_for_the_one_without(tmp_path: Path) -> None:
    dataset = Dataset.create(tmp_path / "d", DatasetInfo())
    asked = Prompt(prompt_id="with", text="it moves", media="in/red.png")
    dataset.add(prompts=[asked])
    assert dataset.own_prompts(["it moves"])[0].prompt_id != "with"
    assert dataset.own_prompts([asked]) == [asked]
    with pytest.raises(DataError, match=r"with media 'in/red.png'; got 'in/blue.png'"):
        dataset.add(prompts=[Prompt(prompt_id="with", text="it moves", media="in/blue.png")])
