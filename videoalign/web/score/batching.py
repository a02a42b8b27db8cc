"""Clips of many requests on one model: decoded side by side in threads, scored together in one."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Self

import numpy as np

from videoalign.errors import ModelError, VideoAlignError
from videoalign.models.videoreward.processing import Patches
from videoalign.models.videoreward.scoring import PatchScorer, finite, read_clip
from videoalign.web.score.admission import Admission
from videoalign.web.score.metrics import Metrics
from videoalign.web.score.pictures import open_upload
from videoalign.web.score.settings import ServeSettings
from videoalign.web.score.uploads import Upload

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Waiting:
    """A decoded clip that waits for the model."""

    patches: Patches
    prompt: str
    result: asyncio.Future[np.ndarray | VideoAlignError]
    since: float


class Batcher:
    """Runs from ``async with`` to its end; then all clips that were given to it are answered."""

    def __init__(self, reward: PatchScorer, settings: ServeSettings, metrics: Metrics, admission: Admission) -> None:
        self._reward, self._settings, self._metrics, self._admission = reward, settings, metrics, admission

    async def __aenter__(self) -> Self:
        self._decoders = ThreadPoolExecutor(self._settings.decode_workers, "decode")
        self._model = ThreadPoolExecutor(1, "model")
        self._waiting: asyncio.Queue[_Waiting] = asyncio.Queue()
        # One batch in the model and one behind it: decoded clips are large, those not yet decoded are small.
        self._room = asyncio.Semaphore(2 * self._settings.max_batch)
        self._running = asyncio.create_task(self._run())
        return self

    async def __aexit__(self, *_: object) -> None:
        self._running.cancel()
        await asyncio.wait([self._running])
        self._decoders.shutdown()
        self._model.shutdown()

    @property
    def is_running(self) -> bool:
        """Whether clips are being scored."""
        return not self._running.done()

    async def score(self, upload: Upload) -> np.ndarray:
        """Raw scores of one clip, float64 (D,).

        Raises:
            VideoAlignError: the clip or its prompt cannot be read, or the model failed on it.
        """
        loop = asyncio.get_running_loop()
        async with self._room:
            patches = await loop.run_in_executor(self._decoders, self._read, upload)
            job = _Waiting(patches, upload.prompt, loop.create_future(), loop.time())
            self._waiting.put_nowait(job)
            row = await job.result
        if isinstance(row, VideoAlignError):
            raise row
        return row

    def _read(self, upload: Upload) -> Patches:
        with self._metrics.seconds.labels("decode").time():
            video = open_upload(upload, self._settings)
            return read_clip(self._reward, video, upload.prompt, limits=self._settings.clip)

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            batch = await self._next_batch()
            self._metrics.batch.observe(len(batch))
            for job in batch:
                self._metrics.seconds.labels("wait").observe(loop.time() - job.since)
            begin = time.perf_counter()
            rows = await loop.run_in_executor(self._model, self._score, batch)
            seconds = time.perf_counter() - begin
            self._metrics.seconds.labels("model").observe(seconds)
            self._admission.learn(len(batch), seconds)
            for job, row in zip(batch, rows, strict=True):
                if not job.result.done():
                    job.result.set_result(row)

    async def _next_batch(self) -> list[_Waiting]:
        """The clips that wait, up to a whole batch; the first of them waits no longer than the setting says."""
        batch = [await self._waiting.get()]
        try:
            async with asyncio.timeout_at(batch[0].since + self._settings.max_wait_ms / 1000):
                while len(batch) < self._settings.max_batch:
                    batch.append(await self._waiting.get())
        except TimeoutError:
            pass
        return batch

    def _score(self, batch: Sequence[_Waiting]) -> list[np.ndarray | VideoAlignError]:
        """A row for each clip; where the model fails on a batch, each clip is tried alone."""
        try:
            rows = self._reward.score_patches(
                [job.patches for job in batch], [job.prompt for job in batch], batch_size=len(batch)
            )
        except Exception as error:
            if len(batch) > 1:
                return [row for job in batch for row in self._score([job])]
            log.exception("the model failed on a clip of %s patches", batch[0].patches.grid)
            return [ModelError(f"clip: the model failed on it ({type(error).__name__}); send a smaller one.")]
        return [finite(row) for row in rows]
