"""What every request passes: a limit on its size, no writing from other sites; and what every answer carries."""

from __future__ import annotations

from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from videoalign.web.score.refusals import Refusal, too_many

SAFE_METHODS = {"GET", "HEAD", "OPTIONS"}
HEADERS = {
    "content-security-policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; media-src 'self' blob:; "
        "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    ),
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), microphone=(), geolocation=()",
}


class Guarded:
    """Wraps the application."""

    def __init__(self, app: ASGIApp, max_body_bytes: int) -> None:
        self.app, self.max_body_bytes = app, max_body_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return

        async def send_guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers[name] = value
                headers.setdefault("cache-control", "no-store")
            await send(message)

        try:
            headers = Headers(scope=scope)
            if scope["method"] not in SAFE_METHODS:
                _require_same_site(headers)
            body = await self._read(headers, receive)
        except Refusal as refusal:
            await JSONResponse(refusal.body(), refusal.status)(scope, receive, send_guarded)
            return
        await self.app(scope, _replay(body, receive), send_guarded)

    async def _read(self, headers: Headers, receive: Receive) -> bytes:
        """The body, as long as it is short enough."""
        length = headers.get("content-length", "0")
        if not length.isdigit() or int(length) > self.max_body_bytes:
            raise too_many("body", int(length) if length.isdigit() else -1, self.max_body_bytes, "max_body_bytes")
        body = bytearray()
        if length == "0" and "transfer-encoding" not in headers:
            return b""
        while True:
            message = await receive()
            body += message.get("body", b"")
            if len(body) > self.max_body_bytes:
                raise too_many("body", len(body), self.max_body_bytes, "max_body_bytes")
            if message["type"] == "http.disconnect" or not message.get("more_body", False):
                return bytes(body)


def _replay(body: bytes, receive: Receive) -> Receive:
    """A source of messages that begins with a body that was read already."""
    begun = False

    async def next_message() -> Message:
        nonlocal begun
        if begun:
            return await receive()
        begun = True
        return {"type": "http.request", "body": body, "more_body": False}

    return next_message


def _require_same_site(headers: Headers) -> None:
    """Refuses what a page of another site sends; browsers say so, other clients send neither header."""
    site = headers.get("sec-fetch-site")
    if site is not None:
        foreign = site not in ("same-origin", "none")
    else:
        origin = headers.get("origin")
        foreign = origin is not None and urlsplit(origin).netloc != headers.get("host")
    if foreign:
        raise Refusal(403, "cross_site", "this request comes from another site.")
