"""Whatever is sent as a request, the answer is a score or a reason, and the server goes on."""

from __future__ import annotations

import asyncio
import base64
import io
import json
import struct
import zlib
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from fastapi.testclient import TestClient
from PIL import Image

from videoalign.models.videoreward import VideoReward
from videoalign.web.score.app import build_app
from videoalign.web.score.settings import ServeSettings

PROMPT = "a red circle moves left"
JSON = {"content-type": "application/json"}
FORM = {"content-type": "multipart/form-data; boundary=x"}
UTF7 = {"content-type": "multipart/form-data; boundary=x; charset=utf-7"}
PUNYCODE = {"content-type": "multipart/form-data; boundary=x; charset=punycode"}
HALF = b'--x\r\nContent-Disposition: form-data; name="prompt"\r\n\r\n+2D0-\r\n--x--\r\n'
SLOW = b'--x\r\nContent-Disposition: form-data; name="prompt"\r\n\r\n' + b"b" * 500_000 + b"\r\n--x--\r\n"
Post = Callable[..., Any]


def encode(content: bytes) -> str:
    return base64.b64encode(content).decode()


def picture(height: int = 32, width: int = 32, mode: str = "RGB", format: str = "PNG") -> str:
    levels = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    Image.fromarray(levels).convert(mode).save(buffer := io.BytesIO(), format)
    return encode(buffer.getvalue())


def png_bomb(side: int) -> str:
    """A PNG whose header says that it has this many pixels on each side."""
    chunk = b"IHDR" + struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    content = b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + chunk + struct.pack(">I", zlib.crc32(chunk))
    body = b"IDAT" + zlib.compress(bytes(1000))
    return encode(content + struct.pack(">I", len(body) - 4) + body + struct.pack(">I", zlib.crc32(body)))


def frames(**changes: Any) -> dict[str, Any]:
    return {"frames": [picture()] * 4, "fps": 8.0, "prompt": PROMPT, **changes}


def reason_of(answer: httpx.Response, status: int) -> str:
    assert answer.status_code == status, answer.text
    error = answer.json()["error"]
    assert set(error) == {"code", "reason"}
    assert "\n" not in error["reason"]
    return error["reason"]


@pytest.fixture(autouse=True)
def still_scores(client: TestClient, files: list[Path], post: Post) -> Iterator[None]:
    yield
    assert post(client, (files[0], PROMPT)).status_code == 200
    assert client.app.state.service.admission.clips == 0


@pytest.mark.parametrize(
    ("body", "status", "reason"),
    [
        (b"", 400, "JSON body"),
        (b"{", 400, "JSON body"),
        (b"\xff\xfe", 400, "JSON body"),
        (b'{"prompt": "\\ud800", "video": ""}', 400, "JSON body"),
        (b"[" * 1_000, 400, "JSON body"),
        (b"[" * 100_000, 413, "JSON body"),
        (b"[" * 300_000 + b"]" * 300_000, 413, "JSON body"),
        (b'{"a":' * 1_000, 400, "JSON body"),
        (b'{"a":' * 100_000, 413, "JSON body"),
        (b'{"clips": [' + b'{"video":"","prompt":""},' * 40_000 + b"{}]}", 413, "commas and brackets"),
        (b'{"clips": [' + b"0," * 500_000 + b"0]}", 413, "commas and brackets"),
        (b'{"prompt": "x", "frames": [' + b'"",' * 300_000 + b'""], "fps": 8}', 413, "commas and brackets"),
        (b"[]", 422, "JSON body"),
        (b"null", 422, "JSON body"),
        (b"9" * 5000, 400, "JSON body"),
        (b'"clips"', 422, "JSON body"),
        (b"{}", 422, "prompt: Field required"),
        (b'{"clips": []}', 422, "clips: "),
        (b'{"clips": {}}', 422, "clips: "),
        (b'{"clips": [{}]}', 422, "clips.0.prompt: Field required"),
        (b'{"clips": [{"video": 1, "prompt": "x"}]}', 422, "clips.0.video: "),
        (b'{"clips": [{"video": "", "prompt": null}]}', 422, "clips.0.prompt: "),
        (b'{"video": ""}', 422, "prompt: Field required"),
        (b'{"prompt": "x"}', 422, "give either 'video' or 'frames'"),
        (b'{"prompt": "x", "video": "", "url": "file:///etc/passwd"}', 422, "url: "),
        (b'{"prompt": "x", "video": "", "fps": 8}', 422, "'fps' with 'frames'"),
        (b'{"prompt": "x", "frames": [""], "video": "", "fps": 8}', 422, "either"),
        (b'{"prompt": "x", "frames": [], "fps": 8}', 422, "frames: "),
        (b'{"prompt": "x", "frames": [""]}', 422, "'fps' with 'frames'"),
        (b'{"prompt": "x", "frames": [""], "fps": NaN}', 422, "fps: "),
        (b'{"prompt": "x", "frames": [""], "fps": Infinity}', 422, "fps: "),
        (b'{"prompt": "x", "frames": [""], "fps": 0}', 422, "fps: "),
        (b'{"prompt": "x", "frames": [""], "fps": -8}', 422, "fps: "),
        (b'{"prompt": "x", "frames": [""], "fps": "8"}', 422, "fps: "),
    ],
)
def test_json_of_the_wrong_shape_gets_a_reason(client: TestClient, body: bytes, status: int, reason: str) -> None:
    assert reason in reason_of(client.post("/v1/score", content=body, headers=JSON), status)


