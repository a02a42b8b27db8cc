"""What the studio answers: clips once they are made, to those who asked for them and to nobody else."""

from __future__ import annotations

import math
import threading
from typing import Any

import numpy as np
import pytest

from videoalign.stats.shares import mean_interval
from videoalign.video.files import read_video
from videoalign.web.studio.jobs import Job
from videoalign.web.studio.making import make
from videoalign.web.studio.recipe import Recipe

PROMPT = "a red circle moves left"
STEERED = {"weights": {"VQ": 1.0}, "strength": 4.0, "seeds": [0, 1, 2]}


@pytest.fixture
def slow(monkeypatch: pytest.MonkeyPatch) -> threading.Event:
    """No clip is begun before this is set."""
    go = threading.Event()

    def waiting(*args: Any, **options: Any) -> Any:
        assert go.wait(60)
        return make(*args, **options)

    monkeypatch.setattr("videoalign.web.studio.jobs.make", waiting)
    return go


@pytest.fixture(scope="module")
def compared(visitor: Any) -> dict[str, Any]:
    return visitor.make(**STEERED)


def test_every_seed_has_both_clips_their_scores_and_how_they_came_about(compared: dict[str, Any]) -> None:
    assert compared["is_whole"] and [row["seed"] for row in compared["rows"]] == [0, 1, 2]
    for row in compared["rows"]:
        assert row["base"]["recipe"]["method"] == "none"
        assert row["steered"]["recipe"]["weights"] == {"VQ": 1.0}
        assert row["base"]["recipe"]["seed"] == row["steered"]["recipe"]["seed"] == row["seed"]
        assert [point["step"] for point in row["steered"]["curve"]] == [1, 2, 3]


def test_the_difference_has_students_interval_over_seeds(visitor: Any, compared: dict[str, Any]) -> None:
    for name, found in compared["differences"].items():
        apart = [row["steered"]["scores"][name] - row["base"]["scores"][name] for row in compared["rows"]]
        half = 4.302652729696142 * np.std(apart, ddof=1) / math.sqrt(3)  # t of 2 degrees of freedom at 0.975
        assert found["value"] == pytest.approx(np.mean(apart))
        assert [found["low"], found["high"]] == pytest.approx([np.mean(apart) - half, np.mean(apart) + half])
    one = visitor.make(**{**STEERED, "seeds": [1]})
    assert one["differences"]["VQ"]["low"] is None
    assert math.isnan(mean_interval([1.0]).low)


def test_what_was_made_is_there_at_once_and_without_a_job(visitor: Any, compared: dict[str, Any]) -> None:
    before = len(visitor.get("/api/jobs").json()["jobs"])
    again = visitor.begin(**STEERED)
    assert again["job"] is None and again["comparison"] == compared
    assert visitor.begin(weights={"VQ": 1.0, "MQ": 0.0}, strength=4.0, seeds=[2])["job"] is None
    assert len(visitor.get("/api/jobs").json()["jobs"]) == before


def test_looking_makes_nothing(visitor: Any) -> None:
    found = visitor.post("/api/compare", {"prompt": PROMPT, "weights": {"MQ": 0.123}, "strength": 1.0}).json()
    assert found["job"] is None and not found["comparison"]["is_whole"]
    assert found["comparison"]["rows"][0]["steered"] is None


def test_a_clip_comes_whole_and_in_parts(visitor: Any, compared: dict[str, Any]) -> None:
    url = compared["rows"][0]["steered"]["url"]
    answer = visitor.get(url)
    assert answer.headers["content-type"] == "video/mp4" and read_video(answer.content).frames.shape == (9, 32, 32, 3)
    assert visitor.get(url, headers={"range": "bytes=0-9"}).content == answer.content[:10]


def test_a_stranger_sees_nothing_of_anybody_else(visitor: Any, stranger: Any, compared: dict[str, Any]) -> None:
    url = compared["rows"][0]["steered"]["url"]
    (first, *_) = visitor.get("/api/jobs").json()["jobs"]
    assert stranger.get(url).status_code == 404
    assert stranger.get("/api/jobs").json()["jobs"] == []
    for path in ("", "/preview.mp4", "/grid.mp4"):
        assert stranger.get(f"/api/jobs/{first['id']}{path}").status_code == 404
    assert stranger.post(f"/api/jobs/{first['id']}/cancel").status_code == 404
    assert stranger.begin(**STEERED)["job"] is None  # the clips are the same for whoever asks for the same
    assert stranger.get(url).status_code == 200


def test_nobody_without_a_session_gets_anything(app: Any) -> None:
    from fastapi.testclient import TestClient

    client = TestClient(app)
    for path in ("/api/about", "/api/jobs", "/clips/x.mp4", "/api/jobs/x"):
        assert client.get(path).status_code == 401
    assert client.post("/api/compare", json={"prompt": PROMPT}).status_code == 401
    cookie = client.get("/").headers["set-cookie"].lower()
    assert "httponly" in cookie and "samesite=strict" in cookie


