"""What a reward server reads and answers."""

from __future__ import annotations

from typing import Any, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator


class ClipBody(BaseModel):
    """One clip in a JSON request: a file, or its frames with their rate."""

    model_config = ConfigDict(extra="forbid", strict=True, use_attribute_docstrings=True)

    video: str | None = Field(None, json_schema_extra={"contentEncoding": "base64"})
    """A video file in base64."""
    frames: list[str] | None = Field(None, min_length=1)
    """PNG or JPEG pictures of one size, each in base64, in the order of showing."""
    fps: float | None = Field(None, gt=0, allow_inf_nan=False)
    """Frames per second of the frames; a file has its own."""
    prompt: str
    """The text that the clip was made from."""

    @model_validator(mode="after")
    def _one_of_two(self) -> Self:
        if (self.video is None) == (self.frames is None):
            raise ValueError("give either 'video' or 'frames'")
        if (self.frames is None) != (self.fps is None):
            raise ValueError("give 'fps' with 'frames', and only there")
        return self


class ClipsBody(BaseModel):
    """A JSON request of several clips."""

    model_config = ConfigDict(extra="forbid", strict=True, use_attribute_docstrings=True)

    clips: list[ClipBody] = Field(min_length=1)
    """In the order of the answers."""


class Reason(BaseModel):
    """Why there is no score."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    code: str
    """One word for machines."""
    reason: str
    """One line for people."""


class ClipError(BaseModel):
    """The answer for a clip that could not be scored."""

    error: Reason


class ClipScores(BaseModel):
    """The answer for one clip."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    scores: dict[str, float]
    """Normalised score by dimension."""
    raw: dict[str, float]
    """Score of the head by dimension; its scale is arbitrary."""
    overall: float
    """Mean of the normalised scores."""


class Scores(BaseModel):
    """The answer when one clip or more could be scored; in the order of the clips."""

    reward: str
    results: list[ClipScores | ClipError]


class Failure(BaseModel):
    """The answer when nothing could be scored; with ``results`` where the clips were read."""

    error: Reason
    reward: str | None = None
    results: list[ClipError] | None = None


class Health(BaseModel):
    """The state of the server."""

    status: str
    reward: str
    dimensions: list[str]
    version: str


def request_body() -> dict[str, Any]:
    """The two forms of a request, as OpenAPI has it."""
    clip = ClipBody.model_json_schema()
    one_each = {"type": "array", "minItems": 1}
    several = {
        "type": "object",
        "properties": {"clips": {**one_each, "items": clip}},
        "required": ["clips"],
        "additionalProperties": False,
    }
    form = {
        "type": "object",
        "properties": {
            "video": {**one_each, "items": {"type": "string", "format": "binary"}},
            "prompt": {**one_each, "items": {"type": "string"}},
        },
        "required": ["video", "prompt"],
        "additionalProperties": False,
    }
    content = {"multipart/form-data": {"schema": form}, "application/json": {"schema": {"anyOf": [several, clip]}}}
    return {"requestBody": {"required": True, "content": content}}
