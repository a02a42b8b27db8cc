"""A disk that fills up in the middle of a write leaves no half of anything, whichever write it is."""

from __future__ import annotations

import csv
import errno
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from videoalign.cli.main import main

Refused = Callable[..., str]


class Disk:
    """Lets some writes through; then half of what is written arrives and the rest finds no space."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, room: int) -> None:
        self.writes, self.room = 0, room
        self._wrap(monkeypatch, pq, "write_table", lambda table, path, *_: path)
        self._wrap(monkeypatch, Path, "write_text", lambda path, *_: path)
        self._wrap(monkeypatch, Path, "write_bytes", lambda path, *_: path)
        self._wrap(monkeypatch, shutil, "copyfile", lambda source, path, *_: path)
        self._wrap(monkeypatch, pq.ParquetWriter, "write_table", lambda *_: None)
        self._wrap(monkeypatch, csv.DictWriter, "writerow", lambda *_: None)

    def _wrap(self, monkeypatch: pytest.MonkeyPatch, owner: Any, name: str, target: Callable[..., Any]) -> None:
        original = getattr(owner, name)

        def write(*arguments: Any, **options: Any) -> Any:
            result = original(*arguments, **options)
            self.writes += 1
            if self.writes > self.room:
                path = target(*arguments)
                if path is not None:
                    with Path(path).open("r+b") as file:
                        file.truncate(Path(path).stat().st_size // 2)
                raise OSError(errno.ENOSPC, "No space left on device")
            return result

        monkeypatch.setattr(owner, name, write)


@pytest.mark.parametrize("room", range(6))
def test_import(table: Path, refused: Refused, monkeypatch: pytest.MonkeyPatch, room: int) -> None:
    command = ("data", "import", "videoalign", table, "copy_clips=true", "--out", table.parent / "d")
    with monkeypatch.context() as patch:
        Disk(patch, room)
        line = refused(*command)
    assert "the disk is full; nothing was written" in line
    assert main([str(argument) for argument in command]) == 0  # with space again, the same command works


def test_import_that_replaces_keeps_the_old_one(
    dataset: Path, table: Path, refused: Refused, monkeypatch: pytest.MonkeyPatch
) -> None:
    Disk(monkeypatch, 2)
    assert "the disk is full" in refused("data", "import", "videoalign", table, "--out", dataset, "--fresh")


def test_split_and_export(dataset: Path, refused: Refused, monkeypatch: pytest.MonkeyPatch) -> None:
    Disk(monkeypatch, 0)
    assert "prompts.parquet: the disk is full" in refused("data", "split", dataset, "--val", "0.5")
    line = refused("data", "export", "videoalign", dataset, "--out", dataset.parent / "e.csv")
    assert "e.csv: the disk is full" in line


def test_place_that_may_not_be_written(table: Path, refused: Refused, monkeypatch: pytest.MonkeyPatch) -> None:
    def forbidden(*_: Any, **__: Any) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(pq.ParquetWriter, "write_table", forbidden)
    line = refused("data", "import", "videoalign", table, "--out", table.parent / "d")
    assert "cannot be written (Permission denied). Choose another place." in line
