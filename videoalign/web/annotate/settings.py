"""How a rating programme runs: who judges how often, what is checked, what the server takes in."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

from pydantic import Field, HttpUrl, TypeAdapter, ValidationError, field_validator

from videoalign.config import Config
from videoalign.video.addresses import LocalPath
from videoalign.web.text import Line, Name

KIB = 2**10
_HTTP = TypeAdapter(HttpUrl)


class Example(Config):
    """A clip that the guideline shows for one dimension."""

    dimension: str
    """Name of the dimension."""
    clip_id: str
    """A clip of the dataset."""
    text: Line
    """What is to be seen in it, in a sentence."""


class Crowd(Config):
    """An open link for people whom another site sends, each with an id in the address."""

    code: Line = Field(min_length=1, max_length=100)
    """What a rater reads at the end, to hand in where they came from; in quotes where it is a number."""
    parameter: str = Field("PROLIFIC_PID", pattern=r"^[A-Za-z0-9_.-]{1,64}$")
    """Name of the parameter of the address that holds the id."""
    max_people: int = Field(100, ge=1)
    """Most people who come in this way; who was there before comes in again."""
    redirect_url: str | None = None
    """Where a button leads to at the end, as in ``https://app.prolific.com/submissions/complete?cc=CODE``."""

    @field_validator("redirect_url")
    @classmethod
    def _safe(cls, text: str | None) -> str | None:
        if text is None:
            return None
        wanted = ValueError("must begin with https:// and be an address")
        try:
            url = _HTTP.validate_python(text)
        except ValidationError:
            raise wanted from None
        if url.scheme != "https" or url.username or url.password:
            raise wanted
        return str(url)


