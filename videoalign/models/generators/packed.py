"""A scheduler that works in latents as everywhere, for a pipeline that keeps them in another layout."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor

from videoalign.contracts.scheduler import WrappedScheduler


class PackedScheduler(WrappedScheduler):
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
        super().__init__(scheduler, _pack=pack, _unpack=unpack, _after=after)

    def step(self, model_output: Tensor, timestep: Any, sample: Tensor, *args: Any, **kwargs: Any) -> tuple[Tensor]:
        """The wrapped scheduler's step, as a tuple."""
        inside = self._unpack(model_output), timestep, self._unpack(sample)
        made = self._pack(self._inner.step(*inside, *args, **{**kwargs, "return_dict": False})[0])
        self._after()
        return (made,)
