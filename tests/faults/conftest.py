"""A folder that somebody could have, and a way to see that a failed command left it as it was."""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from videoalign.cli.main import main
from videoalign.contracts.video import Video
from videoalign.data.clip_content import DIGESTS_FILE
from videoalign.video.files import write_video

Refused = Callable[..., str]


@pytest.fixture
def table(tmp_path: Path) -> Path:
    """``pairs.csv`` in the official layout with three pairs of six clips beside it."""
    rows = []
    for number in range(6):
        frames = np.full((4, 16, 16, 3), 30 * number, np.uint8)
        write_video(tmp_path / "videos" / f"c{number}.mp4", Video(frames, 8.0))
    for number, labels in enumerate(("A", "B", "same")):
        sides = {"path_A": f"videos/c{2 * number}.mp4", "path_B": f"videos/c{2 * number + 1}.mp4"}
        rows.append({**sides, "prompt": f"prompt {number}", **dict.fromkeys(("VQ", "MQ", "TA"), labels)})
    with (tmp_path / "pairs.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return tmp_path / "pairs.csv"


@pytest.fixture
def dataset(table: Path, capsys: pytest.CaptureFixture[str]) -> Path:
    """The table, imported."""
    assert main(["data", "import", "videoalign", str(table), "--out", str(table.parent / "d")]) == 0
    capsys.readouterr()
    return table.parent / "d"


@pytest.fixture
def refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Refused:
    """Runs a command that must end with exit code 2, one line and every file as it was; returns the line."""

    def files() -> dict[str, bytes]:
        there = (
            path for path in tmp_path.rglob("*") if path.name != DIGESTS_FILE
        )  # remembered once files have settled
        return {str(path): path.read_bytes() if path.is_file() else b"" for path in there}

    def run(*arguments: str | Path) -> str:
        before = files()
        code = main([str(argument) for argument in arguments])
        captured = capsys.readouterr()
        assert code == 2, captured
        assert captured.err.startswith("error: ")
        assert captured.err.count("\n") == 1
        assert captured.err.endswith("\n")
        assert files() == before
        return captured.err

    return run
