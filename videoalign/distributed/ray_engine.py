"""Bulk work on Ray: workers read clips and hold the model, and what they make comes back in order."""

from __future__ import annotations

import gc
import io
import logging
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, TypeVar

import ray
import torch
from ray import cloudpickle
from ray._private.services import canonicalize_bootstrap_address

from videoalign.contracts.engine import Done, outcome, worked
from videoalign.distributed.answering import why_silent
from videoalign.distributed.engines import RayOptions
from videoalign.distributed.ray_flow import Flow, Workers
from videoalign.errors import ServerError, VideoAlignError

Item = TypeVar("Item")
Read = TypeVar("Read")
Made = TypeVar("Made")


class RayEngine:
    """A `contracts.engine.Engine` over a Ray cluster.

    A worker is a process as `InProcess` is one: it reads the next part in threads, one for each of its cores, while the
    model works on one. Workers stay for a next stream that comes soon, so that libraries are loaded once, not once for
    each; more are started while parts wait, up to the most that are asked for. What was lost with a worker or a
    machine is done again. Only items go out, and what was made of them comes back.

    Args:
        address: of the cluster; see `open_engine`.
        options: see `RayOptions`.

    Raises:
        ServerError: no cluster answers.
    """

    def __init__(self, address: str | None, options: RayOptions) -> None:
        if not ray.is_initialized():
            _connect(address)
        gpus = float(ray.cluster_resources().get("GPU", 0) > 0) if options.gpus is None else options.gpus
        actor = ray.remote(_Worker).options(num_cpus=options.cpus, num_gpus=gpus, max_concurrency=2)
        self.workers = Workers(partial(actor.remote, max(1, round(options.cpus))), options)

    def stream(
        self,
        parts: Iterable[Sequence[Item]],
        work: Callable[[Sequence[Any]], Made] | None,
        read: Callable[[Item], Read] | None = None,
    ) -> Iterator[Done[Made]]:
        """See `Engine.stream`.

        Raises:
            ServerError: also where a part was lost with its worker over and over.
        """
        flow = Flow(self.workers, [_dumps((work, read)), os.getcwd()], reads=read is not None)
        for made in flow.run(_dumps(list(part)) for part in parts):
            done = cloudpickle.loads(made)
            if isinstance(done, VideoAlignError):
                raise done
            yield done


class _Worker:
    """Holds a model in a process of its own, in one thread; others read.

    Args:
        readers: threads that read.
    """

    def __init__(self, readers: int) -> None:
        self.work: Any = None
        self.read: Any = None
        self.model, self.readers = ThreadPoolExecutor(1), ThreadPoolExecutor(readers)

    def prepare(self, what: bytes, home: str) -> VideoAlignError | None:
        """Opens model and reader, in place of those before; what was wrong with them.

        Args:
            what: both, pickled.
            home: folder of the command, so that relative paths mean the same.
        """
        return self.model.submit(self._prepare, what, home).result()

    def _prepare(self, what: bytes, home: str) -> VideoAlignError | None:
        self.work = self.read = None
        gc.collect()
        torch.cuda.empty_cache()
        if os.path.isdir(home):
            os.chdir(home)
        try:
            self.work, self.read = cloudpickle.loads(what)
        except VideoAlignError as error:
            return error
        return None

    def do(self, part: bytes) -> tuple[float, bytes]:
        """Seconds of the work, and what it gave: a pickled `Done`, or what was wrong."""
        try:
            reading = [self.readers.submit(outcome, self.read, item) for item in cloudpickle.loads(part)]
            found = [future.result() for future in reading]
            done = self.model.submit(worked, self.work, found).result()
        except VideoAlignError as error:
            return 0.0, _dumps(error)
        return done.work_seconds, _dumps(done)


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
    try:
        place = address or "local"
        if place == "auto":  # what is remembered of the last cluster here may be of one that is gone
            place = canonicalize_bootstrap_address(place)
        if place != "local" and (why := why_silent(place)) is not None:
            raise ConnectionError(why if place == address else f"{place}: {why}")
        ray.init(address=place, log_to_driver=False, logging_level=logging.ERROR, include_dashboard=False)
    except (ConnectionError, ImportError, ValueError) as error:
        reason = " ".join(str(error).split())[:160]
        raise ServerError(
            f"--address: no Ray cluster answers at {address} ({reason}); wanted HOST:PORT as 'ray start --head' tells, "
            "ray://HOST:PORT, or auto on a machine of the cluster; start one, correct it, or leave it out."
        ) from None
