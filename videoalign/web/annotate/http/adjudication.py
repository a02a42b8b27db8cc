"""The page of adjudicators: which pairs wait for their word."""

from __future__ import annotations

from fastapi import APIRouter, Depends, Request, Response
from fastapi.responses import HTMLResponse
from sqlalchemy import func, select

from videoalign.web.annotate.http.pages import go, render
from videoalign.web.annotate.http.sessions import (
    AdjudicatorVisitor,
    InProgramme,
    OverseeingVisitor,
    require_csrf,
)
from videoalign.web.annotate.programme import assigning, people
from videoalign.web.annotate.programme.schema import Number
from videoalign.web.annotate.storage.tables import Assignment, Kind, Pair, PairState, Work
from videoalign.web.refusals import Refusal

router = APIRouter(prefix="/adjudicate", default_response_class=HTMLResponse)
SHOWN = 200
"""Most pairs in the list."""


@router.get("")
def queue(request: Request, programme: InProgramme, visitor: OverseeingVisitor) -> Response:
    """The pairs without a majority, oldest first."""
    at_it = select(Assignment.person_id).where(
        Assignment.pair_id == Pair.id, Assignment.kind == Kind.ADJUDICATION, Assignment.state == Work.LEASED
    )
    disputed = select(*Pair.__table__.columns, at_it.limit(1).scalar_subquery().label("holder"))
    waiting = Pair.state == PairState.DISPUTED
    with programme.database.read() as session:
        rows = session.execute(disputed.where(waiting).order_by(Pair.id).limit(SHOWN)).all()
        total = session.scalar(select(func.count()).select_from(Pair).where(waiting)) or 0
    names = programme.library.dataset.dimensions
    pairs = [
        {
            "id": row.id,
            "prompt": programme.library.prompts.get(row.prompt_id, ""),
            "open": [name for name in names if name not in (row.decision or {})],
            "state": "" if row.holder is None else "yours" if row.holder == visitor.person_id else "taken",
        }
        for row in rows
    ]
    return render(request, "adjudicate.html.jinja", visitor, pairs=pairs, total=total)


@router.post("/{pair}", dependencies=[Depends(require_csrf)])
def take(programme: InProgramme, visitor: AdjudicatorVisitor, pair: Number) -> Response:
    """Takes this pair, and gives back the one that was taken before."""
    taken = programme.database.write(
        lambda session: assigning.take_disputed(programme, session, people.find(session, visitor.person_id), pair)
    )
    if not taken:
        raise Refusal(409, "not_waiting", "this pair does not wait for you any more; somebody else has it.")
    return go(programme, "/rate")
