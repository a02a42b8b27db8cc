"""What a reward server counts, for Prometheus."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST

SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
CLIPS = (1, 2, 4, 8, 16, 32, 64)


class Metrics:
    """Counters of one server, apart from those of any other in the process."""

    content_type = CONTENT_TYPE_LATEST

    def __init__(self) -> None:
        self._registry = registry = CollectorRegistry()
        name = "videoalign_score"
        self.requests = Counter(f"{name}_requests", "Requests, by outcome.", ["outcome"], registry=registry)
        self.clips = Counter(f"{name}_clips", "Clips that were read, by outcome.", ["outcome"], registry=registry)
        self.queue = Gauge(f"{name}_queue_clips", "Clips taken in and not yet answered.", registry=registry)
        self.batch = Histogram(
            f"{name}_batch_clips", "Clips in one run of the model.", buckets=CLIPS, registry=registry
        )
        self.seconds = Histogram(
            f"{name}_seconds",
            "Time of one stage: decode or wait (a clip), model (a batch), whole (a request).",
            ["stage"],
            buckets=SECONDS,
            registry=registry,
        )

    def text(self) -> bytes:
        """All of it, in the format that Prometheus reads."""
        return generate_latest(self._registry)
