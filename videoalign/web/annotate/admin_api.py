"""What admins do, and the numbers that they see, as JSON."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Depends, Request

from videoalign.web.annotate import discarding, figures, people
from videoalign.web.annotate.schema import NewInvitation, Pause
from videoalign.web.annotate.sessions import AdminVisitor, AtDesk, require_csrf
from videoalign.web.annotate.tables import Role

router = APIRouter(prefix="/api/admin")
CHECKED = [Depends(require_csrf)]


def link_of(request: Request, desk: AtDesk, token: str) -> str:
    """The whole link that stands for a token."""
    base = desk.settings.public_url or str(request.base_url).rstrip("/")
    return f"{base}/join/{token}"


@router.post("/invitations", dependencies=CHECKED)
def invite(request: Request, desk: AtDesk, visitor: AdminVisitor, body: NewInvitation) -> dict[str, str]:
    """A link for somebody new; it is shown this once."""
    _, token = desk.database.write(
        lambda session: people.invite(desk, session, visitor.person_id, Role(body.role), body.name)
    )
    return {"link": link_of(request, desk, token)}


@router.post("/invitations/{invitation}/revoke", dependencies=CHECKED)
def revoke(desk: AtDesk, visitor: AdminVisitor, invitation: int) -> dict[str, bool]:
    """Makes a link useless and closes the session that it opened."""
    desk.database.write(lambda session: people.revoke(desk, session, visitor.person_id, invitation))
    return {"revoked": True}


@router.post("/raters/{person}/link", dependencies=CHECKED)
def new_link(request: Request, desk: AtDesk, visitor: AdminVisitor, person: int) -> dict[str, str]:
    """A new link for somebody who is known."""
    token = desk.database.write(lambda session: people.link(desk, session, visitor.person_id, person))
    return {"link": link_of(request, desk, token)}


@router.post("/raters/{person}/pause", dependencies=CHECKED)
def pause(desk: AtDesk, visitor: AdminVisitor, person: int, body: Pause) -> dict[str, bool]:
    """Gives somebody no more pairs."""
    desk.database.write(lambda session: people.pause(desk, session, visitor.person_id, person, body.reason))
    return {"paused": True}


@router.post("/raters/{person}/resume", dependencies=CHECKED)
def resume(desk: AtDesk, visitor: AdminVisitor, person: int) -> dict[str, bool]:
    """Lets somebody go on."""
    desk.database.write(lambda session: people.resume(desk, session, visitor.person_id, person))
    return {"paused": False}


@router.post("/raters/{person}/discard", dependencies=CHECKED)
def discard(desk: AtDesk, visitor: AdminVisitor, person: int) -> dict[str, int]:
    """Discards all that somebody judged so far; their pairs go to others."""
    num = desk.database.write(lambda session: discarding.discard(desk, session, visitor.person_id, person))
    return {"discarded": num}


@router.post("/raters/{person}/restore", dependencies=CHECKED)
def restore(desk: AtDesk, visitor: AdminVisitor, person: int) -> dict[str, int]:
    """Takes that back."""
    num = desk.database.write(lambda session: discarding.restore(desk, session, visitor.person_id, person))
    return {"restored": num}


@router.get("/overview")
def overview(desk: AtDesk, _: AdminVisitor) -> dict[str, Any]:
    """How far the programme is."""
    with desk.database.read() as session:
        return figures.overview(desk, session)


@router.get("/agreement")
def agreement(request: Request, _: AdminVisitor) -> dict[str, Any]:
    """How far raters agree, by dimension."""
    found: dict[str, Any] = request.app.state.figures.agreement()
    return found


@router.get("/raters")
def raters(request: Request, desk: AtDesk, _: AdminVisitor) -> dict[str, Any]:
    """Who judges, how much and how well."""
    quality = request.app.state.figures.quality()
    with desk.database.read() as session:
        return {"raters": figures.people_rows(session, quality)}


@router.get("/leaderboard")
def leaderboard(request: Request, _: AdminVisitor) -> dict[str, Any]:
    """Model against model, by dimension and overall."""
    found: dict[str, Any] = request.app.state.figures.leaderboard()
    return found
