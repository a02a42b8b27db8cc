"""What the database holds. Times are seconds since 1970 in UTC; tokens are stored as SHA-256 alone."""

from __future__ import annotations

from enum import StrEnum
from typing import Any

from sqlalchemy import JSON, Float, ForeignKey, Index, MetaData, String, UniqueConstraint, text
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column


class PersonRole(StrEnum):
    """What somebody may do."""

    ADMIN = "admin"
    RATER = "rater"
    ADJUDICATOR = "adjudicator"


class Status(StrEnum):
    """Whether somebody gets pairs."""

    QUALIFYING = "qualifying"
    ACTIVE = "active"
    PAUSED = "paused"
    FORGOTTEN = "forgotten"
    """Was forgotten: has no name but a number, neither session nor link, and gets none again."""


class PairState(StrEnum):
    """Where a pair stands."""

    OPEN = "open"
    """Wants more raters."""
    FULL = "full"
    """Every rater that it wants has judged it or is at it."""
    DECIDED = "decided"
    DISPUTED = "disputed"
    """Waits for an adjudicator."""
    EXCLUDED = "excluded"
    """An adjudicator found that it cannot be judged."""
    GOLD = "gold"
    RETIRED = "retired"
    """No longer in the dataset, or no longer among the pairs that the settings ask for."""


class Kind(StrEnum):
    """Why a pair was given to somebody."""

    RATING = "rating"
    QUALIFICATION = "qualification"
    GOLD = "gold"
    REPEAT = "repeat"
    ADJUDICATION = "adjudication"


class Work(StrEnum):
    """Where an assignment stands."""

    LEASED = "leased"
    SUBMITTED = "submitted"
    SKIPPED = "skipped"
    EXPIRED = "expired"
    DISCARDED = "discarded"
    """Was submitted or skipped; an admin discarded the person's work, so it counts nowhere."""


class Base(DeclarativeBase):
    """Base of every table."""

    metadata = MetaData(
        naming_convention={
            "ix": "ix_%(table_name)s_%(column_0_N_name)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "fk": "fk_%(table_name)s_%(column_0_N_name)s",
            "pk": "pk_%(table_name)s",
        }
    )
    type_annotation_map = {dict[str, Any]: JSON(none_as_null=True), float: Float(53)}


class Programme(Base):
    """One row: what was fixed at the first start, and what holds now."""

    __tablename__ = "programme"

    id: Mapped[int] = mapped_column(primary_key=True)
    key: Mapped[str] = mapped_column(String(32))
    """Tells the judgements of this database from those of others."""
    dataset_id: Mapped[str] = mapped_column(String(64), default="")
    """Of the dataset that is judged; see `videoalign.contracts.records.DatasetInfo`."""
    seed: Mapped[int]
    settings: Mapped[dict[str, Any]]
    guideline: Mapped[int] = mapped_column(default=0)
    """Version of the guideline that holds now."""
    created_at: Mapped[float]


class Guideline(Base):
    """What raters are asked, one row a version; rows are only ever added."""

    __tablename__ = "guidelines"

    version: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    """1, 2, ... A verdict of version 0 was given before versions were kept."""
    created_at: Mapped[float]
    dimensions: Mapped[dict[str, Any]]
    """Name -> ``{"guideline": text, "sees_prompt": bool}``, in order."""
    renamed: Mapped[dict[str, Any]]
    """Name in the version before -> name now; None where it is asked no more."""


class Person(Base):
    """Somebody who was invited."""

    __tablename__ = "people"

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(String(200))
    role: Mapped[str] = mapped_column(String(20))
    status: Mapped[str] = mapped_column(String(20))
    reason: Mapped[str] = mapped_column(String(500), default="")
    """Why paused."""
    given: Mapped[int] = mapped_column(default=0)
    """Assignments so far."""
    gold_from: Mapped[int] = mapped_column(default=0)
    """Turn from which hidden gold counts: an admin who lets somebody go on begins the count anew."""
    crowd_key: Mapped[str | None] = mapped_column(String(64), index=True, unique=True)
    """Of who came by the open link: SHA-256 of their id elsewhere, so that they are found again."""
    created_at: Mapped[float]


class Invitation(Base):
    """A link that opens one session."""

    __tablename__ = "invitations"

    id: Mapped[int] = mapped_column(primary_key=True)
    token_hash: Mapped[str] = mapped_column(String(64), unique=True)
    person_id: Mapped[int] = mapped_column(ForeignKey("people.id"), index=True)
    created_at: Mapped[float]
    expires_at: Mapped[float]
    used_at: Mapped[float | None]
    revoked_at: Mapped[float | None]


