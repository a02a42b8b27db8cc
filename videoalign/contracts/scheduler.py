"""A scheduler of diffusers that stands before another one."""

from __future__ import annotations

import copy
from typing import Any


class WrappedScheduler:
    """To a pipeline it is the scheduler that it wraps: what a subclass does not do itself, that one does, and what is
    set on the one is set on the other; a pipeline that is saved, or asks for its class, finds that one's.

    A copy is one of the wrapped scheduler alone: a pipeline that copies its scheduler, as for sound, samples something
    else with it, which the wrapper knows nothing of.
    """

    def __init__(self, scheduler: Any, **own: Any) -> None:
        """
        Args:
            scheduler: any scheduler of diffusers; ``_inner`` from now on.
            own: attributes of the wrapper; later ones go into its ``__dict__``.
        """
        self.__dict__.update(own, _inner=scheduler, __module__=scheduler.__module__)

    @property  # type: ignore[misc]
    def __class__(self) -> Any:
        inner = self.__dict__.get("_inner")
        return type(self) if inner is None else inner.__class__

    def __copy__(self) -> Any:
        return copy.copy(self._inner)

    def __deepcopy__(self, memo: dict[int, Any]) -> Any:
        return copy.deepcopy(self._inner, memo)

    def __reduce_ex__(self, protocol: Any) -> Any:
        return self._inner.__reduce_ex__(protocol)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") or "_inner" not in self.__dict__:
            raise AttributeError(name)
        return getattr(self._inner, name)

    def __setattr__(self, name: str, value: Any) -> None:
        setattr(self._inner, name, value)

    def __len__(self) -> int:
        return len(self._inner)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({type(self._inner).__name__})"
