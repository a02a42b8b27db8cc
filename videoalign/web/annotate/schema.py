"""What the rating page sends; everything else is refused before it is looked at."""

from __future__ import annotations

import json
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints

MAX_DRAFT_CHARS = 20_000
MAX_COMMENT_CHARS = 5_000


def _printable(text: str) -> str:
    if "\0" in text:
        raise ValueError("must not hold the character 0")
    return text


def _small(value: dict[str, Any]) -> dict[str, Any]:
    if len(text := json.dumps(value)) > MAX_DRAFT_CHARS or "\\u0000" in text:
        raise ValueError(f"must be at most {MAX_DRAFT_CHARS} characters of JSON")
    return value


Text = Annotated[str, AfterValidator(_printable)]
AssignmentId = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{32}$")]
Side = Literal["left", "tie", "right", "both_bad"]
Seconds = Annotated[float, Field(ge=0, le=1e6, allow_inf_nan=False)]
Score = Annotated[int, Field(ge=1, le=5)]


class Body(BaseModel):
    """Base of every body: nothing unknown passes."""

    model_config = ConfigDict(extra="forbid")


class Watched(Body):
    """How long each clip has played."""

    left: Seconds
    right: Seconds


class Ratings(Body):
    """1 to 5 for each clip on each dimension."""

    left: dict[str, Score]
    right: dict[str, Score]


class Submission(Body):
    """``POST /api/judgements``."""

    assignment: AssignmentId
    verdicts: dict[Text, Side]
    ratings: Ratings | None = None
    comment: Text = Field("", max_length=MAX_COMMENT_CHARS)
    watched_seconds: Watched


class Skip(Body):
    """``POST /api/skip``."""

    assignment: AssignmentId
    reason: Text = Field(min_length=1, max_length=500)


class Heartbeat(Body):
    """``POST /api/heartbeat``."""

    assignment: AssignmentId
    draft: Annotated[dict[str, Any], AfterValidator(_small)]


class NewInvitation(Body):
    """``POST /api/admin/invitations``."""

    role: Literal["rater", "adjudicator", "admin"]
    name: Text = Field(min_length=1, max_length=200)


class Pause(Body):
    """``POST /api/admin/raters/{id}/pause``."""

    reason: Text = Field("", max_length=500)
