"""Whether an error says that memory ran out, on any device, and what to say then."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from accelerate.utils.memory import should_reduce_batch_size

from videoalign.errors import ConfigError


def is_out_of_memory(error: BaseException) -> bool:
    """True for what torch raises where a graphics card or the machine has no memory left."""
    return isinstance(error, MemoryError) or (isinstance(error, Exception) and should_reduce_batch_size(error))


@contextmanager
def memory_told(setting: str, size: int) -> Iterator[None]:
    """Turns memory that ran out in the block, where so many clips go through a model at once, into an error that says
    what to lower.

    Raises:
        ConfigError: see above.
    """
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        less = "lower num_frames, height, width or max_text_tokens, set vae_tiling=true, or give --offload or --dtype"
        advice = f"set {setting}={size // 2}" if size > 1 else less
        raise ConfigError(f"{setting}: memory ran out with {size} at once; {advice}.") from None
