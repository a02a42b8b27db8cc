"""How much a server takes in at once: what does not fit is told to come back, not kept waiting."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from videoalign.web.refusals import Refusal
from videoalign.web.score.metrics import Metrics
from videoalign.web.score.settings import ServeSettings

LONGEST_WAIT = 60
"""Most seconds that somebody is told to wait."""


class Admission:
    """Counts clips and bytes between arrival and answer."""

    def __init__(self, settings: ServeSettings, metrics: Metrics) -> None:
        self.settings, self.metrics = settings, metrics
        self.clips = self.num_bytes = 0
        self.seconds_per_clip = 0.1
        """Mean time between answers while there is work; a running mean."""

    @contextmanager
    def hold(self, clips: int) -> Iterator[None]:
        """Room for so many clips while the block runs.

        Raises:
            Refusal: there is none; with the seconds after which there should be.
        """
        if self.clips + clips > self.settings.max_queue:
            raise self._busy()
        self._add(clips)
        try:
            yield
        finally:
            self._add(-clips)

    @contextmanager
    def hold_bytes(self) -> Iterator[Callable[[int], None]]:
        """Yields what is to be called with the number of bytes whenever some of a request have arrived; they are held
        until the block ends. It raises a `Refusal` when there is no room for them."""
        held = 0

        def arrived(num_bytes: int) -> None:
            nonlocal held
            if self.num_bytes + num_bytes > self.settings.max_queue_bytes:
                raise self._busy()
            self.num_bytes += num_bytes
            held += num_bytes

        try:
            yield arrived
        finally:
            self.num_bytes -= held

    def learn(self, clips: int, seconds: float) -> None:
        """Takes note of how long the model took for a batch."""
        self.seconds_per_clip += 0.1 * (seconds / clips - self.seconds_per_clip)

    def _busy(self) -> Refusal:
        wait = min(max(1, math.ceil(self.clips * self.seconds_per_clip)), LONGEST_WAIT)
        reason = f"{self.clips} clips of {self.num_bytes} bytes are waiting already; come back in {wait} seconds."
        return Refusal(429, "busy", reason, {"retry-after": str(wait)})

    def _add(self, clips: int) -> None:
        self.clips += clips
        self.metrics.queue.set(self.clips)
