"""Where bulk work runs: options that its commands share."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from videoalign.cli.common import load_config

if TYPE_CHECKING:
    from videoalign.contracts.engine import Engine

EngineName = Annotated[
    str, typer.Option("--engine", metavar="local|ray", help="In this process, or on the machines of a Ray cluster.")
]
Address = Annotated[
    str | None,
    typer.Option(
        "--address",
        help="Of the Ray cluster, as HOST:6379, ray://HOST:10001, or auto on one of it; default: one is started here.",
    ),
]
RaySettings = Annotated[
    list[str] | None,
    typer.Option(
        "--ray",
        metavar="KEY=VALUE",
        help="How work is spread: actors, max_actors, gpus, cpus; repeat.",
    ),
]
MaxRejected = Annotated[
    float,
    typer.Option(
        "--max-rejected",
        metavar="SHARE",
        help="Share of the clips that may be left out as unusable, listed in rejected.parquet; default: none.",
    ),
]


def engine_of(name: str, address: str | None, settings: Sequence[str] | None) -> Engine:
    """The engine that the options name.

    Raises:
        ConfigError: see `open_engine`, or an unknown setting.
        ServerError: no cluster answers.
    """
    from videoalign.distributed.engines import RayOptions, open_engine

    options = load_config(RayOptions, None, settings) if settings else None
    return open_engine(name, address=address, options=options)
