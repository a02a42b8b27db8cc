"""A scheduler that works in latents as everywhere, for a pipeline that keeps them in another layout."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

from torch import Tensor


class PackedScheduler:
    """To a pipeline it is the scheduler that it wraps, which sees what the pipeline steps unpacked."""

    def __init__(
        self,
        scheduler: Any,
        pack: Callable[[Tensor], Tensor],
        unpack: Callable[[Tensor], Tensor],
        *,
        after: Callable[[], object] = lambda: None,
    ) -> None:
        """
        Args:
            scheduler: steps latents (B, C, F, H, W).
            pack: those to the pipeline's layout.
            unpack: the other way.
            after: called after every step.
        """
        self.__dict__.update(_inner=scheduler, _pack=pack, _unpack=unpack, _after=after)

    def step(self, model_output: Tensor, timestep: Any, sample: Tensor, *args: Any, **kwargs: Any) -> tuple[Tensor]:
        """The wrapped scheduler's step, as a tuple."""
        inside = self._unpack(model_output), timestep, self._unpack(sample)
        made = self._pack(self._inner.step(*inside, *args, **{**kwargs, "return_dict": False})[0])
        self._after()
        return (made,)

    def __copy__(self) -> Any:
        return copy.copy(self._inner)

    def __deepcopy__(self, memo: dict[int, Any]) -> Any:
        return copy.deepcopy(self._inner, memo)

    def __len__(self) -> int:
        return len(self._inner)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") or "_inner" not in self.__dict__:
            raise AttributeError(name)
        return getattr(self._inner, name)

    def __setattr__(self, name: str, value: Any) -> None:
        setattr(self._inner, name, value)
