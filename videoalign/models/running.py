"""Ways of running a network's transformers that change its memory and speed, not what it computes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from torch import nn

from videoalign.errors import ConfigError


@contextmanager
def running_as(networks: Iterable[nn.Module], *, checkpointing: bool = False, compiled: bool = False) -> Iterator[None]:
    """While the block runs, transformers of diffusers recompute their blocks on the way back, or these are compiled.

    Args:
        networks: the transformers.
        checkpointing: see above.
        compiled: see above.

    Raises:
        ConfigError: a transformer that cannot be run so.
    """
    transformers: list[Any] = list(networks)
    try:
        for transformer in transformers:
            kind = type(transformer).__name__
            if checkpointing and not getattr(transformer, "_supports_gradient_checkpointing", False):
                raise ConfigError(f"gradient_checkpointing: {kind} cannot recompute its blocks; leave it out.")
            if compiled and not getattr(transformer, "_repeated_blocks", None):
                raise ConfigError(f"compile: {kind} has no blocks that are compiled alone; leave it out.")
            if checkpointing:
                transformer.enable_gradient_checkpointing()
            if compiled:
                transformer.compile_repeated_blocks()
        yield
    finally:
        for transformer in transformers:
            if checkpointing and transformer.is_gradient_checkpointing:
                transformer.disable_gradient_checkpointing()
            for module in transformer.modules() if compiled else ():
                module._compiled_call_impl = None
