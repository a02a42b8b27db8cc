"""What admins do, and the numbers that they see, as JSON."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Body, Depends, Request

from videoalign.web.annotate.http.sessions import AdminVisitor, InProgramme, require_csrf
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
def invite(request: Request, programme: InProgramme, visitor: AdminVisitor, body: NewInvitation) -> dict[str, str]:
    """A link for somebody new; it is shown this once."""
    return {"link": actions.invite(programme, visitor.person_id, body, str(request.base_url))}


@router.post("/invitations/{invitation}/revoke", dependencies=CHECKED)
def revoke(programme: InProgramme, visitor: AdminVisitor, invitation: Number) -> dict[str, bool]:
    """Makes a link useless and closes the session that it opened."""
    actions.revoke(programme, visitor.person_id, invitation)
    return {"revoked": True}


@router.post("/raters/{person}/{action}", dependencies=CHECKED)
def act(
    request: Request,
    programme: InProgramme,
    visitor: AdminVisitor,
    person: Number,
    action: Act,
    body: Annotated[Reason | None, Body()] = None,
) -> dict[str, Any]:
    """See `Act`."""
    reason = body.reason if body is not None else ""
    return actions.act(programme, visitor.person_id, person, action, str(request.base_url), reason)


@router.get("/overview")
def overview(programme: InProgramme, _: AdminVisitor) -> dict[str, Any]:
    """How far the programme is."""
    with programme.database.read() as session:
        return statistics.overview(programme, session)


@router.get("/agreement")
def agreement(request: Request, _: AdminVisitor) -> dict[str, Any]:
    """How far raters agree, by dimension."""
    return figures_of(request)("agreement").values


@router.get("/raters")
def raters(request: Request, programme: InProgramme, _: AdminVisitor) -> dict[str, Any]:
    """Who judges, how much and how well."""
    quality = figures_of(request)("quality").values
    with programme.database.read() as session:
        return {"raters": statistics.people_rows(programme, session, quality)}


@router.get("/leaderboard")
def leaderboard(request: Request, _: AdminVisitor) -> dict[str, Any]:
    """Model against model, by dimension and overall."""
    return figures_of(request)("leaderboard").values
