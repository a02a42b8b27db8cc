"""Scores of clips, decoded in threads ahead of the model; order is kept, and a broken one is reported at its index."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from pathlib import Path
from typing import Protocol

import numpy as np
import torch

from videoalign.errors import ModelError, VideoAlignError
from videoalign.models.videoreward.processing import Patches, VideoProcessor
from videoalign.video.limits import UNLIMITED, ClipLimits
from videoalign.video.sources import VideoSource, read_source

BATCH_SIZE = 4
"""Clips in one forward pass; more only wait for each other while they are decoded."""
MAX_PATCHES = 20_000
"""Most patches in one forward pass, where more than one clip holds them; four clips of 448 x 448 at 10 frames."""
MAX_PATCHES_CPU = 5_000
"""The same on a processor, where a pass that does not stay in its caches is slower than two."""
NUM_WORKERS = min(8, os.cpu_count() or 1)
"""Threads that decode, each one clip at a time."""


class PatchScorer(Protocol):
    """What is needed of a reward."""

    processor: VideoProcessor

    def check_prompt(self, prompt: str) -> None:
        """Raises `DataError` for a prompt that cannot be read."""
        ...

    def score_patches(self, clips: Sequence[Patches], prompts: Sequence[str], *, batch_size: int = ...) -> np.ndarray:
        """Raw scores, float64 (N, D)."""
        ...


def read_clip(
    reward: PatchScorer, video: VideoSource, prompt: str, *, threads: int = 1, limits: ClipLimits = UNLIMITED
) -> Patches:
    """What the reward reads of a clip.

    Raises:
        LimitError: the clip is over the limits.
        VideoError: see `videoalign.video.sources.read_source`; also a clip of fewer than two frames or too narrow.
        DataError: a prompt that is empty or holds a special token.
    """
    reward.check_prompt(prompt)
    return reward.processor.read_chosen(
        lambda choose: read_source(video, choose, threads=threads, limits=limits).frames,
        str(video) if isinstance(video, str | Path) else "clip",
    )


def stream_raw(
    reward: PatchScorer,
    clips: Iterable[tuple[VideoSource, str]],
    *,
    batch_size: int = BATCH_SIZE,
    workers: int = NUM_WORKERS,
) -> Iterator[np.ndarray | VideoAlignError]:
    """For each (video, prompt), in order, its raw scores, float64 (D,), or what is wrong with it.

    While the model runs on one batch, ``workers`` threads decode the next; no more than two batches are held.
    """
    remaining = iter(clips)
    pool = ThreadPoolExecutor(workers)
    reading: deque[tuple[Future[Patches], str]] = deque()

    def read_on() -> None:
        for video, prompt in islice(remaining, 2 * batch_size - len(reading)):
            reading.append((pool.submit(read_clip, reward, video, prompt), prompt))

    try:
        read_on()
        while reading:
            taken = [reading.popleft() for _ in range(min(batch_size, len(reading)))]
            read_on()
            yield from _scored(reward, [(_outcome(future), prompt) for future, prompt in taken])
    finally:
        pool.shutdown(cancel_futures=True)


def batches(clips: Sequence[Patches], batch_size: int, device: torch.device) -> Iterator[slice]:
    """Neighbours that go through the model together: at most ``batch_size`` clips, and not too many patches."""
    most = MAX_PATCHES_CPU if device.type == "cpu" else MAX_PATCHES
    start = patches = 0
    for index, clip in enumerate(clips):
        patches += len(clip.values)
        if index > start and (index - start == batch_size or patches > most):
            yield slice(start, index)
            start, patches = index, len(clip.values)
    if clips:
        yield slice(start, len(clips))


def _outcome(future: Future[Patches]) -> Patches | VideoAlignError:
    try:
        return future.result()
    except VideoAlignError as error:
        return error


def _scored(
    reward: PatchScorer, read: Sequence[tuple[Patches | VideoAlignError, str]]
) -> Iterator[np.ndarray | VideoAlignError]:
    whole = [(clip, prompt) for clip, prompt in read if isinstance(clip, Patches)]
    rows = iter(
        reward.score_patches([clip for clip, _ in whole], [prompt for _, prompt in whole], batch_size=len(read))
    )
    for clip, _ in read:
        yield finite(next(rows)) if isinstance(clip, Patches) else clip


def finite(row: np.ndarray) -> np.ndarray | ModelError:
    """Raw scores (D,), or what is wrong with them."""
    if np.isfinite(row).all():
        return row
    return ModelError(f"clip: the model gave {row.tolist()}, wanted finite scores; load it in float32.")
