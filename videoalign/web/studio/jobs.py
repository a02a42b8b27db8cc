"""What is to be made, in turn, on one thread: everybody's next clip, then everybody's next but one."""

from __future__ import annotations

import itertools
import logging
import secrets
import threading
from collections.abc import Callable, Iterator
from queue import PriorityQueue
from typing import Any, Literal

from videoalign.errors import VideoAlignError
from videoalign.web.studio.cache import Cache
from videoalign.web.studio.making import Made, Point, Watch, make
from videoalign.web.studio.opening import Opened
from videoalign.web.studio.recipe import Recipe

log = logging.getLogger(__name__)

State = Literal["waiting", "running", "done", "cancelled", "failed"]
RANKS = {"comparison": 0, "grid": 1}
"""Kind of job to its place in the queue: a comparison goes before the next point of a grid."""
END = -1
"""Before everything."""


class Cancelled(Exception):
    """Nobody wants the clip any more."""


class Job(Watch):
    """Clips that somebody wants; made one by one, in the order of its plan."""

    def __init__(self, kind: str, plan: Iterator[Recipe], total: int, made: dict[str, Made], **about: Any) -> None:
        """
        Args:
            kind: a name in `RANKS`.
            plan: the clips; the next is asked for once those before it are in ``made``.
            total: how many they are at most.
            made: filled with the clips that are there, by `Opened.key`.
            about: what whoever asks for it must know of it later.
        """
        self.id, self.kind, self.plan, self.total, self.about = secrets.token_hex(8), kind, plan, total, about
        self.state: State = "waiting"
        self.error: str | None = None
        self.made = made
        self.now: dict[str, Any] = {}
        self.shown: tuple[int, bytes] = (0, b"")
        self.wanted = threading.Event()
        self.wanted.set()
        self.ticket = (0, 0)

    @property
    def is_over(self) -> bool:
        """Whether nothing more will be made."""
        return self.state in ("done", "cancelled", "failed")

    def cancel(self) -> None:
        """Gives it up, at the next step of a clip that is being made."""
        self.wanted.clear()
        if self.state == "waiting":
            self.state = "cancelled"

    def begin(self, recipe: Recipe) -> None:
        """A clip is begun."""
        self.state = "running"
        self.now = {"recipe": recipe.model_dump(mode="json"), "step": 0, "of": 0, "curve": []}

    def step(self, number: int, of: int) -> None:
        """See `Watch`."""
        if not self.wanted.is_set():
            raise Cancelled
        self.now |= {"step": number, "of": of}

    def point(self, point: Point) -> None:
        """See `Watch`."""
        self.now["curve"] = [*self.now["curve"], point.model_dump()]

    def preview(self, encode: Callable[[], bytes]) -> None:
        """See `Watch`."""
        self.shown = self.shown[0] + 1, encode()

    def snapshot(self) -> dict[str, Any]:
        """How far it is, as the page is told."""
        return {
            "id": self.id,
            "kind": self.kind,
            "state": self.state,
            "error": self.error,
            "made": len(self.made),
            "total": self.total,
            "now": self.now if self.state == "running" else None,
            "preview": self.shown[0],
        }


class Queue:
    """All jobs, and the thread that makes their clips."""

    def __init__(self, opened: Opened, cache: Cache) -> None:
        self.opened, self.cache = opened, cache
        self.waiting: PriorityQueue[tuple[int, int, Job | None]] = PriorityQueue()
        self._tickets = itertools.count(1)
        self._thread = threading.Thread(target=self._work, name="studio", daemon=True)
        self.running: Job | None = None

    def start(self) -> None:
        """Begins to work."""
        self._thread.start()

    def stop(self) -> None:
        """Gives up what is being made and ends the thread."""
        self.waiting.put((END, 0, None))
        while (job := self.running) is not None or self._thread.is_alive():
            if job is not None:
                job.cancel()
            self._thread.join(0.05)

    def put(self, job: Job) -> None:
        """Lets a job wait for its turn."""
        job.ticket = RANKS[job.kind], next(self._tickets)
        self.waiting.put((*job.ticket, job))

    def _work(self) -> None:
        while (job := self.waiting.get()[2]) is not None:
            self.running = job
            try:
                self._next_clip(job)
            except Cancelled:
                job.state = "cancelled"
            except VideoAlignError as error:
                job.state, job.error = "failed", str(error)
            except Exception:
                log.exception("a clip failed")
                job.state, job.error = "failed", "the studio failed on this clip; its log says why."
            finally:
                self.running = None
            if not job.is_over:
                self.put(job)

    def _next_clip(self, job: Job) -> None:
        """One clip of a job; those that are there cost nothing."""
        if not job.wanted.is_set():
            raise Cancelled
        while (recipe := next(job.plan, None)) is not None:
            key = self.opened.key(recipe)
            made = self.cache.get(key)
            is_there = made is not None
            if made is None:
                job.begin(recipe)
                wants_preview = job.kind == "comparison" and not job.shown[0] and recipe != recipe.base()
                made, content = make(self.opened, recipe, job, with_preview=wants_preview)
                self.cache.put(key, made, content)
            job.made[key] = made
            if not is_there:
                return
        job.state = "done"

    def before(self, job: Job) -> int:
        """How many other jobs come before this one."""
        waiting = [other for _, _, other in list(self.waiting.queue) if other is not None and not other.is_over]
        first = [other for other in waiting if other.ticket < job.ticket and other is not self.running]
        return len(first) + (self.running not in (None, job))
