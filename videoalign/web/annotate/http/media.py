"""Clips and what they were asked with, to those alone who were given the pair."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from fastapi import APIRouter
from fastapi.responses import FileResponse
from sqlalchemy import select

from videoalign.web.annotate.http.sessions import AnyVisitor, InProgramme
from videoalign.web.annotate.programme import watching
from videoalign.web.annotate.programme.programme import OpenProgramme
from videoalign.web.annotate.storage.tables import Assignment, Pair, PersonRole
from videoalign.web.refusals import Refusal

router = APIRouter(prefix="/media")
NO_CLIP = Refusal(404, "no_clip", "no such clip.")


@router.get("/examples/{number}")
def example(programme: InProgramme, _: AnyVisitor, number: int) -> FileResponse:
    """A clip of the guideline."""
    if not 0 <= number < len(programme.settings.examples):
        raise NO_CLIP
    return clip_file(programme, programme.settings.examples[number].clip_id)


@router.get("/{assignment}/prompt")
def reference(programme: InProgramme, visitor: AnyVisitor, assignment: str) -> FileResponse:
    """The picture or clip that was asked with beside the prompt."""
    with programme.database.glance() as session:
        row = session.execute(
            select(Assignment.person_id, Pair.prompt_id)
            .join(Pair, Pair.id == Assignment.pair_id)
            .where(Assignment.id == assignment)
        ).first()
    if row is None or (visitor.role == PersonRole.RATER and row.person_id != visitor.person_id):
        raise NO_CLIP
    return reference_file(programme, row.prompt_id)


@router.get("/{assignment}/{side}")
def clip(programme: InProgramme, visitor: AnyVisitor, assignment: str, side: Literal["left", "right"]) -> FileResponse:
    """One clip of a pair, whole or the range that is asked for."""
    with programme.database.glance() as session:
        row = session.execute(
            select(Assignment.person_id, Assignment.swapped, Assignment.served, Pair.clip_a, Pair.clip_b)
            .join(Pair, Pair.id == Assignment.pair_id)
            .where(Assignment.id == assignment)
        ).first()
    if row is None or (visitor.role == PersonRole.RATER and row.person_id != visitor.person_id):
        raise NO_CLIP
    clip_id = row.clip_b if (side == "left") == row.swapped else row.clip_a
    found = clip_file(programme, clip_id)
    if row.person_id == visitor.person_id:
        programme.note_sent(assignment, clip_id)
        watching.note_served(programme, assignment, side, row.served)
    return found


def clip_file(programme: OpenProgramme, clip_id: str) -> FileResponse:
    """The file of a clip; whoever asks has been let in already."""
    if clip_id not in programme.library.clips:
        raise NO_CLIP
    path, media_type = programme.library.file(clip_id)
    if not path.is_file():
        raise Refusal(404, "clip_missing", f"the file of clip '{clip_id}' is missing; skip this pair and say so.")
    return _file(path, media_type)


def reference_file(programme: OpenProgramme, prompt_id: str) -> FileResponse:
    """What a prompt was asked with; whoever asks has been let in already."""
    path, media_type = programme.library.references.shown.get(prompt_id, (Path(), ""))
    if not path.is_file():
        raise NO_CLIP
    return _file(path, media_type)


def _file(path: Path, media_type: str) -> FileResponse:
    headers = {"cache-control": "private, max-age=3600", "content-disposition": "inline"}
    return FileResponse(path, media_type=media_type, headers=headers)
