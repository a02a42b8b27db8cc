"""The command line starts without the model libraries, and contracts and counting without torch."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

HEAVY = ("torch", "transformers", "diffusers", "peft", "accelerate", "scipy", "pandas", "evalica", "matplotlib", "av")

LIGHT = (
    "videoalign.contracts.output",
    "videoalign.contracts.reward",
    "videoalign.contracts.records",
    "videoalign.contracts.video",
    "videoalign.stats.pairwise",
    "videoalign.stats.agreement",
    "videoalign.web.annotate.http.server",
)

HELP = """
import contextlib, io, json, sys
from videoalign.cli.main import main
told = []
for arguments in (["--help"], ["--version"], []):
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        told.append([main(arguments), out.getvalue()])
print(json.dumps([told, sorted({name.split(".")[0] for name in sys.modules})]))
"""

ALL_HELP = """
import contextlib, io, json, sys
import typer
from videoalign.cli.main import build_app, main

def paths(command, above=()):
    yield above
    for name, inner in getattr(command, "commands", {}).items():
        yield from paths(inner, (*above, name))

texts = {}
for path in paths(typer.main.get_command(build_app())):
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        assert main([*path, "--help"]) == 0, path
    texts[" ".join(path)] = out.getvalue()
print(json.dumps([texts, sorted({name.split(".")[0] for name in sys.modules})]))
"""


def run(code: str, repository: Path) -> list:
    environment = {**os.environ, "PYTHONPATH": str(repository)}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=repository, env=environment, check=False
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_help_and_version_load_no_model_library(repository: Path) -> None:
    told, loaded = run(HELP, repository)
    assert set(loaded) & set(HEAVY) == set()
    for (code, text), expected in zip(told, ("Usage: videoalign", "0.1.0", "Usage: videoalign"), strict=True):
        assert code == 0
        assert expected in text


def test_help_of_every_command_says_what_it_does_and_loads_no_model_library(repository: Path) -> None:
    texts, loaded = run(ALL_HELP, repository)
    assert set(loaded) & set(HEAVY) == set()
    assert len(texts) > 1
    for command, text in texts.items():
        lines = [line for line in text.splitlines() if line.strip()]
        assert lines[0].strip().startswith(f"Usage: videoalign {command}".strip()), command
        assert len(lines[1].split()) >= 3, f"'{command}' must say in a sentence what it does"


def test_an_unknown_command_is_one_line_and_exit_code_two(repository: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "videoalign.cli.main", "alihn"],
        capture_output=True,
        text=True,
        cwd=repository,
        env={**os.environ, "PYTHONPATH": str(repository)},
        check=False,
    )
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.startswith("error: ")
    assert done.stderr.count("\n") == 1


def test_contracts_and_counting_start_without_torch(repository: Path) -> None:
    """All in one process: what none of them loads, each does without."""
    loaded = run(f"import json, sys, {', '.join(LIGHT)}; print(json.dumps(sorted(sys.modules)))", repository)
    assert set(LIGHT) <= set(loaded)
    assert not {"torch", "transformers", "diffusers", "pandas", "scipy.stats"} & set(loaded)
