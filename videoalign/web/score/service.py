"""From one request to its answer."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from typing import Any

from fastapi import Request, Response
from fastapi.responses import JSONResponse

from videoalign.contracts.scores import ClipScore, clip_score
from videoalign.errors import VideoAlignError
from videoalign.models.videoreward import VideoReward
from videoalign.web.refusals import Refusal, refusal_of
from videoalign.web.score.admission import Admission
from videoalign.web.score.batching import Batcher
from videoalign.web.score.metrics import Metrics
from videoalign.web.score.settings import ServeSettings
from videoalign.web.score.uploads import Upload, read_uploads

log = logging.getLogger(__name__)


class ScoreService:
    """One reward with its queue and its counters."""

    def __init__(self, reward: VideoReward, settings: ServeSettings) -> None:
        """
        Raises:
            ModelError: the reward stores no normalisation.
        """
        reward.normalisation()
        self.reward, self.settings = reward, settings
        self.metrics = Metrics()
        self.admission = Admission(settings, self.metrics)
        self.batcher = Batcher(reward, settings, self.metrics, self.admission)
        self.draining = False
        """Set once the server is to stop."""

    @property
    def status(self) -> str:
        """``ready``, ``draining`` or ``failed``."""
        if self.draining:
            return "draining"
        return "ready" if self.batcher.is_running else "failed"

    async def answer(self, request: Request) -> Response:
        """The scores of a request's clips; 200 when one or more could be scored.

        Raises:
            Refusal: nothing was read of it.
        """
        with self.admission.hold_bytes() as arrived:
            uploads = await read_uploads(request, self.settings, arrived)
            with self.admission.hold(len(uploads)):
                results = await asyncio.gather(*(self._score(upload) for upload in uploads))
        for result in results:
            self.metrics.clips.labels(result.code if isinstance(result, Refusal) else "ok").inc()
        status, body = self._summary(results)
        self.metrics.requests.labels(body["error"]["code"] if "error" in body else "ok").inc()
        return JSONResponse(body, status)

    async def _score(self, upload: Upload) -> ClipScore | Refusal:
        try:
            return clip_score(self.reward, await self.batcher.score(upload))
        except VideoAlignError as error:
            return refusal_of(error)
        except Exception:
            log.exception("a clip failed")
            return Refusal(500, "failed", "the server failed on this clip; its log says why.")

    def _summary(self, results: Sequence[ClipScore | Refusal]) -> tuple[int, dict[str, Any]]:
        body: dict[str, Any] = {"reward": self.reward.name, "results": [_row(result) for result in results]}
        refusals = [result for result in results if isinstance(result, Refusal)]
        if len(refusals) < len(results):
            return 200, body
        worst = max(refusals, key=lambda refusal: refusal.status)
        reason = worst.reason
        if len(results) > 1:
            reason = f"none of {len(results)} clips could be scored; one of them: {reason}"
        return worst.status, {**Refusal(worst.status, worst.code, reason).body(), **body}


def _row(result: ClipScore | Refusal) -> dict[str, Any]:
    if isinstance(result, Refusal):
        return result.body()
    return {"scores": result.scores, "raw": result.raw, "overall": result.overall}
