"""The server answers what the library gives, in one shape, to those who may ask."""

from __future__ import annotations

import base64
import io
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fastapi.testclient import TestClient
from PIL import Image
from prometheus_client.parser import text_string_to_metric_families

from videoalign import __version__
from videoalign.contracts.scores import ClipScore
from videoalign.errors import ModelError
from videoalign.models.videoreward import VideoReward
from videoalign.video.files import read_video
from videoalign.web.score.app import build_app
from videoalign.web.score.settings import ServeSettings

PROMPT = "a red circle moves left"
Post = Callable[..., Any]
Serve = Callable[..., Any]


def encode(content: bytes) -> str:
    return base64.b64encode(content).decode()


def png(frame: np.ndarray) -> str:
    Image.fromarray(frame).save(buffer := io.BytesIO(), "PNG")
    return encode(buffer.getvalue())


def assert_is(row: dict[str, Any], expected: ClipScore) -> None:
    assert row["scores"] == pytest.approx(expected.scores, abs=1e-4)
    assert row["raw"] == pytest.approx(expected.raw, abs=1e-4)
    assert row["overall"] == pytest.approx(expected.overall, abs=1e-4)


def metrics(client: TestClient) -> dict[str, float]:
    """Value by name and, in brackets, the value of its only label."""
    values = {}
    for family in text_string_to_metric_families(client.get("/metrics").text):
        for sample in family.samples:
            label = f"[{'|'.join(sample.labels.values())}]" if sample.labels else ""
            values[sample.name.removeprefix("videoalign_score_") + label] = sample.value
    return values


def test_scores_are_those_of_the_library_in_every_form(
    client: TestClient, reward: VideoReward, files: list[Path], post: Post
) -> None:
    expected = reward.score(files[:3], [PROMPT, "a blue square", "nothing"])
    form = post(client, (files[0], PROMPT), (files[1], "a blue square"), (files[2], "nothing"))
    clips = [
        {"video": encode(file.read_bytes()), "prompt": prompt}
        for file, prompt in zip(files[:3], (PROMPT, "a blue square", "nothing"), strict=True)
    ]
    video = read_video(files[0])
    frames = {"frames": [png(frame) for frame in video.frames], "fps": video.fps, "prompt": PROMPT}
    json = client.post("/v1/score", json={"clips": [*clips, frames]})
    alone = client.post("/v1/score", json=frames)
    assert (form.status_code, json.status_code, alone.status_code) == (200, 200, 200)
    assert form.json()["reward"] == reward.name
    for row, score in zip(form.json()["results"], expected, strict=True):
        assert_is(row, score)
    for row, score in zip(json.json()["results"], [*expected, expected[0]], strict=True):
        assert_is(row, score)
    assert_is(alone.json()["results"][0], expected[0])


def test_the_prompt_of_a_clip_is_its_own(client: TestClient, files: list[Path], post: Post) -> None:
    ab = post(client, (files[0], "a red circle"), (files[0], "left moves")).json()["results"]
    ba = post(client, (files[0], "left moves"), (files[0], "a red circle")).json()["results"]
    assert [row["raw"]["TA"] for row in ab] == pytest.approx([row["raw"]["TA"] for row in reversed(ba)], abs=1e-5)
    assert abs(ab[0]["raw"]["TA"] - ab[1]["raw"]["TA"]) > 1e-4


def test_a_bad_clip_among_good_ones_is_told_in_its_place(
    client: TestClient, reward: VideoReward, files: list[Path], post: Post
) -> None:
    answer = post(client, (b"no clip", PROMPT), (files[0], PROMPT), (files[0], " "))
    assert answer.status_code == 200
    bad, good, unprompted = answer.json()["results"]
    assert bad["error"]["code"] == "bad_clip"
    assert unprompted["error"]["code"] == "bad_prompt"
    assert set(bad) == set(unprompted) == {"error"}
    assert_is(good, reward.score(files[:1], PROMPT)[0])


def test_when_no_clip_can_be_scored_the_status_says_so(client: TestClient, post: Post) -> None:
    answer = post(client, (b"no clip", PROMPT), (b"none either", PROMPT))
    assert answer.status_code == 422
    assert answer.json()["error"]["code"] == "bad_clip"
    assert answer.json()["error"]["reason"].startswith("none of 2 clips could be scored")
    assert [set(row) for row in answer.json()["results"]] == [{"error"}, {"error"}]


def test_health_says_what_is_scored(client: TestClient, reward: VideoReward) -> None:
    answer = client.get("/health")
    assert answer.status_code == 200
    assert answer.json() == {
        "status": "ready",
        "reward": reward.name,
        "dimensions": ["VQ", "MQ", "TA"],
        "version": __version__,
    }


def test_a_server_that_is_to_stop_says_so_and_still_answers(serve: Serve, files: list[Path], post: Post) -> None:
    with serve() as client:
        client.app.state.service.draining = True
        health, answer = client.get("/health"), post(client, (files[0], PROMPT))
    assert (health.status_code, health.json()["status"]) == (503, "draining")
    assert answer.status_code == 200
    assert health.headers["connection"] == answer.headers["connection"] == "close"


