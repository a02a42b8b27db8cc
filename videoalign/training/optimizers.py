"""What takes the steps: AdamW as torch has it, or with its moments in 8 bits."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from importlib.util import find_spec
from typing import Any, Literal

import torch

from videoalign.distributed.sharding import as_part_of
from videoalign.errors import ConfigError

OptimizerName = Literal["adamw", "adamw8bit"]


def require_optimizer(name: OptimizerName) -> None:
    """Raises `ConfigError` for one whose package is not installed."""
    if name == "adamw8bit" and find_spec("bitsandbytes") is None:
        raise ConfigError(
            "fit.optimizer: adamw8bit wants the package bitsandbytes, which is not installed; "
            "pip install 'videoalign[quantise]', or set fit.optimizer=adamw."
        )


def _adamw8bit(groups: list[dict[str, Any]], **options: Any) -> torch.optim.Optimizer:
    require_optimizer("adamw8bit")
    optimizer: torch.optim.Optimizer = import_module("bitsandbytes.optim").AdamW8bit(groups, **options)
    return optimizer


OPTIMIZERS: dict[str, Callable[..., torch.optim.Optimizer]] = {"adamw": torch.optim.AdamW, "adamw8bit": _adamw8bit}
"""By the name in `FitConfig.optimizer`; each takes groups, ``lr``, ``betas`` and ``weight_decay``."""


def flat_state(optimizer: torch.optim.Optimizer) -> dict[str, torch.Tensor]:
    """What the optimiser keeps of each parameter, as named tensors; whole numbers become int64 of no dimension."""
    state = optimizer.state_dict()["state"]
    return {
        f"{index}.{name}": torch.as_tensor(value)
        for index, slot in state.items()
        for name, value in _unwrapped(slot).items()
        if value is not None
    }


def restore_state(optimizer: torch.optim.Optimizer, flat: dict[str, torch.Tensor]) -> None:
    """Puts back what `flat_state` gave, all of it, into an optimiser that may keep a part of it in each process."""
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    state: dict[int, dict[str, Any]] = {}
    for key, value in flat.items():
        index, name = key.split(".", 1)
        whole = value.ndim == 0 and value.dtype == torch.int64
        like = parameters[int(index)]
        here = as_part_of(value, like) if value.shape == like.shape else value
        state.setdefault(int(index), {})[name] = int(value) if whole else here
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})


def _unwrapped(slot: dict[str, Any]) -> dict[str, Any]:
    """The state of a parameter without the groups in it, such as bitsandbytes puts its 8-bit moments in."""
    inside = {key: one for value in slot.values() if isinstance(value, dict) for key, one in value.items()}
    return {**{name: value for name, value in slot.items() if not isinstance(value, dict)}, **inside}
