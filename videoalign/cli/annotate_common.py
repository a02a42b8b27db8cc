"""What the commands of ``videoalign annotate`` share."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated

import typer

from videoalign.errors import ConfigError

Db = Annotated[
    str | None, typer.Option("--db", metavar="URL", help="postgresql://...; default D.annotations/annotate.sqlite.")
]


@contextmanager
def needs_web(command: str) -> Iterator[None]:
    """Says which extra is missing."""
    try:
        yield
    except ModuleNotFoundError as error:
        raise ConfigError(f"annotate {command}: {error.name} is missing; pip install 'videoalign[web]'.") from None
