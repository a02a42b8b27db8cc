"""Weights that each process holds a part of: FSDP2 of torch, with the settings that ``accelerate launch`` passes on."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import torch
from accelerate.utils import FullyShardedDataParallelPlugin
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import CPUOffloadPolicy, fully_shard
from torch.distributed.tensor import DTensor, distribute_tensor

from videoalign.distributed.processes import Processes
from videoalign.errors import ConfigError


def shard(modules: Iterable[nn.Module], processes: Processes) -> None:
    """Leaves each process its part of every parameter, in place; parameters are other objects afterwards.

    The blocks of a transformer are gathered one by one while they run, by the class names that the launcher's
    ``fsdp_transformer_layer_cls_to_wrap`` gives, or those that diffusers knows of the transformer.

    Args:
        modules: transformers, whole and the same in every process.
        processes: all of them must call it; nothing happens where they do not share weights.

    Raises:
        ConfigError: settings of the launcher that cannot take effect.
    """
    if not processes.shares_weights:
        return
    settings = FullyShardedDataParallelPlugin(fsdp_version=2)
    if isinstance(settings.cpu_offload, CPUOffloadPolicy):
        raise ConfigError("fsdp_offload_params: got true, which a training cannot do; set it to false.")
    device = torch.device(processes.device)
    how = {
        "mesh": init_device_mesh(device.type, (processes.count,)),
        "reshard_after_forward": bool(settings.reshard_after_forward),
    }
    for module in modules:
        wrapped = settings.transformer_cls_names_to_wrap or block_classes(module)
        blocks = [part for part in module.modules() if type(part).__name__ in wrapped and part is not module]
        for block in blocks:
            fully_shard(block, **how)  # type: ignore[call-overload]
        fully_shard(module, **how)  # type: ignore[call-overload]


def block_classes(transformer: nn.Module) -> set[str]:
    """Class names of the blocks that a transformer of diffusers is a stack of."""
    told = getattr(transformer, "_repeated_blocks", None) or getattr(transformer, "_no_split_modules", None)
    return set(told or ())


def whole(tensor: Tensor) -> Tensor:
    """All of a tensor that each process holds a part of; all of them must call it. Others are given back."""
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


def whole_state(state: Mapping[str, Tensor], processes: Processes) -> dict[str, Tensor]:
    """All of the tensors, on the CPU, in the first process, and nothing in the others; all of them must call it."""
    found = ((name, whole(value.detach())) for name, value in state.items())
    return {name: value.cpu() for name, value in found if processes.is_first}


def as_part_of(value: Tensor, like: Tensor) -> Tensor:
    """Of a whole tensor, the same in every process, the part that a tensor of its shape holds here, where it does."""
    if not isinstance(like, DTensor) or isinstance(value, DTensor):
        return value
    here = value.to(like.device)
    return distribute_tensor(here, like.device_mesh, like.placements, src_data_rank=None)
