"""What those who watch over the server ask it."""

from __future__ import annotations

from fastapi import APIRouter

from videoalign import __version__
from videoalign.web.annotate.http.sessions import InProgramme

router = APIRouter()


@router.get("/health")
async def health() -> dict[str, str]:
    """Whether the process answers."""
    return {"status": "alive", "version": __version__}


@router.get("/ready")
def ready(programme: InProgramme) -> dict[str, str]:
    """Whether the database answers too, so that people can be let in."""
    with programme.database.read() as session:
        session.connection()
    return {"status": "ready", "version": __version__}
