"""Addresses for tests: in memory, and on a real S3 server of this machine behind a network that can fail."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import fsspec
import pytest

from videoalign.contracts.digests import file_digest
from videoalign.stores import remote


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache of the test's own, and no waiting between attempts."""
    monkeypatch.setenv("VIDEOALIGN_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(remote, "FIRST_WAIT", 0.0)
    return tmp_path / "cache"


@pytest.fixture
def memory() -> Iterator[str]:
    """An address in memory."""
    yield "memory://tests/d"
    fsspec.filesystem("memory").store.clear()


@pytest.fixture(scope="module")
def server() -> Iterator[tuple[str, Any]]:
    """Address of the S3 server, and the network before it."""
    pytest.importorskip("s3fs", reason="needs s3fs: pip install 'videoalign[stores]'")
    pytest.importorskip("moto", reason="needs moto: pip install 'videoalign[dev]'")
    from tests.stores.s3_server import s3_server

    with s3_server() as given:
        yield given


@pytest.fixture
def network(server: tuple[str, Any], monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """The network, which does not fail yet; s3:// leads through it."""
    from tests.stores.s3_server import FAULTS, KEYS, use_server

    address, network = server
    for name, value in KEYS.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(fsspec.config, "conf", dict(fsspec.config.conf))
    use_server(address)
    monkeypatch.setattr(fsspec.get_filesystem_class("s3"), "retries", 2)
    fsspec.get_filesystem_class("s3").clear_instance_cache()
    network.rate, network.faults = 0.0, list(FAULTS)
    network.seen.clear()
    network.met.clear()
    yield network
    network.rate = 0.0


@pytest.fixture
def table(tmp_path: Path, make_clip: Callable[..., Path]) -> Path:
    """Three judged pairs of six clips."""
    rows = ["prompt,clip_a,clip_b,VQ"]
    for number in range(3):
        for side in "ab":
            make_clip(tmp_path / "videos" / f"{side}{number}.mp4", tint=20 * number + 9 * (side == "b"))
        rows.append(f"prompt {number},videos/a{number}.mp4,videos/b{number}.mp4,A")
    (tmp_path / "pairs.csv").write_text("\n".join(rows) + "\n", encoding="utf-8")
    return tmp_path / "pairs.csv"


def contents(folder: Path) -> dict[str, str]:
    """Every artefact by its name."""
    files = (file for file in folder.rglob("*") if file.is_file() and file.name not in ("digests.json", ".lock"))
    return {file.relative_to(folder).as_posix(): file_digest(file) for file in files}
