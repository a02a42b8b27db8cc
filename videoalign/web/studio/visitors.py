"""Who looks: each visitor has jobs and clips that no other is shown."""

from __future__ import annotations

import secrets
import threading
import time
from dataclasses import dataclass, field

from videoalign.web.refusals import Refusal
from videoalign.web.studio.jobs import Job


@dataclass
class Visitor:
    """One browser."""

    jobs: dict[str, Job] = field(default_factory=dict)
    """By id, in the order in which they came."""
    keys: set[str] = field(default_factory=set)
    """Of the clips that may be shown: those that were asked for."""
    seen: float = field(default_factory=time.monotonic)
    lock: threading.Lock = field(default_factory=threading.Lock)
    """Held while a job is counted and added."""

    @property
    def open_jobs(self) -> list[Job]:
        """Those that are not over."""
        return [job for job in list(self.jobs.values()) if not job.is_over]

    def job(self, id: str) -> Job:
        """A job of this visitor.

        Raises:
            Refusal: there is none, or it is somebody else's.
        """
        found = self.jobs.get(id)
        if found is None:
            raise Refusal(404, "no_job", "there is no such job of yours.")
        return found

    def add(self, job: Job, max_jobs: int, keep: int = 20) -> None:
        """Takes a job in; those that have been over longest are forgotten.

        Raises:
            Refusal: too many are not over.
        """
        with self.lock:
            if len(self.open_jobs) >= max_jobs:
                reason = f"{max_jobs} jobs of yours are not done (max_jobs); wait for one, or cancel it."
                raise Refusal(429, "too_many_jobs", reason)
            self.jobs[job.id] = job
            over = [job.id for job in self.jobs.values() if job.is_over]
            for forgotten in over[: max(0, len(over) - keep)]:
                del self.jobs[forgotten]


class Visitors:
    """All of them, by the secret in their cookies."""

    def __init__(self, most: int) -> None:
        self.most = most
        self._all: dict[str, Visitor] = {}
        self._lock = threading.Lock()

    def find(self, secret: str | None) -> Visitor | None:
        """Whoever has this secret."""
        visitor = self._all.get(secret or "")
        if visitor is not None:
            visitor.seen = time.monotonic()
        return visitor

    def welcome(self) -> str:
        """The secret of somebody new.

        Raises:
            Refusal: there are too many, and all of them wait for something.
        """
        with self._lock:
            if len(self._all) >= self.most:
                idle = [secret for secret, visitor in self._all.items() if not visitor.open_jobs]
                if not idle:
                    raise Refusal(429, "too_many_visitors", "too many people are here (max_visitors); come back later.")
                del self._all[min(idle, key=lambda secret: self._all[secret].seen)]
            secret = secrets.token_urlsafe(24)
            self._all[secret] = Visitor()
            return secret
