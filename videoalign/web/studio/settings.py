"""What a studio opens, how it makes clips, and what its server takes in."""

from __future__ import annotations

from pydantic import Field

from videoalign.models.generators.settings import ModelSettings
from videoalign.video.addresses import LocalPath

MIB = 2**20


class StudioSettings(ModelSettings):
    """Settings of ``videoalign studio``."""

    host: str = "127.0.0.1"
    """Address to listen on; any but a loopback one needs a token."""
    port: int = Field(8000, ge=0, le=65535)
    """Port to listen on; 0 takes a free one."""
    hosts: tuple[str, ...] = ()
    """Further names that requests may be addressed to, beside ``host`` and this machine's own; ``*`` takes any."""
    cache: LocalPath | None = None
    """Folder of the clips that were made; ``studio`` in ``$VIDEOALIGN_CACHE`` when left out."""
    cache_mib: int = Field(1024, ge=1)
    """Largest size of that folder in MiB; beyond it the clips that were not asked for longest are removed."""
    num_glances: int = Field(6, ge=0)
    """How often the guide's scores are read while a clip is made."""
    num_previews: int = Field(2, ge=0)
    """How often the first clip of a comparison is decoded while it is made, to be looked at."""
    max_prompt_chars: int = Field(2000, ge=1)
    """Longest prompt."""
    max_seeds: int = Field(16, ge=1)
    """Most seeds that are compared at once."""
    max_steps: int = Field(200, ge=1)
    """Most sampling steps that may be asked for."""
    max_points: int = Field(49, ge=5)
    """Most points of a grid over weights."""
    max_jobs: int = Field(4, ge=1)
    """Most jobs of one visitor that are not done; beyond it the answer is 429."""
    max_visitors: int = Field(200, ge=1)
    """Most visitors that are known; beyond it those who were not seen longest, and wait for nothing, are forgotten."""
    max_body_bytes: int = Field(64 * MIB, gt=0)
    """Largest request, as of a clip that is dropped on the page."""
    read_seconds: float = Field(30.0, gt=0)
    """Longest time that a request may take to arrive."""
    shutdown_seconds: float = Field(5.0, gt=0)
    """Longest time for answering what was taken in once told to stop; clips that are being made are given up."""
    access_log: LocalPath | None = None
    """File to which a line is added for every request: when, from where, what, the answer's status and bytes, and how
    many milliseconds it took."""
