"""Several processes on one training, as ``accelerate launch`` or ``torchrun`` start them; one is the same code."""

from videoalign.distributed.processes import ALONE, Processes, join

__all__ = ["ALONE", "Processes", "join"]
