"""Bulk work on Ray Data: tasks read clips, actors hold the model, and what they make streams back in order."""

from __future__ import annotations

import io
import logging
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import lru_cache
from typing import Any, TypeVar

import ray
import ray.data
from ray import cloudpickle

from videoalign.contracts.engine import Done, outcome, worked
from videoalign.distributed.engines import RayOptions
from videoalign.errors import ServerError, VideoAlignError

Item = TypeVar("Item")
Read = TypeVar("Read")
Made = TypeVar("Made")

MOST_BLOCKS = 4000
"""Of the table of parts; a block is what is scheduled, and holds one part while there are fewer."""


class RayEngine:
    """A `contracts.engine.Engine` over a Ray cluster.

    Ray Data holds back the readers while the workers are busy, starts workers up to the most that are asked for while
    parts wait, and does again what was lost with a worker or a machine. Only what was made comes back to this process.

    Args:
        address: of the cluster; see `open_engine`.
        options: see `RayOptions`.

    Raises:
        ServerError: no cluster answers.
    """

    def __init__(self, address: str | None, options: RayOptions) -> None:
        self.options = options
        if not ray.is_initialized():
            _connect(address)
        gpus = options.gpus
        self.gpus = float(ray.cluster_resources().get("GPU", 0) > 0) if gpus is None else gpus

    def stream(
        self,
        parts: Iterable[Sequence[Item]],
        work: Callable[[Sequence[Any]], Made] | None,
        read: Callable[[Item], Read] | None = None,
    ) -> Iterator[Done[Made]]:
        """See `Engine.stream`."""
        rows = [{"part": _dumps(list(part) if read else [(item, 0.0) for item in part])} for part in parts]
        if not rows:
            return
        options, home = self.options, os.getcwd()
        context = ray.data.DataContext.get_current()
        context.enable_progress_bars = False
        context.execution_options.preserve_order = True  # so that tables are the same whoever is faster
        data = ray.data.from_items(rows, override_num_blocks=min(len(rows), MOST_BLOCKS))
        if read is not None:
            data = data.map(_read, fn_args=(_dumps(read), home), num_cpus=options.reader_cpus)
        if work is not None:
            pool = ray.data.ActorPoolStrategy(min_size=options.actors, max_size=options.max_actors or options.actors)
            place: dict[str, Any] = {"num_cpus": options.cpus, "num_gpus": self.gpus or None}
            place |= {"max_restarts": -1, "max_task_retries": -1}  # also keeps Ray from reading in the workers
            data = data.map(_Worker, fn_constructor_args=(_dumps(work), home), compute=pool, **place)
        for row in data.iter_rows():
            done = cloudpickle.loads(row["part"])
            if isinstance(done, VideoAlignError):
                raise done
            yield done if work is not None else worked(None, done)


class _Worker:
    """Holds the model of one actor."""

    def __init__(self, work: bytes, home: str) -> None:
        _go(home)
        self.work: Any = None
        try:
            self.work = cloudpickle.loads(work)
        except VideoAlignError as error:
            self.refused: VideoAlignError | None = error
        else:
            self.refused = None

    def __call__(self, row: dict[str, Any]) -> dict[str, Any]:
        if self.refused is not None:
            return {"part": _dumps(self.refused)}
        found = cloudpickle.loads(row["part"])
        if isinstance(found, VideoAlignError):
            return row
        try:
            return {"part": _dumps(worked(self.work, found))}
        except VideoAlignError as error:
            return {"part": _dumps(error)}


def _read(row: dict[str, Any], read: bytes, home: str) -> dict[str, Any]:
    _go(home)
    reader = _loaded(read)
    try:
        return {"part": _dumps([outcome(reader, item) for item in cloudpickle.loads(row["part"])])}
    except VideoAlignError as error:
        return {"part": _dumps(error)}


@lru_cache(maxsize=4)
def _loaded(pickled: bytes) -> Any:
    return cloudpickle.loads(pickled)


def _go(home: str) -> None:
    """Into the folder of the command, so that relative paths mean the same."""
    if os.path.isdir(home):
        os.chdir(home)


class _Pickler(cloudpickle.Pickler):
    """Sends a model as how it was opened; see `contracts.engine.Reopened`."""

    def reducer_override(self, obj: Any) -> Any:
        if hasattr(type(obj), "reopener"):
            return obj.reopener(), ()
        return super().reducer_override(obj)


def _dumps(value: Any) -> bytes:
    with io.BytesIO() as file:
        _Pickler(file).dump(value)
        return file.getvalue()


def _connect(address: str | None) -> None:
    logging.getLogger("ray.data").setLevel(logging.WARNING)
    try:
        ray.init(address=address or "local", log_to_driver=False, logging_level=logging.ERROR, include_dashboard=False)
    except (ConnectionError, ValueError) as error:
        reason = " ".join(str(error).split())[:160]
        told = f"no Ray cluster answers at {address} ({reason})"
        raise ServerError(f"--address: {told}; start one, or correct it.") from None
