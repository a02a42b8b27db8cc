"""The open link of a crowd: another site sends people here, each with an id in the address."""

from __future__ import annotations

import re
from typing import Annotated

from fastapi import APIRouter, Form, Request, Response
from fastapi.responses import HTMLResponse
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from videoalign.web.annotate.http.pages import counting_wrong_links, go, render
from videoalign.web.annotate.http.sessions import InProgramme, set_cookie
from videoalign.web.annotate.programme import people
from videoalign.web.annotate.programme.programme import OpenProgramme
from videoalign.web.annotate.settings import Crowd
from videoalign.web.annotate.storage.tables import Person, PersonRole
from videoalign.web.refusals import Refusal

router = APIRouter(prefix="/crowd", default_response_class=HTMLResponse)
ID = re.compile(r"[A-Za-z0-9_.@:-]{1,100}")


@router.get("")
def show_link(request: Request, programme: InProgramme) -> Response:
    """Asks whether to come in; a program that only looks at the link adds nobody."""
    with counting_wrong_links(request), programme.database.read() as session:
        crowd = _crowd(programme)
        name = _checked(crowd, request.query_params.get(crowd.parameter, ""))
        _require_room(crowd, session, name)
    return render(request, "crowd.html.jinja", name=name)


@router.post("")
def use_link(request: Request, programme: InProgramme, name: Annotated[str, Form()] = "") -> Response:
    """Opens a session for somebody new, or for who was here before."""

    def work(session: Session) -> str:
        crowd = _crowd(programme)
        return come_in(programme, session, crowd, _checked(crowd, name))

    with counting_wrong_links(request):
        opened = programme.database.write(work)
    response = go(programme, "/")
    set_cookie(request, programme, response, opened)
    return response


def come_in(programme: OpenProgramme, session: Session, crowd: Crowd, name: str) -> str:
    """The token of a session for whoever has this id elsewhere.

    Raises:
        Refusal: they are new and there is no room for more people.
    """
    known = _require_room(crowd, session, name)
    if known is not None:
        return people.sign_in(programme, session, people.link(programme, session, None, known))
    number, token = people.invite(programme, session, None, PersonRole.RATER, name)
    people.find(session, number).crowd_key = people.digest(name)
    return people.sign_in(programme, session, token)


def count(session: Session) -> int:
    """How many people came by the open link."""
    return session.scalar(select(func.count(Person.crowd_key))) or 0


def _require_room(crowd: Crowd, session: Session, name: str) -> int | None:
    """The number of somebody who was here before; None for somebody new for whom there is room."""
    known = session.scalar(select(Person.id).where(Person.crowd_key == people.digest(name)))
    if known is None and count(session) >= crowd.max_people:
        raise Refusal(410, "full_link", "enough people have come already. Thank you; no more are needed.")
    return known


def _crowd(programme: OpenProgramme) -> Crowd:
    if programme.settings.crowd is None:
        raise Refusal(404, "not_found", "there is no such page.")
    return programme.settings.crowd


def _checked(crowd: Crowd, name: str) -> str:
    if not ID.fullmatch(name):
        reason = f"the address must end in {crowd.parameter}= and your id; open the link where you were sent from."
        raise Refusal(422, "no_id_link", reason)
    return name
