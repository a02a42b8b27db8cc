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


@pytest.mark.parametrize("num_workers", [1, 2])
def test_a_stage_begins_after_those_it_needs_and_none_runs_twice(tmp_path: Path, num_workers: int) -> None:
    lines: list[str] = []
    for _ in range(2):
        found = run_stages(
            tmp_path / "stages", STAGES, partial(note, tmp_path), num_workers=num_workers, say=lines.append
        )
        assert list(found) == list(STAGES)
        assert [found[name]["result"] for name in STAGES] == ["LATE", "LEFT", "RIGHT", "FIRST"]
    order = begun(tmp_path)
    assert sorted(order) == sorted(STAGES)
    assert order[0] == "first" and order[-1] == "late"
    assert lines[0] == "0 of 4 stages done; now: first"
    assert lines[1].startswith("1 of 4 stages done; now: left" + (", right" if num_workers == 2 else ""))
    assert "left" in lines[-1] and lines[-1].startswith("3 of 4 stages done; now: late; about ")


def test_a_run_that_failed_goes_on_where_it_stopped(tmp_path: Path) -> None:
    (tmp_path / "no-right").touch()
    with pytest.raises(DataError, match="right: cannot"):
        run_stages(tmp_path / "stages", STAGES, partial(note, tmp_path), num_workers=1)
    assert begun(tmp_path) == ["first", "left", "right"]
    record = json.loads((tmp_path / "stages" / "left.json").read_text())
    assert record["result"] == "LEFT" and record["seconds"] >= 0
    (tmp_path / "no-right").unlink()
    run_stages(tmp_path / "stages", STAGES, partial(note, tmp_path), num_workers=1)
    assert begun(tmp_path)[3:] == ["right", "late"]
