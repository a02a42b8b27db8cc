"""How long work tells how far it is, without knowing who looks."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Protocol


class Advance(Protocol):
    """Called as units are done."""

    def __call__(
        self, count: int = 1, *, rejected: int = 0, read_seconds: float = 0.0, work_seconds: float = 0.0
    ) -> object:
        """Takes in ``count`` units, ``rejected`` of which could not be used, and the time that was spent on them."""
        ...


class Progress(Protocol):
    """``with progress("encode", total=40) as advance: ... advance()``, once per unit done or with their number."""

    def __call__(self, name: str, total: int) -> AbstractContextManager[Advance]: ...


def silent(name: str, total: int) -> AbstractContextManager[Advance]:
    """A `Progress` that shows nothing."""

    def nothing(count: int = 1, *, rejected: int = 0, read_seconds: float = 0.0, work_seconds: float = 0.0) -> None:
        pass

    return nullcontext(nothing)
