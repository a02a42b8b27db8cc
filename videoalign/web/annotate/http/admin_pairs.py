"""The pages of admins about pairs: where each stands, and what was said of one."""

from __future__ import annotations

from typing import Any, Literal

from fastapi import APIRouter, Request, Response
from fastapi.responses import FileResponse, HTMLResponse
from sqlalchemy import func, select

from videoalign.web.annotate.http.admin import ROWS
from videoalign.web.annotate.http.media import NO_CLIP, clip_file, reference_file
from videoalign.web.annotate.http.pages import render
from videoalign.web.annotate.http.sessions import AdminVisitor, InProgramme
from videoalign.web.annotate.programme.programme import OpenProgramme
from videoalign.web.annotate.programme.schema import Number
from videoalign.web.annotate.storage.tables import Assignment, Pair, PairState, Person, Said
from videoalign.web.refusals import Refusal

router = APIRouter(default_response_class=HTMLResponse)


@router.get("/admin/pairs")
def pairs(request: Request, programme: InProgramme, visitor: AdminVisitor, state: str = "", page: int = 1) -> Response:
    """Where each pair stands."""
    page = min(max(page, 1), 10**6)
    wanted = select(*Pair.__table__.columns).order_by(Pair.id).limit(ROWS).offset(ROWS * (page - 1))
    count = select(func.count()).select_from(Pair)
    if state in set(PairState):
        wanted, count = wanted.where(Pair.state == state), count.where(Pair.state == state)
    with programme.database.read() as session:
        rows, total = session.execute(wanted).all(), session.scalar(count) or 0
    return render(
        request,
        "admin_pairs.html.jinja",
        visitor,
        pairs=rows,
        prompts=programme.library.prompts,
        clips=programme.library.clips,
        dimensions=programme.library.dataset.dimensions,
        states=list(PairState),
        state=state,
        page=page,
        num_pages=max(1, -(-total // ROWS)),
        total=total,
    )


@router.get("/admin/pairs/{number}")
def pair(request: Request, programme: InProgramme, visitor: AdminVisitor, number: Number) -> Response:
    """Both clips of a pair, and everything that was said of it, also what was taken back."""
    work = ("kind", "swapped", "state", "reason", "ended_at")
    words = ("guideline", "verdicts", "ratings", "comment", "seconds", "submitted_at", "withdrawn_at")
    wanted = (
        select(Person.name, *(getattr(Assignment, name) for name in work), *(getattr(Said, name) for name in words))
        .join(Person, Person.id == Assignment.person_id)
        .outerjoin(Said, Said.assignment_id == Assignment.id)
        .where(Assignment.pair_id == number)
        .order_by(Assignment.given_at, Said.id)
    )
    with programme.database.read() as session:
        found = session.execute(select(*Pair.__table__.columns).where(Pair.id == number)).first()
        if found is None:
            raise Refusal(404, "not_found", "there is no such pair.")
        rows = [_today(programme, row) for row in session.execute(wanted)]
    clips = {"A": found.clip_a, "B": found.clip_b}
    return render(
        request,
        "admin_pair.html.jinja",
        visitor,
        pair=found,
        prompt=programme.library.prompts.get(found.prompt_id, ""),
        reference=programme.library.references.kind(found.prompt_id),
        clips={side: programme.library.clips[clip] for side, clip in clips.items() if clip in programme.library.clips},
        dimensions=programme.library.dataset.dimensions,
        raters_per_pair=programme.settings.raters_per_pair,
        guideline=programme.wording.version,
        rows=rows,
    )


@router.get("/media/pairs/{number}/prompt")
def reference(programme: InProgramme, _: AdminVisitor, number: Number) -> FileResponse:
    """The picture or clip that was asked with beside the prompt of a pair."""
    with programme.database.glance() as session:
        prompt_id = session.scalar(select(Pair.prompt_id).where(Pair.id == number))
    return reference_file(programme, prompt_id or "")


@router.get("/media/pairs/{number}/{side}")
def clip(programme: InProgramme, _: AdminVisitor, number: Number, side: Literal["a", "b"]) -> FileResponse:
    """One clip of a pair, by its place in the dataset rather than as it was shown."""
    column = Pair.clip_a if side == "a" else Pair.clip_b
    with programme.database.glance() as session:
        clip_id = session.scalar(select(column).where(Pair.id == number))
    if clip_id is None:
        raise NO_CLIP
    return clip_file(programme, clip_id)


def _today(programme: OpenProgramme, row: Any) -> dict[str, Any]:
    """What was said, under today's names of the dimensions."""
    now = programme.wording.now
    verdicts = now(row.guideline, row.verdicts) if row.verdicts else {}
    ratings = {side: now(row.guideline, scores) for side, scores in (row.ratings or {}).items()}
    return row._asdict() | {"verdicts": verdicts, "ratings": ratings}
