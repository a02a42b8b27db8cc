"""The web application of one rating programme."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

from fastapi import Depends, FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException
from starlette.middleware.body_limit import RequestBodyLimitMiddleware
from starlette.middleware.trustedhost import TrustedHostMiddleware

from videoalign import __version__
from videoalign.errors import ConfigError
from videoalign.web.annotate.http import (
    adjudication,
    admin,
    admin_json,
    admin_pairs,
    crowd,
    media,
    pages,
    probes,
    rating,
)
from videoalign.web.annotate.http.pace import Paces
from videoalign.web.annotate.http.security import Rooted, require_same_site
from videoalign.web.annotate.programme.programme import Desk
from videoalign.web.annotate.programme.worked_out import Figures
from videoalign.web.annotate.settings import AnnotateSettings
from videoalign.web.annotate.storage.database import DatabaseGone
from videoalign.web.edge import AccessLog, HeadAsGet, InOwnWords, Intake
from videoalign.web.guarding import Guarded
from videoalign.web.pages import static_files
from videoalign.web.refusals import Refusal, refusal_of_http

log = logging.getLogger(__name__)

PARTS = (rating, admin_json, admin_pairs, media, pages, crowd, adjudication, admin, probes)
WAY_IN = "/join/"
"""What follows it in a path lets somebody in."""
RETRY_SECONDS = "5"
WAYS_OUT = {
    "disk_full": "Whoever runs the server must free some space. Nothing that was accepted is lost; try again then.",
    "database_gone": "Whoever runs the server must bring the database back. Nothing that was accepted is lost; "
    "try again in a moment.",
}


def create_app(desk: Desk, hosts: Sequence[str] = ("*",)) -> FastAPI:
    """An application for the people who judge and those who look after them; ``app.state.desk`` is the desk.

    Args:
        desk: of the programme.
        hosts: names that requests may be addressed to; ``*`` stands for any.

    Raises:
        ConfigError: ``public_url`` has a path that the server needs for itself.
    """
    settings = desk.settings
    require_free_path(settings)
    app = FastAPI(
        title="videoalign annotate",
        version=__version__,
        docs_url=None,
        redoc_url=None,
        openapi_url=None,
        dependencies=[Depends(require_same_site)],
    )
    app.state.desk = desk
    app.state.figures = Figures(desk)
    app.state.paces = Paces(settings.verdicts_per_minute, settings.undos_per_minute, settings.wrong_links_per_minute)
    app.add_middleware(Rooted, root=settings.root)
    app.add_middleware(HeadAsGet)
    app.add_middleware(Intake, seconds=settings.read_seconds)
    app.add_middleware(RequestBodyLimitMiddleware, max_body_size=settings.max_body_bytes)
    app.add_middleware(TrustedHostMiddleware, allowed_hosts=hosts, www_redirect=False)
    app.add_middleware(InOwnWords, answer=_not_served)
    app.add_middleware(Guarded)
    if settings.access_log is not None:
        app.add_middleware(AccessLog, file=settings.access_log, secret=WAY_IN)
    app.add_exception_handler(Refusal, _refused)
    app.add_exception_handler(DatabaseGone, _gone)
    app.add_exception_handler(RequestValidationError, _misshapen)
    app.add_exception_handler(HTTPException, _not_served)
    app.add_exception_handler(Exception, _failed)
    for part in PARTS:
        app.include_router(part.router)
    app.mount("/static", static_files(Path(__file__).parents[1]), name="static")
    return app


def require_free_path(settings: AnnotateSettings) -> None:
    """Checks that the server has no page below the path of ``public_url``.

    Raises:
        ConfigError: it has.
    """
    paths = [str(getattr(route, "path", "")) for part in PARTS for route in part.router.routes]
    first = settings.root.split("/")[1:2]
    if first and first[0] in {"static", *(path.split("/")[1] for path in paths)}:
        raise ConfigError(
            f"setting 'public_url' got {settings.public_url}: the server has pages below /{first[0]} of its own; "
            "give it another path, as in /prefs."
        )


def _answer(request: Request, refusal: Refusal) -> Response:
    """A page where somebody looks at one, JSON for a program."""
    path = request.url.path.removeprefix(request.app.state.desk.settings.root)
    if path.startswith(("/api/", "/media/", "/health", "/ready", "/static/")):
        return JSONResponse(refusal.body(), refusal.status, refusal.headers)
    page = pages.render(request, "error.html.jinja", status=refusal.status, code=refusal.code, reason=refusal.reason)
    page.headers.update(refusal.headers)
    return page


async def _refused(request: Request, error: Exception) -> Response:
    assert isinstance(error, Refusal)
    return _answer(request, error)


async def _gone(request: Request, error: Exception) -> Response:
    assert isinstance(error, DatabaseGone)
    log.error("%s: %s", error.code, error.reason)
    way_out = WAYS_OUT[error.code]
    refusal = Refusal(503, error.code, "Nothing was saved just now. " + way_out, {"retry-after": RETRY_SECONDS})
    return _answer(request, refusal)


async def _misshapen(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    first = error.errors()[0]
    where = ".".join(str(part) for part in first["loc"] if part != "body")
    if first["loc"][0] == "path":
        return _answer(request, Refusal(404, "not_found", "there is no such page."))
    what = first["msg"].removeprefix("Value error, ")
    return _answer(request, Refusal(422, "bad_request", f"{where}: {what}." if where else f"{what}."))


async def _not_served(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    refusal = refusal_of_http(error, request.app.state.desk.settings.max_body_bytes)
    if error.status_code == 404:
        refusal.reason = "there is no such page."
    return _answer(request, refusal)


async def _failed(request: Request, error: Exception) -> Response:
    return _answer(request, Refusal(500, "failed", "the server failed; its log says why. Nothing was saved."))
