"""The pages of admins."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Form, Request, Response
from fastapi.responses import HTMLResponse
from sqlalchemy import func, select

from videoalign.data.judgements.leaderboard import pooled_name
from videoalign.web.annotate.http import crowd
from videoalign.web.annotate.http.admin_json import figures_of
from videoalign.web.annotate.http.pages import go, render
from videoalign.web.annotate.http.sessions import AdminVisitor, InProgramme, require_csrf
from videoalign.web.annotate.programme import actions, people, statistics
from videoalign.web.annotate.programme.actions import Act
from videoalign.web.annotate.programme.schema import NewInvitation, Number, Reason
from videoalign.web.annotate.storage.tables import Audit, Invitation, PairState, Person

router = APIRouter(prefix="/admin", default_response_class=HTMLResponse)
CHECKED = [Depends(require_csrf)]
ROWS = 100
"""Rows on one page of a long table."""
MEANINGS = {
    PairState.OPEN: "want more raters",
    PairState.FULL: "have their raters, still at it",
    PairState.DECIDED: "by majority or adjudicator",
    PairState.DISPUTED: "wait for an adjudicator",
    PairState.EXCLUDED: "cannot be judged",
    PairState.GOLD: "have known answers",
    PairState.RETIRED: "left the dataset or the settings",
}
SUBJECTS = {
    "session": "link",
    "invitation": "link",
    "pair": "pair",
    "judgement": "assignment",
    "person": "person",
    "work": "person",
    "guideline": "version",
    "qualification": "person",
    "gold": "person",
}
"""What the number in a row of the audit log counts, by the first word of its action."""


class InvitationForm(NewInvitation):
    """The form of the invitations page."""

    csrf_token: str = ""


class ActForm(Reason):
    """The form of each button on the raters page."""

    csrf_token: str = ""


@router.get("")
def overview(request: Request, programme: InProgramme, visitor: AdminVisitor) -> Response:
    """How far the programme is."""
    with programme.database.read() as session:
        counts = statistics.overview(programme, session)
    table = figures_of(request)("agreement")
    return render(request, "admin_overview.html.jinja", visitor, counts=counts, meanings=MEANINGS, table=table)


@router.get("/raters")
def raters(request: Request, programme: InProgramme, visitor: AdminVisitor) -> Response:
    """Who judges, how much and how well."""
    table = figures_of(request)("quality")
    with programme.database.read() as session:
        rows = statistics.people_rows(programme, session, table.values)
    return render(
        request,
        "admin_raters.html.jinja",
        visitor,
        people=rows,
        table=table,
        pass_mark=programme.settings.pass_mark,
        min_gold=programme.settings.min_gold,
    )


@router.post("/raters/{person}/{action}", dependencies=CHECKED)
def act(
    request: Request,
    programme: InProgramme,
    visitor: AdminVisitor,
    person: Number,
    action: Act,
    form: Annotated[ActForm, Form()],
) -> Response:
    """See `Act`; a new link is shown, this once."""
    done = actions.act(programme, visitor.person_id, person, action, str(request.base_url), form.reason)
    if action != Act.LINK:
        return go(programme, "/admin/raters")
    with programme.database.read() as session:
        name = people.find(session, person).name
    return _invitations(request, programme, visitor, done["link"], name)


@router.get("/invitations")
def invitations(request: Request, programme: InProgramme, visitor: AdminVisitor) -> Response:
    """Links that were made."""
    return _invitations(request, programme, visitor)


@router.post("/invitations", dependencies=CHECKED)
def invite(
    request: Request, programme: InProgramme, visitor: AdminVisitor, form: Annotated[InvitationForm, Form()]
) -> Response:
    """Makes a link for somebody new and shows it, this once."""
    link = actions.invite(programme, visitor.person_id, form, str(request.base_url))
    return _invitations(request, programme, visitor, link, form.name)


@router.post("/invitations/{invitation}/revoke", dependencies=CHECKED)
def revoke(programme: InProgramme, visitor: AdminVisitor, invitation: Number) -> Response:
    """Makes a link useless and closes the session that it opened."""
    actions.revoke(programme, visitor.person_id, invitation)
    return go(programme, "/admin/invitations")


@router.get("/agreement")
def agreement(request: Request, visitor: AdminVisitor) -> Response:
    """How far raters agree, by dimension."""
    return render(request, "admin_agreement.html.jinja", visitor, table=figures_of(request)("agreement"))


@router.get("/leaderboard")
def leaderboard(request: Request, programme: InProgramme, visitor: AdminVisitor) -> Response:
    """Model against model."""
    table, pooled = figures_of(request)("leaderboard"), pooled_name(programme.library.dataset.dimensions)
    whole_first = {pooled: table.values[pooled]} | table.values
    return render(request, "admin_leaderboard.html.jinja", visitor, table=table, boards=whole_first, all=pooled)


@router.get("/audit")
def audit(request: Request, programme: InProgramme, visitor: AdminVisitor, page: int = 1) -> Response:
    """Who did what, the latest first."""
    page = min(max(page, 1), 10**6)
    wanted = select(Audit, Person.name).outerjoin(Person, Person.id == Audit.person_id).order_by(Audit.id.desc())
    with programme.database.read() as session:
        rows = [
            {
                "at": row.at,
                "who": name or "server",
                "action": row.action,
                "kind": SUBJECTS.get(row.action.partition(".")[0], ""),
                "subject": row.subject,
                "detail": row.detail,
            }
            for row, name in session.execute(wanted.limit(ROWS).offset(ROWS * (page - 1)))
        ]
        total = session.scalar(select(func.count()).select_from(Audit)) or 0
    num_pages = max(1, -(-total // ROWS))
    return render(request, "admin_audit.html.jinja", visitor, rows=rows, page=page, num_pages=num_pages)


def _invitations(
    request: Request, programme: InProgramme, visitor: AdminVisitor, link: str = "", made_for: str = ""
) -> Response:
    wanted = (
        select(*Invitation.__table__.columns, Person.name, Person.role)
        .join(Person, Person.id == Invitation.person_id)
        .order_by(Invitation.id.desc())
        .limit(10 * ROWS)
    )
    with programme.database.read() as session:
        rows, came = session.execute(wanted).all(), crowd.count(session)
    return render(
        request,
        "admin_invitations.html.jinja",
        visitor,
        invitations=rows,
        link=link,
        made_for=made_for,
        link_hours=programme.settings.link_hours,
        crowd=programme.settings.crowd,
        crowd_link=f"{(programme.settings.public_url or str(request.base_url)).rstrip('/')}/crowd",
        came=came,
        now=programme.now(),
    )
