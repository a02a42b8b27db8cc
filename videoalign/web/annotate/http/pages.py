"""The pages that are no admin's: coming in, judging, the guideline, going out."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from fastapi import APIRouter, Depends, Request, Response
from fastapi.responses import HTMLResponse, RedirectResponse
from fastapi.templating import Jinja2Templates

from videoalign.web.annotate.http.sessions import (
    AnyVisitor,
    InProgramme,
    JudgeVisitor,
    cookie_name,
    delete_cookie,
    require_csrf,
    set_cookie,
)
from videoalign.web.annotate.programme import people
from videoalign.web.annotate.programme.people import Visitor
from videoalign.web.annotate.programme.programme import OpenProgramme
from videoalign.web.annotate.storage.tables import PersonRole
from videoalign.web.pages import environment
from videoalign.web.refusals import Refusal

router = APIRouter(default_response_class=HTMLResponse)
_environment = environment(Path(__file__).parents[1])
templates = Jinja2Templates(env=_environment)
_environment.filters["when"] = lambda seconds: time.strftime("%Y-%m-%d %H:%M", time.gmtime(seconds))
HOME = {PersonRole.ADMIN: "/admin", PersonRole.RATER: "/rate", PersonRole.ADJUDICATOR: "/adjudicate"}


def render(
    request: Request, template: str, visitor: Visitor | None = None, status: int = 200, **values: Any
) -> Response:
    """A page from its template, which also gets who is signed in."""
    programme: OpenProgramme = request.app.state.programme
    context = {
        "programme": programme.settings.programme,
        "root": programme.settings.root,
        "csrf_token": visitor.csrf_token if visitor is not None else "",
        "rater_name": visitor.name if visitor is not None else "",
        "role": str(visitor.role) if visitor is not None else "",
        "store": f"{programme.key}/{visitor.person_id}" if visitor is not None else "",
        "status": status,
        **values,
    }
    return templates.TemplateResponse(request, template, context, status_code=status)


def go(programme: OpenProgramme, path: str) -> Response:
    """Sends a browser to another page."""
    return RedirectResponse(programme.settings.root + path, status_code=303)


@router.get("/")
def home(programme: InProgramme, visitor: AnyVisitor) -> Response:
    """Sends everybody to where their work is."""
    return go(programme, HOME[visitor.role])


@router.get("/join/{token}")
def show_link(request: Request, programme: InProgramme, token: str) -> Response:
    """Asks whether to come in; a program that only looks at the link does not use it up."""
    with programme.database.read() as session, counting_wrong_links(request):
        _, person = people.usable(programme, session, token)
        lasting = _lasting(programme.settings.session_hours)
        return render(
            request, "join.html.jinja", name=person.name, invited_as=person.role, token=token, lasting=lasting
        )


def _lasting(hours: float) -> str:
    count, unit = (hours / 24, "day") if hours >= 48 else (hours, "hour")
    return f"{count:.3g} {unit}{'' if count == 1 else 's'}"


@router.post("/join/{token}")
def use_link(request: Request, programme: InProgramme, token: str) -> Response:
    """Uses the link up and opens a session."""
    with counting_wrong_links(request):
        opened = programme.database.write(lambda session: people.sign_in(programme, session, token))
    response = go(programme, "/")
    set_cookie(request, programme, response, opened)
    return response


@router.get("/rate")
def rate(request: Request, visitor: JudgeVisitor) -> Response:
    """The rating page."""
    return render(request, "rate.html.jinja", visitor)


@router.get("/guideline")
def guideline(request: Request, programme: InProgramme, visitor: AnyVisitor) -> Response:
    """What raters look at."""
    examples = [(number, example) for number, example in enumerate(programme.settings.examples)]
    dimensions = programme.library.dataset.info.dimensions
    return render(request, "guideline.html.jinja", visitor, dimensions=dimensions, examples=examples)


@router.post("/sign-out", dependencies=[Depends(require_csrf)])
def sign_out(request: Request, programme: InProgramme, visitor: AnyVisitor) -> Response:
    """Closes the session."""
    token = request.cookies[cookie_name(programme)]
    programme.database.write(lambda session: people.sign_out(programme, session, token, visitor.person_id))
    response = go(programme, "/signed-out")
    delete_cookie(programme, response)
    return response


@router.get("/signed-out")
def signed_out(request: Request) -> Response:
    """Says goodbye."""
    return render(request, "signed_out.html.jinja")


@contextmanager
def counting_wrong_links(request: Request) -> Iterator[None]:
    """Counts what is refused inside against the address that it comes from."""
    try:
        yield
    except Refusal:
        request.app.state.paces.wrong_links.count(request.client.host if request.client is not None else "")
        raise
