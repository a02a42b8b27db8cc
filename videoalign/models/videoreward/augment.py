"""Changes to clips that no verdict depends on, drawn anew at every training step."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from videoalign.models.videoreward.backbone import ModelInputs
from videoalign.models.videoreward.processing import VideoProcessor, patchify, unpatchify


def shift_clips(
    inputs: ModelInputs, processor: VideoProcessor, share: float, generator: torch.Generator
) -> ModelInputs:
    """Moves each clip as a whole, by up to ``share`` of its height and width either way; edge pixels are repeated.

    Args:
        inputs: a batch.
        processor: that cut the clips into patches.
        share: in [0, 1); 0 changes nothing.
        generator: draws the shifts, clip by clip in order.
    """
    if share == 0:
        return inputs
    sizes = (processor.patch, processor.merge, processor.temporal)
    moved = []
    for values, grid in zip(inputs.pixels.split(inputs.grids.prod(1).tolist()), inputs.grids.tolist(), strict=True):
        frames = unpatchify(values, (grid[0], grid[1], grid[2]), *sizes)
        rows, columns = (_moved(length, share, generator).to(frames.device) for length in frames.shape[-2:])
        moved.append(patchify(frames[..., rows, :][..., columns], *sizes)[0])
    return replace(inputs, pixels=torch.cat(moved))


def _moved(length: int, share: float, generator: torch.Generator) -> Tensor:
    """Places 0..length-1 shifted and held at the edges."""
    most = int(share * length)
    offset = torch.randint(-most, most + 1, (), generator=generator)
    return (torch.arange(length) + offset).clamp(0, length - 1)
