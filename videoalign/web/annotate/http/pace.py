"""How often somebody may do something: a program that loops is told to wait, people never notice."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable

from pyrate_limiter import Duration, InMemoryBucket, Rate, RateItem

from videoalign.web.refusals import Refusal

MANY = 10_000
"""Doers that are remembered; beyond it those who did nothing within a minute are forgotten."""


class Pace:
    """Counts what each does within a minute, in this process alone."""

    def __init__(self, what: str, per_minute: int, now: Callable[[], float] = time.monotonic) -> None:
        """
        Args:
            what: it is, in the plural, as in ``verdicts``.
            per_minute: how often each may do it.
            now: seconds that never go back.
        """
        self.what, self.per_minute, self.now = what, per_minute, now
        self._done: dict[object, InMemoryBucket] = {}
        self._lock = threading.Lock()

    def count(self, who: object) -> None:
        """Takes note that somebody does it.

        Raises:
            Refusal: they did it too often.
        """
        now = int(1000 * self.now())
        with self._lock:
            if who not in self._done:
                self._forget(now)
                self._done[who] = InMemoryBucket([Rate(self.per_minute, Duration.MINUTE)])
            bucket = self._done[who]
            bucket.leak(now)
            item = RateItem("", now)
            if bucket.put(item):
                return
            wait = math.ceil(int(bucket.waiting(item)) / 1000)  # type: ignore[arg-type]
        reason = f"more than {self.per_minute} {self.what} in a minute; wait {wait} seconds."
        raise Refusal(429, "too_often", reason, {"retry-after": str(wait)})

    def _forget(self, now: int) -> None:
        if len(self._done) < MANY:
            return
        for who, bucket in list(self._done.items()):
            bucket.leak(now)
            if bucket.count() == 0:
                del self._done[who]


class Paces:
    """What is counted in a programme."""

    def __init__(self, verdicts: int, undos: int, wrong_links: int) -> None:
        self.verdicts = Pace("verdicts", verdicts)
        self.undos = Pace("verdicts taken back", undos)
        self.wrong_links = Pace("links that lead nowhere", wrong_links)
