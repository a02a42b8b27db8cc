"""What a reward server lets in, and who may ask it."""

from __future__ import annotations

import os
from typing import Self

from pydantic import Field, model_validator

from videoalign.config import Config
from videoalign.video.addresses import LocalPath
from videoalign.video.limits import ClipLimits

MIB = 2**20


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
            wanted = f"wanted at least max_clips, {self.max_clips}; raise it, or lower that"
            raise ValueError(f"max_queue: got {self.max_queue}; {wanted}")
        if self.max_queue_bytes < self.max_body_bytes:
            wanted = f"wanted at least max_body_bytes, {self.max_body_bytes}; raise it, or lower that"
            raise ValueError(f"max_queue_bytes: got {self.max_queue_bytes}; {wanted}")
        return self
