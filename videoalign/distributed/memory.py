"""Whether an error says that memory ran out, on any device."""

from __future__ import annotations

from accelerate.utils.memory import should_reduce_batch_size


def is_out_of_memory(error: BaseException) -> bool:
    """True for what torch raises where a graphics card or the machine has no memory left."""
    return isinstance(error, MemoryError) or (isinstance(error, Exception) and should_reduce_batch_size(error))
