"""Asks a reward server for scores; needs httpx alone, neither torch nor a model."""

from __future__ import annotations

import base64
import io
import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import httpx

from videoalign.contracts.scores import ClipScore
from videoalign.errors import ConfigError, DataError, ServerError, VideoError

ClipSource = str | Path | bytes | tuple[Sequence[Any], float]
"""A path, the bytes of a video file, or ``(frames, fps)``; the frames are PIL pictures, uint8 arrays (H, W, 3), or the
bytes of PNG or JPEG files."""

LONGEST_WAIT = 60.0
"""Most seconds to wait before asking a busy server again, whatever it says."""


class ScoreClient:
    """A reward server. Use as a context manager, or close it; threads may share one."""

    def __init__(
        self,
        url: str,
        token: str | None = None,
        *,
        timeout: float = 120.0,
        max_retries: int = 5,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        """
        Args:
            url: as in ``http://127.0.0.1:8000``.
            token: what the server asks for, if it does.
            timeout: seconds to wait for one answer.
            max_retries: how often a busy server is asked again, each time after as long as it says.
            transport: how requests travel; httpx's own by default.
        """
        headers = {"authorization": f"Bearer {token}"} if token else {}
        self.max_retries = max_retries
        self._http = httpx.Client(base_url=url, headers=headers, timeout=timeout, transport=transport)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Closes the connections."""
        self._http.close()

    def score(
        self, videos: Sequence[ClipSource], prompts: Sequence[str] | str, *, clips_per_request: int = 4
    ) -> list[ClipScore]:
        """Scores of clips, order kept; a broken clip is reported at its index, as `VideoReward.score` does.

        Args:
            videos: see `ClipSource`.
            prompts: one per video, or one for all.
            clips_per_request: how many travel together.

        Raises:
            DataError: numbers of videos and prompts differ, a file cannot be read here, or a request is refused.
            ConfigError: the token is missing or wrong.
            ServerError: the server cannot be reached, is busy beyond ``max_retries``, or failed.
        """
        prompts = [prompts] * len(videos) if isinstance(prompts, str) else prompts
        if len(videos) != len(prompts):
            raise DataError(
                f"prompts: got {len(prompts)} for {len(videos)} videos; give one per video, or one for all."
            )
        results: list[ClipScore] = []
        for start in range(0, len(videos), clips_per_request):
            part = slice(start, start + clips_per_request)
            clips = [{**_encode(v), "prompt": p} for v, p in zip(videos[part], prompts[part], strict=True)]
            answer = self._ask("POST", "/v1/score", json={"clips": clips})
            results += [_result(row) for row in answer["results"]]
        return results

    def health(self) -> dict[str, Any]:
        """``status`` (ready, draining or failed), ``reward``, ``dimensions`` and ``version``.

        Raises:
            ServerError: the server cannot be reached.
        """
        return self._ask("GET", "/health")

    def _ask(self, method: str, path: str, **content: Any) -> dict[str, Any]:
        server = self._http.base_url
        for retries_left in reversed(range(self.max_retries + 1)):
            try:
                response = self._http.request(method, path, **content)
                answer: dict[str, Any] = response.json()
                if "results" in answer or "status" in answer:
                    return answer
                reason = answer["error"]["reason"]
            except httpx.HTTPError as error:
                raise ServerError(f"{server}: {type(error).__name__} {error}; is it running?") from None
            except (ValueError, KeyError, TypeError):
                raise ServerError(f"{server}: answered {response.status_code}, but not as a reward server.") from None
            if response.status_code != 429 or not retries_left:
                break
            time.sleep(_wait_of(response))
        if response.status_code == 401:
            raise ConfigError(f"{server}: {reason}")
        raise (ServerError if response.status_code in (429, *range(500, 600)) else DataError)(f"{server}: {reason}")


def _wait_of(response: httpx.Response) -> float:
    """Seconds until a busy server wants to be asked again."""
    told = response.headers.get("retry-after", "")
    return min(float(told) if told.isdecimal() else 1.0, LONGEST_WAIT)


def _result(row: dict[str, Any]) -> ClipScore:
    if "error" in row:
        return ClipScore(None, None, row["error"]["reason"])
    return ClipScore(row["scores"], row["raw"])


def _encode(video: ClipSource) -> dict[str, Any]:
    """The clip as the server reads it."""
    if isinstance(video, bytes):
        return {"video": _base64(video)}
    if isinstance(video, str | Path):
        try:
            return {"video": _base64(Path(video).read_bytes())}
        except OSError as error:
            raise VideoError(f"{video}: cannot be read ({error.strerror}).") from None
    frames, fps = video
    return {"frames": [_base64(_picture(frame)) for frame in frames], "fps": float(fps)}


def _picture(frame: Any) -> bytes:
    """A frame as a file, loss-free unless it was one already."""
    if isinstance(frame, bytes):
        return frame
    if not hasattr(frame, "save"):
        from PIL import Image

        frame = Image.fromarray(frame)
    buffer = io.BytesIO()
    frame.save(buffer, "PNG")
    return buffer.getvalue()


def _base64(content: bytes) -> str:
    return base64.b64encode(content).decode("ascii")
