"""What a training step takes: operations and memory, told from the shapes alone, before anything is computed."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import (
    DataDependentOutputException,
    DynamicOutputShapeException,
    FakeTensor,
    FakeTensorMode,
    unset_fake_temporarily,
)
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import flop_registry, sdpa_backward_flop, sdpa_flop

from videoalign.randomness import Draws
from videoalign.training.loop import FitConfig, precision
from videoalign.training.objectives.dpo import DpoObjective
from videoalign.training.objectives.flow import FlowObjective

FORMULAS = {
    **flop_registry,
    torch.ops.aten._scaled_dot_product_flash_attention_for_cpu: sdpa_flop,
    torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward: sdpa_backward_flop,
}
"""Those of torch's own counter, and attention as a processor computes it, of which that does not know."""

KNOWN_NUMBERS = 2**16
"""Tensors of at most so many numbers, as masks of texts, keep them where they follow from such tensors alone."""

INDEXED = {torch.ops.aten.index: 1, torch.ops.aten.index_put: 1, torch.ops.aten._index_put_impl: 1}
"""Products of a tensor and of indices, and the place of these among the arguments."""


@dataclass(frozen=True)
class StepCost:
    """Of one batch, forwards and backwards."""

    operations: int
    """Multiplications and additions of its products and attention, those done again for `checkpoint` included."""
    weights_bytes: int
    """The network."""
    optimizer_bytes: int
    """Gradients and two moments of what is trained, and its running mean where one is kept."""
    activations_bytes: int
    """The most that is held at once besides."""

    @property
    def bytes(self) -> int:
        """All of it; the device's own libraries take some on top."""
        return self.weights_bytes + self.optimizer_bytes + self.activations_bytes


def cost_of_objective(
    objective: FlowObjective, batch: Any, fitting: FitConfig, network: Iterable[Tensor], *, averaged: bool = False
) -> StepCost:
    """`step_cost` of an objective of generators on one batch, as `training.loop.fit` trains it.

    Args:
        objective: what is trained.
        batch: as the objective takes it, of ``fitting.batch_size`` examples.
        fitting: size of a batch, precision and optimiser.
        network: all weights.
        averaged: whether a running mean of what is trained is kept.
    """
    draws = Draws(0, 0, range(fitting.batch_size), fitting.batch_size)
    at = objective.drawn(batch, draws) if isinstance(objective, DpoObjective) else None

    def loss() -> Tensor:
        with precision(fitting.dtype, objective.device):
            if isinstance(objective, DpoObjective) and at is not None:
                return objective.loss_at(batch, *at).value.sum()
            return objective.loss(batch, draws).value.sum()

    bytes_of_moment = 1 if fitting.optimizer == "adamw8bit" else 4
    trained = objective.parameters.values()
    return step_cost(loss, trained, network, bytes_of_moment=bytes_of_moment, averaged=averaged)


def step_cost(
    loss: Callable[[], Tensor],
    trained: Iterable[nn.Parameter],
    network: Iterable[Tensor],
    *,
    bytes_of_moment: int = 4,
    mode: FakeTensorMode | None = None,
    averaged: bool = False,
) -> StepCost:
    """Runs a step on tensors that have shapes and no numbers, but for small ones that depend on none of those.

    Args:
        loss: what is differentiated; it may make tensors, and read numbers of masks and the like: see `KNOWN_NUMBERS`.
        trained: the parameters that get gradients.
        network: all weights.
        bytes_of_moment: of one number of an optimiser's moment: 4, or 1 for 8 bits.
        mode: that the network was made in, where its weights have no numbers either.
        averaged: see `cost_of_objective`.
    """
    trained, network = list(trained), list(network)
    step = _Step()
    with mode or FakeTensorMode(allow_non_fake_inputs=True), step:
        torch.autograd.grad(loss(), trained, allow_unused=True)
    numbers = sum(value.numel() for value in trained)
    return StepCost(
        operations=step.operations,
        weights_bytes=sum({value.untyped_storage()._cdata: _size(value) for value in network}.values()),
        optimizer_bytes=(1 + averaged) * sum(map(_size, trained)) + 2 * bytes_of_moment * numbers,
        activations_bytes=step.most,
    )


