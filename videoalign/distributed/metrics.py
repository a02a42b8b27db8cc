"""Metrics of bulk work, for Prometheus."""

from __future__ import annotations

from importlib.util import find_spec
from typing import Any, Protocol

from videoalign.errors import ConfigError, ServerError


class Counted(Protocol):
    """How far one kind of work is."""

    name: str
    total: int
    done: int
    rejected: int
    read_seconds: float
    work_seconds: float

    @property
    def rate(self) -> float:
        """Units a second."""
        ...

    @property
    def seconds_left(self) -> float | None:
        """None while that is unknown."""
        ...


class WorkMetrics:
    """Gauges by kind of work, apart from those of any other server in the process."""

    def __init__(self) -> None:
        from prometheus_client import CollectorRegistry, Gauge

        self.registry = CollectorRegistry()
        what = {
            "total": "Units of the whole work, as clips.",
            "done": "Units that are done, those included that were there before.",
            "rejected": "Units that could not be used.",
            "per_second": "Units a second of this run.",
            "seconds_left": "Seconds until the end at this rate; -1 while that is unknown.",
            "read_seconds": "Seconds spent on reading clips, summed over what reads side by side.",
            "work_seconds": "Seconds spent in the model, summed over workers.",
        }
        where: dict[str, Any] = {"labelnames": ["work"], "registry": self.registry}
        self.gauges = {name: Gauge(f"videoalign_work_{name}", text, **where) for name, text in what.items()}

    def show(self, count: Counted) -> None:
        """Takes in how far a kind of work is."""
        left = count.seconds_left
        values = {"per_second": count.rate, "seconds_left": -1.0 if left is None else left}
        for name, gauge in self.gauges.items():
            gauge.labels(count.name).set(values[name] if name in values else getattr(count, name))


def serve_metrics(port: int) -> WorkMetrics:
    """Metrics that any machine may read at ``http://HOST:port/metrics`` while this process runs.

    Raises:
        ConfigError: prometheus-client is not installed.
        ServerError: the port cannot be had.
    """
    if find_spec("prometheus_client") is None:
        raise ConfigError(
            "--metrics-port: prometheus-client is not installed; pip install 'videoalign[cluster]', or leave it out."
        )
    from prometheus_client import start_http_server

    metrics = WorkMetrics()
    try:
        start_http_server(port, registry=metrics.registry)
    except (OSError, OverflowError) as error:
        raise ServerError(f"--metrics-port: {port} cannot be had ({error}); give another.") from None
    return metrics
