"""From a clip to the patches that a vision tower reads: which frames, what size, in which order.

Torch only. Frame choice and size follow what the released VideoReward was trained with; every limit is a setting that
a checkpoint keeps.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
import torch.nn.functional as F
from pydantic import Field
from scipy.sparse import csr_array
from torch import Tensor

from videoalign.config import Config
from videoalign.contracts.records import Clip
from videoalign.contracts.video import MIN_FRAMES, Video, unreadable
from videoalign.errors import VideoError

PIXEL_MEAN = (0.48145466, 0.4578275, 0.40821073)
PIXEL_STD = (0.26862954, 0.26130258, 0.27577711)
"""Of sRGB in [0, 1]; the values that Qwen2-VL and Qwen2.5-VL were trained with."""


class ReadingLimits(Config):
    """How much of a clip a reward looks at."""

    fps: float = Field(2.0, gt=0)
    """Frames read per second of clip."""
    min_frames: int = Field(4, ge=2)
    """Fewest frames read, as far as the clip has them; even."""
    max_frames: int = Field(768, ge=2)
    """Most frames read; even."""
    min_frame_pixels: int = Field(128 * 28 * 28, gt=0)
    """Smaller frames are enlarged to at least this area."""
    max_frame_pixels: int = Field(256 * 28 * 28, gt=0)
    """Larger frames are shrunk to at most this area."""


@dataclass(frozen=True)
class Timing:
    """When the temporal patches of a clip are shown."""

    middles: tuple[float, ...]
    """Seconds from the start of the clip, per temporal patch: halfway between its first and its last frame."""
    seconds_per_patch: float
    """Length of the clip over the number of temporal patches."""


@dataclass(frozen=True, eq=False)
class Patches:
    """One clip as the vision tower reads it."""

    values: Tensor
    """uint8 (gt * gh * gw, 3 * temporal * patch * patch), grey levels; normalised when a batch is made."""
    grid: tuple[int, int, int]
    """(gt, gh, gw): patches along time, height and width."""
    timing: Timing | None = None
    """None where the frames came without it."""


def sample_indices(num_frames: int, fps: float, limits: ReadingLimits, name: str = "clip") -> list[int]:
    """Which frames of a clip are read: ``num_frames / fps * limits.fps`` of them, even, spread from first to last.

    The rule is the one of the official VideoReward code: clamp to [min_frames, max_frames] and to the clip's own even
    length, round to a multiple of 2, then ``round(linspace(0, num_frames - 1, n))``.

    Args:
        num_frames: of the clip.
        fps: of the clip.
        limits: how much is read.
        name: of the clip, for errors.

    Raises:
        VideoError: the clip has fewer than two frames, or its frame rate is not a positive number.
    """
    if not (fps > 0 and np.isfinite(fps)):
        raise VideoError(f"{name}: its frame rate is {fps}, wanted frames per second above 0; give the true rate.")
    if reason := unreadable(num_frames, 1, 1):
        raise VideoError(f"{name}: {reason}")
    longest = min(limits.max_frames, num_frames) // 2 * 2
    shortest = -(-limits.min_frames // 2) * 2
    wanted = min(max(num_frames / fps * limits.fps, shortest), longest)
    count = min(round(wanted / 2) * 2, num_frames)
    return torch.linspace(0, num_frames - 1, count).round().long().tolist()


def clip_timing(indices: Sequence[int], num_frames: int, fps: float, temporal: int) -> Timing:
    """When the temporal patches of the chosen frames are shown.

    Args:
        indices: of the frames read, a multiple of ``temporal``.
        num_frames: of the whole clip.
        fps: of the whole clip.
        temporal: frames in a patch.
    """
    pairs = zip(indices[::temporal], indices[temporal - 1 :: temporal], strict=True)
    middles = tuple((first / fps + last / fps) / 2 for first, last in pairs)
    return Timing(middles, num_frames / fps / len(middles))


def smart_size(
    height: int, width: int, factor: int, min_pixels: int, max_pixels: int, name: str = "clip"
) -> tuple[int, int]:
    """Height and width, multiples of ``factor``, of an area in [min_pixels, max_pixels] at nearly the same aspect.

    Raises:
        VideoError: one side is more than 200 times the other.
    """
    if reason := unreadable(MIN_FRAMES, height, width):
        raise VideoError(f"{name}: {reason}")
    new_height = max(factor, round(height / factor) * factor)
    new_width = max(factor, round(width / factor) * factor)
    if new_height * new_width > max_pixels:
        shrink = (height * width / max_pixels) ** 0.5
        new_height = max(factor, int(height / shrink / factor) * factor)
        new_width = max(factor, int(width / shrink / factor) * factor)
    elif new_height * new_width < min_pixels:
        enlarge = (min_pixels / (height * width)) ** 0.5
        new_height = int(np.ceil(height * enlarge / factor)) * factor
        new_width = int(np.ceil(width * enlarge / factor)) * factor
    return new_height, new_width


def resize_frames(frames: Tensor, height: int, width: int) -> Tensor:
    """Bicubic, anti-aliased resize of uint8 (T, 3, H, W) to uint8 (T, 3, height, width)."""
    if frames.shape[-2:] == (height, width):
        return frames
    down, across = resize_weights(frames.shape[2], height), resize_weights(frames.shape[3], width)
    resized = frames.new_empty((*frames.shape[:2], height, width))
    for frame, place in zip(frames, resized, strict=True):  # one by one, as long as they are in the cache
        levels = frame.permute(1, 2, 0).reshape(frame.shape[1], -1).float()  # (H, W * 3)
        levels = torch.from_numpy(down @ levels.numpy()).reshape(height, -1, 3)
        levels = levels.permute(1, 2, 0).reshape(-1, 3 * height)
        levels = torch.from_numpy(across @ levels.numpy()).reshape(width, 3, height)
        place.copy_(levels.round_().clamp_(0, 255).permute(1, 2, 0))
    return resized


@lru_cache(maxsize=64)
def resize_weights(size: int, new_size: int) -> csr_array:
    """What each old row gives to each new one, (new_size, size): torch's own resize of single bright rows."""
    rows = torch.eye(size)[None, None]
    weights = F.interpolate(rows, (new_size, size), mode="bicubic", antialias=True, align_corners=False)
    return csr_array(weights[0, 0].numpy())


