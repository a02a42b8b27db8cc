"""Tables that are broken in ways that only machines think of: one line with file, row and reason, nothing written."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.data.tables import clip, vbench, world, write_table
from videoalign.data.formats import import_data
from videoalign.errors import DataError

from .test_broken_rows import GOOD_ROWS, SETTINGS

PROMPTS = {
    "videofeedback": "text prompt",
    "mj-bench": "caption",
    "arena": "prompt",
    "uve-bench": "prompt",
    "va-judger": "text_prompt",
    "visionreward": "prompt",
    "videodpo": "caption",
    "rapidata": "prompt",
    "ratings": "prompt",
    "pairs": "prompt",
    "worldreward-bench": "input_caption",
    "vbench-human": "prompt_en",
}
BAD_TEXTS: list[tuple[Any, str]] = [
    ([1, 2], "must hold text or a number; got list"),
    ({"a": [1]}, "must hold text or a number; got dict"),
    ("\ud800", "holds a character that is no text"),
    ("a\0b", "holds a character that is no text"),
]


def refused(format: str, source: Path, out: Path, **options: Any) -> str:
    """What is said of a table that cannot be imported."""
    with pytest.raises(DataError) as caught:
        import_data(format, source, out, options=options)
    assert not out.exists() and not list(out.parent.glob("*.part")), "something half written is left"
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("format", PROMPTS)
def test_a_prompt_that_is_no_text_is_told_with_its_row(tmp_path: Path, six_clips: Path, format: str) -> None:
    options = {**SETTINGS.get(format, {}), **({"dimensions": ("look",)} if format in ("ratings", "pairs") else {})}
    for value, says in BAD_TEXTS:
        row = GOOD_ROWS[format]
        if format == "videodpo" and isinstance(value, list):
            continue  # its captions may stand in lists
        source = write_table(tmp_path / "t.jsonl", [row, {**row, PROMPTS[format]: value}])
        told = refused(format, source, tmp_path / "d", **options)
        assert told.startswith("t.jsonl:2: ") and says in told


@pytest.mark.parametrize(("format", "row"), [
    ("arena", {**GOOD_ROWS["arena"], "video_b": "videos/\ud800.mp4"}),
    ("arena", {**GOOD_ROWS["arena"], "model_b": "\udfff"}),
    ("arena", {**GOOD_ROWS["arena"], "judge": "\udfff"}),
    ("vbench-human", {**vbench(**{"\ud800": {"m1": 1}}), "videos": {"\ud800": clip(0), "m1": clip(1)}}),
    ("worldreward-bench", {**world(action="left"), "actions": ["\ud800"]}),
    ("videofeedback", {**GOOD_ROWS["videofeedback"], "video link": "a\0.mp4"}),
])  # fmt: skip
def test_half_a_character_is_told_with_its_row(
    tmp_path: Path, six_clips: Path, format: str, row: dict[str, Any]
) -> None:
    told = refused(format, write_table(tmp_path / "t.jsonl", [row]), tmp_path / "d")
    assert told.startswith("t.jsonl:1: ") and "holds a character that is no text" in told


@pytest.mark.parametrize("name", ["\ud800.mp4", "a\0.mp4"])
def test_a_name_that_is_no_text_is_told_before_a_folder_is_searched_for_it(tmp_path: Path, name: str) -> None:
    (tmp_path / "in").mkdir()
    source = write_table(tmp_path / "in" / "t.jsonl", [{"clip": name, "prompt": "p"}])
    assert "t.jsonl:1: " in (told := refused("folder", source, tmp_path / "d")) and "no text" in told


def test_a_side_that_one_row_alone_lacks_is_told_with_its_row(tmp_path: Path, six_clips: Path) -> None:
    good = GOOD_ROWS["solireward"]
    for side in ("win", "lose"):
        row = {name: value for name, value in good.items() if name != side}
        source = write_table(tmp_path / "t.jsonl", [good, row])
        told = refused("solireward", source, tmp_path / "d", **SETTINGS["solireward"])
        assert told.startswith(f"t.jsonl:2: column '{side}' holds no video")


@pytest.mark.parametrize(("name", "content", "says"), [
    ("t.jsonl", b'{"a": ' + b"9" * 5000 + b"}", r"t\.jsonl:1: is not JSON \(Exceeds the limit"),
    ("t.json", b'[{"a": 1},\n{"a": ' + b"9" * 5000 + b"}]", r"t\.json:2: is not JSON \(Exceeds the limit"),
    ("t.csv", b"a,b\n1,2\n3,caf\xe9\n", r"t\.csv:3: is not UTF-8"),
    ("t.csv", b"a,b\n" + b"1,2\n" * 40_000 + b"3,caf\xe9\n", r"t\.csv:40002: is not UTF-8"),
    ("t.json", b'[{"a": 1},\n\n{"a": "caf\xe9"}]', r"t\.json:3: is not UTF-8"),
    ("t.csv", "a,b\n1,2\n".encode("utf-16-le"), r"t\.csv:1: is not UTF-8 \(it holds zero bytes\)"),
    ("t.csv", "a,b\n1,2\n".encode("utf-16")[:-1], r"t\.csv: is not UTF-16"),
    ("t.csv.gz", gzip.compress(b"a,b\n" + b"1,2\n" * 999, mtime=0)[:-9], r"csv\.gz: truncated or not packed with gzip"),
    ("t.csv.gz", b"a,b\n1,2\n", r"t\.csv\.gz: truncated or not packed with gzip"),
    ("t.csv", b"a,b,a\n1,2,3\n", r"t\.csv:1: a column name stands twice, 'a', in a, b, a"),
    ("t.csv", b"sep=;\na;b\n1;2\n3\n", r"t\.csv:4: has 1 cells; the heading has 2"),
    ("t.csv", b"a,b\n1,2,3\n", r"t\.csv:2: has 3 cells; the heading has 2"),
    ("t.jsonl", b'{"a": 1}\n{"a": 1, "a": 2}', r"t\.jsonl:2: is not JSON \('a' stands twice in an object\)"),
    ("t.json", b'[{"a": 1},\n{"b": 1, "b": 2}]', r"t\.json:2: is not JSON \('b' stands twice in an object\)"),
    ("t.parquet.gz", b"", "a table must end in .csv, .tsv"),
    ("t.xlsx", b"PK", "save a spreadsheet as CSV"),
])  # fmt: skip
def test_what_cannot_be_read_is_told_with_its_line(tmp_path: Path, name: str, content: bytes, says: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=says):
        import_data("arena", tmp_path / name, tmp_path / "d")


def test_parquet_with_a_name_twice_or_bytes_for_text_is_refused(tmp_path: Path, six_clips: Path) -> None:
    row = GOOD_ROWS["arena"]
    twice = pa.Table.from_arrays([pa.array([value]) for value in [*row.values(), "again"]], names=[*row, "prompt"])
    pq.write_table(twice, tmp_path / "t.parquet")
    assert "a column name stands twice, 'prompt', in prompt, " in refused(
        "arena", tmp_path / "t.parquet", tmp_path / "d"
    )
    source = write_table(tmp_path / "t.parquet", [{**row, "prompt": b"\xff"}])
    assert "t.parquet:1: column 'prompt' must hold text or a number; got bytes" in refused(
        "arena", source, tmp_path / "d"
    )
    source = write_table(tmp_path / "t.parquet", [{**world(action="left"), "actions": b"\xff"}])
    told = refused("worldreward-bench", source, tmp_path / "d")
    assert told.startswith("t.parquet:1: column 'actions' cannot be written as JSON")


def test_columns_of_lists_are_not_taken_for_judged_ones(tmp_path: Path, six_clips: Path) -> None:
    row = {"clip_a": clip(0), "clip_b": clip(1), "prompt": "p", "tags": ["A"], "look": "A"}
    counts = import_data("pairs", write_table(tmp_path / "t.jsonl", [row]), tmp_path / "d")
    assert list(counts.labels) == ["look"]


@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
@pytest.mark.parametrize("ending", ["\n", "\r\n"])
def test_a_byte_order_mark_and_either_ending_of_lines_change_nothing(
    tmp_path: Path, make_clip: Callable[..., Path], mark: bytes, ending: str
) -> None:
    for k in (0, 1):
        make_clip(tmp_path / clip(k), tint=20 * k)
    row = {**GOOD_ROWS["arena"], "prompt": "a cat,\nasleep"}
    cells = [f'"{value}"' for value in row.values()]
    (tmp_path / "t.csv").write_bytes(mark + ending.join([",".join(row), ",".join(cells), ""]).encode())
    (tmp_path / "t.jsonl").write_bytes(mark + (json.dumps(row) + ending).encode())
    for name in ("t.csv", "t.jsonl"):
        assert import_data("arena", tmp_path / name, tmp_path / f"d-{name}").judgements == 1


def test_a_rater_that_is_no_text_is_told_with_its_row(tmp_path: Path, six_clips: Path) -> None:
    """Also where no row names one that can be read: a verdict does not lose its rater."""
    row = {**GOOD_ROWS["pairs"], "rater": ["ann"]}
    told = refused("pairs", write_table(tmp_path / "t.jsonl", [row]), tmp_path / "d")
    assert "t.jsonl:1: column 'rater' must hold text or a number; got list" in told


def test_two_known_answers_of_one_pair_are_refused_whichever_clip_stands_first(tmp_path: Path, six_clips: Path) -> None:
    first = {
        "clip_a": clip(0),
        "clip_b": clip(1),
        "prompt": "p",
        "rater": "ann",
        "role": "gold",
        "VQ": "A",
        "MQ": "tie",
    }
    turned = {**first, "clip_a": clip(1), "clip_b": clip(0), "rater": "bea", "VQ": "B"}
    assert import_data("pairs", write_table(tmp_path / "good.csv", [first, turned]), tmp_path / "good").judgements == 4
    for wrong in ({**turned, "VQ": "A"}, {**first, "rater": "bea", "VQ": "tie"}):
        told = refused("pairs", write_table(tmp_path / "t.csv", [first, wrong]), tmp_path / "d")
        assert told.startswith("t.csv:3: its known answer for VQ contradicts row 2; keep one.")


def test_scores_that_are_a_tie_band_apart_as_they_are_written_are_ties(tmp_path: Path, six_clips: Path) -> None:
    scores = {0: 0.1, 1: 0.3, 2: 0.5, 3: 0.7, 4: 0.9}
    rows = [{"clip": clip(k), "prompt": "p", "look": score} for k, score in scores.items()]
    counts = import_data("ratings", write_table(tmp_path / "t.csv", rows), tmp_path / "d", options={"tie_band": 0.2})
    assert counts.labels["look"]["tie"] == 4  # neighbours alone


@pytest.mark.parametrize(("column", "value", "wanted"), [
    ("seconds", "-7200", "must hold 0 or more, or -1 where it is not known; got '-7200'"),
    ("look_guideline", "1.5", "must hold a whole number with all its digits; got '1.5'"),
    ("look_guideline", "1e30", "must hold a whole number with all its digits; got '1e30'"),
    ("look_guideline", "-3", "must hold a whole number from 0 to 2147483647; got '-3'"),
])  # fmt: skip
def test_numbers_beside_a_verdict_are_refused_rather_than_rounded(
    tmp_path: Path, six_clips: Path, column: str, value: str, wanted: str
) -> None:
    row = {**GOOD_ROWS["pairs"], column: value}
    with pytest.raises(DataError, match=rf"t\.csv:2: column '{column}' {wanted}"):
        import_data("pairs", write_table(six_clips.parent / "t.csv", [row]), tmp_path / "d")
    assert not (tmp_path / "d").exists()


@pytest.mark.parametrize("column", [
    pa.array([2**40], pa.timestamp("s")),
    pa.Array.from_buffers(pa.string(), 1, [None, pa.py_buffer(b"\0\0\0\0\1\0\0\0"), pa.py_buffer(b"\xff")]),
], ids=["a year beyond 9999", "text that is not UTF-8"])  # fmt: skip
def test_a_cell_of_parquet_that_cannot_be_read_is_told_in_a_line(
    tmp_path: Path, six_clips: Path, column: pa.Array
) -> None:
    cells = {name: [value] for name, value in GOOD_ROWS["pairs"].items()}
    pq.write_table(pa.table(cells | {"note": column}), six_clips.parent / "t.parquet")
    with pytest.raises(DataError, match=r"t\.parquet: a cell cannot be read .*; write its column as text"):
        import_data("pairs", six_clips.parent / "t.parquet", tmp_path / "d")
    assert not (tmp_path / "d").exists()
