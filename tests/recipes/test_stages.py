"""Stages begin when what they need is done, run side by side, and are not run again."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path

import pytest

from videoalign.errors import DataError
from videoalign.recipes.stages import Stage, run_stages

STAGES = {
    "late": Stage(30.0, ("left", "right")),
    "left": Stage(10.0, ("first",)),
    "right": Stage(10.0, ("first",)),
    "first": Stage(50.0),
}


def note(folder: Path, name: str) -> str:
    with (folder / "begun").open("a") as begun:
        begun.write(f"{name}\n")
    if (folder / f"no-{name}").exists():
        raise DataError(f"{name}: cannot.")
    return name.upper()


def begun(folder: Path) -> list[str]:
    return (folder / "begun").read_text().split()


def test_a_stage_begins_after_those_it_needs_and_none_runs_twice(tmp_path: Path) -> None:
    lines: list[str] = []
    for _ in range(2):
        found = run_stages(tmp_path / "stages", STAGES, partial(note, tmp_path), num_workers=2, say=lines.append)
        assert list(found) == list(STAGES)
        assert [found[name]["result"] for name in STAGES] == ["LATE", "LEFT", "RIGHT", "FIRST"]
    order = begun(tmp_path)
    assert sorted(order) == sorted(STAGES)
    assert order[0] == "first" and order[-1] == "late"
    assert lines[0] == "0 of 4 stages done; now: first"
    assert lines[1].startswith("1 of 4 stages done; now: left, right")
    assert "left" in lines[-1] and lines[-1].startswith("3 of 4 stages done; now: late; about ")


def test_a_run_that_failed_goes_on_where_it_stopped(tmp_path: Path) -> None:
    lines: list[str] = []
    (tmp_path / "no-right").touch()
    with pytest.raises(DataError, match="right: cannot"):
        run_stages(tmp_path / "stages", STAGES, partial(note, tmp_path), num_workers=1, say=lines.append)
    assert begun(tmp_path) == ["first", "left", "right"]
    assert lines[0] == "0 of 4 stages done; now: first" and lines[1].startswith("1 of 4 stages done; now: left;")
    record = json.loads((tmp_path / "stages" / "left.json").read_text())
    assert record["result"] == "LEFT" and record["seconds"] >= 0
    (tmp_path / "no-right").unlink()
    found = run_stages(tmp_path / "stages", STAGES, partial(note, tmp_path), num_workers=1, say=lines.append)
    assert [found[name]["result"] for name in STAGES] == ["LATE", "LEFT", "RIGHT", "FIRST"]
    assert lines[-1].startswith("3 of 4 stages done; now: late; about ")
    assert begun(tmp_path)[3:] == ["right", "late"]
