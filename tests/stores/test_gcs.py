"""Folders at gs:// addresses, on a server of this machine: pip install gcsfs gcp-storage-emulator."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from http.server import ThreadingHTTPServer
from types import SimpleNamespace

import fsspec
import pytest

from videoalign.errors import DataError
from videoalign.stores.manifest import MANIFEST_NAME
from videoalign.stores.opening import Request, opened
from videoalign.stores.remote import Remote

os.environ.setdefault(
    "GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT", "false"
)  # asks another server by gRPC of what kind a bucket is
emulator = pytest.importorskip("gcp_storage_emulator.server", reason="needs gcp-storage-emulator")
pytest.importorskip("gcsfs", reason="needs gcsfs: pip install 'videoalign[stores]'")


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    server = emulator.create_server("127.0.0.1", 0, in_memory=True, default_bucket="bucket")
    with (
        pytest.MonkeyPatch.context() as patch
    ):  # its own server answers one connection at a time, and ours keeps several
        patch.setattr(emulator, "server", SimpleNamespace(HTTPServer=ThreadingHTTPServer))
        server.start()
    yield f"http://127.0.0.1:{server._api._httpd.server_port}"
    server.stop()


@pytest.fixture(autouse=True)
def store(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """gs:// leads to the server."""
    told = {"endpoint_url": address, "token": "anon", "project": "test", "cache_timeout": 0}
    monkeypatch.setattr(fsspec.config, "conf", {**fsspec.config.conf, "gs": told, "gcs": told})
    fsspec.get_filesystem_class("gs").clear_instance_cache()


def test_what_is_published_is_read_from_there_and_changes_whole() -> None:
    place = "gs://bucket/runs/one"
    for text in ("old", "new"):
        request = Request(place, writes=True)
        with opened([request]):
            (request.path / "run.json").write_text("{}")
            (request.path / "note.txt").write_text(text)
    assert Remote(place).find().keys() == {"run.json", "note.txt", MANIFEST_NAME}
    again = Request(place)
    with opened([again]):
        assert (again.path / "note.txt").read_text() == "new"


def test_an_object_is_put_looked_at_and_removed() -> None:
    remote = Remote(
        "gs://bucket/locks"
    )  # the server puts whatever the condition: only one who comes alone can be tried
    assert remote.read("lock.json") is None and remote.create("lock.json", b"mine")
    assert remote.read("lock.json") == b"mine" and 0 <= (remote.age("lock.json", time.time()) or 0.0) < 60
    for _ in range(2):
        remote.remove("lock.json")
    assert remote.read("lock.json") is None


def test_a_bucket_that_is_not_there_is_told() -> None:
    with pytest.raises(DataError, match="no such bucket; make it first"):
        Remote("gs://another/d").write("x", b"x")