def patchify(frames: Tensor, patch: int, merge: int, temporal: int) -> tuple[Tensor, tuple[int, int, int]]:
    """Patches of (T, 3, H, W) in the order of the vision tower, and their grid.

    Patches that the tower later merges stand beside each other: (T / temporal, H / block, W / block, merge, merge) from
    slow to fast, each patch flattened as (3, temporal, patch, patch). T, H and W must be multiples.
    """
    num_frames, channels, height, width = frames.shape
    grid = (num_frames // temporal, height // patch, width // patch)
    blocks = frames.reshape(grid[0], temporal, channels, grid[1] // merge, merge, patch, grid[2] // merge, merge, patch)
    blocks = blocks.permute(0, 3, 6, 4, 7, 2, 1, 5, 8)  # gt, bh, bw, mh, mw, channel, temporal, py, px
    return blocks.reshape(grid[0] * grid[1] * grid[2], -1), grid


def unpatchify(values: Tensor, grid: tuple[int, int, int], patch: int, merge: int, temporal: int) -> Tensor:
    """The frames (T, 3, H, W) that `patchify` cut."""
    num, high, wide = grid
    blocks = values.reshape(num, high // merge, wide // merge, merge, merge, 3, temporal, patch, patch)
    frames = blocks.permute(0, 6, 5, 1, 3, 7, 2, 4, 8)  # gt, temporal, channel, bh, mh, py, bw, mw, px
    return frames.reshape(num * temporal, 3, high * patch, wide * patch)


class VideoProcessor:
    """Cuts clips into patches for one vision tower under one checkpoint's limits."""

    def __init__(
        self,
        limits: ReadingLimits,
        *,
        patch: int,
        merge: int,
        temporal: int,
        mean: Sequence[float] = PIXEL_MEAN,
        std: Sequence[float] = PIXEL_STD,
    ) -> None:
        self.limits, self.patch, self.merge, self.temporal = limits, patch, merge, temporal
        self.mean, self.std = mean, std

    def indices(self, num_frames: int, fps: float, name: str = "clip") -> list[int]:
        """Which frames of a clip are read; see `sample_indices`."""
        return sample_indices(num_frames, fps, self.limits, name)

    def read(self, video: Video) -> Patches:
        """The patches of a whole clip.

        Raises:
            VideoError: fewer than two frames or an impossible shape.
        """
        return self.read_chosen(lambda choose: video.frames[choose(len(video.frames), video.fps)])

    def read_chosen(
        self, load: Callable[[Callable[[int, float], list[int]]], np.ndarray], name: str = "clip"
    ) -> Patches:
        """The patches of a clip of which only the frames that are read need to be decoded.

        Args:
            load: is handed a function from the clip's number of frames and rate to the indices of the frames wanted;
                calls it, and gives those frames, uint8 (T, H, W, 3).
            name: of the clip, for errors.

        Raises:
            VideoError: fewer than two frames or an impossible shape.
        """
        timings = []

        def choose(num_frames: int, fps: float) -> list[int]:
            indices = self.indices(num_frames, fps, name)
            timings.append(clip_timing(indices, num_frames, fps, self.temporal))
            return indices

        frames = load(choose)
        return self.read_frames(frames, timings[-1], name)

    def read_frames(self, frames: np.ndarray, timing: Timing | None = None, name: str = "clip") -> Patches:
        """The patches of frames that were chosen by `indices`: uint8 (T, H, W, 3), T even."""
        pixels = torch.from_numpy(np.require(frames, requirements=("C", "W"))).permute(0, 3, 1, 2)
        limits = self.limits
        height, width = smart_size(
            frames.shape[1],
            frames.shape[2],
            self.patch * self.merge,
            limits.min_frame_pixels,
            limits.max_frame_pixels,
            name,
        )
        values, grid = patchify(resize_frames(pixels, height, width), self.patch, self.merge, self.temporal)
        return Patches(values.contiguous(), grid, timing)

    def num_tokens(self, grid: tuple[int, int, int]) -> int:
        """Language-model tokens that a clip of this grid takes."""
        return grid[0] * grid[1] * grid[2] // self.merge**2

    def num_tokens_of(self, clip: Clip) -> int:
        """The same of a clip by its row alone; nothing is decoded."""
        num_frames, block = len(self.indices(clip.num_frames, clip.fps)), self.patch * self.merge
        limits = self.limits
        height, width = smart_size(clip.height, clip.width, block, limits.min_frame_pixels, limits.max_frame_pixels)
        return self.num_tokens((num_frames // self.temporal, height // self.patch, width // self.patch))

    def seconds_per_patch(self, clip: Clip) -> float:
        """How long a temporal patch of a clip lasts, by its row alone."""
        indices = self.indices(clip.num_frames, clip.fps)
        return clip_timing(indices, clip.num_frames, clip.fps, self.temporal).seconds_per_patch

    def normalise(self, values: Tensor) -> Tensor:
        """Grey levels (N, 3 * K) of `Patches` as float32 with the mean and deviation that the tower expects."""
        per_channel = values.shape[1] // 3
        scale = torch.tensor([1 / (255 * std) for std in self.std]).repeat_interleave(per_channel)
        shift = torch.tensor([-m / s for m, s in zip(self.mean, self.std, strict=True)]).repeat_interleave(per_channel)
        levels = values.to(torch.float32, copy=True)
        return torch.addcmul(shift, levels, scale, out=levels)
