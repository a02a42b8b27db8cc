"""The web application of one rating programme."""

from __future__ import annotations

import logging
from pathlib import Path

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from fastapi.staticfiles import StaticFiles
from starlette.exceptions import HTTPException

from videoalign import __version__
from videoalign.web.annotate import adjudication, admin, admin_api, admin_pairs, api, media, pages
from videoalign.web.annotate.database import DatabaseGone
from videoalign.web.annotate.desk import Desk
from videoalign.web.annotate.figures import Figures
from videoalign.web.annotate.security import Guarded
from videoalign.web.score.refusals import Refusal, refusal_of_status

log = logging.getLogger(__name__)

RETRY_SECONDS = "5"
WAYS_OUT = {
    "disk_full": "Whoever runs the server must free some space. Nothing that was accepted is lost; try again then.",
    "database_gone": "Whoever runs the server must bring the database back. Nothing that was accepted is lost; "
    "try again in a moment.",
}


def create_app(desk: Desk) -> FastAPI:
    """An application for the people who judge and those who look after them; ``app.state.desk`` is the desk."""
    app = FastAPI(title="videoalign annotate", version=__version__, docs_url=None, redoc_url=None, openapi_url=None)
    app.state.desk = desk
    app.state.figures = Figures(desk)
    app.add_middleware(Guarded, max_body_bytes=desk.settings.max_body_bytes)
    app.add_exception_handler(Refusal, _refused)
    app.add_exception_handler(DatabaseGone, _gone)
    app.add_exception_handler(RequestValidationError, _misshapen)
    app.add_exception_handler(HTTPException, _not_served)
    app.add_exception_handler(Exception, _failed)
    for part in (api, admin_api, admin_pairs, media, pages, adjudication, admin):
        app.include_router(part.router)
    app.mount("/static", StaticFiles(directory=Path(__file__).with_name("static")), name="static")

    @app.get("/health")
    def health() -> dict[str, str]:
        """Whether the database answers."""
        with desk.database.read() as session:
            session.connection()
        return {"status": "ready", "version": __version__}

    return app


def _answer(request: Request, refusal: Refusal) -> Response:
    """A page where somebody looks at one, JSON for a program."""
    if request.url.path.startswith(("/api/", "/media/", "/health", "/static/")):
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
    return _answer(request, Refusal(422, "bad_request", f"{where}: {first['msg']}." if where else f"{first['msg']}."))


async def _not_served(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    reason = "there is no such page." if error.status_code == 404 else f"{error.detail}."
    refusal = refusal_of_status(error.status_code, reason)
    refusal.headers.update(error.headers or {})
    return _answer(request, refusal)


async def _failed(request: Request, error: Exception) -> Response:
    log.error("a request failed", exc_info=error)
    return _answer(request, Refusal(500, "failed", "the server failed; its log says why. Nothing was saved."))
