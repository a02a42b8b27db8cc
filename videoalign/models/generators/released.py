"""Shapes of released models, as the ``config.json`` of each says, in ``released.json``; a new one is an entry there."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

import torch
from torch import nn

from videoalign.errors import ModelError, did_you_mean
from videoalign.models.generators.families import FAMILIES, Family


@dataclass(frozen=True, kw_only=True)
class Released:
    """One model."""

    model: str
    """Hub id."""
    pipeline: str
    """Class of its pipeline."""
    transformers: int
    """How many it has, all of one shape."""
    transformer: Mapping[str, Any]
    """Settings of the transformer."""
    compression: tuple[int, int, int]
    """Channels of the latents, and pixels that one stands for in time and along each side."""
    condition: Mapping[str, tuple[int, ...]]
    """Shape of what the transformer reads of one prompt, by name, without the axis of the batch."""
    constants: Mapping[str, float]
    """`VelocityNet.constants`."""

    @property
    def family(self) -> Family:
        """That its pipeline is of."""
        return FAMILIES[self.pipeline]

    def latent_shape(self, num_frames: int, height: int, width: int) -> tuple[int, int, int, int]:
        """(C, F, H, W) of the latents of a clip."""
        channels, time, space = self.compression
        return channels, (num_frames - 1) // time + 1, height // space, width // space

    @property
    def num_layers(self) -> int:
        """Blocks of a transformer, all alike."""
        return int(self.transformer["num_layers"])

    def outline(self, dtype: torch.dtype, num_layers: int) -> nn.Module:
        """A transformer of its shape with so many blocks and no values, on torch's ``meta`` device."""
        kind: Any = self.family.transformer
        with torch.device("meta"):
            made: nn.Module = kind.from_config({**self.transformer, "num_layers": num_layers}).to(dtype)
        return made


@cache
def released(name: str) -> Released:
    """The model of this name.

    Raises:
        ModelError: there is none.
    """
    table = json.loads((files("videoalign.models.generators") / "released.json").read_text(encoding="utf-8"))
    if name not in table:
        raise ModelError(f"no released model '{name}'.{did_you_mean(name, table)}")
    told = table[name]
    shapes = {key: tuple(shape) for key, shape in told["condition"].items()}
    return Released(**{**told, "compression": tuple(told["compression"]), "condition": shapes})
