"""Prompts come out as they were written, each once."""

from __future__ import annotations

import gzip
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from videoalign.data.prompts_file import near_text, read_prompt_file, read_prompts
from videoalign.errors import DataError

TEXTS = ['a "red" circle, moving', "a blue square"]


def test_every_kind_of_file_gives_the_same_prompts(tmp_path: Path) -> None:
    (tmp_path / "p.txt").write_text(f"{TEXTS[0]}\n\n{TEXTS[1]}\n{TEXTS[0]}\n")
    (tmp_path / "p.csv").write_text('id,prompt\n1,"a ""red"" circle, moving"\n2,a blue square\n3,a blue square\n')
    (tmp_path / "p.jsonl").write_text('{"prompt": "a \\"red\\" circle, moving"}\n{"prompt": "a blue square"}\n')
    pq.write_table(pa.table({"prompt": TEXTS}), tmp_path / "p.parquet")
    for suffix in ("txt", "csv", "jsonl", "parquet"):
        assert read_prompts(tmp_path / f"p.{suffix}") == TEXTS


@pytest.mark.parametrize(("name", "number"), [("TA_hard.csv", 72), ("vbench.csv", 946), ("videogen_eval.csv", 400)])
def test_prompt_sets_of_the_paper_are_read_whole(shared: Path, name: str, number: int) -> None:
    table = (shared / "data" / "prompts" / name).read_text(encoding="utf-8")
    prompts = read_prompts(shared / "data" / "prompts" / name)
    assert number - 5 <= len(prompts) <= number  # a few stand twice
    read = read_prompt_file(shared / "data" / "prompts" / name)
    assert (len(read.texts) + read.num_repeated, read.num_empty) == (number, 0)
    assert len({near_text(text) for text in prompts}) == len(prompts)
    assert all(prompt.replace('"', '""') in table for prompt in prompts)


def test_files_without_prompts_are_refused(tmp_path: Path) -> None:
    (tmp_path / "empty.txt").write_text("\n \n")
    (tmp_path / "other.csv").write_text("promt\nx\n")
    (tmp_path / "gap.csv").write_text("id,prompt\n1,\n2, \n")
    (tmp_path / "latin.txt").write_bytes(b"caf\xe9\n")
    (tmp_path / "p.docx").write_text("x")
    for name, message in {
        "empty.txt": "holds no prompt",
        "absent.txt": "no such file",
        "absent.csv": "no such file",
        "other.csv": "no column 'prompt'. Did you mean 'promt'",
        "gap.csv": "holds no prompt",
        "latin.txt": "is not UTF-8",
        "p.docx": "a table must end in .csv, .tsv, .jsonl",
    }.items():
        with pytest.raises(DataError, match=message):
            read_prompts(tmp_path / name)


@pytest.mark.parametrize("kind", ["txt", "csv", "jsonl"])
def test_empty_and_nearly_equal_prompts_are_left_out_and_counted(tmp_path: Path, kind: str) -> None:
    given = ["A cat.", "a  CAT", "", "a cat\uff01", "a cat, asleep", " ", "a dog", "A cat."]
    lines = {"txt": given, "csv": ["prompt,n", *(f'"{text}",1' for text in given)],
             "jsonl": [f'{{"prompt": "{text}"}}' for text in given]}  # fmt: skip
    (tmp_path / f"p.{kind}").write_text("\n".join(lines[kind]), encoding="utf-8")
    read = read_prompt_file(tmp_path / f"p.{kind}")
    assert read.texts == ["A cat.", "a cat, asleep", "a dog"]
    assert (read.num_empty, read.num_repeated) == (2, 3)
    assert str(read) == "3 prompts, left out: 2 empty and 3 repeated or nearly so"


def test_prompts_of_signs_alone_are_not_taken_for_each_other() -> None:
    assert near_text("!") != near_text("?")


@pytest.mark.parametrize("ending", ["txt", "TXT", "txt.gz"])
def test_only_ends_of_lines_end_a_prompt(tmp_path: Path, ending: str) -> None:
    prompts = [f"a cat{sign}a dog {number}" for number, sign in enumerate("\u2028\u2029\x85\v\f\x1c")]
    content = "\ufeff" + prompts[0] + "\r\n" + prompts[1] + "\r" + "\n".join(prompts[2:])
    packed = gzip.compress(content.encode()) if ending.endswith("gz") else content.encode()
    (tmp_path / f"p.{ending}").write_bytes(packed)
    assert read_prompts(tmp_path / f"p.{ending}") == prompts
    assert read_prompts(f"file://{tmp_path}/p.{ending}") == prompts


def test_a_missing_value_is_no_prompt_of_a_table_and_one_of_a_text(tmp_path: Path) -> None:
    (tmp_path / "p.csv").write_text("id,prompt\n1,nan\n2,NULL\n3,a cat\n")
    (tmp_path / "p.txt").write_text("nan\na cat\n")
    assert (read_prompt_file(tmp_path / "p.csv").texts, read_prompt_file(tmp_path / "p.csv").num_empty) == (
        ["a cat"],
        2,
    )
    assert read_prompts(tmp_path / "p.txt") == ["nan", "a cat"]


@pytest.mark.parametrize(("line", "says"), [
    ('{"prompt": "half \\ud83d"}', r"p\.jsonl:2: 'half \\ud83d' holds a character that is no text"),
    ('{"prompt": ["a"]}', r"p\.jsonl:2: column 'prompt' must hold text or a number; got list"),
])  # fmt: skip
def test_a_prompt_that_is_no_text_is_told_with_its_line(tmp_path: Path, line: str, says: str) -> None:
    (tmp_path / "p.jsonl").write_text('{"prompt": "a cat"}\n' + line + "\n")
    with pytest.raises(DataError, match=says):
        read_prompts(tmp_path / "p.jsonl")
