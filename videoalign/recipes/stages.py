"""Named stages of a long run: each leaves a record when it is whole, and a second run goes on behind the last one."""

from __future__ import annotations

import json
import multiprocessing
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path
from typing import Any, Self

import torch

from videoalign.contracts.output import write_json


class Stages:
    """Runs stages, some of them side by side, and keeps ``stages/<name>.json``: the result and the seconds it took.

    Used as a context manager, which ends the processes that ran stages side by side.

    Args:
        folder: the run's folder.
        expected: every stage of the run, in order, with the seconds that it takes as a rule; only their proportions
            count, and only for the time that is said to be left.
        num_workers: processes for stages that run side by side, one thread each; 1 runs them one after another.
        say: is told how far the run is, a line before and after each stage.
    """

    def __init__(
        self, folder: Path, expected: Mapping[str, float], *, num_workers: int = 1, say: Callable[[str], object] = str
    ) -> None:
        self.folder, self.expected = folder / "stages", expected
        self.num_workers, self.say = num_workers, say
        self.seconds: dict[str, float] = {}
        """Seconds of each stage, those of an earlier run included, in order."""
        self._pool: ProcessPoolExecutor | None = None
        self._started, self._earlier = time.perf_counter(), 0.0

    def __enter__(self) -> Self:
        self._earlier = sum(share for name, share in self.expected.items() if self._file(name).is_file())
        return self

    def __exit__(self, *error: object) -> None:
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)

    def run(self, name: str, work: Callable[[], Any]) -> Any:
        """The result of ``work``, or the one that an earlier run left.

        Args:
            name: of the stage, unique in the run.
            work: returns what JSON can hold; resumes what it had begun where that is long.
        """
        if not self._file(name).is_file():
            self._tell(name)
            self._keep(name, *_timed(work))
        return self._result(name)

    def run_side_by_side(self, names: Sequence[str], work: Callable[[str], Any]) -> dict[str, Any]:
        """The results of stages that need nothing of each other, by name.

        Args:
            names: of the stages; the longest first.
            work: takes a name; must be picklable, since it may run in a process of its own.
        """
        waiting = [name for name in names if not self._file(name).is_file()]
        if self.num_workers == 1 or len(waiting) < 2:
            for name in waiting:
                self.run(name, lambda name=name: work(name))  # type: ignore[misc]
        else:
            self._pool = self._pool or ProcessPoolExecutor(
                self.num_workers, multiprocessing.get_context("spawn"), initializer=_one_thread
            )
            running = {self._pool.submit(_timed, work, name): name for name in waiting}
            self._tell(*waiting)
            for future in as_completed(running):
                name = running.pop(future)
                self._keep(name, *future.result())
                if running:
                    self._tell(*running.values())
        return {name: self._result(name) for name in names}

    def _file(self, name: str) -> Path:
        return self.folder / f"{name}.json"

    def _keep(self, name: str, result: Any, seconds: float) -> None:
        write_json(self._file(name), {"seconds": round(seconds, 1), "result": result})

    def _result(self, name: str) -> Any:
        record = json.loads(self._file(name).read_text(encoding="utf-8"))
        self.seconds[name] = record["seconds"]
        return record["result"]

    def _tell(self, *names: str) -> None:
        order = list(self.expected)
        done = sum(share for name, share in self.expected.items() if self._file(name).is_file())
        line = f"stage {order.index(names[0]) + 1} of {len(order)}: {', '.join(names)}"
        if done > self._earlier:
            pace = (time.perf_counter() - self._started) / (done - self._earlier)
            left = pace * (sum(self.expected.values()) - done)
            line += f"; about {left / 60:.0f} min left" if left > 90 else f"; about {left:.0f} s left"
        self.say(line)


def _timed(work: Callable[..., Any], *arguments: Any) -> tuple[Any, float]:
    """What the work gives, and the seconds it took."""
    started = time.perf_counter()
    return work(*arguments), time.perf_counter() - started


def _one_thread() -> None:
    """Processes that share the cores must not spin for each other's."""
    torch.set_num_threads(1)
