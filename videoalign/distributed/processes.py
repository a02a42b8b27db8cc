"""Which process this is, and the few things that processes of one training do together."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TypeVar

import torch
from accelerate import PartialState
from accelerate.utils import gather_object
from torch import Tensor

T = TypeVar("T")


@dataclass(frozen=True)
class Processes:
    """The processes of one training, seen from one of them; all must make the same calls in the same order."""

    rank: int = 0
    """Number of this process, from 0."""
    count: int = 1
    """How many there are."""
    device: str = "cpu"
    """Where this process computes: a GPU of its own where there is one, the CPU otherwise."""

    @property
    def is_first(self) -> bool:
        """Whether this process is the one that writes files and shows progress."""
        return self.rank == 0

    def wait(self) -> None:
        """Goes on when all processes are here."""
        if self.count > 1:
            PartialState().wait_for_everyone()

    def gather(self, value: T) -> list[T]:
        """The value of every process, in order, in every process; any value that pickle takes."""
        return list(gather_object([value])) if self.count > 1 else [value]

    def sum_gradients(self, parameters: Iterable[Tensor]) -> None:
        """Replaces every gradient by its sum over the processes; one that is nowhere stays absent."""
        if self.count == 1:
            return
        parameters = list(parameters)
        present = torch.tensor([parameter.grad is not None for parameter in parameters], device=self.device).int()
        torch.distributed.all_reduce(present)
        for parameter, num in zip(parameters, present.tolist(), strict=True):
            if num:
                gradient = torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
                moved = gradient.to(self.device)
                torch.distributed.all_reduce(moved)
                parameter.grad = moved.to(parameter.device)


ALONE = Processes()
"""One process on the CPU."""


def join() -> Processes:
    """Joins the processes that the launcher started; without a launcher there is this one alone."""
    state = PartialState(cpu=not torch.cuda.is_available())
    device = str(state.device) if state.device.type == "cuda" else "cpu"
    return Processes(rank=state.process_index, count=state.num_processes, device=device)