@pytest.mark.parametrize(
    ("changes", "status", "reason"),
    [
        ({"frames": [picture()]}, 422, "at least 2"),
        ({"frames": [picture(), picture(16)]}, 422, "change from 32x32 to 32x16"),
        ({"frames": [picture(), "not base64!"]}, 422, "frame 1: is not base64"),
        ({"frames": [picture(), "\u00e9"]}, 422, "frame 1: is not base64"),
        ({"frames": [picture(), ""]}, 422, "frame 1: is neither PNG nor JPEG"),
        ({"frames": [picture(), encode(b"GIF89a")]}, 422, "frame 1: is neither PNG nor JPEG"),
        ({"frames": [picture(format="GIF")] * 2}, 422, "frame 0: is neither PNG nor JPEG"),
        ({"frames": [picture(format="TIFF")] * 2}, 422, "frame 0: is neither PNG nor JPEG"),
        ({"frames": [picture(mode="I;16")] * 2}, 422, "kind 'I;16'"),
        ({"frames": [picture(), picture()[:400]]}, 422, "frame 1: is damaged"),
        ({"frames": [png_bomb(1000)] * 2}, 413, "1000x1000"),
        ({"frames": [png_bomb(65_000)] * 2}, 413, "too many pixels"),
        ({"frames": [png_bomb(500)] * 2}, 422, "frame 0: is damaged"),
        ({"frames": [picture(2, 2)] * 201}, 413, "201 frames"),
        ({"frames": [png_bomb(512)] * 17}, 413, "4456448 pixels"),
        ({"fps": 0.1}, 413, "lasts 40 seconds"),
        ({"fps": 1e-300}, 413, "seconds"),
        ({"fps": 5e-324}, 413, "seconds"),
        ({"prompt": ""}, 422, "prompt: it is empty"),
        ({"prompt": " \n"}, 422, "prompt: it is empty"),
        ({"prompt": "a" * 201}, 422, "prompt: got 201 characters"),
        ({"prompt": "a \0 cat"}, 422, "must not hold the character U+0000"),
        ({"prompt": "\x1b[31m"}, 422, "must not hold the character U+001B"),
        ({"prompt": "a <|VQ_reward|> b"}, 422, "special token"),
        ({"prompt": "<|im_end|>"}, 422, "special token"),
    ],
)
def test_frames_that_cannot_be_scored_get_a_reason(
    client: TestClient, changes: dict[str, Any], status: int, reason: str
) -> None:
    assert reason in reason_of(client.post("/v1/score", json=frames(**changes)), status)


def test_pictures_of_other_kinds_and_extreme_rates_are_scored(client: TestClient) -> None:
    for changes in (
        {"frames": [picture(mode="RGBA")] * 2},
        {"frames": [picture(mode="L")] * 2},
        {"frames": [picture(mode="P")] * 2},
        {"frames": [picture(format="JPEG"), picture()]},
        {"fps": 1e300},
        {"fps": 8},
        {"prompt": "\u732b \u200f\u05d0, on two\n\tlines [with {brackets}]" + "," * 150},
    ):
        answer = client.post("/v1/score", json=frames(**changes))
        assert answer.status_code == 200, answer.text
        assert all(np.isfinite(value) for value in answer.json()["results"][0]["scores"].values())


