"""Folders at gs:// addresses, on a server of this machine: pip install gcsfs gcp-storage-emulator."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from http import HTTPStatus
from http.server import ThreadingHTTPServer
from types import SimpleNamespace
from typing import Any

import fsspec
import pytest

from videoalign.errors import DataError, OutputError
from videoalign.stores import lease
from videoalign.stores.lease import StoreLease
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
    """Of the server, with what it lacks: its own puts an object whatever the condition, where Google's answers 412 to
    ``ifGenerationMatch=0`` if there is one."""
    put, one_at_a_time = emulator.objects._multipart_upload, threading.Lock()

    def put_if(request: Any, response: Any, storage: Any) -> None:
        with one_at_a_time:
            name = request.data["meta"]["name"]
            if "ifGenerationMatch" in request.query and name in storage.objects.get("bucket", {}):
                response.status = HTTPStatus.PRECONDITION_FAILED
            else:
                put(request, response, storage)

    server = emulator.create_server("127.0.0.1", 0, in_memory=True, default_bucket="bucket")
    with pytest.MonkeyPatch.context() as patch:
        threaded = SimpleNamespace(HTTPServer=ThreadingHTTPServer)  # its own answers one connection at a time
        patch.setattr(emulator, "server", threaded)
        patch.setattr(emulator.objects, "_multipart_upload", put_if)
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
    remote = Remote("gs://bucket/locks")
    assert remote.read("lock.json") is None and remote.create("lock.json", b"mine")
    assert remote.read("lock.json") == b"mine" and 0 <= (remote.age("lock.json", time.time()) or 0.0) < 60
    for _ in range(2):
        remote.remove("lock.json")
    assert remote.read("lock.json") is None


def test_of_runs_that_come_at_once_one_has_the_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    remotes = [Remote("gs://bucket/runs/raced") for _ in range(8)]
    with ThreadPoolExecutor(8) as pool:
        had = list(pool.map(lambda one: remotes[one].create("lock.json", b"of %d" % one), range(8)))
    assert remotes[0].read("lock.json") == b"of %d" % had.index(True) and sum(had) == 1
    held = StoreLease(remotes[0])
    with pytest.raises(OutputError, match=f"gs://bucket/runs/raced is in use by another run .*process {os.getpid()}"):
        StoreLease(remotes[1])
    held.require()
    monkeypatch.setattr(lease, "SETTLING_SECONDS", 0.0)
    monkeypatch.setattr(lease, "is_alive", lambda process: False)
    after = StoreLease(remotes[1])
    with pytest.raises(OutputError, match="another run took it over"):
        held.require()
    held.release()
    after.require()
    after.release()
    assert remotes[0].read(lease.LOCK_NAME) is None


def test_a_bucket_that_is_not_there_is_told() -> None:
    with pytest.raises(DataError, match="no such bucket; make it first"):
        Remote("gs://another/d").write("x", b"x")
