"""From the body of a request to clips with their prompts."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from fastapi import Request
from pydantic import TypeAdapter, ValidationError
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import FormData, UploadFile
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.types import Message

from videoalign.web.refusals import Refusal, refusal_of_http, too_many
from videoalign.web.score.schema import ClipBody, ClipsBody
from videoalign.web.score.settings import ServeSettings

_ANYTHING = TypeAdapter(dict[str, Any])


@dataclass(frozen=True)
class Frames:
    """A clip as pictures."""

    pictures: list[str]
    """PNG or JPEG in base64."""
    fps: float


@dataclass(frozen=True)
class Upload:
    """One clip as it came."""

    source: bytes | str | Frames
    """A file, a file in base64, or pictures."""
    prompt: str


async def read_uploads(request: Request, settings: ServeSettings, arrived: Callable[[int], None]) -> list[Upload]:
    """The clips in a request, at least one.

    Args:
        request: not yet read.
        settings: its limits.
        arrived: called with the number of bytes whenever some have come; may raise.

    Raises:
        Refusal: not one of the two forms, too large, or too slow to arrive.
    """
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()

    async def receive() -> Message:
        message = await request.receive()
        arrived(len(message.get("body", b"")))
        return message

    counted = Request(request.scope, receive)
    try:
        if kind == "multipart/form-data":
            uploads = await _from_form(counted, settings)
        elif kind == "application/json":
            uploads = await run_in_threadpool(_from_json, await counted.body(), settings)
        else:
            reason = f"content-type: got '{kind}', wanted multipart/form-data or application/json; send one of them."
            raise Refusal(415, "unsupported_media_type", reason)
    except HTTPException as error:
        place = "multipart body: " if error.status_code == 400 else ""
        raise refusal_of_http(error, settings.max_body_bytes, place) from None
    except ClientDisconnect:
        raise Refusal(400, "disconnected", "the request ended before its end.") from None
    if len(uploads) > settings.max_clips:
        raise too_many("clips", len(uploads), settings.max_clips, "max_clips")
    return uploads


async def _from_form(request: Request, settings: ServeSettings) -> list[Upload]:
    async with request.form(max_files=settings.max_clips + 1, max_fields=settings.max_clips + 1) as form:
        return await _clips_of(form)


async def _clips_of(form: FormData) -> list[Upload]:
    unknown = sorted(set(form) - {"video", "prompt"})
    if unknown:
        raise _wrong(f"field '{unknown[0][:60]}' is not known; send 'video' and 'prompt'")
    videos, prompts = form.getlist("video"), form.getlist("prompt")
    files = [video for video in videos if isinstance(video, UploadFile)]
    texts = [prompt for prompt in prompts if isinstance(prompt, str)]
    if not videos or len(files) < len(videos):
        raise _wrong("'video' must be one or more files")
    if len(texts) < len(prompts) or len(texts) != len(files):
        raise _wrong(f"got {len(texts)} texts 'prompt' for {len(files)} files 'video'; send one each")
    return [Upload(await file.read(), text) for file, text in zip(files, texts, strict=True)]


def _from_json(body: bytes, settings: ServeSettings) -> list[Upload]:
    _require_few_values(body, settings)
    try:
        values = _ANYTHING.validate_json(body)
        clips = ClipsBody.model_validate(values).clips if "clips" in values else [ClipBody.model_validate(values)]
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        if first["type"] == "json_invalid":
            raise Refusal(400, "bad_request", f"JSON body: {first['msg']}.") from None
        raise _wrong(f"{'.'.join(map(str, first['loc'])) or 'JSON body'}: {first['msg']}") from None
    return [Upload(_source_of(clip), clip.prompt) for clip in clips]


def _require_few_values(body: bytes, settings: ServeSettings) -> None:
    """Checks that a body holds no more values than clips within the limits have: each takes memory, however short.

    One of these signs stands before each value; a prompt may hold them too.
    """
    most = 8 + settings.max_clips * (8 + settings.clip.frames + settings.max_prompt_chars)
    signs = sum(body.count(sign) for sign in b",[{")
    if signs > most:
        raise too_many("JSON body: commas and brackets", signs, most, "max_clips, clip.frames, max_prompt_chars")


def _source_of(clip: ClipBody) -> str | Frames:
    if clip.video is not None:
        return clip.video
    assert clip.frames is not None
    assert clip.fps is not None
    return Frames(clip.frames, clip.fps)


def _wrong(what: str) -> Refusal:
    return Refusal(422, "wrong_shape", f"{what}.")