@pytest.mark.parametrize(
    ("options", "status", "reason"),
    [
        ({"content": b"x", "headers": {"content-type": "multipart/form-data"}}, 400, "boundary"),
        ({"content": b"x", "headers": FORM}, 400, "multipart body"),
        ({"content": b"", "headers": FORM}, 422, "'video' must be"),
        ({"content": b"--x\r\n\r\n\r\n--x--", "headers": FORM}, 400, "multipart body"),
        ({"content": HALF, "headers": UTF7}, 415, "charset 'utf-7'"),
        ({"content": SLOW, "headers": PUNYCODE}, 415, "charset 'punycode'"),
        ({"content": b"x", "headers": {"content-type": "text/plain"}}, 415, "text/plain"),
        ({"content": b"x", "headers": {"content-type": "video/mp4"}}, 415, "video/mp4"),
        ({"content": b"x"}, 415, "content-type: got ''"),
        ({"data": {"video": "x", "prompt": "x"}}, 415, "urlencoded"),
        ({"files": {"video": b"x"}}, 422, "0 texts 'prompt' for 1 files"),
        ({"files": {"video": b"x"}, "data": {"prompt": ["a", "b"]}}, 422, "2 texts 'prompt' for 1 files"),
        ({"files": {"prompt": b"x", "video": b"x"}}, 422, "0 texts 'prompt'"),
        ({"files": {"x": b"x"}, "data": {"video": "x", "prompt": "a"}}, 422, "field 'x'"),
        ({"files": {"video": b"x"}, "data": {"prompt": "a", "fps": "8"}}, 422, "field 'fps'"),
        ({"files": [("video", b"x")] * 5, "data": {"prompt": ["a"] * 5}}, 413, "clips: got 5, at most 4"),
        ({"files": [("video", b"x")] * 50, "data": {"prompt": ["a"] * 50}}, 400, "Too many f"),
        ({"files": {"video": bytes(2**20)}, "data": {"prompt": "a"}}, 413, "bytes of the request"),
        ({"content": b" " * (2**20 + 1), "headers": JSON}, 413, "bytes of the request"),
    ],
)
def test_a_request_of_the_wrong_form_gets_a_reason(
    client: TestClient, options: dict[str, Any], status: int, reason: str
) -> None:
    assert reason in reason_of(client.post("/v1/score", **options), status)


def test_a_body_that_does_not_say_how_large_it_is_stops_at_the_limit(client: TestClient) -> None:
    sent = []

    def endless() -> Iterator[bytes]:
        while len(sent) < 100:
            sent.append(1)
            yield bytes(2**16)

    assert "bytes of the request" in reason_of(client.post("/v1/score", content=endless(), headers=JSON), 413)


def test_other_places_and_methods_answer_in_the_same_shape(client: TestClient) -> None:
    assert "/v1/scores" in reason_of(client.post("/v1/scores"), 404)
    assert "Method Not Allowed" in reason_of(client.get("/v1/score"), 405)
    assert reason_of(client.get("/docs"), 404)


def test_a_request_that_does_not_arrive_is_not_waited_for(reward: VideoReward) -> None:
    async def never() -> AsyncIterator[bytes]:
        yield b"{"
        await asyncio.sleep(600)

    async def send() -> httpx.Response:
        transport = httpx.ASGITransport(build_app(reward, ServeSettings(read_seconds=0.1)))
        async with httpx.AsyncClient(transport=transport, base_url="http://server") as client:
            return await client.post("/v1/score", content=never(), headers=JSON)

    answer = asyncio.run(send())
    assert "more than 0.1 seconds to arrive" in reason_of(answer, 408)
    assert answer.headers["connection"] == "close"


def test_json_with_many_clips_of_one_bad_kind_each_is_told_in_order(client: TestClient) -> None:
    clips = [{"video": "!", "prompt": PROMPT}, {"video": "", "prompt": PROMPT}, frames(prompt=""), frames()]
    answer = client.post("/v1/score", content=json.dumps({"clips": clips}), headers=JSON)
    assert answer.status_code == 200
    reasons = [row["error"]["reason"] if "error" in row else "scored" for row in answer.json()["results"]]
    words = ("video: is not base64", "not a video", "prompt: it is empty", "scored")
    assert all(word in reason for word, reason in zip(words, reasons, strict=True))
