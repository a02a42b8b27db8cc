"""A small dataset, both databases, and people who use the application in this process."""

from __future__ import annotations

import itertools
import re
import runpy
import shutil
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from anyio.from_thread import BlockingPortal, start_blocking_portal
from fastapi.testclient import TestClient

from videoalign.contracts.records import Clip, DatasetInfo, Prompt
from videoalign.data.dataset import Dataset
from videoalign.web.annotate.http.app import create_app
from videoalign.web.annotate.programme.media_index import Library
from videoalign.web.annotate.programme.pairs import sync_pairs
from videoalign.web.annotate.programme.people import owner_link
from videoalign.web.annotate.programme.programme import OpenProgramme
from videoalign.web.annotate.programme.programme import open_programme as open_at
from videoalign.web.annotate.settings import AnnotateSettings
from videoalign.web.annotate.storage.database import Database

REPOSITORY = Path(__file__).parents[3]
postgres = runpy.run_path(str(REPOSITORY / "benchmarks" / "postgres.py"))
_numbers = itertools.count()


def in_memory() -> Path | None:
    """Where files wait for no disk, if the system has such a place with room."""
    memory = Path("/dev/shm")
    return memory if memory.is_dir() and shutil.disk_usage(memory).free > 2**30 else None


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[Any]:
    """The server, or None where PostgreSQL is not installed."""
    with postgres["postgres_server"](durable=False, place=in_memory()) as server:
        yield server


@pytest.fixture(scope="session")
def postgres_tables(postgres_server: Any) -> str:
    """Name of a database with the tables and no row, to be copied: that is faster than to make them."""
    Database(postgres_server.create("tables")).close()
    return "tables"


