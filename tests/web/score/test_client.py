"""The client gives what the library gives, says why not, and needs no model library."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi.testclient import TestClient
from PIL import Image

from videoalign.contracts.scores import ClipScore
from videoalign.errors import ConfigError, DataError, ServerError, VideoAlignError, VideoError
from videoalign.models.videoreward import VideoReward
from videoalign.video.files import read_video
from videoalign.web.score import client as client_module
from videoalign.web.score.client import ScoreClient

PROMPT = "a red circle moves left"
Serve = Callable[..., Any]


class Through(httpx.BaseTransport):
    """Into the application of a `TestClient`."""

    def __init__(self, server: TestClient) -> None:
        self.server = server

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        answer = self.server.request(
            request.method, request.url.path, content=request.read(), headers=dict(request.headers)
        )
        return httpx.Response(answer.status_code, headers=dict(answer.headers), content=answer.content)


def answering(*answers: httpx.Response) -> tuple[ScoreClient, list[httpx.Request]]:
    """A client whose server gives these answers in turn, and what it was asked."""
    asked: list[httpx.Request] = []
    remaining = iter(answers)

    def answer(request: httpx.Request) -> httpx.Response:
        asked.append(request)
        return next(remaining)

    return ScoreClient("http://server", max_retries=2, transport=httpx.MockTransport(answer)), asked


def refusal(status: int, reason: str = "why", **headers: str) -> httpx.Response:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return httpx.Response(status, headers=named, json={"error": {"code": "x", "reason": reason}})


@pytest.fixture
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    waited: list[float] = []
    monkeypatch.setattr(client_module.time, "sleep", waited.append)
    return waited


@pytest.fixture(scope="module")
def scores(client: TestClient) -> Iterator[ScoreClient]:
    with ScoreClient("http://server", transport=Through(client)) as scores:
        yield scores


def test_scores_are_those_of_the_library_for_every_kind_of_clip(
    scores: ScoreClient, reward: VideoReward, files: list[Path]
) -> None:
    video = read_video(files[0])
    frames = [list(video.frames), [Image.fromarray(frame) for frame in video.frames]]
    clips = [files[1], str(files[2]), files[3].read_bytes(), files[4], *((kind, video.fps) for kind in frames)]
    prompts = [f"prompt {number}" for number in range(len(clips))]
    expected = reward.score([*files[1:], files[0], files[0]], prompts)
    found = scores.score(clips, prompts, clips_per_request=4)
    assert all(isinstance(one, ClipScore) for one in found)
    for one, wanted in zip(found, expected, strict=True):
        assert one.scores == pytest.approx(wanted.scores, abs=1e-4)
        assert one.raw == pytest.approx(wanted.raw, abs=1e-4)
        assert one.overall == pytest.approx(wanted.overall, abs=1e-4)


def test_a_broken_clip_is_told_in_its_place_as_the_library_does(scores: ScoreClient, files: list[Path]) -> None:
    for videos in ([files[0], b"no clip"], [b"no clip"]):
        last = scores.score(videos, PROMPT)[-1]
        assert (last.scores, last.raw, last.overall) == (None, None, None)
        assert "truncated or not a video" in str(last.error)


def test_health_is_read_from_a_server_that_is_to_stop_too(serve: Serve) -> None:
    with serve() as server, ScoreClient("http://server", transport=Through(server)) as client:
        assert client.health()["status"] == "ready"
        server.app.state.service.draining = True
        assert client.health() == {**client.health(), "status": "draining", "dimensions": ["VQ", "MQ", "TA"]}


def test_the_token_is_sent(serve: Serve, files: list[Path]) -> None:
    with serve(tokens=(b"secret-token",)) as server:
        with ScoreClient("http://server", "secret-token", transport=Through(server)) as client:
            assert client.score(files[:1], PROMPT)[0].error is None
        for token in (None, "wrong"):
            with (
                ScoreClient("http://server", token, transport=Through(server)) as client,
                pytest.raises(ConfigError, match="the token is missing or wrong"),
            ):
                client.score(files[:1], PROMPT)


def test_a_busy_server_is_asked_again_after_as_long_as_it_says(pauses: list[float]) -> None:
    good = httpx.Response(200, json={"results": [{"scores": {"VQ": 1.0}, "raw": {"VQ": 2.0}, "overall": 1.0}]})
    client, asked = answering(refusal(429, retry_after="7"), refusal(429, retry_after="soon"), good)
    assert client.score([b"x"], PROMPT) == [ClipScore({"VQ": 1.0}, {"VQ": 2.0})]
    assert pauses == [7.0, 1.0]
    assert len({request.content for request in asked}) == 1
    client, asked = answering(*[refusal(429, "come back", retry_after="900")] * 3)
    with pytest.raises(ServerError, match="come back"):
        client.score([b"x"], PROMPT)
    assert len(asked) == 3
    assert pauses[2:] == [60.0, 60.0]


@pytest.mark.parametrize(
    ("answer", "kind", "reason"),
    [
        (refusal(413, "too large"), DataError, "http://server.*: too large"),
        (refusal(422, "wrong shape"), DataError, "wrong shape"),
        (refusal(500, "it failed"), ServerError, "it failed"),
        (httpx.Response(502, text="<html>"), ServerError, "answered 502, but not as a reward server"),
        (httpx.Response(200, json=[1]), ServerError, "not as a reward server"),
        (httpx.Response(404, json={"detail": "x"}), ServerError, "not as a reward server"),
    ],
)
def test_a_refused_request_raises_with_the_servers_reason(
    answer: httpx.Response, kind: type[VideoAlignError], reason: str, pauses: list[float]
) -> None:
    client, _ = answering(answer)
    with pytest.raises(kind, match=reason):
        client.score([b"x"], PROMPT)
    assert pauses == []


def test_what_is_wrong_here_is_said_before_anything_is_sent(tmp_path: Path) -> None:
    client, asked = answering()
    with pytest.raises(DataError, match="got 1 for 2 videos"):
        client.score([b"x", b"y"], ["one"])
    with pytest.raises(VideoError, match=r"absent\.mp4: cannot be read"):
        client.score([tmp_path / "absent.mp4"], PROMPT)
    assert asked == []
    with pytest.raises(ServerError, match="is it running"):
        ScoreClient("http://127.0.0.1:9").health()


def test_it_loads_nothing_but_httpx() -> None:
    code = "import json, sys, videoalign.web.score.client; print(json.dumps(sorted(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = {name.split(".")[0] for name in json.loads(done.stdout)}
    assert "httpx" in loaded
    assert not loaded & {"torch", "numpy", "fastapi", "starlette", "pydantic", "PIL", "av", "transformers"}