class AnnotateSettings(Config):
    """Settings of ``videoalign annotate serve``."""

    host: str = "127.0.0.1"
    """Address to listen on; links are the only way in, so put a proxy with https before any but a loopback one."""
    port: int = Field(8000, ge=0, le=65535)
    """Port to listen on; 0 takes a free one."""
    db: str | None = None
    """Address of the database, as in ``postgresql://user@host/name``; ``annotate.sqlite`` in the folder
    ``D.annotations`` beside the dataset folder D when left out."""
    public_url: str | None = None
    """How people reach the server, as in ``https://rate.example.org`` or, behind a proxy that hands over a part of its
    paths, ``https://lab.example.org/prefs``; links begin with it. Needed where ``host`` is no loopback address."""
    hosts: tuple[str, ...] = ()
    """Further names that requests may be addressed to, beside that of ``public_url``, ``host`` and this machine's own;
    ``*`` takes any."""
    programme: Name = "Video preferences"
    """Name of the programme, shown above every page."""
    seed: int | None = Field(None, ge=0, lt=2**31)
    """Decides sides, order, gold and repeats; drawn at the first start and kept when left out."""

    rename: dict[str, str | None] = {}
    """What became of dimensions that were judged and are not in the dataset any more: ``rename.VQ=Look`` where one has
    another name now, ``rename.VQ=`` where it is asked no more. Once is enough; it may stay."""

    raters_per_pair: int = Field(3, ge=1, lt=2**31)
    """Raters who judge each pair before it is decided or goes to an adjudicator."""
    selection: Literal["random", "coverage", "informative"] = "random"
    """Which open pair comes next: any, the one with the fewest raters so far, or the one whose generators the
    judgements so far tell apart least."""
    pairs: str | Path = "all"
    """What is judged: ``all`` pairs of clips of one prompt, only those ``across`` two generators, or those of a table
    that names clips by their ids in the columns ``clip_a`` and ``clip_b``."""
    gold: str | Path | None = None
    """Table of pairs with known answers: ``clip_a``, ``clip_b`` and one column a dimension, each cell A, B, tie or
    both_bad, or empty where the answer is not known."""
    gold_share: float = Field(0.05, ge=0, lt=1)
    """Share of pairs that are gold, where there is gold that the rater has not seen."""
    repeat_share: float = Field(0.05, ge=0, lt=1)
    """Share of pairs that a rater judged before and gets again without being told."""
    repeat_gap: int = Field(10, ge=1, lt=2**31)
    """Fewest pairs between the first time and the repeat."""
    qualification_pairs: int = Field(5, ge=0)
    """Gold pairs that a new rater judges first; there is no qualification without gold."""
    pass_mark: float = Field(0.7, ge=0, le=1)
    """Share of right answers on gold below which a rater is paused."""
    min_gold: int = Field(5, ge=1)
    """Hidden gold pairs after which the pass mark is asked of a rater at work."""
    lease_seconds: int = Field(600, ge=1, lt=2**31)
    """How long a pair waits for its rater; every sign of life begins it anew."""
    hold_seconds: int = Field(3600, ge=1, lt=2**31)
    """Longest time that a pair waits for its rater in all, whatever signs of life there are."""
    min_watch: float = Field(1.0, ge=0, le=1)
    """Share of each clip that must have played before a verdict is taken; by the server's clock a verdict also takes as
    long as that share lasts at double speed."""
    max_judgements_per_rater: int | None = Field(None, ge=1)
    """Most verdicts of one rater, gold and repeats among them; no limit when left out."""
    max_judgements_per_day: int | None = Field(None, ge=1)
    """Most verdicts of one rater in a day, which begins at midnight UTC; no limit when left out."""
    max_judgements: int | None = Field(None, ge=1)
    """Verdicts of all raters after which the programme gives out no more pairs; no limit when left out."""
    ratings: bool = False
    """Whether raters may also give each clip 1 to 5 on each dimension."""
    allow_undo: bool = True
    """Whether a rater may take the last verdict back."""
    examples: tuple[Example, ...] = ()
    """Clips that the guideline shows."""

    crowd: Crowd | None = None
    """An open link for a crowd; none when left out. How much each may judge says ``max_judgements_per_rater``."""
    link_hours: float = Field(72.0, gt=0, le=1e9)
    """How long an invitation link can be used."""
    session_hours: float = Field(24.0 * 30, gt=0, le=1e9)
    """How long somebody stays signed in."""
    max_body_bytes: int = Field(64 * KIB, gt=0)
    """Largest request."""
    read_seconds: float = Field(20.0, gt=0)
    """Longest time that a request may take to arrive."""
    verdicts_per_minute: int = Field(600, ge=1)
    """Most verdicts and skips of one person in a minute."""
    undos_per_minute: int = Field(60, ge=1)
    """Most verdicts that one person takes back in a minute."""
    wrong_links_per_minute: int = Field(60, ge=1)
    """Most links that lead nowhere from one address in a minute; those that lead somewhere always do."""
    access_log: LocalPath | None = None
    """File to which a line is added for every request: when, from where, what, the answer's status and bytes, and how
    many milliseconds it took. Links are written without what lets somebody in."""
    sync_seconds: float = Field(300.0, gt=0)
    """How often new judgements are written to the dataset's tables; also done when the server stops, and at any time by
    ``annotate export``."""
    comments_in_dataset: bool = False
    """Whether ``annotations.parquet``, with comments and times, is written into the dataset folder, from which it may
    be published; otherwise it stands beside it, in ``D.annotations``."""
    shutdown_seconds: float = Field(20.0, gt=0)
    """Longest time for answering what was taken in once told to stop."""

    @field_validator("public_url")
    @classmethod
    def _as_browsers_write_it(cls, text: str | None) -> str | None:
        """Without a slash at its end."""
        if text is None:
            return None
        wanted = ValueError("must look like https://rate.example.org or https://lab.example.org/prefs")
        try:
            url = _HTTP.validate_python(text)
        except ValidationError:
            raise wanted from None
        if url.username or url.password or url.query is not None or url.fragment is not None:
            raise wanted
        if not re.fullmatch(r"(/[A-Za-z0-9._~-]+)*/?", url.path or ""):
            raise wanted
        return str(url).rstrip("/")

    @property
    def root(self) -> str:
        """What every path begins with for those who come by ``public_url``, as in ``/prefs``; often empty."""
        return urlsplit(self.public_url or "").path

    @property
    def origin(self) -> str | None:
        """``public_url`` as browsers name where a page comes from; None where there is none."""
        if self.public_url is None:
            return None
        parts = urlsplit(self.public_url)
        return f"{parts.scheme}://{parts.netloc}"
