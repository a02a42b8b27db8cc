"""The web application of one reward: POST /v1/score, GET /health, GET /ready, GET /metrics."""

from __future__ import annotations

import logging
import secrets
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated, Any

from fastapi import FastAPI, Request, Response, Security
from fastapi.responses import JSONResponse
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from videoalign import __version__
from videoalign.models.videoreward import VideoReward
from videoalign.web.edge import add_edges
from videoalign.web.refusals import Refusal
from videoalign.web.score.schema import Failure, Health, Scores, request_body
from videoalign.web.score.service import ScoreService
from videoalign.web.score.settings import ServeSettings

log = logging.getLogger(__name__)

Token = Annotated[HTTPAuthorizationCredentials | None, Security(HTTPBearer(auto_error=False))]
REFUSALS: dict[int | str, dict[str, Any]] = {
    400: {"model": Failure, "description": "The body cannot be parsed."},
    401: {"model": Failure, "description": "The token is missing or wrong."},
    408: {"model": Failure, "description": "The request took too long to arrive."},
    413: {"model": Failure, "description": "The request or a clip is over a limit."},
    415: {"model": Failure, "description": "Neither multipart nor JSON."},
    422: {"model": Failure, "description": "The request has the wrong shape, or no clip can be scored."},
    429: {"model": Failure, "description": "The queue is full; Retry-After says when to come back."},
    500: {"model": Failure, "description": "The model or the server failed."},
}


def build_app(reward: VideoReward, settings: ServeSettings, tokens: tuple[bytes, ...] = ()) -> FastAPI:
    """An application that scores with this reward; ``app.state.service`` is its `ScoreService`.

    Args:
        reward: on its device, with a normalisation.
        settings: see `ServeSettings`.
        tokens: bearer tokens, one of which every request but /health must carry; none lets everybody in.

    Raises:
        ModelError: the reward stores no normalisation.
    """
    service = ScoreService(reward, settings)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        async with service.batcher:
            yield

    app = FastAPI(
        title="videoalign reward server",
        version=__version__,
        lifespan=lifespan,
        docs_url=None,
        redoc_url=None,
    )
    app.state.service = service
    add_edges(app, settings, failed="the server failed; its log says why.")
    app.add_middleware(CloseWhileDraining, service=service)

    @app.post("/v1/score", response_model=Scores, responses=REFUSALS, openapi_extra=request_body())
    async def score(request: Request, token: Token) -> Response:
        """Scores of one clip or several, each with its prompt."""
        begin = time.perf_counter()
        try:
            _require_token(token, tokens)
            response = await service.answer(request)
        except Refusal as refusal:
            service.metrics.requests.labels(refusal.code).inc()
            raise
        finally:
            service.metrics.seconds.labels("whole").observe(time.perf_counter() - begin)
        return response

    @app.get("/ready", response_model=Health, responses={503: {"model": Health}})
    @app.get("/health", response_model=Health, responses={503: {"model": Health}})
    async def health() -> Response:
        """Whether the server takes requests, and what it scores."""
        state = Health(
            status=service.status, reward=reward.name, dimensions=list(reward.dimensions), version=__version__
        )
        return JSONResponse(state.model_dump(), 200 if state.status == "ready" else 503)

    @app.get("/metrics", responses={401: REFUSALS[401], 200: {"content": {"text/plain": {}}}}, response_class=Response)
    async def metrics(token: Token) -> Response:
        """Counts and times, for Prometheus."""
        _require_token(token, tokens)
        return Response(service.metrics.text(), media_type=service.metrics.content_type)

    return app


class CloseWhileDraining:
    """Asks clients to close their connection after the answer once the server is to stop."""

    def __init__(self, app: ASGIApp, service: ScoreService) -> None:
        self.app, self.service = app, service

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""

        async def closing(message: Message) -> None:
            if message["type"] == "http.response.start" and self.service.draining:
                message["headers"] = [*message["headers"], (b"connection", b"close")]
            await send(message)

        await self.app(scope, receive, closing)


def _require_token(given: HTTPAuthorizationCredentials | None, tokens: tuple[bytes, ...]) -> None:
    presented = given.credentials.encode() if given is not None else b""
    known = [secrets.compare_digest(presented, token) for token in tokens]
    if tokens and not any(known):
        reason = "the token is missing or wrong; send 'Authorization: Bearer TOKEN'."
        raise Refusal(401, "unauthorized", reason, {"www-authenticate": "Bearer"})
