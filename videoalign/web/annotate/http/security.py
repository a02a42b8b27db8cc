"""Who may write from where, and what every answer carries."""

from __future__ import annotations

from urllib.parse import urlsplit

from fastapi import Request
from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from videoalign.web.annotate.settings import AnnotateSettings
from videoalign.web.refusals import Refusal

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
    """Puts the headers on every answer that keep a browser from doing more with it than it should."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""

        async def send_guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers[name] = value
                headers.setdefault("cache-control", "no-store")
            await send(message)

        await self.app(scope, receive, send_guarded)


class Rooted:
    """Serves every path also below a root, whether or not a proxy takes it off before it passes a request on."""

    def __init__(self, app: ASGIApp, root: str) -> None:
        self.app, self.root = app, root

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        if scope["type"] == "http" and self.root:
            path = scope["path"]
            if path == self.root:
                path += "/"
            elif not path.startswith(f"{self.root}/"):
                path = self.root + path
            scope = {**scope, "root_path": self.root, "path": path}
        await self.app(scope, receive, send)


async def require_same_site(request: Request) -> None:
    """Checks that no page of another site sends this; browsers say so, other clients send neither header.

    Raises:
        Refusal: it comes from another site.
    """
    if request.method in SAFE_METHODS:
        return
    settings: AnnotateSettings = request.app.state.desk.settings
    site, origin = request.headers.get("sec-fetch-site"), request.headers.get("origin")
    if site is not None:
        foreign = site not in ("same-origin", "none")
    else:
        here = urlsplit(origin or "").netloc == request.headers.get("host")
        foreign = origin is not None and not here and origin != settings.origin
    if foreign:
        reason = "this request comes from another site."
        if settings.public_url is None:
            reason += " If people reach the server by way of a proxy, whoever runs it must set public_url."
        raise Refusal(403, "cross_site", reason)
