"""A disk that fills up in the middle of a write leaves no half of anything, whichever write it is."""

from __future__ import annotations

import csv
import errno
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import torch
from safetensors import SafetensorError

from videoalign.cli.main import main
from videoalign.contracts.output import whole_file
from videoalign.data.latents import TensorStore
from videoalign.errors import OutputError
from videoalign.models.latent_reward import LatentRewardModel

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


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A real file system of 3 MB."""
    place = tmp_path / "disk"
    place.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=3m", "tmpfs", place], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip(f"no file system can be mounted here ({mounted.stderr.decode().strip()})")
    yield place
    subprocess.run(["umount", place], check=True)


def write_shard(place: Path) -> None:
    TensorStore(place, "clips", {}).add({"a": torch.zeros(10**6)})


def write_checkpoint(place: Path) -> None:
    from videoalign.training.checkpoint import _save_tensors

    _save_tensors({"a": torch.zeros(10**6)}, place / "checkpoint.safetensors")


def write_guide(place: Path) -> None:
    from videoalign.models.small_wan import SmallWanConfig, small_wan_generator

    transformer = small_wan_generator(["a"], SmallWanConfig(num_layers=1)).network.transformer
    LatentRewardModel.from_transformer(transformer, ["VQ"]).save_pretrained(place / "guide")


def write_generator(place: Path) -> None:
    from videoalign.models.small_wan import SmallWanConfig, small_wan_generator

    small_wan_generator(["a"], SmallWanConfig(num_layers=1)).save_pretrained(place / "model")


def write_adapter(place: Path) -> None:
    from videoalign.models.lora import LoraSettings, add_lora, save_adapter
    from videoalign.models.small_wan import SmallWanConfig, small_wan_generator

    generator = small_wan_generator(["a"], SmallWanConfig(num_layers=1))
    add_lora(generator.network.transformer, LoraSettings(rank=1000))
    save_adapter(generator.network.transformer, place / "adapter", generator.identity())


@pytest.mark.parametrize("write", [write_shard, write_checkpoint, write_guide, write_generator, write_adapter])
def test_every_file_of_weights_on_a_disk_that_is_really_full(small_disk: Path, write: Callable[[Path], None]) -> None:
    (small_disk / "kept").write_bytes(bytes(2_900_000))
    with pytest.raises(OutputError, match="the disk is full; nothing was written. Free some space and run again"):
        write(small_disk)
    left = [path.name for path in small_disk.rglob("*") if path.suffix == ".safetensors" or ".part" in path.name]
    assert not left


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EROFS])
@pytest.mark.parametrize("kind", [OSError, SafetensorError, Exception])
def test_whatever_the_library_calls_it(tmp_path: Path, kind: type[Exception], number: int) -> None:
    text = f"I/O error: {os.strerror(number)} (os error {number})"
    full = number in (errno.ENOSPC, errno.EDQUOT)
    with (
        pytest.raises(OutputError, match="the disk is full" if full else os.strerror(number)),
        whole_file(tmp_path / "a"),
    ):
        raise OSError(number, text) if kind is OSError else kind(text)
    with pytest.raises(kind), whole_file(tmp_path / "a"):
        raise kind("something else")
