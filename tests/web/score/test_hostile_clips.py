"""Whatever is sent as a clip, the answer is a score or a reason, and the server goes on."""

from __future__ import annotations

import io
import math
import socket
import struct
import wave
import zipfile
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from fastapi.testclient import TestClient
from PIL import Image

PROMPT = "a red circle moves left"
Post = Callable[..., Any]
Make = Callable[[], bytes]


def clip(
    num_frames: int = 12,
    height: int = 48,
    width: int = 48,
    *,
    format: str = "mp4",
    codec: str = "libx264",
    pix_fmt: str = "yuv420p",
    times: list[int] | None = None,
    options: dict[str, str] | None = None,
    attachment: bytes | None = None,
) -> bytes:
    """A clip of moving noise; ``times`` in thousandths of a second."""
    rng = np.random.default_rng(0)
    with av.open(buffer := io.BytesIO(), "w", format=format) as container:
        stream = container.add_stream(codec, rate=8, options=options or {})
        stream.width, stream.height, stream.pix_fmt = width, height, pix_fmt
        stream.codec_context.time_base = Fraction(1, 1000)
        if attachment is not None:
            container.add_attachment("a.ttf", "application/x-truetype-font", attachment)
        for number in range(num_frames):
            noise = rng.integers(0, 256, (height, width, 3), dtype=np.uint8)
            frame = av.VideoFrame.from_ndarray(noise, format="rgb24").reformat(format=pix_fmt)
            frame.pts, frame.time_base = times[number] if times else 125 * number, Fraction(1, 1000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return buffer.getvalue()


def sound(format: str, codec: str) -> bytes:
    with av.open(buffer := io.BytesIO(), "w", format=format) as container:
        stream = container.add_stream(codec, rate=8000)
        stream.layout = "mono"
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 8000), np.float32), format="fltp", layout="mono")
        frame.sample_rate = 8000
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return buffer.getvalue()


