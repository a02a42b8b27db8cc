"""Which process this is, and the few things that processes of one training do together."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import TypeVar

import torch
from accelerate import PartialState
from accelerate.utils import gather_object
from torch import Tensor

from videoalign.errors import ConfigError

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
    shares_weights: bool = False
    """Whether each holds a part of what is trained, see `sharding`, in place of all of it."""

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
        if self.shares_weights:  # they are the mean already
            for gradient in (parameter.grad for parameter in parameters if parameter.grad is not None):
                gradient.mul_(self.count)
            return
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


def join(*, may_share_weights: bool = False) -> Processes:
    """Joins the processes that the launcher started; without a launcher there is this one alone.

    Args:
        may_share_weights: whether the caller can train a network of which each process holds a part; see `sharding`.

    Raises:
        ConfigError: settings of ``accelerate launch`` that would not take effect.
    """
    shares_weights = _checked_launch(may_share_weights)
    state = PartialState(cpu=not torch.cuda.is_available())
    device = str(state.device) if state.device.type == "cuda" else "cpu"
    count = state.num_processes
    return Processes(state.process_index, count, device, shares_weights=shares_weights and count > 1)


OWN_SETTINGS = {
    "ACCELERATE_MIXED_PRECISION": ("mixed_precision", ("no",), "fit.dtype=bfloat16"),
    "ACCELERATE_GRADIENT_ACCUMULATION_STEPS": ("gradient_accumulation_steps", ("1",), "fit.accumulate_steps"),
    "ACCELERATE_DYNAMO_BACKEND": ("dynamo_backend", ("no",), "compile=true"),
    "FSDP_ACTIVATION_CHECKPOINTING": ("fsdp_activation_checkpointing", ("false",), "gradient_checkpointing=true"),
}
"""What the launcher tells -> its name there, the values that leave it to us, and our own setting for it."""


def _checked_launch(may_share_weights: bool) -> bool:
    """Whether the launcher asks for FSDP2."""
    for variable, (name, allowed, own) in OWN_SETTINGS.items():
        value = os.environ.get(variable, allowed[0])
        if value.lower() not in allowed:
            raise ConfigError(f"{name}: accelerate says '{value}'; leave it at '{allowed[0]}' there, and set {own}.")
    if _is_on("ACCELERATE_USE_DEEPSPEED"):
        raise ConfigError(
            "distributed_type: got DEEPSPEED, which is not supported; wanted MULTI_GPU, or FSDP with fsdp_version 2, "
            "which shares weights, gradients and moments as its stage 3 does."
        )
    if not _is_on("ACCELERATE_USE_FSDP"):
        return False
    version = os.environ.get("FSDP_VERSION", "1")
    if version != "2":
        raise ConfigError(f"fsdp_version: got {version}; wanted 2.")
    if not may_share_weights:
        raise ConfigError("distributed_type: got FSDP, which 'align' alone can do; start this with MULTI_GPU.")
    return True


def _is_on(variable: str) -> bool:
    return os.environ.get(variable, "false").lower() in ("1", "true", "yes")
