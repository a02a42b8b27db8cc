"""Engines of bulk work by name: this process, or Ray on many machines."""

from __future__ import annotations

from importlib.util import find_spec

from pydantic import Field

from videoalign.config import Config
from videoalign.contracts.engine import IN_PROCESS, Engine
from videoalign.errors import ConfigError

ENGINES = ("local", "ray")


class RayOptions(Config):
    """How work is spread over a Ray cluster."""

    actors: int = Field(default=1, ge=1)
    """Workers that hold the model, at least."""
    max_actors: int | None = Field(default=None, ge=1)
    """Workers at most: more are started while work waits and there is room; default: as many as ``actors``."""
    gpus: float | None = Field(default=None, ge=0)
    """Graphics cards of a worker, as 0.5 for two workers on each; default: 1 where the cluster has any, else 0."""
    cpus: float = Field(default=1.0, gt=0)
    """Processor cores of a worker, which reads clips in so many threads."""


def open_engine(name: str = "local", *, address: str | None = None, options: RayOptions | None = None) -> Engine:
    """The engine of that name.

    Args:
        name: ``local`` or ``ray``.
        address: of a Ray cluster, ``HOST:PORT``, ``ray://HOST:PORT`` from outside of it, or ``auto`` for the one that
            this machine belongs to; None starts one on this machine.
        options: of the cluster.

    Raises:
        ConfigError: an unknown engine, Ray is not installed, fewer workers at most than at least, or something is given
            that ``local`` has no use for.
        ServerError: no cluster answers at the address.
    """
    if name not in ENGINES:
        raise ConfigError(f"--engine: got '{name}', wanted {' or '.join(ENGINES)}.")
    if name == "local":
        if address is not None or options is not None:
            given = "--address" if address is not None else "--ray"
            raise ConfigError(f"{given}: needs --engine ray; the engine is local.")
        return IN_PROCESS
    if find_spec("ray") is None:
        raise ConfigError("--engine: ray is not installed; pip install 'videoalign[cluster]', or leave --engine out.")
    chosen = options or RayOptions()
    if chosen.max_actors is not None and chosen.max_actors < chosen.actors:
        got = f"actors={chosen.actors} and max_actors={chosen.max_actors}"
        raise ConfigError(f"--ray: got {got}, which is less; lower actors.")
    from videoalign.distributed.ray_engine import RayEngine

    return RayEngine(address, chosen)