def test_a_job_that_waits_or_runs_is_given_up_and_leaves_nothing(
    visitor: Any, studio: Any, slow: threading.Event
) -> None:
    first = visitor.begin(weights={"VQ": 1.0}, strength=9.0)["job"]
    second = visitor.begin(weights={"VQ": 1.0}, strength=9.5)["job"]
    files = set(studio.cache.folder.iterdir())
    refused = visitor.post("/api/compare", {"prompt": PROMPT, "make": True, "weights": {"VQ": 1.0}, "strength": 8.0})
    assert refused.status_code == 429 and "max_jobs" in refused.json()["error"]["reason"]
    assert visitor.get(f"/api/jobs/{second['id']}").json()["before"] == 1
    for job in (second, first):
        visitor.post(f"/api/jobs/{job['id']}/cancel")
    slow.set()
    assert [visitor.finish(job)["state"] for job in (first, second)] == ["cancelled", "cancelled"]
    assert set(studio.cache.folder.iterdir()) == files
    assert visitor.make(weights={"VQ": 1.0}, strength=9.0)["is_whole"]


def test_visitors_take_turns_and_a_grid_comes_last(
    visitor: Any, stranger: Any, studio: Any, slow: threading.Event, monkeypatch: pytest.MonkeyPatch
) -> None:
    order: list[str] = []
    begin = Job.begin
    monkeypatch.setattr(Job, "begin", lambda job, recipe: (order.append(job.id), begin(job, recipe))[1])
    asked = {"prompt": PROMPT, "axes": ["VQ", "MQ"], "strength": 1.5, "num_points": 5}
    grid = visitor.post("/api/grid", asked).json()["job"]
    one = visitor.begin(weights={"VQ": 1.0}, strength=1.6, seeds=[11, 12])["job"]
    two = stranger.begin(weights={"VQ": 1.0}, strength=1.6, seeds=[13, 14])["job"]
    slow.set()
    for who, job in ((visitor, grid), (visitor, one), (stranger, two)):
        assert who.finish(job)["state"] == "done"
    assert [one_id for one_id in order if one_id != grid["id"]] == [one["id"], two["id"]] * 4
    assert grid["id"] not in order[1:9] and set(order[9:]) == {grid["id"]}


def test_a_clip_that_fails_says_why_and_the_next_is_made(visitor: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def failing(*args: Any, **options: Any) -> Any:
        raise ValueError("secret")

    with monkeypatch.context() as patch:
        patch.setattr("videoalign.web.studio.jobs.make", failing)
        job = visitor.finish(visitor.begin(weights={"VQ": 1.0}, strength=7.0)["job"])
    assert job["state"] == "failed" and "log" in job["error"] and "secret" not in job["error"]
    assert visitor.make(weights={"VQ": 1.0}, strength=7.0)["is_whole"]


def test_a_grid_grows_from_five_points_and_every_point_opens_at_once(visitor: Any) -> None:
    asked = {"prompt": PROMPT, "axes": ["VQ", "MQ"], "strength": 4.0, "num_points": 6, "seeds": [0]}
    job = visitor.finish(visitor.post("/api/grid", asked).json()["job"])
    points = job["grid"]["points"]
    assert job["state"] == "done" and len(points) == len({tuple(point["place"]) for point in points}) == 6
    assert [point["place"] for point in points[:5]] == [[0, 0], [1, 0], [0, 1], [1, 1], [0.5, 0.5]]
    assert all(0 <= weight <= 1 for point in points for weight in point["place"])
    for point in points:
        weights = dict(zip(("VQ", "MQ"), point["place"], strict=True))
        found = visitor.begin(weights=weights, strength=4.0, make=False)["comparison"]
        assert found["is_whole"] and found["rows"][0]["steered"]["scores"] == point["scores"]
    sheet = visitor.get(f"/api/jobs/{job['id']}/grid.mp4")
    video = read_video(sheet.content)
    assert "attachment" in sheet.headers["content-disposition"]
    assert video.frames.shape[0] == 9 and video.frames.shape[1] > 2 * 160 and video.frames.shape[2] > 3 * 160


def test_a_dropped_clip_brings_every_setting_back(visitor: Any, opened: Any) -> None:
    asked = {"weights": {"VQ": 0.25, "MQ": 1.5}, "strength": 3.5, "adapter": "bright", "scale": 0.75, "num_steps": 2}
    clip = visitor.make(**asked, seeds=[2])["rows"][0]["steered"]
    found = visitor.http.post("/api/dropped", content=visitor.get(clip["url"]).content).json()
    assert found["notes"] == []
    assert found["recipe"] == {"prompt": PROMPT, "method": "guided", "seed": 2, "candidates": 4, **asked}
    base = visitor.make(seeds=[2])["rows"][0]["base"]
    found = visitor.http.post("/api/dropped", content=visitor.get(base["url"]).content).json()
    assert found["recipe"]["method"] == "none"
    assert Recipe(**found["recipe"]).plain() == Recipe(prompt=PROMPT, seed=2, method="none").plain()
