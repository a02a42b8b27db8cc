"""A folder at an address is whole or not there: what a run that was stopped had half published is never read."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import fsspec
import pytest
from fsspec.implementations.memory import MemoryFileSystem

from tests.stores.conftest import contents
from videoalign.cli.main import main
from videoalign.errors import ConfigError, DataError, OutputError
from videoalign.stores import opening
from videoalign.stores.cache import limit_bytes, make_room
from videoalign.stores.manifest import MANIFEST_NAME
from videoalign.stores.opening import Request, copy_at_hand, opened
from videoalign.stores.remote import Remote


class Stopped(BaseException):
    """As a kill: nothing of ours catches it."""


class Writes:
    """Lets some writes to the store through and stops the run at the next, before or after it is done."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, room: int, *, after: bool) -> None:
        self.room, self.after, self.count = room, after, 0
        for name in ("pipe_file", "put_file", "cp_file", "rm_file"):
            monkeypatch.setattr(MemoryFileSystem, name, self._counted(getattr(MemoryFileSystem, name)))

    def _counted(self, original: Callable[..., Any]) -> Callable[..., Any]:
        def write(system: Any, *given: Any, **options: Any) -> Any:
            if any(isinstance(one, str) and "lock.json" in one for one in given):
                return original(system, *given, **options)
            self.count += 1
            if self.count > self.room and not self.after:
                raise Stopped
            done = original(system, *given, **options)
            if self.count > self.room:
                raise Stopped
            return done

        return write


def read(place: str) -> dict[str, str]:
    request = Request(place)
    with opened([request]):
        return {file.name: file.read_text() for file in request.path.iterdir() if file.is_file()}


def change(place: str, files: dict[str, str]) -> None:
    """Makes these the files at an address."""
    request = Request(place, writes=True)
    with opened([request]):
        for file in request.path.rglob("*"):
            if file.is_file() and file.relative_to(request.path).as_posix() not in files:
                file.unlink()
        for name, text in files.items():
            (request.path / name).write_text(text)


OLD = {"run.json": "{}", "same": "same", "other": "old", "gone": "gone"}
NEW = {"run.json": "{}", "same": "same", "other": "new", "fresh": "fresh"}


@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize("old", [{}, OLD])
def test_whoever_reads_sees_the_old_or_the_new_wherever_a_run_is_stopped(
    memory: str, monkeypatch: pytest.MonkeyPatch, old: dict[str, str], after: bool
) -> None:
    seen, room = list[bool](), 0
    while True:
        place = f"{memory}/{after}-{len(old)}-{room}"
        if old:
            change(place, old)
        with monkeypatch.context() as patch:
            writes = Writes(patch, room, after=after)
            try:
                change(place, NEW)
            except Stopped:
                patch.undo()
                there = read(place)
                assert there in (old, NEW), "half of one and half of the other"
                seen.append(there == NEW)
                request = Request(place, writes=True)
                with opened([request]):
                    here = {file.name: file.read_text() for file in request.path.rglob("*") if file.is_file()}
                assert here == NEW, "what was made and not yet published is kept here"
        assert read(place) == NEW
        names = {path.partition(f"{room}/")[2] for path in fsspec.filesystem("memory").find(place.partition("://")[2])}
        assert names == {*NEW, MANIFEST_NAME}, "nothing is left of what does not count"
        if writes.count <= room:
            break
        room += 1
    assert room > 4 and seen == sorted(seen) and False in seen


def test_a_folder_that_other_tools_filled_is_read_as_it_is_and_written_only_where_it_is_ours(memory: str) -> None:
    system = fsspec.filesystem("memory")
    system.pipe({"/tests/d/a.txt": b"one", "/tests/d/clips/c.mp4": b"two"})
    assert read_all(memory) == {"a.txt", "clips/c.mp4"}
    with pytest.raises(OutputError, match="2 objects that are no dataset and no run of videoalign, such as 'a.txt'"):
        change(memory, NEW)
    system.pipe("/tests/d/run.json", b"{}")
    change(memory, NEW)
    assert read(memory) == NEW


def read_all(place: str) -> set[str]:
    request = Request(place)
    with opened([request]):
        return set(contents(request.path))


def test_what_was_written_meanwhile_is_not_overwritten(memory: str) -> None:
    request = Request(memory, writes=True)
    change(memory, OLD)
    with pytest.raises(OutputError, match="was written by another run meanwhile"), opened([request]):
        (request.path / "other").write_text("mine")
        remote = Remote(memory)
        remote.write(MANIFEST_NAME, b'{"schema_version": 1, "stale": [], "files": {}}')
    assert read(memory) == {}


def test_a_long_run_publishes_on_its_way(memory: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(opening, "PUBLISH_SECONDS", -1.0)
    request = Request(memory, writes=True)
    with opened([request]):
        (request.path / "half").write_text("half")
        opening._OPEN[str(request.path)].pause = -1.0
        opening.publish_due()
        assert read(memory) == {"half": "half"}


def test_the_cache_stays_under_its_limit_and_clips_come_once(
    memory: str, table: Path, own_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert main(["data", "import", "pairs", str(table), "copy_clips=true", "--out", memory]) == 0
    sizes = [file.stat().st_size for file in (table.parent / "videos").iterdir()]
    got: list[str] = []
    original = MemoryFileSystem.get_file

    def get_file(system: Any, path: str, *given: Any, **options: Any) -> Any:
        got.append(path)
        return original(system, path, *given, **options)

    monkeypatch.setattr(MemoryFileSystem, "get_file", get_file)
    assert main(["data", "check", memory]) == main(["data", "check", memory]) == 0
    assert sum(path.endswith(".mp4") for path in got) == 6, "the second time they are at hand"
    got.clear()
    limit = 5 * max(sizes) // 2
    monkeypatch.setenv("VIDEOALIGN_CACHE_GIB", str(limit / 2**30))
    make_room()
    places = [
        f"{memory}/{path.partition('tests/d/')[2]}" for path in fsspec.filesystem("memory").glob("/tests/d/clips/*")
    ]
    assert len(places) == 6
    for place in places * 2:
        with copy_at_hand(place, ".mp4") as path:
            assert Path(path).stat().st_size in sizes
        kept = sum(file.stat().st_size for file in own_cache.rglob("*") if file.is_file())
        assert kept <= limit
    assert len([path for path in got if path.endswith(".mp4")]) > 6, "some had to go, and come again"
    monkeypatch.setenv("VIDEOALIGN_CACHE_GIB", "much")
    with pytest.raises(ConfigError, match="VIDEOALIGN_CACHE_GIB: got 'much', wanted a number of GiB above 0"):
        limit_bytes()


def test_passwords_in_an_address_are_refused_and_not_repeated() -> None:
    with pytest.raises(DataError) as caught:
        Remote("sftp://me:hunter2@host/d")
    assert "the store's own environment variables or file" in str(caught.value) and "hunter2" not in str(caught.value)
