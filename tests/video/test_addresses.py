"""An address is one file, whatever signs stand in it; what cannot be fetched is told in one line."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from videoalign.errors import DataError, VideoError
from videoalign.stores import remote
from videoalign.video.addresses import copy_at_hand, folder_of, located, open_bytes, path_of, plain_place, unsigned
from videoalign.video.files import probe

SIGNED = "X-Amz-Credential=AKIA%2F2026&X-Amz-Signature=a/b*c[1]+d%3D&response=clip.avi"


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """No waiting between attempts."""
    monkeypatch.setattr(remote, "FIRST_WAIT", 0.0)


class Storage(SimpleHTTPRequestHandler):
    """A web server that serves a folder and tells what it was asked for."""

    asked: list[str] = []

    def do_GET(self) -> None:
        self.asked.append(self.path)
        if "expired" in self.path:
            self.send_error(403)
        else:
            super().do_GET()

    def log_message(self, format: str, *args: Any) -> None:
        """Says nothing."""


@pytest.fixture
def storage(tmp_path: Path) -> Iterator[str]:
    """Address of a server of the folder ``served``."""
    (tmp_path / "served").mkdir(exist_ok=True)
    Storage.asked = []
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Storage, directory=str(tmp_path / "served"))) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


@pytest.mark.parametrize("name", ["a.mp4", "a[1].mp4", "a*.mp4", "a b&c.mp4", "ü.mp4", "{a}.mp4"])
def test_a_signed_address_of_any_name_is_one_file(
    tmp_path: Path, make_clip: Callable[..., Path], storage: str, name: str
) -> None:
    make_clip(tmp_path / "served" / name, num_frames=7)
    make_clip(tmp_path / "served" / "a1.mp4", num_frames=3)
    assert probe(f"{storage}/{name}?{SIGNED}#t=1").num_frames == 7
    (asked,) = Storage.asked
    assert asked.partition("?")[2] == SIGNED, "a signature must arrive as it is"


def test_names_and_endings_come_from_the_path() -> None:
    assert path_of(f"https://host/dir/a%20b.webm?{SIGNED}#t=2").name == "a b.webm"
    assert path_of("https://host").name == path_of("https://host/?a=b.mp4").name == ""
    assert path_of("s3://bucket/dir/a#1.mov?versionId=x.avi").suffix == ".mov"
    assert path_of("zip://in/a.mp4::s3://bucket/clips.zip").suffix == ".mp4"
    assert path_of("a?b#c.mp4").name == "a?b#c.mp4"
    assert folder_of(f"https://host/dir/t.csv?{SIGNED}") == "https://host/dir"
    assert unsigned(f"https://host/a.mp4?{SIGNED}#t=2") == "https://host/a.mp4"
    assert (unsigned("s3://b/a?b#c"), unsigned("a?b#c")) == ("s3://b/a?b#c", "a?b#c")
    assert (folder_of("t.csv"), folder_of("/t.csv")) == (".", "/")


@pytest.mark.parametrize(("path", "root", "leads_to"), [
    ("a.mp4", "/clips", "/clips/a.mp4"),
    ("./sub//a.mp4", "/clips", "/clips/sub/a.mp4"),
    ("sub\\a.mp4", "/clips", "/clips/sub/a.mp4"),
    ("C:\\vids\\a.mp4", "/clips", "C:\\vids\\a.mp4"),
    ("/b/a.mp4", "/clips", "/b/a.mp4"),
    ("/b/a.mp4", "s3://bucket", "/b/a.mp4"),
    ("a.mp4", "file:///clips", "/clips/a.mp4"),
    ("file:///clips/a%20b.mp4", "/x", "/clips/a b.mp4"),
    ("sub/a.mp4", "s3://bucket/x/", "s3://bucket/x/sub/a.mp4"),
    ("is it #1?.mp4", "https://host/x", "https://host/x/is it %231%3F.mp4"),
    ("s3://other/a.mp4", "https://host/x", "s3://other/a.mp4"),
])  # fmt: skip
def test_paths_of_a_table_lead_somewhere_from_its_root(path: str, root: str, leads_to: str) -> None:
    assert located(path, root) == leads_to


def test_an_address_on_this_machine_is_a_path(tmp_path: Path, make_clip: Callable[..., Path]) -> None:
    odd = make_clip(tmp_path / "100%25 a?b.mp4")
    assert plain_place(f"file://{odd}") == plain_place(odd.as_uri()) == str(odd)
    assert plain_place(f"file://localhost{odd}") == str(odd)
    assert probe(odd.as_uri()).num_frames == 5
    with pytest.raises(VideoError, match=r"is a folder, not a clip"):
        probe(tmp_path.as_uri())


def test_what_a_server_refuses_is_told(tmp_path: Path, storage: str) -> None:
    with pytest.raises(VideoError, match=r"/absent\.mp4\?s=1: no such file\.$"):
        probe(f"{storage}/absent.mp4?s=1")
    with pytest.raises(
        VideoError, match=r"expired\.mp4: cannot be fetched from here \(the server says 403 Forbidden\)"
    ):
        probe(f"{storage}/expired.mp4")
    with pytest.raises(VideoError, match="cannot be fetched from here"):
        probe("http://127.0.0.1:9/a.mp4")
    with pytest.raises(VideoError, match="cannot be fetched from here"):
        probe("nowhere://a.mp4")


@pytest.mark.parametrize(
    ("address", "extra"), [("https://h/a.mp4", "http"), ("s3://b/a.mp4", "stores"), ("gs://b/a.mp4", "stores")]
)
def test_a_missing_library_is_told_with_its_extra(monkeypatch: pytest.MonkeyPatch, address: str, extra: str) -> None:
    import fsspec

    def absent(*args: Any, **options: Any) -> None:
        raise ImportError("Install it")

    monkeypatch.setattr(fsspec, "filesystem", absent)
    monkeypatch.setattr(fsspec, "url_to_fs", absent)
    told = rf"is not installed; pip install 'videoalign\[{extra}\]'"
    with pytest.raises(DataError, match=told) as caught, copy_at_hand(address):
        pass
    assert "\n" not in str(caught.value)


def test_a_file_that_is_opened_is_fetched_anew_and_a_clip_once(tmp_path: Path, storage: str) -> None:
    for content in (b"one", b"two"):
        (tmp_path / "served" / "t.csv").write_bytes(content)
        with open_bytes(f"{storage}/t.csv?s=1") as file:
            assert file.read() == content
    for _ in range(2):
        with copy_at_hand(f"{storage}/t.csv") as path:
            assert Path(path).read_bytes() == b"two"
    assert len(Storage.asked) == 3
