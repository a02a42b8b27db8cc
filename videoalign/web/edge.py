"""What stands around every server: the checks that a request passes, and one form for all that goes wrong."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime
from logging.handlers import WatchedFileHandler
from pathlib import Path
from typing import Protocol

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from python_multipart.multipart import parse_options_header
from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.middleware.body_limit import RequestBodyLimitMiddleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from videoalign.errors import ConfigError
from videoalign.web.guarding import Guarded
from videoalign.web.refusals import Refusal, refusal_of_http

REFUSED = {
    400: "this server is not known by the name that the request is for; whoever runs it can add that to 'hosts'",
    413: "the body is too large",
}
"""What the framework's checks of host and size refuse with."""
CHARSETS = {"utf-8", "utf8", "us-ascii", "ascii"}
Answer = Callable[[Request, Refusal], Response]
NO_PAGE = "there is no such page."


class Limits(Protocol):
    """Settings of a server that its edges read."""

    @property
    def read_seconds(self) -> float:
        """Longest time that a request may take to arrive."""
        ...

    @property
    def max_body_bytes(self) -> int:
        """Largest request."""
        ...

    @property
    def access_log(self) -> Path | None:
        """File with a line for each request."""
        ...


def as_json(request: Request, refusal: Refusal) -> Response:
    """The answer to a program."""
    return JSONResponse(refusal.body(), refusal.status, refusal.headers)


