"""Named stages of a long run: each begins when those it needs are done, and what is done is not run again."""

from __future__ import annotations

import json
import multiprocessing
import time
from collections.abc import Callable, Container, Iterable, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from dataclasses import dataclass
from graphlib import TopologicalSorter
from pathlib import Path
from typing import Any

import torch

from videoalign.contracts.holding import end_with_parent
from videoalign.contracts.output import write_json


@dataclass(frozen=True)
class Stage:
    """What is known of a stage before it runs."""

    seconds: float
    """That it takes as a rule; only proportions count, and only for the time that is said to be left."""
    needs: tuple[str, ...] = ()
    """Stages that must be done before."""


def run_stages(
    folder: Path,
    stages: Mapping[str, Stage],
    work: Callable[[str], Any],
    *,
    num_workers: int = 1,
    say: Callable[[str], object] = str,
) -> dict[str, dict[str, Any]]:
    """Runs every stage that is not done and leaves ``<folder>/<name>.json`` for each: its result and its seconds.

    Args:
        folder: of the records; a stage whose record is there is not run again.
        stages: by name; of those that could begin, the first begins.
        work: takes a name and returns what JSON can hold; resumes what it had begun where that is long. It must be
            picklable, since it runs in a process of its own.
        num_workers: processes for stages that need nothing of each other; they share the threads of this process.
        say: is told how far the run is, a line whenever a stage begins.

    Returns:
        The records, ``{"seconds": ..., "result": ...}``, by name, in the order of ``stages``.
    """
    waiting = {name: stage for name, stage in stages.items() if not _record(folder, name).is_file()}
    clock = _Clock(stages, waiting)
    order = TopologicalSorter({name: [one for one in stage.needs if one in waiting] for name, stage in waiting.items()})
    order.prepare()
    places = [*stages]
    ready: list[str] = []
    running: dict[Future[tuple[Any, float]], str] = {}
    pool = ProcessPoolExecutor(
        num_workers,
        multiprocessing.get_context("spawn"),
        initializer=_begin_worker,
        initargs=(max(1, torch.get_num_threads() // num_workers),),
    )
    try:
        while order.is_active():
            ready = sorted([*ready, *order.get_ready()], key=places.index)
            while ready and len(running) < num_workers:
                name = ready.pop(0)
                running[pool.submit(_timed, work, name)] = name
            say(clock.line(running.values()))
            for future in wait(running, return_when=FIRST_COMPLETED).done:
                name = running.pop(future)
                result, seconds = future.result()
                write_json(_record(folder, name), {"seconds": round(seconds, 1), "result": result})
                clock.done.add(name)
                order.done(name)
    finally:
        pool.shutdown(cancel_futures=True)
    return {name: json.loads(_record(folder, name).read_text(encoding="utf-8")) for name in stages}


class _Clock:
    """How far a run is."""

    def __init__(self, stages: Mapping[str, Stage], waiting: Container[str]) -> None:
        self.stages = stages
        self.done = {name for name in stages if name not in waiting}
        self._earlier, self._started = self._seconds(self.done), time.perf_counter()

    def line(self, running: Iterable[str]) -> str:
        """Which stages run, of how many, and the time that is left once the pace is known."""
        done = self._seconds(self.done)
        line = f"{len(self.done)} of {len(self.stages)} stages done; now: {', '.join(running)}"
        if done > self._earlier:
            pace = (time.perf_counter() - self._started) / (done - self._earlier)
            left = pace * (self._seconds(self.stages) - done)
            line += f"; about {left / 60:.0f} min left" if left > 90 else f"; about {left:.0f} s left"
        return line

    def _seconds(self, names: Iterable[str]) -> float:
        return sum(self.stages[name].seconds for name in names)


def _begin_worker(num_threads: int) -> None:
    end_with_parent()
    torch.set_num_threads(num_threads)


def _record(folder: Path, name: str) -> Path:
    return folder / f"{name}.json"


def _timed(work: Callable[[str], Any], name: str) -> tuple[Any, float]:
    """What the work gives, and the seconds it took."""
    started = time.perf_counter()
    return work(name), time.perf_counter() - started
