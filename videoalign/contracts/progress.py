"""How long work tells how far it is, without knowing who looks."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Protocol


class Progress(Protocol):
    """``with progress("encode", total=40) as advance: ... advance()``, one call per unit done."""

    def __call__(self, name: str, total: int) -> AbstractContextManager[Callable[[], None]]: ...


def silent(name: str, total: int) -> AbstractContextManager[Callable[[], None]]:
    """A `Progress` that shows nothing."""
    return nullcontext(lambda: None)