def operations_of(call: Callable[[], Any], mode: FakeTensorMode | None = None) -> int:
    """Multiplications and additions of a call, counted as those of `step_cost`."""
    step = _Step()
    with torch.no_grad(), mode or FakeTensorMode(allow_non_fake_inputs=True), step:
        call()
    return step.operations


def without_numbers(module: nn.Module, mode: FakeTensorMode) -> None:
    """Puts tensors of the mode in the place of a module's own, which may be on torch's ``meta`` device."""
    with mode:
        for part in module.modules():
            for name, value in part._parameters.items():
                if value is not None:
                    empty = torch.empty(value.shape, dtype=value.dtype)
                    part._parameters[name] = nn.Parameter(empty, requires_grad=value.requires_grad)
            for name, buffer in part._buffers.items():
                if buffer is not None:
                    part._buffers[name] = torch.empty(buffer.shape, dtype=buffer.dtype)


class _Step(TorchDispatchMode):
    """Counts the operations in the block, follows the memory of every tensor that is made, and keeps the most at once.

    Not torch's ``FlopCounterMode``, which keeps tensors alive. Of small tensors it has torch compute the numbers, so
    that a model may look at its masks.
    """

    def __init__(self) -> None:
        super().__init__()
        self.operations = self.now = self.most = 0
        self.known = weakref.WeakSet[Any]()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        made = self._run(func, _plain_indices(func, args), kwargs or {})
        if (formula := FORMULAS.get(func._overloadpacket)) is not None:
            self.operations += int(formula(*args, **(kwargs or {}), out_val=made))
        if any(part.alias_info is not None for part in func._schema.returns):
            return made  # a view, or written in place
        for tensor in tree_leaves(made):
            if isinstance(tensor, Tensor):
                self._see(tensor.untyped_storage())
        return made

    def _run(self, func: Any, args: Any, kwargs: Any) -> Any:
        """What the operation makes, with its numbers where all of what it reads has them and all of it is small."""
        read = [part for part in tree_leaves((args, kwargs)) if isinstance(part, Tensor)]
        if not self._has_numbers(func, read):
            return func(*args, **kwargs)
        try:
            shaped = [part for part in tree_leaves(func(*args, **kwargs)) if isinstance(part, Tensor)]
        except (DataDependentOutputException, DynamicOutputShapeException):
            shaped = []
        if sum(part.numel() for part in shaped) > KNOWN_NUMBERS:
            return func(*args, **kwargs)
        with unset_fake_temporarily():
            return func(*args, **kwargs)

    def _has_numbers(self, func: Any, read: list[Tensor]) -> bool:
        if torch.Tag.nondeterministic_seeded in func.tags or any(isinstance(part, FakeTensor) for part in read):
            return False
        own = not func._schema.is_mutable or all(part.untyped_storage() in self.known for part in read)
        return own and sum(part.numel() for part in read) <= KNOWN_NUMBERS

    def _see(self, storage: Any) -> None:
        if storage in self.known:
            return
        self.known.add(storage)
        size = storage.nbytes()
        self.now += size
        self.most = max(self.most, self.now)
        weakref.finalize(storage, self._gone, size)

    def _gone(self, size: int) -> None:
        self.now -= size


def _plain_indices(func: Any, args: Any) -> Any:
    """Arguments with numbers of places for a mask that has its numbers: how many it chooses is then known."""
    place = INDEXED.get(func._overloadpacket)
    if place is None:
        return args
    with unset_fake_temporarily():
        indices = [part for index in args[place] for part in _places(index)]
    return (*args[:place], indices, *args[place + 1 :])


def _places(index: Tensor | None) -> tuple[Tensor | None, ...]:
    is_known = index is not None and not isinstance(index, FakeTensor) and index.dtype == torch.bool
    return index.nonzero(as_tuple=True) if is_known and index is not None else (index,)


def _size(value: Tensor) -> int:
    return value.numel() * value.element_size()
