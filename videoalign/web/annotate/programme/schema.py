"""What the rating page sends; everything else is refused before it is looked at."""

from __future__ import annotations

import json
from typing import Annotated, Any, Literal

from fastapi import Path
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints

from videoalign.web.annotate.storage.tables import PersonRole
from videoalign.web.text import Line, Lines, Name, require_lines

MAX_DRAFT_CHARS = 20_000
MAX_DRAFT_DEPTH = 8
MAX_COMMENT_CHARS = 5_000
MAX_WHOLE = 2**53
"""Beyond it a browser rounds whole numbers."""


def readable_draft(stored: Any) -> dict[str, Any] | None:
    """A draft as it can be sent to the page; None where there is none, or one that no page could have made."""
    try:
        return _keepable(stored) if isinstance(stored, dict) else None
    except ValueError:
        return None


def _keepable(draft: dict[str, Any]) -> dict[str, Any]:
    """The draft, where what is stored of it can be sent back."""
    _require_plain(draft, 0)
    if len(json.dumps(draft, ensure_ascii=False)) > MAX_DRAFT_CHARS:
        raise ValueError(f"must be at most {MAX_DRAFT_CHARS} characters of JSON")
    return draft


def _require_plain(value: Any, depth: int) -> None:
    if depth > MAX_DRAFT_DEPTH:
        raise ValueError(f"must be nested at most {MAX_DRAFT_DEPTH} deep")
    if isinstance(value, str):
        require_lines(value)
    elif isinstance(value, int | float) and not abs(value) <= MAX_WHOLE:  # nan is not either
        raise ValueError(f"must hold no number beyond {MAX_WHOLE}")
    elif isinstance(value, dict):
        for key, inner in value.items():
            require_lines(key)
            _require_plain(inner, depth + 1)
    elif isinstance(value, list):
        for inner in value:
            _require_plain(inner, depth + 1)


Number = Annotated[int, Path(ge=1, lt=2**31)]
"""A row's number in an address; any other is the number of no row."""
AssignmentId = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{32}$")]
Side = Literal["left", "tie", "right", "both_bad"]
Seconds = Annotated[float, Field(ge=0, le=1e6, allow_inf_nan=False, strict=True)]
Score = Annotated[int, Field(ge=1, le=5, strict=True)]


class Body(BaseModel):
    """Base of every body: nothing unknown passes."""

    model_config = ConfigDict(extra="forbid")


class Watched(Body):
    """How long each clip has played."""

    left: Seconds
    right: Seconds


class Ratings(Body):
    """1 to 5 for each clip on each dimension."""

    left: dict[Line, Score]
    right: dict[Line, Score]


class Submission(Body):
    """``POST /api/judgements``."""

    assignment: AssignmentId
    verdicts: dict[Line, Side]
    ratings: Ratings | None = None
    comment: Lines = Field("", max_length=MAX_COMMENT_CHARS)
    watched_seconds: Watched


class Skip(Body):
    """``POST /api/skip``."""

    assignment: AssignmentId
    reason: Line = Field(min_length=1, max_length=500)


class Heartbeat(Body):
    """``POST /api/heartbeat``."""

    assignment: AssignmentId
    draft: Annotated[dict[str, Any], AfterValidator(_keepable)]


class NewInvitation(Body):
    """An invitation, from the page, ``POST /api/admin/invitations`` or the command line."""

    role: PersonRole
    name: Name = Field(max_length=200)


class Reason(Body):
    """Why something is done to somebody."""

    reason: Line = Field("", max_length=500)
