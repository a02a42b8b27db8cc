"""Sequences whose items are made when they are asked for, for training sets that do not fit into memory."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar, overload

Item = TypeVar("Item")


class OnDemand(Sequence[Item]):
    """``make(index)`` for each index below ``num``, made anew each time; a slice is a list."""

    def __init__(self, num: int, make: Callable[[int], Item]) -> None:
        self.num, self.make = num, make

    def __len__(self) -> int:
        return self.num

    @overload
    def __getitem__(self, index: int) -> Item: ...

    @overload
    def __getitem__(self, index: slice) -> list[Item]: ...

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return [self.make(place) for place in range(self.num)[index]]
        return self.make(range(self.num)[index])
