"""Changes to clips, drawn anew at every training step; what was said about a clip is taken to hold for it changed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from videoalign.models.videoreward.backbone import ModelInputs
from videoalign.models.videoreward.processing import VideoProcessor, patchify, unpatchify

GREY = (0.299, 0.587, 0.114)
"""What red, green and blue add to the brightness that is seen."""


def augment_clips(
    inputs: ModelInputs,
    processor: VideoProcessor,
    generators: Sequence[tuple[torch.Generator, int]],
    *,
    shift_share: float = 0.0,
    colour_jitter: float = 0.0,
    frame_shuffle: float = 0.0,
) -> ModelInputs:
    """The batch with every clip changed as a whole, each by draws of its own; 0 changes nothing and draws nothing.

    Args:
        inputs: a batch.
        processor: that cut the clips into patches.
        generators: each draws for as many clips as stand beside it, in the order of the clips.
        shift_share: see `shift`.
        colour_jitter: see `jitter`.
        frame_shuffle: see `shuffle`.
    """
    if not (shift_share or colour_jitter or frame_shuffle):
        return inputs
    sizes = (processor.patch, processor.merge, processor.temporal)
    of_clip = [generator for generator, num in generators for _ in range(num)]
    clips = zip(inputs.pixels.split(inputs.grids.prod(1).tolist()), inputs.grids.tolist(), of_clip, strict=True)
    changed = []
    for values, grid, generator in clips:
        frames = unpatchify(values, (grid[0], grid[1], grid[2]), *sizes)
        if shift_share:
            frames = shift(frames, shift_share, generator)
        if colour_jitter:
            frames = jitter(frames, colour_jitter, generator, processor.mean, processor.std)
        if frame_shuffle:
            frames = shuffle(frames, frame_shuffle, generator)
        changed.append(patchify(frames, *sizes)[0])
    return replace(inputs, pixels=torch.cat(changed))


def shift(frames: Tensor, share: float, generator: torch.Generator) -> Tensor:
    """Frames (T, 3, H, W) moved together by up to ``share`` of height and width either way; edges are repeated."""
    rows, columns = (_moved(length, share, generator).to(frames.device) for length in frames.shape[-2:])
    return frames[..., rows, :][..., columns]


def jitter(
    frames: Tensor, most: float, generator: torch.Generator, mean: Sequence[float], std: Sequence[float]
) -> Tensor:
    """Frames (T, 3, H, W) with other brightness, contrast and saturation, the same for all of them.

    Each factor is uniform in [1 - most, 1 + most]; contrast is about the mean grey of the clip, and no level leaves the
    range from black to white.

    Args:
        frames: normalised with ``mean`` and ``std``.
        most: in [0, 1).
        generator: draws three numbers.
        mean: of red, green and blue in [0, 1].
        std: likewise.
    """
    brightness, contrast, saturation = (1 + most * (2 * torch.rand(3, generator=generator) - 1)).tolist()
    middle, scale, weights = (frames.new_tensor(row)[:, None, None] for row in (mean, std, GREY))
    levels = brightness * (frames * scale + middle)
    average = (levels * weights).sum(1).mean()
    levels = average + contrast * (levels - average)
    grey = (levels * weights).sum(1, keepdim=True)
    levels = grey + saturation * (levels - grey)
    return (levels.clamp(0, 1) - middle) / scale


def shuffle(frames: Tensor, share: float, generator: torch.Generator) -> Tensor:
    """Frames (T, 3, H, W) in random order with probability ``share``, otherwise as they are."""
    is_shuffled = bool(torch.rand((), generator=generator) < share)
    order = torch.randperm(len(frames), generator=generator)
    return frames[order.to(frames.device)] if is_shuffled else frames


def _moved(length: int, share: float, generator: torch.Generator) -> Tensor:
    """Places 0..length-1 shifted and held at the edges."""
    most = int(share * length)
    offset = torch.randint(-most, most + 1, (), generator=generator)
    return (torch.arange(length) + offset).clamp(0, length - 1)
