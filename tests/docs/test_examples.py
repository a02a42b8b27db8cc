"""Examples for clusters: YAML parses, and every videoalign command in them is one, with its options."""

from __future__ import annotations

import re
import runpy
import shlex
import subprocess
from pathlib import Path

import pytest
import yaml

REPOSITORY = Path(__file__).resolve().parents[2]
FILES = sorted((REPOSITORY / "examples" / "cluster").iterdir())
STARTS = re.compile(r"(?:-m videoalign\.cli\.main|\bvideoalign) (.*)")


def commands(text: str) -> list[list[str]]:
    """Words of each command, without the options that stand before it."""
    found = []
    for line in text.splitlines():
        if not line.lstrip().startswith("#") and "pip install" not in line and (match := STARTS.search(line)):
            words = shlex.split(match[1])
            while words[0].startswith("--"):
                words = words[2:]
            found.append(words)
    return found


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_a_cluster_runs_commands_that_exist(file: Path) -> None:
    find_command = runpy.run_path(str(REPOSITORY / "tests" / "docs" / "test_docs.py"))["find_command"]
    text = file.read_text(encoding="utf-8")
    if file.suffix == ".yaml":
        assert yaml.safe_load(text)
    else:
        assert subprocess.run(["bash", "-n", file], check=False).returncode == 0
    assert commands(text)
    for words in commands(text):
        command, rest = find_command(words)
        known = {option for parameter in command.params for option in parameter.opts}
        given = {word.split("=")[0] for word in rest if word.startswith("--")}
        required = {p.opts[0] for p in command.params if p.required and p.param_type_name == "option"}
        assert required <= given <= known, words
