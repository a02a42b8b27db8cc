"""How far long work is, for whoever looks: a bar on a terminal, lines of JSON in a log, metrics for Prometheus."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from videoalign.contracts.progress import Advance
from videoalign.errors import ConfigError
from videoalign.stores.opening import publish_due

if TYPE_CHECKING:
    from videoalign.distributed.metrics import WorkMetrics

SECONDS_BETWEEN = 10.0
"""Between two lines of a log."""


@dataclass
class Watching:
    """Who looks; one for a command."""

    log: str = "text"
    metrics: WorkMetrics | None = None


WATCHING = Watching()
"""Of the command that runs."""


def watch(log: str, metrics_port: int | None) -> None:
    """Takes the options that stand before a command.

    Raises:
        ConfigError: an unknown form of log, no package for metrics, or a port that cannot be had.
    """
    WATCHING.log, WATCHING.metrics = "text", None
    if log not in ("text", "json"):
        raise ConfigError(f"--log: got '{log}', wanted text or json.")
    WATCHING.log = log
    if metrics_port is not None:
        from videoalign.distributed.metrics import serve_metrics

        WATCHING.metrics = serve_metrics(metrics_port)


def log_event(event: str, **told: Any) -> None:
    """A line of JSON on stderr, where the log is of that form."""
    if WATCHING.log == "json":
        now = time.strftime("%Y-%m-%dT%H:%M:%S%z")
        print(json.dumps({"time": now, "event": event, **told}), file=sys.stderr, flush=True)


@dataclass
class Count:
    """How far one kind of work is."""

    name: str
    total: int
    done: int = 0
    rejected: int = 0
    read_seconds: float = 0.0
    """Of reading, summed over what reads side by side."""
    work_seconds: float = 0.0
    """Of the model, summed over workers."""
    started: float = field(default_factory=time.monotonic)
    before: int = 0
    """Units that were there before this run."""

    def add(self, count: int, rejected: int, read_seconds: float, work_seconds: float) -> None:
        """Takes in units; those that take no time before any that does were there."""
        if not self.work_seconds and not work_seconds and not read_seconds and count > 1 and self.before == self.done:
            self.before += count
            self.started = time.monotonic()
        self.done += count
        self.rejected += rejected
        self.read_seconds += read_seconds
        self.work_seconds += work_seconds

    @property
    def rate(self) -> float:
        """Units a second, of this run."""
        seconds = time.monotonic() - self.started
        return (self.done - self.before) / seconds if seconds > 0 else 0.0

    @property
    def seconds_left(self) -> float | None:
        """By the rate so far; None before there is one."""
        return (self.total - self.done) / self.rate if self.rate > 0 else None

    def told(self) -> dict[str, Any]:
        """For a log."""
        left = self.seconds_left
        return {
            "work": self.name,
            "done": self.done,
            "made": self.done - self.before,
            "total": self.total,
            "rejected": self.rejected,
            "per_second": round(self.rate, 4),
            "seconds_left": None if left is None else round(left, 1),
            "read_seconds": round(self.read_seconds, 3),
            "work_seconds": round(self.work_seconds, 3),
        }


@contextmanager
def progress(name: str, total: int) -> Iterator[Advance]:
    """A `Progress`: a bar on stderr while the block runs, when that is a terminal, or lines in a log of JSON."""
    state, last = Count(name, total), [time.monotonic()]
    with _bar(name, total) as show:

        def advance(count: int = 1, *, rejected: int = 0, read_seconds: float = 0.0, work_seconds: float = 0.0) -> None:
            state.add(count, rejected, read_seconds, work_seconds)
            show(count)
            publish_due()
            if WATCHING.metrics is not None:
                WATCHING.metrics.show(state)
            if time.monotonic() - last[0] > SECONDS_BETWEEN:
                last[0] = time.monotonic()
                log_event("progress", **state.told())

        log_event("begin", work=name, total=total)
        try:
            yield advance
        finally:
            log_event("end", **state.told())


@contextmanager
def _bar(name: str, total: int) -> Iterator[Any]:
    if WATCHING.log == "json" or not sys.stderr.isatty():
        yield lambda units: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task(name, total=total)
        yield lambda units: bar.advance(task, units)