def add_edges(
    app: FastAPI,
    limits: Limits,
    *,
    failed: str,
    hosts: Sequence[str] | None = None,
    secret: str | None = None,
    answer: Answer = as_json,
) -> None:
    """Adds what happens to every request, from the inside out, and to what goes wrong with it.

    Args:
        app: the application.
        limits: its settings.
        failed: what is said where the application itself failed.
        hosts: of an application with pages, names that requests may be addressed to, ``*`` for any; browsers then do
            with its answers what they should alone. None for one without pages.
        secret: see `AccessLog`.
        answer: tells a refusal.

    Raises:
        ConfigError: the access log cannot be written.
    """

    async def refused(request: Request, error: Exception) -> Response:
        assert isinstance(error, Refusal)
        return answer(request, error)

    async def misshapen(request: Request, error: Exception) -> Response:
        assert isinstance(error, RequestValidationError)
        first = error.errors()[0]
        if first["loc"][0] == "path":
            return answer(request, Refusal(404, "not_found", NO_PAGE))
        where = ".".join(str(part) for part in first["loc"] if part != "body")
        what = first["msg"].removeprefix("Value error, ")
        return answer(request, Refusal(422, "bad_request", f"{where}: {what}." if where else f"{what}."))

    async def not_served(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        place = f"{request.method} {request.url.path}: " if hosts is None else ""
        refusal = refusal_of_http(error, limits.max_body_bytes, place)
        if error.status_code == 404 and hosts is not None:
            refusal.reason = NO_PAGE
        return answer(request, refusal)

    async def broken(request: Request, error: Exception) -> Response:
        return answer(request, Refusal(500, "failed", failed))

    app.add_middleware(HeadAsGet)
    app.add_middleware(Intake, seconds=limits.read_seconds)
    app.add_middleware(RequestBodyLimitMiddleware, max_body_size=limits.max_body_bytes)
    if hosts is not None:
        app.add_middleware(TrustedHostMiddleware, allowed_hosts=list(hosts), www_redirect=False)
    app.add_middleware(InOwnWords, answer=not_served)
    if hosts is not None:
        app.add_middleware(Guarded)
    if limits.access_log is not None:
        app.add_middleware(AccessLog, file=limits.access_log, secret=secret)
    app.add_exception_handler(Refusal, refused)
    app.add_exception_handler(RequestValidationError, misshapen)
    app.add_exception_handler(HTTPException, not_served)
    app.add_exception_handler(Exception, broken)


class AccessLog:
    """Adds a line to a file for every request that is answered."""

    def __init__(self, app: ASGIApp, file: Path, secret: str | None = None) -> None:
        """
        Args:
            app: what answers.
            file: made where it is not there; when another program moves it away, another one is begun.
            secret: a part of a path; what follows it is not written.

        Raises:
            ConfigError: the file cannot be written.
        """
        self.app, self.secret = app, secret
        try:
            handler = WatchedFileHandler(file, encoding="utf-8")
        except OSError as error:
            raise ConfigError(f"setting 'access_log' got {file}: {error.strerror}; give another file.") from None
        self.log = logging.Logger("access")
        self.log.addHandler(handler)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        begin, status, num_bytes = time.perf_counter(), 0, 0

        async def send_counted(message: Message) -> None:
            nonlocal status, num_bytes
            status = message.get("status", status)
            num_bytes += len(message.get("body", b""))
            await send(message)

        try:
            await self.app(scope, receive, send_counted)
        except Exception:
            status = status or 500  # which is what the framework answers, outside of this
            raise
        finally:
            at = datetime.now(UTC).isoformat(timespec="milliseconds")
            seconds = time.perf_counter() - begin
            asked = f"{(scope.get('client') or ('-',))[0]} {scope['method']} {self._path(scope)}"
            self.log.info(f"{at} {asked} {status} {num_bytes} {1000 * seconds:.1f}")

    def _path(self, scope: Scope) -> str:
        """The path as it was sent, where no character can break the line."""
        path = scope.get("raw_path", b"").partition(b"?")[0].decode("ascii", "backslashreplace")
        before, found, _ = path.partition(self.secret) if self.secret else (path, "", "")
        return f"{before}{found}..." if found else before


class HeadAsGet:
    """Answers HEAD as GET is answered, without the body."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        if scope["type"] != "http" or scope["method"] != "HEAD":
            await self.app(scope, receive, send)
            return

        async def send_no_body(message: Message) -> None:
            await send({**message, "body": b""} if message["type"] == "http.response.body" else message)

        await self.app({**scope, "method": "GET"}, receive, send_no_body)


class Intake:
    """Refuses a request whose body takes too long to arrive, or calls for a decoding that takes too long.

    The limits of its size are the framework's.
    """

    def __init__(self, app: ASGIApp, seconds: float) -> None:
        self.app, self.seconds = app, seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        end = asyncio.get_running_loop().time() + self.seconds
        begun = whole = False

        async def receive_checked() -> Message:
            nonlocal begun, whole
            if not begun:
                _require_utf8(Headers(scope=scope))
            begun = True
            try:
                async with asyncio.timeout_at(None if whole else end):
                    message = await receive()
            except TimeoutError:
                reason = f"the request took more than {self.seconds:g} seconds to arrive; send it faster or smaller"
                raise HTTPException(408, reason, {"connection": "close"}) from None
            whole = not message.get("more_body", False)
            return message

        await self.app(scope, receive_checked, send)


class InOwnWords:
    """Refuses in the form of the server where a middleware of the framework refuses in plain text of its own."""

    def __init__(self, app: ASGIApp, answer: Callable[[Request, HTTPException], Awaitable[Response]]) -> None:
        self.app, self.answer = app, answer

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        replaced = False

        async def send_own(message: Message) -> None:
            nonlocal replaced
            if message["type"] == "http.response.start" and message["status"] in REFUSED:
                kind = Headers(raw=message["headers"]).get("content-type", "")
                replaced = kind.startswith("text/plain")
            if not replaced:
                await send(message)
            elif message["type"] == "http.response.start":
                error = HTTPException(message["status"], REFUSED[message["status"]])
                response = await self.answer(Request(scope), error)
                await response(scope, receive, send)

        await self.app(scope, receive, send_own)


def _require_utf8(headers: Headers) -> None:
    """Checks how texts are written; the parser of forms would take any codec of Python's, slow ones too."""
    _, parameters = parse_options_header(headers.get("content-type", ""))
    charset = parameters.get(b"charset", b"utf-8").decode("latin-1")
    if charset.lower() not in CHARSETS:
        raise HTTPException(415, f"content-type: got the charset '{charset}', wanted utf-8; send that")
