"""Folders at hf:// addresses, on a server of this machine that answers as the Hub does."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import fsspec
import pytest

from tests.stores.hub_server import REPOSITORY, hub_server
from videoalign.errors import DataError, ServerError
from videoalign.stores.manifest import MANIFEST_NAME
from videoalign.stores.opening import Request, opened
from videoalign.stores.remote import Remote


@pytest.fixture
def files(monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, bytes]]:
    """Those of the repository; hf:// leads there."""
    constants = pytest.importorskip("huggingface_hub.constants", reason="needs huggingface_hub")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    with hub_server() as (address, files):
        monkeypatch.setattr(constants, "ENDPOINT", address)
        monkeypatch.setattr(
            constants, "HUGGINGFACE_CO_URL_TEMPLATE", address + "/{repo_id}/resolve/{revision}/{filename}"
        )
        fsspec.get_filesystem_class("hf").clear_instance_cache()
        yield files
    fsspec.get_filesystem_class("hf").clear_instance_cache()


def test_a_folder_of_the_hub_is_read_as_it_is_listed(files: dict[str, bytes]) -> None:
    files |= {"d/run.json": b"{}", "d/more/table.csv": b"a,b", "README.md": b"#"}
    place = f"hf://{REPOSITORY}/d"
    assert {name: size for name, (size, _) in Remote(place).find().items()} == {"run.json": 2, "more/table.csv": 3}
    request = Request(place)
    with opened([request]):
        assert (request.path / "run.json").read_bytes() == b"{}"
        assert (request.path / "more" / "table.csv").read_bytes() == b"a,b"


def test_what_is_published_to_the_hub_is_read_from_there(files: dict[str, bytes]) -> None:
    place = f"hf://{REPOSITORY}/runs/one"
    for text in ("old", "new"):
        request = Request(place, writes=True)
        with opened([request]):
            (request.path / "run.json").write_text("{}")
            (request.path / "note.txt").write_text(text)
    assert {f"runs/one/{name}" for name in ("run.json", "note.txt", MANIFEST_NAME)} <= files.keys()
    assert files["runs/one/note.txt"] == b"new"
    again = Request(place)
    with opened([again]):
        assert (again.path / "note.txt").read_text() == "new"


def test_what_is_not_on_the_hub_is_told_in_a_line(files: dict[str, bytes], tmp_path: Path) -> None:
    assert Remote("hf://datasets/someone/else").read("x") is None
    with pytest.raises(DataError, match="no such bucket; make it first"):
        Remote("hf://datasets/someone/else").write("x", b"x")
    with pytest.raises(ServerError, match="hf://one: cannot be listed from here .*'namespace/name', got 'one'"):
        Remote("hf://one").find()
