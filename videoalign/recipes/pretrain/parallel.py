"""Data parallelism for the pretraining scripts: torchrun starts the processes, gradients are averaged as they come."""

from __future__ import annotations

import os
from collections.abc import Iterable

import torch
import torch.distributed as dist
from torch.nn.utils import parameters_to_vector, vector_to_parameters


def join() -> tuple[int, int]:
    """(rank, number of processes); joins the group that torchrun set up, or stands alone as (0, 1)."""
    if "RANK" not in os.environ:
        return 0, 1
    if not dist.is_initialized():
        dist.init_process_group("nccl" if torch.cuda.is_available() else "gloo")
    return dist.get_rank(), dist.get_world_size()


def average_gradients(parameters: Iterable[torch.nn.Parameter]) -> None:
    """From now on every gradient is the mean over the processes; the same weights everywhere stay the same.

    All of them travel at once when the last one is there, so every backward pass must reach each parameter.
    """
    if not dist.is_initialized():
        return
    averaged, num_ready = list(parameters), 0

    def average(_: torch.Tensor) -> None:
        nonlocal num_ready
        num_ready += 1
        if num_ready < len(averaged):
            return
        num_ready = 0
        gradients = [parameter.grad for parameter in averaged if parameter.grad is not None]
        mean = parameters_to_vector(gradients)
        dist.all_reduce(mean)
        vector_to_parameters(mean / dist.get_world_size(), gradients)

    for parameter in averaged:
        parameter.register_post_accumulate_grad_hook(average)


def device() -> torch.device:
    """The GPU of this process where there is one, the CPU otherwise."""
    if not torch.cuda.is_available():
        return torch.device("cpu")
    return torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))
