"""A tiny studio in this process."""

from __future__ import annotations

import runpy
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from videoalign.web.studio.app import Studio, build_studio
from videoalign.web.studio.cache import Cache
from videoalign.web.studio.opening import Opened

EXAMPLE = runpy.run_path(str(Path(__file__).parents[2] / "studio_example.py"))


class Client:
    """One visitor of a studio."""

    def __init__(self, app: Any) -> None:
        self.http = TestClient(app, raise_server_exceptions=False)
        self.http.get("/")

    def get(self, path: str, **options: Any) -> Any:
        return self.http.get(path, **options)

    def post(self, path: str, body: Any = None, **options: Any) -> Any:
        return self.http.post(path, json=body if body is not None else {}, **options)

    def begin(self, **asked: Any) -> dict[str, Any]:
        """The answer to a comparison whose clips are to be made."""
        answer = self.post("/api/compare", {"prompt": EXAMPLE["PROMPT"], "make": True, **asked})
        assert answer.status_code == 200, answer.text
        return answer.json()

    def finish(self, job: dict[str, Any]) -> dict[str, Any]:
        """A job once it is over."""
        end = time.monotonic() + 90
        while job["state"] in ("waiting", "running"):
            assert time.monotonic() < end, f"waited in vain for {job}"
            time.sleep(0.01)
            job = self.get(f"/api/jobs/{job['id']}").json()
        return job

    def make(self, **asked: Any) -> dict[str, Any]:
        """A comparison, made if it is not there."""
        answer = self.begin(**asked)
        job = answer["job"]
        if job is None:
            return answer["comparison"]
        job = self.finish(job)
        assert job["state"] == "done", job["error"]
        return job["comparison"]


@pytest.fixture(scope="session")
def sources(tmp_path_factory: pytest.TempPathFactory) -> Any:
    return EXAMPLE["write_parts"](tmp_path_factory.mktemp("parts"))


@pytest.fixture(scope="session")
def opened(sources: Any) -> Opened:
    settings = {"max_prompt_chars": 500, "max_body_bytes": 2**20, "max_jobs": 2, "max_seeds": 4, "max_points": 12}
    return EXAMPLE["open_example"](sources, **settings)


@pytest.fixture(scope="module")
def studio(opened: Opened, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Studio]:
    """A studio that works, and has nothing in its cache."""
    studio = Studio(opened, Cache(tmp_path_factory.mktemp("cache"), 2**30))
    with TestClient(build_studio(studio, ["testserver"])):
        yield studio


@pytest.fixture(scope="module")
def app(studio: Studio) -> Any:
    """The application; its thread is already at work, so visitors do not start it."""
    return build_studio(studio, ["testserver"])


@pytest.fixture(scope="module")
def visitor(app: Any) -> Client:
    return Client(app)


@pytest.fixture(scope="module")
def stranger(app: Any) -> Client:
    return Client(app)
