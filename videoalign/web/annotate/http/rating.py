"""The JSON interface of the rating page."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Depends, Request
from sqlalchemy.orm import Session

from videoalign.web.annotate.http.pace import Paces
from videoalign.web.annotate.http.sessions import AnyVisitor, InProgramme, JudgeVisitor, require_csrf
from videoalign.web.annotate.programme import judging, people
from videoalign.web.annotate.programme.next_pair import next_body
from videoalign.web.annotate.programme.schema import Heartbeat, Skip, Submission

router = APIRouter(prefix="/api")
CHECKED = [Depends(require_csrf)]


@router.get("/next")
async def get_next(programme: InProgramme, visitor: JudgeVisitor) -> dict[str, Any]:
    """The pair to judge; the same one until it is judged, skipped or its lease has run out."""

    def work(session: Session) -> dict[str, Any]:
        return next_body(programme, session, people.find(session, visitor.person_id))

    return await programme.database.written(work)


@router.post("/judgements", dependencies=CHECKED)
async def judge(request: Request, programme: InProgramme, visitor: JudgeVisitor, body: Submission) -> dict[str, Any]:
    """Takes a verdict; once this is answered it is safe on disk."""
    _paces(request).verdicts.count(visitor.person_id)

    def work(session: Session) -> dict[str, Any]:
        person = people.find(session, visitor.person_id)
        judging.submit(programme, session, person, body)
        return {"accepted": True, "next": next_body(programme, session, person)}

    return await programme.database.written(work)


@router.post("/skip", dependencies=CHECKED)
async def skip(request: Request, programme: InProgramme, visitor: JudgeVisitor, body: Skip) -> dict[str, Any]:
    """Gives a pair up, with a reason."""
    _paces(request).verdicts.count(visitor.person_id)

    def work(session: Session) -> dict[str, Any]:
        person = people.find(session, visitor.person_id)
        judging.skip(programme, session, person, body.assignment, body.reason)
        return {"next": next_body(programme, session, person)}

    return await programme.database.written(work)


@router.post("/undo", dependencies=CHECKED)
async def undo(request: Request, programme: InProgramme, visitor: JudgeVisitor) -> dict[str, Any]:
    """Gives the pair that was judged last back."""
    _paces(request).undos.count(visitor.person_id)

    def work(session: Session) -> dict[str, Any]:
        person = people.find(session, visitor.person_id)
        judging.undo(programme, session, person)
        return {"next": next_body(programme, session, person)}

    return await programme.database.written(work)


@router.post("/heartbeat", dependencies=CHECKED)
async def heartbeat(programme: InProgramme, visitor: JudgeVisitor, body: Heartbeat) -> dict[str, int]:
    """Extends the lease and keeps what was half made."""

    def work(session: Session) -> None:
        judging.heartbeat(programme, session, people.find(session, visitor.person_id), body.assignment, body.draft)

    await programme.database.written(work)
    return {"lease_seconds": programme.settings.lease_seconds}


@router.get("/guideline")
def guideline(programme: InProgramme, _: AnyVisitor) -> dict[str, Any]:
    """What raters look at, with examples."""
    examples = list(enumerate(programme.settings.examples))
    return {
        "dimensions": [
            {
                "name": one.name,
                "guideline": one.guideline,
                "sees_prompt": one.sees_prompt,
                "examples": [
                    {"url": f"{programme.settings.root}/media/examples/{number}", "text": example.text}
                    for number, example in examples
                    if example.dimension == one.name
                ],
            }
            for one in programme.library.dataset.info.dimensions
        ]
    }


def _paces(request: Request) -> Paces:
    paces: Paces = request.app.state.paces
    return paces
