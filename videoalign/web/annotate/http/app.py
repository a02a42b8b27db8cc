"""The web application of one rating programme."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

from fastapi import Depends, FastAPI, Request, Response

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
from videoalign.web.annotate.programme.programme import OpenProgramme
from videoalign.web.annotate.programme.worked_out import Figures
from videoalign.web.annotate.settings import AnnotateSettings
from videoalign.web.annotate.storage.database import DatabaseGone
from videoalign.web.edge import add_edges, as_json
from videoalign.web.pages import static_files
from videoalign.web.refusals import Refusal

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


def create_app(programme: OpenProgramme, hosts: Sequence[str] = ("*",)) -> FastAPI:
    """An application for the people who judge and those who look after them, with it as ``app.state.programme``.

    Args:
        programme: that they judge for.
        hosts: names that requests may be addressed to; ``*`` stands for any.

    Raises:
        ConfigError: ``public_url`` has a path that the server needs for itself.
    """
    settings = programme.settings
    require_free_path(settings)
    app = FastAPI(
        title="videoalign annotate",
        version=__version__,
        docs_url=None,
        redoc_url=None,
        openapi_url=None,
        dependencies=[Depends(require_same_site)],
    )
    app.state.programme = programme
    app.state.figures = Figures(programme)
    app.state.paces = Paces(settings.verdicts_per_minute, settings.undos_per_minute, settings.wrong_links_per_minute)
    app.add_middleware(Rooted, root=settings.root)
    failed = "the server failed; its log says why. Nothing was saved."
    add_edges(app, settings, failed=failed, hosts=hosts, secret=WAY_IN, answer=_answer)
    app.add_exception_handler(DatabaseGone, _gone)
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
    path = request.url.path.removeprefix(request.app.state.programme.settings.root)
    if path.startswith(("/api/", "/media/", "/health", "/ready", "/static/")):
        return as_json(request, refusal)
    page = pages.render(request, "error.html.jinja", status=refusal.status, code=refusal.code, reason=refusal.reason)
    page.headers.update(refusal.headers)
    return page


async def _gone(request: Request, error: Exception) -> Response:
    assert isinstance(error, DatabaseGone)
    log.error("%s: %s", error.code, error.reason)
    way_out = WAYS_OUT[error.code]
    refusal = Refusal(503, error.code, "Nothing was saved just now. " + way_out, {"retry-after": RETRY_SECONDS})
    return _answer(request, refusal)