class SignIn(Base):
    """A session."""

    __tablename__ = "sessions"

    id: Mapped[int] = mapped_column(primary_key=True)
    token_hash: Mapped[str] = mapped_column(String(64), unique=True)
    person_id: Mapped[int] = mapped_column(ForeignKey("people.id"), index=True)
    invitation_id: Mapped[int] = mapped_column(ForeignKey("invitations.id"), index=True)
    created_at: Mapped[float]
    expires_at: Mapped[float]
    revoked_at: Mapped[float | None]


class Pair(Base):
    """Two clips of one prompt, in the order in which they are stored everywhere."""

    __tablename__ = "pairs"
    __table_args__ = (
        UniqueConstraint("clip_a", "clip_b"),
        Index(None, "state", "shuffle"),
        Index(None, "state", "taken", "shuffle"),
        Index(None, "state", "matchup", "shuffle"),
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    prompt_id: Mapped[str]
    clip_a: Mapped[str]
    clip_b: Mapped[str]
    state: Mapped[str] = mapped_column(String(20))
    shuffle: Mapped[int]
    """A random number in 0 .. 2**31 - 1."""
    matchup: Mapped[str] = mapped_column(default="")
    """The two generators, see `programme.pairs.matchup`; empty where a verdict tells nothing of them."""
    taken: Mapped[int] = mapped_column(default=0)
    """Raters who have judged it or are at it."""
    judged: Mapped[int] = mapped_column(default=0)
    answers: Mapped[dict[str, Any] | None]
    """Of gold: the label of each dimension that is known."""
    decision: Mapped[dict[str, Any] | None]
    """Once decided: the label of each dimension and whether a majority or an adjudicator chose it."""


class Assignment(Base):
    """A pair given to somebody; at most one a pair, person and round."""

    __tablename__ = "assignments"
    __table_args__ = (
        UniqueConstraint("pair_id", "person_id", "round"),
        Index(None, "person_id", "state"),
        Index(None, "state", "lease_until", "kind"),
    )

    id: Mapped[str] = mapped_column(String(32), primary_key=True)
    pair_id: Mapped[int] = mapped_column(ForeignKey("pairs.id"))
    person_id: Mapped[int] = mapped_column(ForeignKey("people.id"))
    round: Mapped[int] = mapped_column(default=0)
    """1 for a blind repeat."""
    kind: Mapped[str] = mapped_column(String(20))
    swapped: Mapped[bool]
    """Whether clip B stood on the left."""
    turn: Mapped[int]
    """How many assignments the person had been given before."""
    state: Mapped[str] = mapped_column(String(20))
    given_at: Mapped[float]
    shown_at: Mapped[float | None]
    """When it became the pair to judge; until then it was only loaded ahead."""
    guideline: Mapped[int] = mapped_column(default=0)
    """Version of the guideline that its person last saw beside it."""
    lease_until: Mapped[float]
    ended_at: Mapped[float | None]
    reason: Mapped[str] = mapped_column(String(500), default="")
    """Why skipped."""
    served: Mapped[int] = mapped_column(default=0)
    """Clips that were sent to the person: 1 for the left one, 2 for the right one, 3 for both."""
    draft: Mapped[dict[str, Any] | None]


class Said(Base):
    """What somebody said about a pair; kept for ever, also when it was taken back."""

    __tablename__ = "judgements"
    __table_args__ = (
        Index("uq_judgements_live", "assignment_id", unique=True, sqlite_where=text("withdrawn_at IS NULL"),
              postgresql_where=text("withdrawn_at IS NULL")),
    )  # fmt: skip

    id: Mapped[int] = mapped_column(primary_key=True)
    assignment_id: Mapped[str] = mapped_column(ForeignKey("assignments.id"))
    verdicts: Mapped[dict[str, Any]]
    """Dimension -> label in the stored order of the clips, not as shown."""
    ratings: Mapped[dict[str, Any] | None]
    """``{"a": {dimension: 1..5}, "b": ...}``."""
    comment: Mapped[str] = mapped_column(default="")
    watched_a: Mapped[float]
    watched_b: Mapped[float]
    seconds: Mapped[float]
    """From the moment the pair was shown."""
    content_hash: Mapped[str] = mapped_column(String(64))
    guideline: Mapped[int] = mapped_column(default=0)
    """Version of the guideline that it was given under."""
    content_a: Mapped[str] = mapped_column(default="")
    """Stands for the clip and prompt that was sent, see `Judgement.content_a`; empty where that is not known."""
    content_b: Mapped[str] = mapped_column(default="")
    submitted_at: Mapped[float]
    withdrawn_at: Mapped[float | None]


class Audit(Base):
    """Who did what; rows are only ever added."""

    __tablename__ = "audit"

    id: Mapped[int] = mapped_column(primary_key=True)
    at: Mapped[float] = mapped_column(index=True)
    person_id: Mapped[int | None] = mapped_column(ForeignKey("people.id"))
    action: Mapped[str] = mapped_column(String(50))
    subject: Mapped[str] = mapped_column(String(200), default="")
    detail: Mapped[dict[str, Any]]
