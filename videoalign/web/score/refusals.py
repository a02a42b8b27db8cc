"""Why a request or a clip was not scored: one shape for every error."""

from __future__ import annotations

from http import HTTPStatus

from videoalign.errors import DataError, LimitError, VideoAlignError, VideoError


class Refusal(Exception):
    """An answer that is no score."""

    def __init__(self, status: int, code: str, reason: str, headers: dict[str, str] | None = None) -> None:
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


def refusal_of_status(status: int, reason: str) -> Refusal:
    """What a request that never came to be read is answered with."""
    return Refusal(status, HTTPStatus(status).phrase.lower().replace(" ", "_"), reason)


def too_many(what: str, got: int, most: int, setting: str) -> Refusal:
    """A request over one of the server's limits."""
    return Refusal(413, "too_large", f"{what}: got {got}, at most {most} are taken ({setting}); send less.")
