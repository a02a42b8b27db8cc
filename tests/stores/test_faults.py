"""Commands on an S3 server behind a network that fails leave what they leave on a disk, or say in a line that they
cannot."""

from __future__ import annotations

import json
import threading
from pathlib import Path
from typing import Any

import fsspec
import pytest

from tests.stores.conftest import contents
from videoalign.cli.main import main
from videoalign.errors import OutputError
from videoalign.stores import lease, remote
from videoalign.stores.manifest import MANIFEST_NAME
from videoalign.stores.opening import Request, opened
from videoalign.stores.remote import Remote

PLACE = "s3://bucket/sets/d"


def walk(table: Path, place: str) -> None:
    """A dataset of its own files, split and looked at."""
    assert main(["data", "import", "pairs", str(table), "copy_clips=true", "--out", place]) == 0
    assert main(["data", "split", place, "--val", "0.3"]) == 0
    assert main(["data", "check", place]) == 0


def whole(place: str) -> dict[str, str]:
    """Every file at an address, as its manifest names them."""
    request = Request(place)
    with opened([request]):
        return contents(request.path)


def test_what_is_left_is_what_is_left_on_a_disk_whatever_the_network_does(
    network: Any, table: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    walk(table, str(tmp_path / "d"))
    network.rate = 0.2
    walk(table, PLACE)
    network.rate = 0.0
    assert len(network.met) == len(network.faults), "each kind of fault has struck"
    assert whole(PLACE) == contents(tmp_path / "d")
    there = fsspec.filesystem("s3").find(PLACE)
    files = {path.partition("sets/d/")[2] for path in there}
    assert files == {*contents(tmp_path / "d"), MANIFEST_NAME}, "an upload that was tried again is one object"
    said = capsys.readouterr()
    assert f"{PLACE}: no problem found" in said.out
    assert "cache" not in said.out + said.err and "verysecret" not in said.out + said.err


def test_a_rerun_does_only_what_is_missing(network: Any, table: Path, own_cache: Path) -> None:
    walk(table, PLACE + "2")
    network.seen.clear()
    assert main(["data", "split", PLACE + "2", "--val", "0.3"]) == 0
    put = [path for method, path in network.seen if method == "PUT"]
    got = [path for method, path in network.seen if method == "GET" and path.endswith((".mp4", ".parquet"))]
    assert [path.rpartition("/")[2] for path in put] == ["lock.json"] and not got


def test_a_store_that_stays_away_is_one_line(
    network: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(remote, "ATTEMPTS", 2)
    network.rate, network.faults = 1.0, ["500"]
    assert main(["data", "stats", PLACE]) == 2
    network.faults = ["hang up"]
    assert main(["reward", "score", "s3://bucket/reward", "--dataset", PLACE]) == 2
    network.rate = 0.0
    assert main(["data", "split", "s3://nowhere/d"]) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == said.count("error: s3://bucket") + 1 == 3
    assert "it was tried again and again" in said
    assert "s3://nowhere/d" in said and "there is no such bucket" in said
    assert "verysecret" not in said and "Traceback" not in said


def test_of_runs_that_come_at_once_one_writes(network: Any) -> None:
    for number in range(2):
        place, won, refused = Remote(f"s3://bucket/held/{number}"), list[Any](), list[str]()

        def come(place: Remote = place, won: list[Any] = won, refused: list[str] = refused) -> None:
            try:
                won.append(lease.StoreLease(place))
            except OutputError as error:
                refused.append(str(error))

        threads = [threading.Thread(target=come) for _ in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(won) == 1 and len(refused) == 2
        assert "is in use by another run (process " in refused[0]
        won[0].release()
        assert place.read(lease.LOCK_NAME) is None


def test_a_mark_of_a_dead_run_is_taken_over_and_its_run_writes_no_more(
    network: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lease, "SETTLING_SECONDS", 0.0)
    monkeypatch.setattr(lease, "BEAT_SECONDS", 0.01)
    place = Remote("s3://bucket/stale")
    first = lease.StoreLease(place)
    first._stop.set()
    there = json.loads(place.read(lease.LOCK_NAME) or b"")
    assert lease.writer_at(place) is not None
    place.write(lease.LOCK_NAME, json.dumps({**there, "host": "elsewhere"}).encode())
    with pytest.raises(OutputError, match="process .* on elsewhere"):
        lease.StoreLease(place)
    monkeypatch.setattr(lease, "LEASE_SECONDS", -1e9)
    second = lease.StoreLease(place)
    with pytest.raises(OutputError, match="another run took it over"):
        first.require()
    second.require()
    second.release()
