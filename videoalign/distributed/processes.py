"""Which process this is, and the few things that processes of one training do together."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import TypeVar

import torch
from accelerate import PartialState
from accelerate.utils import gather_object
from torch import Tensor

T = TypeVar("T")

MESSAGE_NUMBERS = 2**24
"""Most numbers in one message, where more than one gradient holds them."""


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

    def first_then_all(self, action: Callable[[], T]) -> T:
        """The result of an action that the first process does before the others: what it made, these find made."""
        if not self.is_first:
            self.wait()
        result = action()
        if self.is_first:
            self.wait()
        return result

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
        somewhere = [parameter for parameter, num in zip(parameters, present.tolist(), strict=True) if num]
        for together in _messages(somewhere):
            gradients = [torch.zeros_like(one) if one.grad is None else one.grad for one in together]
            message = torch.cat([gradient.flatten() for gradient in gradients]).to(self.device)
            torch.distributed.all_reduce(message)
            parts = message.split([gradient.numel() for gradient in gradients])
            for one, part in zip(together, parts, strict=True):
                one.grad = part.view_as(one).to(one.device)


def _messages(parameters: Iterable[Tensor]) -> Iterator[list[Tensor]]:
    """Neighbours of one type whose gradients go in one message: many small messages take long."""
    together: list[Tensor] = []
    for parameter in parameters:
        num_numbers = sum(one.numel() for one in together) + parameter.numel()
        if together and (num_numbers > MESSAGE_NUMBERS or parameter.dtype != together[0].dtype):
            yield together
            together = []
        together.append(parameter)
    if together:
        yield together


ALONE = Processes()
"""One process on the CPU."""


def join() -> Processes:
    """Joins the processes that the launcher started; without a launcher there is this one alone."""
    state = PartialState(cpu=not torch.cuda.is_available())
    device = str(state.device) if state.device.type == "cuda" else "cpu"
    return Processes(rank=state.process_index, count=state.num_processes, device=device)
