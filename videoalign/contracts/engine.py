"""How bulk work is run: in parts, each read ahead of the model, in this process or on many machines."""

from __future__ import annotations

import os
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from typing import Any, Generic, Protocol, TypeVar

from videoalign.errors import ServerError, VideoAlignError

Item = TypeVar("Item")
Read = TypeVar("Read")
Made = TypeVar("Made")
MadeNow = TypeVar("MadeNow", covariant=True)
Row = TypeVar("Row")

NUM_READERS = min(8, os.cpu_count() or 1)
"""Threads that read, each one item at a time."""


@dataclass(frozen=True)
class Done(Generic[MadeNow]):
    """A part that is done."""

    made: MadeNow
    """What the work gave."""
    read_seconds: float = 0.0
    """Time that reading took, of all items of the part together; they are read side by side."""
    work_seconds: float = 0.0
    """Time that the work took."""


class Engine(Protocol):
    """Runs bulk work. Whoever calls it writes the tables, so that one process alone does; the work may write clips."""

    def stream(
        self,
        parts: Iterable[Sequence[Item]],
        work: Callable[[Sequence[Any]], Made] | None,
        read: Callable[[Item], Read] | None = None,
    ) -> Iterator[Done[Made]]:
        """What the work makes of each part, in the order of the parts, each once.

        Parts are read ahead of the work, and no more of them are held than are soon worked on. An engine of many
        machines pickles ``work``, ``read`` and the items; a model in ``work`` goes as how it was opened and is opened
        once by each worker, see `Reopened`. A part whose worker was lost is worked on again.

        Args:
            parts: items that go through the model together.
            work: takes a part as ``read`` left it; where reading an item failed, a `VideoAlignError` stands for it.
                None gives the part as it was read, a list, for work without a model.
            read: reads one item, without the model; None leaves the items as they are.

        Raises:
            VideoAlignError: what the work raised.
            ServerError: the other machines cannot be reached.
        """
        ...


class Reopened(Protocol):
    """A model that is sent to other processes as how it was opened, for its weights lie where they can be read."""

    def reopener(self) -> Callable[[], Any]:
        """Gives the same model where it is called; both can be pickled.

        Raises:
            ModelError: the model is in memory alone, or was changed after it was opened; likewise, from what this
                gives, where another model is found at its place.
        """
        ...


class InProcess:
    """An `Engine` of this process: threads read the next part while the model works on one; two parts are held."""

    def __init__(self, readers: int = NUM_READERS) -> None:
        self.readers = readers

    def stream(
        self,
        parts: Iterable[Sequence[Item]],
        work: Callable[[Sequence[Any]], Made] | None,
        read: Callable[[Item], Read] | None = None,
    ) -> Iterator[Done[Made]]:
        """See `Engine.stream`."""
        remaining, waiting = iter(parts), deque[list[Future[tuple[Any, float]]]]()
        pool = ThreadPoolExecutor(self.readers)

        def read_on() -> None:
            for part in islice(remaining, 2 - len(waiting)):
                waiting.append([pool.submit(outcome, read, item) for item in part])

        try:
            read_on()
            while waiting:
                found = [future.result() for future in waiting.popleft()]
                read_on()
                yield worked(work, found)
        finally:
            pool.shutdown(cancel_futures=True)


IN_PROCESS = InProcess()
"""What is used where nothing else is asked for."""


def outcome(read: Callable[[Item], Read] | None, item: Item) -> tuple[Read | Item | VideoAlignError, float]:
    """What reading an item gave, or what was wrong with it, and the seconds it took.

    Raises:
        ServerError: where it is did not answer, which says nothing of the item.
    """
    started = time.perf_counter()
    try:
        found: Read | Item | VideoAlignError = item if read is None else read(item)
    except ServerError:
        raise
    except VideoAlignError as error:
        found = error
    return found, time.perf_counter() - started


def worked(work: Callable[[Sequence[Any]], Made] | None, found: Sequence[tuple[Any, float]]) -> Done[Made]:
    """What the work makes of a part of which each item is an `outcome`."""
    started = time.perf_counter()
    values: Any = [value for value, _ in found]
    made: Made = values if work is None else work(values)
    return Done(made, sum(seconds for _, seconds in found), time.perf_counter() - started)


def cut(rows: Sequence[Row], size: int, is_done: Callable[[Row], bool] = lambda _: False) -> list[list[Row]]:
    """The rows that are not done, in parts of at most ``size``: cut as in a run from the start, so that rows go through
    the model together as they would have there; first the parts of which nothing is done."""
    parts = [rows[start : start + size] for start in range(0, len(rows), size)]
    parts.sort(key=lambda part: any(map(is_done, part)))
    left = ([row for row in part if not is_done(row)] for part in parts)
    return [part for part in left if part]


def raise_wrong(value: Row | VideoAlignError) -> Row:
    """The value, unless it says what was wrong with an item, which is raised then."""
    if isinstance(value, VideoAlignError):
        raise value
    return value
