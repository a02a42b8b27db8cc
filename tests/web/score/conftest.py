"""A tiny random reward, the server's application in this process, and clips."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from fastapi.testclient import TestClient

from videoalign.contracts.video import Video
from videoalign.models.videoreward import VideoReward
from videoalign.models.videoreward.processing import ReadingLimits
from videoalign.video.files import write_video
from videoalign.video.limits import ClipLimits
from videoalign.web.score.app import build_app
from videoalign.web.score.settings import ServeSettings

LIMITS = ReadingLimits(fps=4.0, min_frame_pixels=32 * 32, max_frame_pixels=32 * 32)
SETTINGS = ServeSettings(
    max_body_bytes=2**20,
    max_clip_bytes=2**19,
    max_clips=4,
    max_prompt_chars=200,
    clip=ClipLimits(seconds=20, frames=200, frame_pixels=512 * 512, read_pixels=2**22),
)
"""Small enough that a test can go over each."""
PROMPT = "a red circle moves left"

Serve = Callable[..., Any]
"""Opens a `TestClient` of an application with these settings and tokens."""


@pytest.fixture(scope="session")
def reward_folder(tiny_base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random reward of a few thousand weights, normalised on noise."""
    folder = tmp_path_factory.mktemp("tiny")
    reward = VideoReward.from_base(tiny_base, limits=LIMITS)
    rng = np.random.default_rng(0)
    clips = [Video(rng.integers(0, 256, (8, 32, 32, 3), dtype=np.uint8), 8.0) for _ in range(4)]
    reward.set_normalisation(reward.score_raw(clips, [PROMPT] * 4))
    reward.save_pretrained(folder / "reward")
    return folder / "reward"


@pytest.fixture(scope="session")
def reward(reward_folder: Path) -> VideoReward:
    return VideoReward.from_pretrained(reward_folder)


@pytest.fixture(scope="session")
def files(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Five short clips of different length, size and look."""
    folder, rng = tmp_path_factory.mktemp("clips"), np.random.default_rng(1)
    for number, (frames, height, width) in enumerate(
        [(8, 32, 32), (12, 48, 64), (5, 64, 40), (16, 32, 48), (9, 40, 40)]
    ):
        noise = rng.integers(0, 256, (frames, height, width, 3), dtype=np.uint8)
        write_video(folder / f"{number}.mp4", Video(noise, 8.0), crf=30)
    return sorted(folder.iterdir())


@pytest.fixture(scope="session")
def serve(reward: VideoReward) -> Serve:
    @contextmanager
    def run(settings: ServeSettings = SETTINGS, tokens: tuple[bytes, ...] = ()) -> Iterator[TestClient]:
        with TestClient(build_app(reward, settings, tokens), raise_server_exceptions=False) as client:
            yield client

    return run


@pytest.fixture(scope="module")
def client(serve: Serve) -> Iterator[TestClient]:
    with serve() as client:
        yield client


@pytest.fixture(scope="session")
def post() -> Callable[..., httpx.Response]:
    """Sends clips, as bytes or paths, with their prompts as a form."""

    def send(client: TestClient, *clips: tuple[bytes | Path, str], **options: Any) -> httpx.Response:
        contents = [clip if isinstance(clip, bytes) else clip.read_bytes() for clip, _ in clips]
        files = [("video", ("clip.mp4", content)) for content in contents]
        return client.post("/v1/score", files=files, data={"prompt": [prompt for _, prompt in clips]}, **options)

    return send
