"""What a training step is cut into, and the reading of it ahead of time."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain
from typing import Any, TypeVar

from videoalign.distributed import ALONE, Processes
from videoalign.training.order import by_shape

Item = TypeVar("Item")
Value = TypeVar("Value")


@dataclass(frozen=True)
class Part:
    """Examples of a step that go through the model together."""

    step: int
    places: Sequence[int]
    """In the step, see `randomness.Draws`."""
    indices: Sequence[int]
    """Of the examples at these places."""
    is_last: bool
    """Of this process's parts of the step."""
    weight: float = 1.0
    """What it counts: 0 where it is there for its passes alone."""


def parts_of_step(
    step: int, order: Sequence[int], batch_size: int, shape_of: Callable[[int], Any], processes: Processes = ALONE
) -> list[Part]:
    """The batches of a process, those that hold several shapes in as many parts.

    Places are dealt in the order of the shapes, whatever the batches and processes are; examples of one shape keep
    theirs. Processes that share weights take as many passes as each other, so one with fewer parts repeats its last,
    which then counts nothing.

    Args:
        step: its number.
        order: indices of all examples of the step.
        batch_size: examples of a batch.
        shape_of: see `training.loop.fit`.
        processes: this one and how many there are.
    """
    order = sorted(order, key=shape_of)
    begins = range(0, len(order), batch_size)
    batches = [range(begin, min(begin + batch_size, len(order))) for begin in begins]
    shapes = [shape_of(index) for index in order]
    alike = [by_shape(places, [shapes[place] for place in places]) for places in batches]
    by_process = [list(chain(*alike[rank :: processes.count])) for rank in range(processes.count)]
    own = by_process[processes.rank]
    num = max(map(len, by_process)) if processes.shares_weights else len(own)
    again = (own or by_process[0])[-1:]
    return [
        Part(step, places, [order[place] for place in places], number == num, float(number <= len(own)))
        for number, places in enumerate([*own, *again * (num - len(own))], start=1)
    ]


@contextmanager
def read_ahead(load: Callable[[Item], Value], items: Iterable[Item]) -> Iterator[Iterator[tuple[Item, Value]]]:
    """Each item with what ``load`` makes of it; while the block works on one, a thread makes the next."""
    pool = ThreadPoolExecutor(1, thread_name_prefix="read ahead")

    def values() -> Iterator[tuple[Item, Value]]:
        waiting: deque[tuple[Item, Future[Value]]] = deque()
        for item in items:
            waiting.append((item, pool.submit(load, item)))
            if len(waiting) > 1:
                first, future = waiting.popleft()
                yield first, future.result()
        for first, future in waiting:
            yield first, future.result()

    try:
        yield values()
    finally:
        pool.shutdown(cancel_futures=True)
