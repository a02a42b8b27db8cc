"""The pages say what the code does: commands exist, links lead somewhere, tables list the columns there are."""

from __future__ import annotations

import dataclasses
import re
import runpy
import shlex
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import typer

from videoalign.cli.main import build_app
from videoalign.contracts.records import Clip, DatasetInfo, Dimension, Judgement, Prompt, Rating, WinLosePair
from videoalign.evaluation.compare import compare

REPOSITORY = Path(__file__).resolve().parents[2]
DOCS = REPOSITORY / "docs"
PAGES = [REPOSITORY / "README.md", *sorted(DOCS.rglob("*.md")), *sorted((REPOSITORY / "examples").glob("*.md"))]

build_run = runpy.run_path(str(REPOSITORY / "tests" / "report_example.py"))["build_run"]


def shell_lines(page: Path) -> list[list[str]]:
    """The commands in a page's ``sh`` blocks, in words."""
    blocks = re.findall(r"^```sh\n(.*?)^```", page.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    lines = "\n".join(blocks).replace("\\\n", " ").splitlines()
    return [shlex.split(line, comments=True) for line in lines if line.strip() and not line.startswith("#")]


def find_command(words: list[str]) -> tuple[Any, list[str]]:
    """The command that the words name, and what is left of them."""
    command: Any = typer.main.get_command(build_app())
    while getattr(command, "commands", None):
        assert words, f"{command.name}: a command is missing"
        assert words[0] in command.commands, f"there is no command '{words[0]}'"
        command, words = command.commands[words[0]], words[1:]
    return command, words


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(REPOSITORY)))
def test_commands_in_the_pages_exist_with_their_options(page: Path) -> None:
    targets = set(re.findall(r"^([a-z]+):", (REPOSITORY / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    for words in shell_lines(page):
        if words[0] == "make":
            assert words[1] in targets, " ".join(words)
        if words[0] == "videoalign" and not words[1].startswith("-"):
            command, rest = find_command(words[1:])
            known = {option for parameter in command.params for option in parameter.opts}
            given = {word.split("=")[0] for word in rest if word.startswith("--")}
            assert given <= known, " ".join(words)
            required = {p.opts[0] for p in command.params if p.required and p.param_type_name == "option"}
            assert required <= given, " ".join(words)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(REPOSITORY)))
def test_links_lead_to_files(page: Path) -> None:
    links = re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8"))
    assert [link for link in links if not (page.parent / link).exists()] == []


def test_the_map_names_every_page() -> None:
    text = (DOCS / "index.md").read_text(encoding="utf-8")
    pages = [page for page in DOCS.rglob("*.md") if page.name != "index.md" and page.parent.name != "decisions"]
    assert [str(page) for page in pages if f"({page.relative_to(DOCS)})" not in text] == []
    assert "(decisions/)" in text


@pytest.mark.parametrize(
    ("title", "record"),
    [
        ("prompts.parquet", Prompt),
        ("clips.parquet", Clip),
        ("judgements.parquet", Judgement),
        ("ratings.parquet", Rating),
        ("pairs/NAME.parquet", WinLosePair),
    ],
)
def test_every_column_is_documented(title: str, record: type) -> None:
    text = (DOCS / "reference" / "dataset.md").read_text(encoding="utf-8")
    section = text.split(f"## {title}\n")[1].split("\n## ")[0]
    documented = re.findall(r"`([a-z_]+)`", "\n".join(re.findall(r"^\| (`.*?) \|", section, re.MULTILINE)))
    assert documented == [field.name for field in dataclasses.fields(record)]


def test_every_key_of_dataset_json_is_documented() -> None:
    section = (
        (DOCS / "reference" / "dataset.md").read_text(encoding="utf-8").split("## dataset.json\n")[1].split("\n## ")[0]
    )
    for name in (*DatasetInfo.model_fields, *Dimension.model_fields):
        assert f"`{name}`" in section


def test_every_key_of_the_results_is_documented(tmp_path: Path) -> None:
    text = (DOCS / "reference" / "results.md").read_text(encoding="utf-8")
    results, _ = build_run(tmp_path, num_rows=1)
    documented = set(re.findall(r"`([a-z_]+)[`.]", text))
    counts = compare(np.zeros((2, 1)), np.ones((2, 1)), ["a", "b"], ("VQ",))["VQ"]
    assert {*results, *counts} - documented == set()
