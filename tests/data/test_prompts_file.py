"""Prompts come out as they were written, each once."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from videoalign.data.prompts_file import read_prompts
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
    assert all(prompt.replace('"', '""') in table for prompt in prompts)


def test_files_without_prompts_are_refused(tmp_path: Path) -> None:
    (tmp_path / "empty.txt").write_text("\n \n")
    (tmp_path / "other.csv").write_text("promt\nx\n")
    (tmp_path / "gap.csv").write_text("id,prompt\n1,x\n2,\n")
    (tmp_path / "p.docx").write_text("x")
    for name, message in {
        "empty.txt": "holds no prompt",
        "absent.txt": "no such file",
        "absent.csv": "no such file",
        "other.csv": "no column 'prompt'. Did you mean 'promt'",
        "gap.csv": "gap.csv:3: column 'prompt' is empty",
        "p.docx": "a table must end in .csv, .jsonl, .parquet",
    }.items():
        with pytest.raises(DataError, match=message):
            read_prompts(tmp_path / name)
