"""Below which path the pages stand, and who may write from where."""

from __future__ import annotations

from fastapi import Request
from starlette.types import ASGIApp, Receive, Scope, Send

from videoalign.web.annotate.settings import AnnotateSettings
from videoalign.web.guarding import is_from_elsewhere
from videoalign.web.refusals import Refusal


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
    """Checks that no page of another site sends this.

    Raises:
        Refusal: it comes from another site.
    """
    settings: AnnotateSettings = request.app.state.programme.settings
    if is_from_elsewhere(request, settings.origin):
        reason = "this request comes from another site."
        if settings.public_url is None:
            reason += " If people reach the server by way of a proxy, whoever runs it must set public_url."
        raise Refusal(403, "cross_site", reason)
