"""Who sends a request: the session behind its cookie, the token against forged ones, the role that it needs."""

from __future__ import annotations

import secrets
from collections.abc import Awaitable, Callable
from typing import Annotated

from fastapi import Depends, Request, Response

from videoalign.web.annotate.programme import people
from videoalign.web.annotate.programme.people import Visitor
from videoalign.web.annotate.programme.programme import OpenProgramme
from videoalign.web.annotate.storage.tables import PersonRole
from videoalign.web.refusals import Refusal


def cookie_name(programme: OpenProgramme) -> str:
    """The name of a programme's cookie; cookies know no ports, so two programmes on one machine need two names."""
    return f"videoalign_session_{programme.key}"


async def programme_of(request: Request) -> OpenProgramme:
    """The programme of the application."""
    programme: OpenProgramme = request.app.state.programme
    return programme


InProgramme = Annotated[OpenProgramme, Depends(programme_of)]


def require_visitor(request: Request, programme: InProgramme) -> Visitor:
    """Whoever is signed in.

    Raises:
        Refusal: nobody is.
    """
    with programme.database.glance() as session:
        visitor = people.visitor(programme, session, request.cookies.get(cookie_name(programme)))
    if visitor is None:
        raise Refusal(401, "no_session", "you are not signed in; open the link that you were sent, or ask for one.")
    return visitor


AnyVisitor = Annotated[Visitor, Depends(require_visitor)]


def require_role(*roles: PersonRole) -> Callable[[Visitor], Awaitable[Visitor]]:
    """A dependency that lets these roles in and nobody else."""

    async def check(visitor: AnyVisitor) -> Visitor:
        if visitor.role not in roles:
            raise Refusal(403, "forbidden", f"this is for {' and '.join(f'{role}s' for role in roles)} alone.")
        return visitor

    return check


AdminVisitor = Annotated[Visitor, Depends(require_role(PersonRole.ADMIN))]
AdjudicatorVisitor = Annotated[Visitor, Depends(require_role(PersonRole.ADJUDICATOR))]
OverseeingVisitor = Annotated[Visitor, Depends(require_role(PersonRole.ADJUDICATOR, PersonRole.ADMIN))]
JudgeVisitor = Annotated[Visitor, Depends(require_role(PersonRole.RATER, PersonRole.ADJUDICATOR))]


async def require_csrf(request: Request, visitor: AnyVisitor) -> None:
    """Checks that the request carries the token of its session, in the header or in the form.

    Raises:
        Refusal: it does not.
    """
    given = request.headers.get("x-csrf-token")
    if given is None and request.headers.get("content-type", "").startswith("application/x-www-form-urlencoded"):
        field = (await request.form()).get("csrf_token")
        given = field if isinstance(field, str) else None
    if given is None or not secrets.compare_digest(given.encode(), visitor.csrf_token.encode()):
        raise Refusal(403, "csrf", "this page is too old; load it again.")


def set_cookie(request: Request, programme: OpenProgramme, response: Response, token: str) -> None:
    """Gives a session to a browser."""
    secure = request.url.scheme == "https" or (programme.settings.public_url or "").startswith("https:")
    response.set_cookie(
        cookie_name(programme),
        token,
        max_age=int(3600 * programme.settings.session_hours),
        path=programme.settings.root or "/",
        httponly=True,
        samesite="lax",
        secure=secure,
    )


def delete_cookie(programme: OpenProgramme, response: Response) -> None:
    """Takes a session from a browser."""
    response.delete_cookie(cookie_name(programme), path=programme.settings.root or "/")
