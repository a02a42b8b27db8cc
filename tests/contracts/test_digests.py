"""Laws of what stands for a file's content."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

import pytest

from videoalign.contracts import digests
from videoalign.contracts.digests import FileDigests, file_digest


@pytest.fixture
def settled(monkeypatch: pytest.MonkeyPatch) -> None:
    """Files count as settled at once."""
    monkeypatch.setattr(digests, "SETTLED_SECONDS", -1.0)


def test_a_digest_follows_the_content_and_not_the_name(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"one")
    (tmp_path / "b").write_bytes(b"one")
    assert file_digest(tmp_path / "a") == file_digest(tmp_path / "b")
    assert len(file_digest(tmp_path / "a")) == 32
    (tmp_path / "b").write_bytes(b"two")
    assert file_digest(tmp_path / "a") != file_digest(tmp_path / "b")


@pytest.mark.usefixtures("settled")
def test_a_file_is_read_once_and_again_only_when_it_changed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[Path] = []
    monkeypatch.setattr(digests, "file_digest", lambda path: read.append(path) or file_digest(path))
    clip, memory = tmp_path / "a", tmp_path / "deep" / "files.json"
    clip.write_bytes(b"one")
    known = FileDigests(memory)
    first = known.of(clip)
    known.save()
    assert (known.of(clip), FileDigests(memory).of(clip), len(read)) == (first, first, 1)
    before = os.stat(clip)
    clip.write_bytes(b"two")
    os.utime(clip, ns=(before.st_atime_ns, before.st_mtime_ns))  # same size, same time of change
    assert FileDigests(memory).of(clip) == file_digest(clip) != first
    assert len(read) == 2


@pytest.mark.usefixtures("settled")
def test_files_that_are_gone_are_forgotten(tmp_path: Path) -> None:
    files, memory = [tmp_path / name for name in "abc"], tmp_path / "files.json"
    known = FileDigests(memory)
    for file in files[:2]:
        file.write_bytes(b"one")
        known.of(file)
    known.of_all(files[:2], lambda: "both", what="values")
    known.save()
    assert len(json.loads(memory.read_text())) == 3
    files[1].unlink()
    files[2].write_bytes(b"two")
    known.of(files[2])
    known.save()
    assert {key.split("\n")[1] for key in json.loads(memory.read_text())} == {str(files[0]), str(files[2])}


def test_a_file_that_changed_just_now_is_not_remembered(tmp_path: Path) -> None:
    clip, memory = tmp_path / "a", tmp_path / "files.json"
    clip.write_bytes(b"one")
    known = FileDigests(memory)
    known.of(clip)
    known.save()
    assert not memory.exists()
    assert time.time() - os.stat(clip).st_mtime < digests.SETTLED_SECONDS


@pytest.mark.usefixtures("settled")
@pytest.mark.parametrize("content", [b"", b"\xff", b"[]", b'{"a": 1}'])
def test_a_memory_that_cannot_be_read_is_made_again(tmp_path: Path, content: bytes) -> None:
    clip, memory = tmp_path / "a", tmp_path / "files.json"
    clip.write_bytes(b"one")
    memory.write_bytes(content)
    known = FileDigests(memory)
    assert known.of(clip) == file_digest(clip)
    known.save()
    assert FileDigests(memory).of(clip) == file_digest(clip)
    with pytest.raises(FileNotFoundError):
        known.of(tmp_path / "none")
