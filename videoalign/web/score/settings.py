"""What a reward server lets in, and who may ask it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Self

from pydantic import Field, model_validator

from videoalign.config import Config
from videoalign.errors import ConfigError
from videoalign.video.addresses import LocalPath
from videoalign.video.limits import ClipLimits
from videoalign.web.listening import is_loopback

MIB = 2**20
TOKEN_VARIABLE = "VIDEOALIGN_TOKEN"  # noqa: S105


class ServeSettings(Config):
    """Settings of ``videoalign reward serve``."""

    host: str = "127.0.0.1"
    """Address to listen on; any but a loopback one needs a token."""
    port: int = Field(8000, ge=0, le=65535)
    """Port to listen on; 0 takes a free one."""
    max_batch: int = Field(8, gt=0)
    """Most clips in one run of the model."""
    max_wait_ms: float = Field(10.0, ge=0)
    """Longest time that a decoded clip waits for others to join its batch."""
    decode_workers: int = Field(default=min(8, os.cpu_count() or 1), gt=0)
    """Threads that decode, each one clip at a time."""
    max_queue: int = Field(256, gt=0)
    """Most clips that are taken in and not yet answered; beyond it the answer is 429."""
    max_queue_bytes: int = Field(1024 * MIB, gt=0)
    """Most bytes of requests that have arrived and are not yet answered; beyond it the answer is 429."""
    max_body_bytes: int = Field(64 * MIB, gt=0)
    """Largest request."""
    max_clip_bytes: int = Field(32 * MIB, gt=0)
    """Largest file of one clip, or all its pictures together."""
    max_clips: int = Field(16, gt=0)
    """Most clips in one request."""
    max_prompt_chars: int = Field(2000, gt=0)
    """Longest prompt."""
    read_seconds: float = Field(30.0, gt=0)
    """Longest time that a request may take to arrive."""
    access_log: LocalPath | None = None
    """File to which a line is added for every request: when, from where, what, the answer's status and bytes, and how
    many milliseconds it took."""
    drain_seconds: float = Field(2.0, ge=0)
    """How long, once told to stop, the server still takes requests while /health says that it will not for long."""
    shutdown_seconds: float = Field(120.0, gt=0)
    """Longest time after that for answering what was taken in."""
    clip: ClipLimits = ClipLimits()
    """Limits of each clip."""

    @model_validator(mode="after")
    def _can_be_met(self) -> Self:
        if self.max_queue < self.max_clips:
            raise ValueError("max_queue must be at least max_clips")
        if self.max_queue_bytes < self.max_body_bytes:
            raise ValueError("max_queue_bytes must be at least max_body_bytes")
        return self


def read_tokens(file: Path | None) -> tuple[bytes, ...]:
    """The tokens in a file, one a line, or the one in the environment variable VIDEOALIGN_TOKEN; none without both.

    Raises:
        ConfigError: the file cannot be read or holds none, or a token is not plain text without spaces.
    """
    if file is None:
        source, tokens = TOKEN_VARIABLE, os.environ.get(TOKEN_VARIABLE, "").split("\n")
    else:
        source = f"--token-file {file}"
        try:
            tokens = file.read_text(encoding="utf-8").split("\n")
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError(f"{source}: cannot be read ({error}); give a file with one token a line.") from None
    tokens = [token.strip() for token in tokens if token.strip()]
    if file is not None and not tokens:
        raise ConfigError(f"{source}: holds no token; write one a line.")
    if any(not token.isascii() or not token.isprintable() or " " in token for token in tokens):
        raise ConfigError(f"{source}: a token is ASCII text without spaces; make one with 'openssl rand -hex 32'.")
    return tuple(token.encode("ascii") for token in tokens)


def require_safe(host: str, tokens: tuple[bytes, ...]) -> None:
    """Checks that strangers cannot ask the server.

    Raises:
        ConfigError: other machines could reach it and there is no token.
    """
    if not is_loopback(host) and not tokens:
        raise ConfigError(
            f"--host: {host} can be reached by others, so a token is needed; give --token-file FILE or set "
            f"{TOKEN_VARIABLE}, or listen on 127.0.0.1."
        )
