"""How parts go through the workers of a Ray cluster: done again where they were lost, given in order."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import chain, islice
from threading import Timer
from typing import Any

import ray
from ray.exceptions import RayActorError, RayError, RayTaskError

from videoalign.distributed.engines import RayOptions
from videoalign.errors import ServerError, VideoAlignError

SHORT_SECONDS = 10.0
"""A worker has a second part at hand where one takes less, so that it waits for nobody; where nothing is read, a longer
one goes to whoever is free first."""

IDLE_SECONDS = 60.0
"""After its last part that a worker is kept, with its cores and cards, for a next stage."""

MOST_LOST = 5
"""Times that a part may be lost with its worker, and that workers may be lost before one has its model: then it is not
the machine."""

MOST_UNORDERED = 8
"""Parts of each worker that may be done before one that is given earlier."""


@dataclass(eq=False)
class Worker:
    """A process that holds a model."""

    actor: Any
    is_ready: bool = False
    parts: int = 0
    """That it has and has not done."""


@dataclass(eq=False)
class Part:
    """Some items on their way."""

    number: int
    given: bytes
    lost: int = 0
    made: ray.ObjectRef | None = None


class Workers:
    """Those of one engine: kept from one flow to the next.

    Args:
        start: starts a process and gives its actor at once.
        options: how many.
    """

    def __init__(self, start: Callable[[], Any], options: RayOptions) -> None:
        self.start, self.options = start, options
        self.most = options.max_actors or options.actors
        self.idle: list[Worker] = []
        self._letting_go = Timer(0.0, self._let_go)

    def take(self) -> list[Worker]:
        """Those that wait, at least as many as are asked for; who takes them gives them back."""
        self._letting_go.cancel()
        found, self.idle = self.idle, []
        return found + [Worker(self.start()) for _ in range(self.options.actors - len(found))]

    def give_back(self, workers: Sequence[Worker]) -> None:
        """Keeps them for the next flow, where that comes soon."""
        self.idle = [*self.idle, *workers]
        self._letting_go = Timer(IDLE_SECONDS, self._let_go)
        self._letting_go.daemon = True
        self._letting_go.start()

    def _let_go(self) -> None:
        self.idle = []  # Ray ends a worker that nobody refers to


@dataclass
class Flow:
    """One stream of parts through workers.

    Args:
        workers: of the engine.
        prepared: what `prepare` of an actor takes.
        reads: whether workers read what they are given, so that they have the next part while they work on one.
    """

    workers: Workers
    prepared: Sequence[Any]
    reads: bool
    own: list[Worker] = field(default_factory=list)
    running: dict[ray.ObjectRef, tuple[Worker, Part | None]] = field(default_factory=dict)
    """A worker without a part opens its model."""
    waiting: deque[Part] = field(default_factory=deque)
    """For a worker; those that were lost stand first."""
    done: dict[int, Part] = field(default_factory=dict)
    """Not yet given."""
    begun: int = 0
    given: int = 0
    seconds: list[float] = field(default_factory=list)
    """Of the last parts that were done."""
    lost_early: int = 0
    """Workers that were lost since one had its model."""

    def run(self, parts: Iterable[bytes]) -> Iterator[bytes]:
        """What was made of each part, in order.

        Raises:
            VideoAlignError: a worker cannot open the model.
            ServerError: a part, or each worker, was lost over and over.
        """
        left: Iterator[Part] = (Part(number, part) for number, part in enumerate(parts))
        first = next(left, None)
        if first is None:
            return
        left = chain([first], left)
        try:
            for worker in self.workers.take():
                self._prepare(worker)
            while True:
                self._begin(left)
                if self.given == self.begun:
                    return
                part = self.done.pop(self.given, None)
                if part is None:
                    self._wait()
                    continue
                try:
                    made: bytes = ray.get(part.made)
                except RayError as error:
                    self._lost(part, error)
                    continue
                self.given += 1
                yield made
        finally:
            self._stop()

    def _begin(self, left: Iterator[Part]) -> None:
        """Starts what there is room for."""
        number = len(self.own)
        room = min(number - len(self.waiting), MOST_UNORDERED * number - (self.begun - self.given))
        new = list(islice(left, max(0, room)))
        self.begun += len(new)
        self.waiting += new
        is_short = sum(self.seconds) < SHORT_SECONDS * max(1, len(self.seconds))
        depth = 2 if self.reads or is_short else 1
        while self.waiting and (free := [one for one in self.own if one.is_ready and one.parts < depth]):
            self._work_on(self.waiting.popleft(), min(free, key=lambda one: one.parts))
        if self.waiting and self.seconds and all(worker.is_ready for worker in self.own):
            for _ in range(min(number, self.workers.most - number)):
                self._prepare(Worker(self.workers.start()))

    def _prepare(self, worker: Worker) -> None:
        worker.is_ready, worker.parts = False, 0
        self.own.append(worker)
        self.running[worker.actor.prepare.remote(*self.prepared)] = worker, None

    def _work_on(self, part: Part, worker: Worker) -> None:
        worker.parts += 1
        told, part.made = worker.actor.do.options(num_returns=2).remote(part.given)
        self.running[told] = worker, part

    def _wait(self) -> None:
        """Waits until something has come to its end, and sees to all that has."""
        ray.wait(list(self.running), num_returns=1, fetch_local=False)
        ended, _ = ray.wait(list(self.running), num_returns=len(self.running), timeout=0, fetch_local=False)
        for ref in ended:
            worker, part = self.running.pop(ref)
            try:
                self._ended(ref, worker, part)
            except RayError as error:
                if isinstance(error, RayTaskError):
                    raise error.as_instanceof_cause() from None
                if part is None or isinstance(error, RayActorError):
                    self._replace(worker, error)
                if part is not None:
                    self._lost(part, error)

    def _ended(self, ref: ray.ObjectRef, worker: Worker, part: Part | None) -> None:
        if part is not None:
            worker.parts -= 1
            self.seconds = [*self.seconds[-99:], ray.get(ref)]
            self.done[part.number] = part
        else:
            if isinstance(wrong := ray.get(ref), VideoAlignError):
                raise wrong
            worker.is_ready, self.lost_early = True, 0

    def _lost(self, part: Part, error: RayError) -> None:
        """Has a part done again."""
        part.lost += 1
        self._require(part.lost, error)
        part.made = None
        self.waiting.appendleft(part)

    def _replace(self, worker: Worker, error: RayError) -> None:
        """Lets go of a worker that was lost, and starts another where there are too few."""
        if worker in self.own:
            self.own.remove(worker)
            ray.kill(worker.actor)
            self.lost_early += not worker.is_ready
            self._require(self.lost_early, error)
            if len(self.own) < self.workers.options.actors:
                self._prepare(Worker(self.workers.start()))

    def _require(self, lost: int, error: RayError) -> None:
        if lost > MOST_LOST:
            raise ServerError(
                f"--engine: workers were lost {lost} times on the same part of the work "
                f"({' '.join(str(error).split())[:200]}); mend that, and start the command again to go on."
            )

    def _stop(self) -> None:
        """Gives the workers back, but those that are in the middle of a part; who is still opening a model is kept."""
        for worker, part in self.running.values():
            if part is not None and worker in self.own:
                self.own.remove(worker)
                ray.kill(worker.actor)
        self.workers.give_back(self.own)
