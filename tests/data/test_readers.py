"""Tables as people have them: one reader for every dialect, ending and encoding, and no cell that is guessed."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest

from videoalign.data.dataset import Dataset
from videoalign.data.formats import import_data
from videoalign.data.rows import MISSING
from videoalign.data.source_table import SourceTable
from videoalign.errors import DataError, did_you_mean

CELLS = [["clip", "prompt", "look"], ["a.mp4", "a cat, a dog; both | one", "3"], ["b.mp4", "two\nlines", ""]]
READ = [{"clip": a, "prompt": b, "look": c} for a, b, c in CELLS[1:]]


def written(delimiter: str, *, quoted: bool = True) -> str:
    return "".join(delimiter.join(f'"{cell}"' if quoted else cell for cell in row) + "\r\n" for row in CELLS)


def rows_of(path: Path) -> list[dict[str, str]]:
    return [dict(row.cells) for row in SourceTable.open(path).rows]


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|", ", "])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32"])
def test_any_delimiter_and_any_encoding_that_is_told_give_the_same_rows(
    tmp_path: Path, delimiter: str, encoding: str
) -> None:
    (tmp_path / "t.csv").write_bytes(written(delimiter).encode(encoding))
    assert rows_of(tmp_path / "t.csv") == READ


@pytest.mark.parametrize("name", ["t.csv", "t.CSV", "t.tsv", "t.csv.gz", "t.TSV.GZ"])
def test_the_delimiter_is_that_of_the_heading_whatever_the_ending(tmp_path: Path, name: str) -> None:
    content = written(";").encode()
    (tmp_path / name).write_bytes(gzip.compress(content) if name.lower().endswith("gz") else content)
    assert rows_of(tmp_path / name) == READ


def test_a_line_that_tells_the_delimiter_is_believed_and_counted(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("sep=|\na,b|c\n1|2\n")
    assert [(row.number, row.cells) for row in SourceTable.open(tmp_path / "t.csv").rows] == [
        (3, {"a,b": "1", "c": "2"})
    ]


def test_a_table_of_one_column_is_not_cut(tmp_path: Path) -> None:
    for name in ("t.csv", "t.tsv"):
        (tmp_path / name).write_text("prompt\na cat; a dog\n")
        assert rows_of(tmp_path / name) == [{"prompt": "a cat; a dog"}]


@pytest.mark.parametrize("name", ["t.jsonl", "t.ndjson", "t.jsonl.gz", "t.ndjson.gz", "t.json", "t.json.gz"])
@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_json_of_every_ending_gives_the_same_rows(tmp_path: Path, name: str, encoding: str) -> None:
    text = '{"clip": "a", "prompt": "x \u2028 y"}\n{"clip": "b", "prompt": "z"}\n'
    if ".json" in name and ".jsonl" not in name:
        text = f"[{text.strip().replace(chr(10), ',')}]"
    content = text.encode(encoding)
    (tmp_path / name).write_bytes(gzip.compress(content) if name.endswith("gz") else content)
    assert rows_of(tmp_path / name) == [{"clip": "a", "prompt": "x \u2028 y"}, {"clip": "b", "prompt": "z"}]


def test_columns_without_a_name_and_lines_of_delimiters_are_passed_over(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("\n,clip,prompt,,\n0,a,b,,\n,,,,\n1,c,d,,x\n")
    table = SourceTable.open(tmp_path / "t.csv")
    assert (table.columns, table.num_rows) == (("clip", "prompt"), 2)
    assert [(row.number, row.cells) for row in table.rows] == [
        (3, {"clip": "a", "prompt": "b"}),
        (5, {"clip": "c", "prompt": "d"}),
    ]


@pytest.mark.parametrize("word", sorted(MISSING))
def test_what_pandas_writes_for_nothing_is_nothing(tmp_path: Path, six_clips: Path, word: str) -> None:
    (six_clips / "t.csv").write_text(f"clip_a,clip_b,prompt,VQ,MQ\nc0.mp4,c1.mp4,p,A,{word}\n")
    import_data("pairs", six_clips / "t.csv", tmp_path / "d", options={"dimensions": ("VQ", "MQ")})
    assert [row.dimension for row in Dataset.open(tmp_path / "d").judgements()] == ["VQ"]
    (six_clips / "t.csv").write_text(f"clip_a,clip_b,prompt,VQ\nc0.mp4,c1.mp4,{word},A\n")
    with pytest.raises(DataError, match=r"t\.csv:2: column 'prompt' holds '.*', which stands for a missing value"):
        import_data("pairs", six_clips / "t.csv", tmp_path / "e")


@pytest.mark.parametrize(("name", "known", "nearest"), [
    ("clip_a", ["Clip_A", "Clip_B", "Prompt"], "Clip_A"),
    ("clip_b", ["CLIP A", "CLIP B", "PROMPT"], "CLIP B"),
    ("prompt", ["prompt_zh", "Prompts"], "Prompts"),
    ("text prompt", ["text_prompt", "text"], "text_prompt"),
])  # fmt: skip
def test_capitals_and_signs_between_words_do_not_hide_the_nearest_name(
    name: str, known: list[str], nearest: str
) -> None:
    assert did_you_mean(name, known) == f" Did you mean '{nearest}'?"


def test_underscores_are_no_digits(tmp_path: Path, six_clips: Path) -> None:
    (six_clips / "t.csv").write_text("clip,prompt,look\nc0.mp4,p,1\nc1.mp4,p,1_0\n")
    with pytest.raises(DataError, match=r"t\.csv:3: column 'look' must hold a number; got '1_0'"):
        import_data("ratings", six_clips / "t.csv", tmp_path / "d")
