"""Whatever is sent, the answer is a clip or a reason in one sentence, and nothing of it is executed or kept."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fastapi.testclient import TestClient

from videoalign.contracts.video import Video
from videoalign.video.files import encode_video
from videoalign.web.studio.app import Studio, build_studio
from videoalign.web.studio.cache import Cache, made_in

PROMPT = "a red circle moves left"
JSON = {"content-type": "application/json"}


def reason(answer: Any, status: int) -> str:
    assert answer.status_code == status, answer.text
    assert set(answer.json()["error"]) == {"code", "reason"}
    found = answer.json()["error"]["reason"]
    assert "\n" not in found and len(found) < 400
    return found


@pytest.mark.parametrize(
    ("body", "status", "words"),
    [
        ({"prompt": "x" * 10_000}, 413, "max_prompt_chars"),
        ({"prompt": ""}, 422, "prompt"),
        ({"prompt": "a\x00b"}, 422, "U+0000"),
        ({"prompt": "\u202e evil"}, 422, "U+202E"),
        ({"prompt": "red <script>"}, 422, "does not know"),
        ({"prompt": "'; DROP TABLE clips; --"}, 422, "does not know"),
        ({"prompt": "a red red red red circle moves moves left left left"}, 422, "tokens"),
        ({"weights": {"VQ": float("nan")}}, 422, "finite"),
        ({"weights": {"VQ": float("inf")}}, 422, "finite"),
        ({"weights": {"VQ": 1e9}}, 422, "less than or equal"),
        ({"weights": {"vq": 1}}, 422, "Did you mean 'VQ'?"),
        ({"weights": [1, 2]}, 422, "weights"),
        ({"strength": float("nan")}, 422, "finite"),
        ({"strength": -1}, 422, "strength"),
        ({"scale": 1e9, "adapter": "bright"}, 422, "scale"),
        ({"adapter": "../../etc/passwd"}, 422, "adapter"),
        ({"method": "__class__"}, 422, "method"),
        ({"method": "held", "weights": {"VQ": 1, "MQ": 1}}, 422, "left to hold"),
        ({"candidates": 0}, 422, "candidates"),
        ({"candidates": 10**6}, 422, "candidates"),
        ({"seeds": []}, 422, "seeds"),
        ({"seeds": [-1]}, 422, "seeds"),
        ({"seeds": [2**31]}, 422, "seeds"),
        ({"seeds": list(range(5))}, 413, "max_seeds"),
        ({"num_steps": 0}, 422, "num_steps"),
        ({"num_steps": 10**9}, 422, "max_steps"),
        ({"unknown": 1}, 422, "unknown"),
    ],
)
def test_what_cannot_be_made_is_refused_in_a_sentence(
    visitor: Any, body: dict[str, Any], status: int, words: str
) -> None:
    text = json.dumps({"prompt": PROMPT, "make": True, **body})
    assert words in reason(visitor.http.post("/api/compare", content=text, headers=JSON), status)
    assert visitor.get("/api/jobs").json()["jobs"] == []


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"null", b'{"prompt": ' + b"[" * 3000, b"\xff\xfe", b"1e999"])
def test_what_is_no_request_is_refused(visitor: Any, content: bytes) -> None:
    answer = visitor.http.post("/api/compare", content=content, headers=JSON)
    reason(answer, 400 if answer.status_code == 400 else 422)


def test_a_grid_is_of_two_dimensions_and_not_endless(visitor: Any) -> None:
    asked = {"prompt": PROMPT, "axes": ["VQ", "MQ"]}
    assert "max_points" in reason(visitor.post("/api/grid", {**asked, "num_points": 10**6}), 413)
    assert "TA" in reason(visitor.post("/api/grid", {**asked, "axes": ["VQ", "TA"]}), 422)
    reason(visitor.post("/api/grid", {**asked, "axes": ["VQ", "VQ"]}), 422)
    reason(visitor.post("/api/grid", {**asked, "axes": ["VQ"]}), 422)
    assert "weights" in reason(visitor.post("/api/grid", {**asked, "method": "none"}), 422)
    assert visitor.get("/api/jobs").json()["jobs"] == []


def grey(note: str = "") -> bytes:
    return encode_video(Video(np.full((4, 16, 16, 3), 90, np.uint8), 8.0), note=note)


NOTES = {
    "none": "",
    "words": "made with love",
    "another format": json.dumps({"format": "videoalign.studio.99"}),
    "script": json.dumps({"format": "videoalign.studio.1", "recipe": {"prompt": "<img src=x onerror=alert(1)>"}}),
    "deep": "[" * 5000,
}


@pytest.mark.parametrize("note", NOTES.values(), ids=NOTES)
def test_a_foreign_clip_says_nothing_of_how_it_was_made(visitor: Any, note: str) -> None:
    assert "how it was made" in reason(visitor.http.post("/api/dropped", content=grey(note)), 422)


@pytest.mark.parametrize("content", [b"", b"MZ" * 100, grey()[:-40], b"\x00\x00\x00\x18ftypmp42" + b"\xff" * 500])
def test_a_file_that_is_no_clip_is_refused(visitor: Any, content: bytes) -> None:
    reason(visitor.http.post("/api/dropped", content=content), 422)


def test_a_note_that_asks_for_too_much_is_not_believed(visitor: Any) -> None:
    clip = visitor.make()["rows"][0]["base"]
    made = made_in(visitor.get(clip["url"]).content)
    assert made is not None
    for change in ({"strength": 1e9}, {"prompt": "\u0000"}, {"weights": {"VQ": "NaN"}}, {"seed": -1}):
        forged = made.model_dump(mode="json")
        forged["recipe"] |= change
        reason(visitor.http.post("/api/dropped", content=grey(json.dumps(forged))), 422)
    foreign = made.model_dump(mode="json")
    foreign["recipe"] |= {"method": "magic", "weights": {"XY": 1.0}, "adapter": "nowhere"}
    foreign["made_with"]["model"] = "another"
    found = visitor.http.post("/api/dropped", content=grey(json.dumps(foreign))).json()
    assert len(found["notes"]) == 4
    assert (found["recipe"]["method"], found["recipe"]["weights"], found["recipe"]["adapter"]) == ("none", {}, None)


def test_a_body_beyond_the_limit_is_refused(visitor: Any) -> None:
    for path in ("/api/compare", "/api/dropped"):
        assert "max_body_bytes" in reason(visitor.http.post(path, content=b"x" * (2**20 + 1)), 413)


@pytest.mark.parametrize(
    "path", ["/clips/..%2F..%2Fetc.mp4", "/clips/x.mp4", "/static/..%2fapp.py", "/api/jobs/..", "/nowhere"]
)
def test_nothing_else_is_served(visitor: Any, path: str) -> None:
    reason(visitor.get(path), 404)


def test_another_site_may_not_write_and_another_name_is_not_answered(visitor: Any) -> None:
    for headers in ({"sec-fetch-site": "cross-site"}, {"origin": "http://evil.example"}):
        answer = visitor.http.post("/api/compare", json={"prompt": PROMPT, "make": True}, headers=headers)
        assert "another site" in reason(answer, 403)
    reason(visitor.get("/", headers={"host": "evil.example"}), 400)


def test_every_answer_keeps_a_browser_from_running_what_is_not_ours(visitor: Any) -> None:
    for path in ("/", "/api/about", "/nowhere", "/static/page.js"):
        answer = visitor.get(path)
        policy = answer.headers["content-security-policy"]
        assert "default-src 'none'" in policy and "script-src 'self';" in policy and "unsafe" not in policy
        assert answer.headers["x-content-type-options"] == "nosniff"
    page = visitor.get("/").text
    assert page.count("<script") == 1 and " on" + "click" not in page and "style=" not in page


def test_with_a_token_only_its_link_lets_in(opened: Any, tmp_path: Path) -> None:
    client = TestClient(build_studio(Studio(opened, Cache(tmp_path, 2**20), [b"sesame"])))
    assert "link" in reason(client.get("/"), 401)
    assert "wrong" in reason(client.get("/join/other"), 401)
    assert client.get("/api/about").status_code == 401
    assert client.get("/join/sesame").status_code == 200
    assert client.get("/api/about").status_code == 200


def test_too_many_visitors_push_out_those_who_wait_for_nothing(opened: Any, tmp_path: Path) -> None:
    studio = Studio(opened, Cache(tmp_path, 2**20))
    studio.visitors.most = 2
    first, second, third = (studio.visitors.welcome() for _ in range(3))
    assert studio.visitors.find(first) is None
    assert studio.visitors.find(second) is not None and studio.visitors.find(third) is not None
