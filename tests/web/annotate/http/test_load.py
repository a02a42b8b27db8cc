"""The programme as a process: under load, killed, and told to stop."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

REPOSITORY = Path(__file__).parents[4]


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    script, out = REPOSITORY / "benchmarks" / "annotate_load.py", tmp_path_factory.mktemp("load") / "load.json"
    options = {"raters": 8, "seconds": 3, "think": 0.2, "kills": 2, "prompts": 60, "out": out}
    arguments = [text for name, value in options.items() for text in (f"--{name}", str(value))]
    command = [sys.executable, str(script), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=800)
    assert done.returncode == 0, done.stdout + done.stderr
    return dict(json.loads(out.read_text()))


@pytest.mark.parametrize("database", ["sqlite", "postgresql"])
def test_no_verdict_is_lost_or_doubled_and_no_pair_over_assigned(database: str, results: dict[str, Any]) -> None:
    result = results[database]
    if "skipped" in result:
        pytest.skip(result["skipped"])
    assert result["judgements"] >= 16, "each spell has a verdict of each rater"
    assert result["kills"] == 2
    assert result["lost"] == result["doubled"] == result["changed"] == result["over_assigned"] == 0
    assert result["not_exported"] == result["miscounted"] == result["exit_code"] == 0
