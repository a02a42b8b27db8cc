"""From the body of a request to clips with their prompts; how large it may be is checked as it arrives."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any

from fastapi import Request
from pydantic import TypeAdapter, ValidationError
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import FormData, UploadFile
from starlette.exceptions import HTTPException
from starlette.types import Message, Receive

from videoalign.web.score.refusals import Refusal, too_many
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


def declared_bytes(request: Request, settings: ServeSettings) -> int:
    """How large the body may turn out: what its header says, or the most that is read.

    Raises:
        Refusal: it says that it is larger than that.
    """
    length = request.headers.get("content-length", "")
    if not length.isdecimal():
        return settings.max_body_bytes
    if int(length) > settings.max_body_bytes:
        raise too_many("bytes of the request", int(length), settings.max_body_bytes, "max_body_bytes")
    return int(length)


async def read_uploads(request: Request, settings: ServeSettings) -> list[Upload]:
    """The clips in a request, at least one.

    Raises:
        Refusal: not one of the two forms, too large, or too slow to arrive.
    """
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    request = Request(request.scope, _limited(request.receive, settings.max_body_bytes))
    try:
        async with asyncio.timeout(settings.read_seconds):
            if kind == "multipart/form-data":
                uploads = await _from_form(request, settings)
            elif kind == "application/json":
                uploads = await run_in_threadpool(_from_json, await request.body())
            else:
                raise Refusal(
                    415,
                    "unsupported_media_type",
                    f"content-type: got '{kind}', wanted multipart/form-data or application/json; send one of them.",
                )
    except TimeoutError:
        reason = f"the request took more than {settings.read_seconds:g} seconds to arrive; send it faster or smaller."
        raise Refusal(408, "too_slow", reason, {"connection": "close"}) from None
    if len(uploads) > settings.max_clips:
        raise too_many("clips", len(uploads), settings.max_clips, "max_clips")
    return uploads


def _limited(receive: Receive, max_bytes: int) -> Receive:
    total = 0

    async def inner() -> Message:
        nonlocal total
        message = await receive()
        total += len(message.get("body", b""))
        if total > max_bytes:
            raise too_many("bytes of the request", total, max_bytes, "max_body_bytes")
        return message

    return inner


async def _from_form(request: Request, settings: ServeSettings) -> list[Upload]:
    try:
        async with request.form(max_files=settings.max_clips + 1, max_fields=settings.max_clips + 1) as form:
            return await _clips_of(form)
    except HTTPException as error:
        raise Refusal(400, "bad_request", f"multipart body: {error.detail}") from None


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


def _from_json(body: bytes) -> list[Upload]:
    try:
        values = _ANYTHING.validate_json(body)
        clips = ClipsBody.model_validate(values).clips if "clips" in values else [ClipBody.model_validate(values)]
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        if first["type"] == "json_invalid":
            raise Refusal(400, "bad_request", f"JSON body: {first['msg']}.") from None
        raise _wrong(f"{'.'.join(map(str, first['loc'])) or 'JSON body'}: {first['msg']}") from None
    return [Upload(_source_of(clip), clip.prompt) for clip in clips]


def _source_of(clip: ClipBody) -> str | Frames:
    if clip.video is not None:
        return clip.video
    assert clip.frames is not None
    assert clip.fps is not None
    return Frames(clip.frames, clip.fps)


def _wrong(what: str) -> Refusal:
    return Refusal(422, "wrong_shape", f"{what}.")
