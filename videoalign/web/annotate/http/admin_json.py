"""What admins do, and the numbers that they see, as JSON."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Body, Depends, Request

from videoalign.web.annotate.http.sessions import AdminVisitor, AtDesk, require_csrf
from videoalign.web.annotate.programme import actions, statistics
from videoalign.web.annotate.programme.actions import Act
from videoalign.web.annotate.programme.schema import NewInvitation, Number, Reason
from videoalign.web.annotate.programme.worked_out import Figures

router = APIRouter(prefix="/api/admin")
CHECKED = [Depends(require_csrf)]


def figures_of(request: Request) -> Figures:
    """The numbers of the programme."""
    found: Figures = request.app.state.figures
    return found


@router.post("/invitations", dependencies=CHECKED)
def invite(request: Request, desk: AtDesk, visitor: AdminVisitor, body: NewInvitation) -> dict[str, str]:
    """A link for somebody new; it is shown this once."""
    return {"link": actions.invite(desk, visitor.person_id, body, str(request.base_url))}


@router.post("/invitations/{invitation}/revoke", dependencies=CHECKED)
def revoke(desk: AtDesk, visitor: AdminVisitor, invitation: Number) -> dict[str, bool]:
    """Makes a link useless and closes the session that it opened."""
    actions.revoke(desk, visitor.person_id, invitation)
    return {"revoked": True}


@router.post("/raters/{person}/{action}", dependencies=CHECKED)
def act(
    request: Request,
    desk: AtDesk,
    visitor: AdminVisitor,
    person: Number,
    action: Act,
    body: Annotated[Reason | None, Body()] = None,
) -> dict[str, Any]:
    """See `Act`."""
    reason = body.reason if body is not None else ""
    return actions.act(desk, visitor.person_id, person, action, str(request.base_url), reason)


@router.get("/overview")
def overview(desk: AtDesk, _: AdminVisitor) -> dict[str, Any]:
    """How far the programme is."""
    with desk.database.read() as session:
        return statistics.overview(desk, session)


@router.get("/agreement")
def agreement(request: Request, _: AdminVisitor) -> dict[str, Any]:
    """How far raters agree, by dimension."""
    return figures_of(request)("agreement").values


@router.get("/raters")
def raters(request: Request, desk: AtDesk, _: AdminVisitor) -> dict[str, Any]:
    """Who judges, how much and how well."""
    quality = figures_of(request)("quality").values
    with desk.database.read() as session:
        return {"raters": statistics.people_rows(desk, session, quality)}


@router.get("/leaderboard")
def leaderboard(request: Request, _: AdminVisitor) -> dict[str, Any]:
    """Model against model, by dimension and overall."""
    return figures_of(request)("leaderboard").values
