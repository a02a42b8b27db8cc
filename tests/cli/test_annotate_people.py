"""Who judges, from the command line: the same as on the pages, with a server running or not."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import select

from videoalign.cli.main import main
from videoalign.contracts.records import Clip, DatasetInfo, Prompt
from videoalign.data.dataset import Dataset
from videoalign.web.annotate.http.app import create_app
from videoalign.web.annotate.programme.media_index import Library
from videoalign.web.annotate.programme.pairs import sync_pairs
from videoalign.web.annotate.programme.programme import open_programme as open_at
from videoalign.web.annotate.settings import AnnotateSettings
from videoalign.web.annotate.storage.database import Database, address
from videoalign.web.annotate.storage.tables import Audit

Run = Callable[..., Any]
BASE = "https://lab.test/prefs"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    dataset = Dataset.create(tmp_path / "prefs", DatasetInfo())
    clips = [
        Clip(clip_id=f"c{k}", prompt_id="p", path=f"{k}.mp4", generator="g", fps=8.0, num_frames=5, height=16, width=16)
        for k in range(2)
    ]
    dataset.add(prompts=[Prompt(prompt_id="p", text="a cat")], clips=clips)
    return dataset.path


@pytest.fixture
def programme(folder: Path) -> Any:
    """A server's application on the database that the commands find by themselves."""
    settings = AnnotateSettings(public_url=BASE, qualification_pairs=0, link_hours=1)
    database = Database(address(folder, None))
    running = open_at(database, Library(folder), settings)
    sync_pairs(running)
    yield create_app(running)
    database.close()


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    def call(*words: str | Path, code: int = 0, as_json: bool = True) -> Any:
        assert main(["annotate", *map(str, words), *(["--json"] if as_json else [])]) == code
        said = capsys.readouterr()
        return said.err if code else json.loads(said.out) if as_json else said.out

    return call


def test_who_is_invited_comes_in_and_is_listed_paused_and_let_go_on(programme: Any, folder: Path, run: Run) -> None:
    made = run("invite", folder, " Mina ", f"public_url={BASE}")
    assert (made["name"], made["role"]) == ("Mina", "rater")
    assert re.fullmatch(re.escape(BASE) + r"/join/[\w-]{43}", made["link"])
    mina = TestClient(programme, base_url=BASE)
    assert mina.post(made["link"], follow_redirects=False).status_code == 303
    assert mina.get("/api/next").json()["state"] == "rating"
    assert TestClient(programme, base_url=BASE).post(made["link"]).status_code == 410
    decides = run("invite", folder, "Dee", "--role", "adjudicator", "host=127.0.0.1", "port=8123", as_json=False)
    assert decides.startswith("http://127.0.0.1:8123/join/")
    listed = [(one["name"], one["rater"], one["status"]) for one in run("people", folder)]
    assert listed == [("Mina", "rater-1", "active"), ("Dee", "adjudicator-2", "active")]
    assert "Mina" in run("people", folder, as_json=False)
    assert run("pause", folder, "Mina", "--reason", "a week off") == {"id": 1, "name": "Mina", "paused": True}
    assert (mina.get("/api/next").json()["state"], mina.get("/api/next").json()["message"]) == ("paused", "a week off")
    assert run("resume", folder, "rater-1", as_json=False) == "Mina: resumed\n"
    assert mina.get("/api/next").json()["state"] == "rating"
    with programme.state.programme.database.read() as session:
        actions = session.scalars(select(Audit.action).order_by(Audit.id)).all()
    assert actions[-3:] == ["invitation.made", "person.paused", "person.resumed"]


def test_a_link_for_the_admin_works_without_a_restart_and_the_last_one_dies(
    programme: Any, folder: Path, run: Run
) -> None:
    first, second = (run("admin-link", folder, f"public_url={BASE}")["link"] for _ in range(2))
    client = TestClient(programme, base_url=BASE)
    assert client.post(first).status_code == 410
    assert client.post(second).url.path == "/prefs/admin"


def test_mistakes_are_told_in_one_line_and_change_nothing(
    programme: Any, folder: Path, run: Run, tmp_path: Path
) -> None:
    assert "nobody is called 'Mina'" in run("pause", folder, "Mina", code=2)
    assert "NAME: got ' '" in run("invite", folder, " ", code=2)
    assert "U+202E" in run("invite", folder, "a\u202eb", code=2)
    assert "set public_url=" in run("invite", folder, "Mina", "host=0.0.0.0", code=2)
    run("invite", folder, "Mina")
    assert "U+000A" in run("pause", folder, "Mina", "--reason", "a\nb", code=2)
    assert [one["status"] for one in run("people", folder)] == ["active"]
    assert run("forget", folder, "Mina")["rater"] == "rater-1"
    for command in ("pause", "resume"):
        assert "PERSON: rater-1 was forgotten and cannot come back" in run(command, folder, "rater-1", code=2)
    Dataset.create(tmp_path / "other", DatasetInfo()).add(prompts=[], clips=[])
    assert "no programme was served here" in run("invite", tmp_path / "other", "Mina", code=2)