@pytest.fixture(scope="session")
def sqlite_tables(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file with the tables and no row."""
    file = tmp_path_factory.mktemp("tables") / "annotate.sqlite"
    Database(f"sqlite:///{file}").close()
    return file


@pytest.fixture
def new_sqlite() -> Iterator[str]:
    """Address of a file that is not there yet."""
    with tempfile.TemporaryDirectory(dir=in_memory()) as folder:
        yield f"sqlite:///{folder}/annotate.sqlite"


@pytest.fixture
def new_postgres(postgres_server: Any) -> Iterator[Callable[..., str]]:
    """Makes a database and returns its address; it is removed with the test."""
    if postgres_server is None:
        pytest.skip("PostgreSQL is not installed; Debian has it as 'postgresql'")
    name = f"test_{next(_numbers)}"
    yield partial(postgres_server.create, name)
    postgres_server.drop(name)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """What asks for a database is tried on both kinds; laws of pages and texts are marked to be tried on one."""
    mark = metafunc.definition.get_closest_marker("databases")
    for name in {"db", "new_db"} & {*metafunc.fixturenames}:
        metafunc.parametrize(name, mark.args if mark else ["sqlite", "postgresql"], indirect=True)


@pytest.fixture
def new_db(request: pytest.FixtureRequest) -> str:
    """Address of a database without a table."""
    if request.param == "sqlite":
        return request.getfixturevalue("new_sqlite")
    return request.getfixturevalue("new_postgres")()


@pytest.fixture
def db(request: pytest.FixtureRequest) -> str:
    """Address of a database with the tables and no row."""
    if request.param == "postgresql":
        make = request.getfixturevalue("new_postgres")
        return make(template=request.getfixturevalue("postgres_tables"))
    address = request.getfixturevalue("new_sqlite")
    shutil.copy(request.getfixturevalue("sqlite_tables"), address.removeprefix("sqlite:///"))
    return address


class Clock:
    """Time that passes when a test says so."""

    def __init__(self) -> None:
        self.time = 1_800_000_000.0

    def __call__(self) -> float:
        return self.time


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def make_dataset(tmp_path: Path, make_clip: Callable[..., Path]) -> Callable[..., Path]:
    """Writes a dataset of prompts with clips of generators g0, g1, ...; clip files only where asked for."""

    def make(num_prompts: int = 4, num_clips: int = 2, files: bool = False, text: str = "prompt {}") -> Path:
        folder = tmp_path / "prefs"
        dataset = Dataset.create(folder, DatasetInfo())
        prompts = [Prompt(prompt_id=f"p{p:03}", text=text.format(p)) for p in range(num_prompts)]
        clips = []
        for p, k in itertools.product(range(num_prompts), range(num_clips)):
            path = f"clips/c{p:03}-{k}.mp4"
            if files:
                make_clip(folder / path, tint=3 * p + 40 * k)
            clips.append(
                Clip(
                    clip_id=f"c{p:03}-{k}",
                    prompt_id=f"p{p:03}",
                    path=path,
                    generator=f"g{k}",
                    fps=8.0,
                    num_frames=5,
                    height=16,
                    width=16,
                )
            )
        dataset.add(prompts=prompts, clips=clips)
        return folder

    return make


Verdict = Callable[[dict[str, Any], str], str]


class Person:
    """Somebody with a browser."""

    def __init__(self, client: TestClient, link: str) -> None:
        self.http = client
        joined = client.post(link.removeprefix(str(client.base_url)), follow_redirects=False)
        assert joined.status_code == 303, joined.text
        page = client.get("/guideline").text
        found = re.search(r'name="csrf-token" content="([0-9a-f]{64})"', page)
        assert found is not None
        client.headers["x-csrf-token"] = found[1]

    def next(self) -> dict[str, Any]:
        answer = self.http.get("/api/next")
        assert answer.status_code == 200, answer.text
        return answer.json()

    def body(self, assignment: dict[str, Any], verdict: str | Verdict = "tie", **more: Any) -> dict[str, Any]:
        names = [one["name"] for one in assignment["dimensions"]]
        verdicts = {name: verdict if isinstance(verdict, str) else verdict(assignment, name) for name in names}
        watched = {"left": 5.0, "right": 5.0}
        return {"assignment": assignment["id"], "verdicts": verdicts, "watched_seconds": watched} | more

    def judge(self, verdict: str | Verdict = "tie", **more: Any) -> dict[str, Any]:
        """Judges the pair before them and returns what comes next."""
        assignment = self.next()["assignment"]
        assert assignment is not None
        answer = self.http.post("/api/judgements", json=self.body(assignment, verdict, **more))
        assert answer.status_code == 200, answer.text
        return answer.json()["next"]

    def judge_all(self, verdict: str | Verdict = "tie") -> int:
        """Judges until there is nothing left; returns how many pairs there were."""
        for count in itertools.count():
            if self.next()["assignment"] is None:
                return count
            self.judge(verdict)
        raise AssertionError


@dataclass
class Programme:
    """A running application."""

    running: OpenProgramme
    client: Callable[[], TestClient]
    admin: Person

    def link(self, role: str = "rater", name: str = "Rater") -> str:
        made = self.admin.http.post("/api/admin/invitations", json={"role": role, "name": name})
        assert made.status_code == 200, made.text
        return made.json()["link"]

    def invite(self, role: str = "rater", name: str = "Rater") -> Person:
        return Person(self.client(), self.link(role, name))


@pytest.fixture(scope="session")
def event_loop_thread() -> Iterator[BlockingPortal]:
    """One thread that answers all requests, as a server has; otherwise each would start one."""
    with start_blocking_portal() as portal:
        yield portal


@pytest.fixture
def open_programme(db: str, clock: Clock, event_loop_thread: BlockingPortal) -> Iterator[Callable[..., Programme]]:
    """Opens a programme on a dataset folder; calls on one folder share the database, as restarts do."""
    opened: list[Database] = []

    def start(folder: Path, **settings: Any) -> Programme:
        plain = {"gold_share": 0.0, "repeat_share": 0.0, "qualification_pairs": 0, "seed": 0, "min_watch": 0.0}
        options = AnnotateSettings(**(plain | settings))
        database = Database(db)
        opened.append(database)
        running = open_at(database, Library(folder), options, clock)
        sync_pairs(running)
        app = create_app(running)

        def client() -> TestClient:
            base_url = options.public_url or "http://rate.test"
            made = TestClient(app, base_url=base_url, raise_server_exceptions=False)
            made.portal = event_loop_thread
            return made

        token = database.write(lambda session: owner_link(running, session))
        return Programme(running, client, Person(client(), f"/join/{token}"))

    yield start
    for database in opened:
        database.close()