def test_without_its_token_nobody_gets_more_than_the_health(serve: Serve, files: list[Path], post: Post) -> None:
    with serve(tokens=(b"first-token", b"second-token")) as client:
        for headers in ({}, {"authorization": "Bearer wrong"}, {"authorization": "Basic first-token"}):
            for answer in (post(client, (files[0], PROMPT), headers=headers), client.get("/metrics", headers=headers)):
                assert answer.status_code == 401
                assert answer.json()["error"]["code"] == "unauthorized"
                assert answer.headers["www-authenticate"] == "Bearer"
        for token in ("first-token", "second-token"):
            headers = {"authorization": f"Bearer {token}"}
            assert post(client, (files[0], PROMPT), headers=headers).status_code == 200
            assert client.get("/metrics", headers=headers).status_code == 200
        assert client.get("/health").status_code == 200


def test_counters_count(serve: Serve, files: list[Path], post: Post) -> None:
    with serve() as client:
        post(client, (files[0], PROMPT), (b"no clip", PROMPT))
        post(client, (b"no clip", PROMPT))
        client.post("/v1/score", content=b"{", headers={"content-type": "application/json"})
        found = metrics(client)
    assert (found["requests_total[ok]"], found["requests_total[bad_clip]"]) == (1, 1)
    assert found["requests_total[bad_request]"] == 1
    assert (found["clips_total[ok]"], found["clips_total[bad_clip]"]) == (1, 2)
    assert (found["batch_clips_count"], found["batch_clips_sum"], found["queue_clips"]) == (1, 1, 0)
    counts = {stage: found[f"seconds_count[{stage}]"] for stage in ("decode", "wait", "model", "whole")}
    assert counts == {"decode": 3, "wait": 1, "model": 1, "whole": 3}


def test_clips_of_many_requests_run_as_one_batch(serve: Serve, files: list[Path], post: Post) -> None:
    settings = ServeSettings(max_batch=6, max_wait_ms=5000)
    with serve(settings) as client, ThreadPoolExecutor(6) as pool:
        answers = list(pool.map(lambda n: post(client, (files[n % 5], PROMPT)), range(6)))
        found = metrics(client)
    assert [answer.status_code for answer in answers] == [200] * 6
    assert (found["batch_clips_count"], found["batch_clips_sum"]) == (1, 6)


def test_a_clip_waits_for_others_no_longer_than_the_setting_says(serve: Serve, files: list[Path], post: Post) -> None:
    with serve(ServeSettings(max_batch=64, max_wait_ms=200)) as client:
        assert post(client, (files[0], PROMPT)).status_code == 200
        waited = metrics(client)["seconds_sum[wait]"]
    assert 0.2 <= waited < 2


def test_a_clip_that_the_model_fails_on_takes_no_other_with_it(
    reward: VideoReward, files: list[Path], post: Post, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = reward.score_patches

    def failing(clips: Any, prompts: list[str], *, batch_size: int) -> np.ndarray:
        if "poison" in prompts:
            raise RuntimeError("out of memory")
        rows = real(clips, prompts, batch_size=batch_size)
        return np.where(np.array([[prompt == "not a number"] for prompt in prompts]), np.nan, rows)

    monkeypatch.setattr(reward, "score_patches", failing)
    with TestClient(build_app(reward, ServeSettings(max_wait_ms=1000, max_batch=4))) as client:
        prompts = (PROMPT, "poison", "not a number", PROMPT)
        answer = post(client, *((files[0], prompt) for prompt in prompts))
        alone = post(client, (files[0], "poison"))
    codes = [row.get("error", {}).get("code", "ok") for row in answer.json()["results"]]
    assert codes == ["ok", "model_failed", "model_failed", "ok"]
    assert (answer.status_code, alone.status_code) == (200, 500)


def test_a_full_queue_says_when_to_come_back(
    reward: VideoReward, files: list[Path], post: Post, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, entered, release = reward.score_patches, threading.Event(), threading.Event()

    def slow(*args: Any, **options: Any) -> np.ndarray:
        entered.set()
        assert release.wait(20)
        return real(*args, **options)

    monkeypatch.setattr(reward, "score_patches", slow)
    settings = ServeSettings(max_queue=2, max_clips=2)
    with TestClient(build_app(reward, settings)) as client, ThreadPoolExecutor(1) as pool:
        first = pool.submit(post, client, (files[0], PROMPT))
        assert entered.wait(20)
        refused = post(client, (files[0], PROMPT), (files[1], PROMPT))
        release.set()
        assert first.result().status_code == 200
        again = post(client, (files[0], PROMPT), (files[1], PROMPT))
    assert (refused.status_code, refused.json()["error"]["code"]) == (429, "busy")
    assert 1 <= int(refused.headers["retry-after"]) <= 60
    assert again.status_code == 200


def test_bytes_in_the_queue_are_bounded_too(serve: Serve, files: list[Path], post: Post) -> None:
    with serve() as client:
        admission = client.app.state.service.admission
        admission.num_bytes = admission.settings.max_queue_bytes
        assert post(client, (files[0], PROMPT)).status_code == 429
        admission.num_bytes = 0
        assert post(client, (files[0], PROMPT)).status_code == 200
        assert (admission.clips, admission.num_bytes) == (0, 0)


def test_a_reward_without_normalisation_is_not_served(reward_folder: Path) -> None:
    bare = VideoReward.from_pretrained(reward_folder)
    bare.settings = bare.settings.model_copy(update={"normalisation": None})
    with pytest.raises(ModelError, match="no normalisation"):
        build_app(bare, ServeSettings())
