"""Why a request or a clip was not scored: one shape for every error."""

from __future__ import annotations

from http import HTTPStatus

from starlette.exceptions import HTTPException

from videoalign.errors import DataError, LimitError, VideoAlignError, VideoError

CODES = {400: "bad_request", 408: "too_slow", 413: "too_large", 415: "unsupported_media_type"}
"""The code of a refusal where it is another one than the name of its status."""


class Refusal(Exception):
    """An answer that is no score."""

    def __init__(self, status: int, code: str, reason: str, headers: dict[str, str] | None = None) -> None:
        reason = reason.encode("utf-8", "backslashreplace").decode("utf-8")  # it may quote what cannot be sent
        super().__init__(reason)
        self.status, self.code, self.reason, self.headers = status, code, reason, headers or {}

    def body(self) -> dict[str, dict[str, str]]:
        """``{"error": {"code", "reason"}}``."""
        return {"error": {"code": self.code, "reason": self.reason}}


def refusal_of(error: VideoAlignError) -> Refusal:
    """What a clip that cannot be scored is answered with."""
    if isinstance(error, LimitError):
        return Refusal(413, "too_large", str(error))
    if isinstance(error, VideoError):
        return Refusal(422, "bad_clip", str(error))
    if isinstance(error, DataError):
        return Refusal(422, "bad_prompt", str(error))
    return Refusal(500, "model_failed", str(error))


def refusal_of_http(error: HTTPException, max_body_bytes: int, place: str = "") -> Refusal:
    """What a request is answered with that the framework or the edge of the server refuses; ``place`` goes before."""
    code = CODES.get(error.status_code, HTTPStatus(error.status_code).phrase.lower().replace(" ", "_"))
    reason = f"{place}{error.detail.removesuffix('.')}."
    if error.status_code == 413:
        reason = f"bytes of the request: at most {max_body_bytes} are taken (max_body_bytes); send less."
    return Refusal(error.status_code, code, reason, dict(error.headers or {}))


def too_many(what: str, got: int, most: int, setting: str) -> Refusal:
    """A request over one of the server's limits."""
    return Refusal(413, "too_large", f"{what}: got {got}, at most {most} are taken ({setting}); send less.")