def wav() -> bytes:
    with wave.open(buffer := io.BytesIO(), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(8000)
        file.writeframes(bytes(16000))
    return buffer.getvalue()


def zipped(content: bytes) -> bytes:
    with zipfile.ZipFile(buffer := io.BytesIO(), "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("clip.mp4", content)
    return buffer.getvalue()


def picture(format: str, size: tuple[int, int] = (48, 48), **options: Any) -> bytes:
    Image.new("RGB", size, (200, 30, 30)).save(buffer := io.BytesIO(), format, **options)
    return buffer.getvalue()


def gif_bomb() -> bytes:
    """Five hundred frames in a few kilobytes."""
    frames = [Image.new("L", (400, 400), 255 * (number % 2)) for number in range(500)]
    frames[0].save(buffer := io.BytesIO(), "GIF", save_all=True, append_images=frames[1:], duration=20)
    return buffer.getvalue()


def gif_of_huge_canvas() -> bytes:
    content = bytearray(picture("GIF"))
    content[6:10] = struct.pack("<HH", 65535, 65535)
    return bytes(content)


def patched(content: bytes, box: bytes, offset: int, value: bytes) -> bytes:
    """The clip with other bytes in its first box of this kind; the offset counts from the end of the box's name."""
    place = content.index(box) + 4 + offset
    return content[:place] + value + content[place + len(value) :]


def huge_in_the_header() -> bytes:
    """The elements PixelWidth and PixelHeight say 8192."""
    content = clip(2, 300, 300, format="matroska", codec="ffv1")
    for element in (b"\xb0\x82", b"\xba\x82"):
        content = content.replace(element + struct.pack(">H", 300), element + struct.pack(">H", 8192), 1)
    return content


def long_in_the_header() -> bytes:
    """The first frame is shown for half a day."""
    content = clip()
    units = 43_200 * int.from_bytes(content[(place := content.index(b"mdhd") + 16) : place + 4], "big")
    return patched(content, b"stts", 12, struct.pack(">I", units))


def turned() -> bytes:
    one, minus, zero = struct.pack(">i", 1 << 16), struct.pack(">i", -(1 << 16)), bytes(4)
    matrix = b"".join([zero, one, zero, minus, zero, zero, zero, zero, struct.pack(">i", 1 << 30)])
    return patched(clip(height=32, width=64), b"tkhd", 40, matrix)


def damaged(part: bytes, num_bytes: int, seed: int = 0) -> bytes:
    """Noise over bytes in the middle of a box."""
    content, rng = bytearray(clip()), np.random.default_rng(seed)
    start = content.index(part) + 4
    size = int.from_bytes(content[start - 8 : start - 4], "big") - 8
    for place in rng.integers(start + size // 4, start + size, num_bytes):
        content[place] = int(rng.integers(256))
    return bytes(content)


BAD: dict[str, tuple[Make, int, str]] = {
    "truncated": (lambda: clip()[:-300], 422, "truncated"),
    "empty": (lambda: b"", 422, "not a video"),
    "one byte": (lambda: b"\0", 422, "not a video"),
    "zip bomb": (lambda: zipped(bytes(2**26)), 422, "not a video"),
    "zip of a clip": (lambda: zipped(clip()), 422, "not a video"),
    "text": (lambda: b"no video at all\n" * 50, 422, "not a video"),
    "script": (lambda: b"#!/bin/sh\nrm -rf /\n", 422, "not a video"),
    "html": (lambda: b"<html><script>alert(1)</script></html>" * 9, 422, "not a video"),
    "svg": (lambda: b'<svg xmlns="http://www.w3.org/2000/svg"><image href="file:///etc/passwd"/></svg>', 422, "not a"),
    "png": (lambda: picture("PNG"), 422, "not a video"),
    "jpeg": (lambda: picture("JPEG"), 422, "not a video"),
    "gif of one frame": (lambda: picture("GIF"), 422, "rate is unknown"),
    "wav": (wav, 422, "no video stream"),
    "aac in mp4": (lambda: sound("mp4", "aac"), 422, "no video stream"),
    "aac in matroska": (lambda: sound("matroska", "aac"), 422, "no video stream"),
    "subtitles": (lambda: b"1\n00:00:00,000 --> 00:00:02,000\nhello\n\n", 422, "not a video"),
    "subtitles of another kind": (lambda: b"WEBVTT\n\n00:00.000 --> 00:02.000\nhello\n", 422, "not a video"),
    "unknown codec": (lambda: clip().replace(b"avc1", b"zzzz"), 422, "codec that cannot be decoded"),
    "no frames": (lambda: clip(0, format="matroska"), 422, ""),
    "one frame": (lambda: clip(1), 422, "at least 2"),
    "too large": (lambda: clip(2, 480, 640, options={"crf": "51"}), 413, "640x480"),
    "huge in the header": (huge_in_the_header, 413, "8192x8192"),
    "huge gif": (gif_of_huge_canvas, 422, ""),
    "gif bomb": (gif_bomb, 413, "at most 200"),
    "too many frames": (lambda: clip(201, 16, 16), 413, "201 frames"),
    "too long": (lambda: clip(2, times=[0, 30_000]), 413, "seconds"),
    "long in the header": (long_in_the_header, 413, "seconds"),
    "too many bytes": (lambda: clip() + bytes(2**19), 413, "bytes"),
    "too narrow": (lambda: clip(4, 2, 504), 422, "too narrow"),
    "damaged index": (lambda: damaged(b"moov", 60), 422, ""),
    "cut in its index": (lambda: clip(options={})[: clip().index(b"moov") + 20], 422, "truncated"),
    "raw stream without a rate": (lambda: clip(format="h264"), 422, "rate is unknown"),
}
"""What it is -> how it is made, the status, and words of the reason."""

GOOD: dict[str, Make] = {
    "10 bit, hdr": lambda: clip(pix_fmt="yuv420p10le", options={"x264-params": "transfer=smpte2084:colorprim=bt2020"}),
    "variable rate": lambda: clip(times=[0, 100, 200, 300, 400, 900, 1400, 1900, 2400, 2500, 2600, 2700]),
    "turned": turned,
    "odd sides": lambda: clip(height=35, width=51, pix_fmt="yuv444p"),
    "attachment": lambda: clip(format="matroska", attachment=b"no font"),
    "webm": lambda: clip(format="webm", codec="libvpx-vp9"),
    "gif": lambda: clip(format="gif", codec="gif", pix_fmt="rgb8"),
    "grey": lambda: clip(format="matroska", codec="ffv1", pix_fmt="gray"),
    "transport stream": lambda: clip(format="mpegts"),
    "begins before zero": lambda: clip(times=[125 * n - 1000 for n in range(12)], format="matroska"),
    "begins late": lambda: clip(times=[125 * n + 500 for n in range(12)]),
    "followed by noise": lambda: clip() + struct.pack(">I4s", 16, b"free") + bytes(8),
}


def still_scores(client: TestClient, post: Post, files: list[Path]) -> bool:
    return client.get("/health").status_code == 200 == post(client, (files[0], PROMPT)).status_code


@pytest.mark.parametrize("name", BAD)
def test_a_bad_clip_gets_a_reason(name: str, client: TestClient, post: Post, files: list[Path]) -> None:
    make, status, reason = BAD[name]
    answer = post(client, (make(), PROMPT))
    error = answer.json()["error"]
    assert (answer.status_code, error["code"]) == (status, "too_large" if status == 413 else "bad_clip"), error
    assert reason in error["reason"]
    assert len(error["reason"]) > 10
    assert answer.json()["results"] == [{"error": error}]
    assert still_scores(client, post, files)


@pytest.mark.parametrize("name", GOOD)
def test_an_unusual_clip_gets_a_score(name: str, client: TestClient, post: Post) -> None:
    answer = post(client, (GOOD[name](), PROMPT))
    assert answer.status_code == 200, answer.json()
    (row,) = answer.json()["results"]
    assert all(math.isfinite(value) for value in (*row["scores"].values(), *row["raw"].values()))


@pytest.mark.parametrize(
    "text",
    [
        "#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\n{}\n#EXT-X-ENDLIST\n",
        "ffconcat version 1.0\nfile '{}'\n",
        "file '{}'\n",
        "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nu={}\nc=IN IP4 127.0.0.1\nt=0 0\nm=video 5004 RTP/AVP 96\n",
        '<?xml version="1.0"?><MPD><Period><BaseURL>{}</BaseURL></Period></MPD>',
        "[playlist]\nFile1={}\n",
    ],
)
def test_a_playlist_opens_nothing(text: str, client: TestClient, post: Post, files: list[Path]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(0.05)
        url = f"http://127.0.0.1:{listener.getsockname()[1]}/clip.mp4"
        for target in (url, "file:///etc/passwd", str(files[0])):
            answer = post(client, (text.format(target).encode(), PROMPT))
            assert answer.status_code == 422
            assert "not a video" in answer.json()["error"]["reason"]
        with pytest.raises(TimeoutError):
            listener.accept()


@pytest.mark.parametrize("name", ["../../etc/passwd", "http://127.0.0.1/a", "concat:a|b", "\0", "a" * 3000, "clip.exe"])
def test_the_name_of_a_file_means_nothing(name: str, client: TestClient, files: list[Path]) -> None:
    answer = client.post("/v1/score", files={"video": (name, files[0].read_bytes())}, data={"prompt": PROMPT})
    assert answer.status_code == 200


@pytest.mark.parametrize("format", ["mp4", "matroska", "mpegts", "avi", "gif"])
def test_noise_anywhere_in_a_file_never_stops_the_server(
    format: str, client: TestClient, post: Post, files: list[Path]
) -> None:
    codec, pix_fmt = {"avi": ("mpeg4", "yuv420p"), "gif": ("gif", "rgb8")}.get(format, ("libx264", "yuv420p"))
    whole, rng = clip(format=format, codec=codec, pix_fmt=pix_fmt), np.random.default_rng(0)
    statuses = set()
    for number in range(40):
        content = bytearray(whole)
        begin = len(content) if number % 2 else min(len(content), 1000)
        for place in rng.integers(0, begin, 1 + number // 4):
            content[place] = int(rng.integers(256))
        statuses.add(post(client, (bytes(content), PROMPT)).status_code)
    assert statuses <= {200, 413, 422}
    assert still_scores(client, post, files)


def test_damaged_packets_in_the_middle_are_told_or_read(client: TestClient, post: Post) -> None:
    answers = [post(client, (damaged(b"mdat", num, seed=num), PROMPT)) for num in (1, 10, 100, 1000)]
    assert {answer.status_code for answer in answers} <= {200, 422}
    assert answers[-1].json()["results"]
