"""Clips of another rate, length or size than a generator's: refused, or brought to it where that was asked for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from pydantic import Field, PositiveInt

from videoalign.config import Config
from videoalign.contracts.generator import Generator
from videoalign.contracts.records import Clip
from videoalign.contracts.video import Video
from videoalign.errors import DataError
from videoalign.video.files import read_video

RATE_TOLERANCE = 0.01
"""Rates that differ by less, as 23.976 and 24 do, count as one."""


class ClipSettings(Config):
    """How clips become latents."""

    batch_size: int = Field(default=8, gt=0)
    """Clips, or prompts, that go through the model at once."""
    sampler_latents: bool = True
    """Of a clip that `generate` made, take the latents that it came from where they were kept; else, and of every other
    clip, the autoencoder reads the file, which lost something when it was written."""
    other_fps: Literal["refuse", "resample"] = "refuse"
    """What to do with clips of more frames per second than the model's: ``resample`` takes the frames that are nearest
    in time. Clips of fewer are refused, since repeated frames would be learnt."""
    other_length: Literal["refuse", "trim"] = "refuse"
    """What to do with clips of more frames than the model's: ``trim`` takes the first ones. Clips of fewer are
    refused."""
    other_size: Literal["refuse", "crop", "pad"] = "refuse"
    """What to do with clips of another height or width: ``crop`` resizes them until they cover the model's size and
    takes the middle, ``pad`` until they fit into it, with black around them."""
    buckets: tuple[tuple[PositiveInt, PositiveInt, PositiveInt], ...] = ()
    """More shapes [frames, height, width] to encode clips in, beside the model's own. A clip goes into the one that it
    has, or else into that for which least has to be changed; clips that are compared go into one together. A batch of
    a training holds one shape."""


@dataclass(frozen=True)
class ClipFit:
    """What a generator works in, and how clips are brought to it."""

    name: str
    """Of the generator."""
    fps: float
    num_frames: int
    height: int
    width: int
    settings: ClipSettings
    group: str = ""
    """What the command has ``settings`` in, as ``encode.``, for messages."""
    works_in: str = ""
    """The shapes to choose from, where there are several, for messages."""

    @classmethod
    def of(cls, generator: Generator, settings: ClipSettings, group: str = "") -> ClipFit:
        """To the clips that a generator works in."""
        return cls(generator.name, generator.codec.fps, *generator.codec.clip_shape, settings, group)

    @property
    def shape(self) -> tuple[int, int, int]:
        """(frames, height, width)."""
        return self.num_frames, self.height, self.width

    def changes(self, clip: Clip) -> dict[str, Any]:
        """What has to change on a clip, and into what; empty where nothing has.

        Raises:
            DataError: something that was not asked for, or cannot be done.
        """
        rate = self._rate(clip)
        there = len(self._nearest(clip.num_frames, clip.fps)) if rate else clip.num_frames
        sizes = f"clip '{clip.clip_id}' has (frames, height, width) {(clip.num_frames, clip.height, clip.width)}"
        sizes += f", {there} frames at {self.fps:g} per second" if rate else ""
        sizes += f"; '{self.name}' works in {self.works_in or self.shape}"
        if there < self.num_frames:
            raise DataError(f"{sizes}. It is too short: leave it out, or set num_frames of the model.")
        length = {"num_frames": self.num_frames} if there > self.num_frames else {}
        if length and self.settings.other_length == "refuse":
            raise DataError(
                f"{sizes}. Give clips of that length, set num_frames of the model, or take the first frames with "
                f"{self.group}other_length=trim."
            )
        if (clip.height, clip.width) == (self.height, self.width):
            return {**rate, **length}
        if self.settings.other_size == "refuse":
            raise DataError(
                f"{sizes}. Give clips of that size, set height and width of the model, or resize them with "
                f"{self.group}other_size=crop or {self.group}other_size=pad."
            )
        size = {"height": self.height, "width": self.width, "other_size": self.settings.other_size}
        return {**rate, **length, **size}

    def _rate(self, clip: Clip) -> dict[str, Any]:
        """The model's rate, where a clip has to be brought to it."""
        if abs(clip.fps - self.fps) <= RATE_TOLERANCE * self.fps:
            return {}
        if clip.fps > self.fps and self.settings.other_fps == "resample":
            return {"fps": self.fps}
        resample = f" or resample them with {self.group}other_fps=resample"
        way = resample if clip.fps > self.fps else " or leave them out"
        raise DataError(
            f"clip '{clip.clip_id}' has {clip.fps:g} frames per second; '{self.name}' works in {self.fps:g}, and would "
            f"learn to move {self.fps / clip.fps:.3g} times as fast. "
            f"Give clips of {self.fps:g}, set fps of the model,{way}."
        )

    def load(self, source: str | Path, clip: Clip) -> Video:
        """The clip in a file, or at an address, as the generator works in it.

        Raises:
            VideoError: it is missing or damaged.
            DataError: its file is not what the dataset's table says; see also `changes`.
        """
        changes = self.changes(clip)

        def choose(num_frames: int, fps: float) -> Sequence[int]:
            if num_frames != clip.num_frames or abs(fps - clip.fps) > RATE_TOLERANCE * clip.fps:
                raise _replaced(
                    clip, f"{num_frames} frames at {fps:g}", f"{clip.num_frames} at {clip.fps:g} per second"
                )
            indices = self._nearest(num_frames, fps) if "fps" in changes else range(num_frames)
            return list(indices[: self.num_frames])

        video = read_video(source, choose)
        height, width = video.frames.shape[1:3]
        if (height, width) != (clip.height, clip.width):
            raise _replaced(clip, f"{width}x{height} pixels", f"{clip.width}x{clip.height}")
        fps = self.fps if "fps" in changes else video.fps
        return Video(resized(video.frames, self.height, self.width, cover=self.settings.other_size == "crop"), fps)

    def _nearest(self, num_frames: int, fps: float) -> list[int]:
        """The frame that is shown nearest to each moment at which the model shows one, as long as the clip lasts."""
        count = int((num_frames - 1) * self.fps / fps + 1e-6) + 1
        return [min(num_frames - 1, round(place * fps / self.fps)) for place in range(count)]


def resized(frames: np.ndarray, height: int, width: int, *, cover: bool) -> np.ndarray:
    """Frames uint8 (F, H, W, 3) of another size, undistorted.

    Args:
        frames: as they are.
        height: wanted.
        width: wanted.
        cover: cut off what is beyond the middle; else everything is kept, with black around it.
    """
    from videoalign.models.videoreward.processing import resize_frames

    old_height, old_width = frames.shape[1:3]
    if (old_height, old_width) == (height, width):
        return frames
    scales = (height / old_height, width / old_width)
    scale = max(scales) if cover else min(scales)
    new_height, new_width = (max(1, round(side * scale)) for side in (old_height, old_width))
    pictures = torch.from_numpy(np.ascontiguousarray(frames)).permute(0, 3, 1, 2)
    new = resize_frames(pictures, new_height, new_width).permute(0, 2, 3, 1).numpy()
    out = np.zeros((len(frames), height, width, 3), np.uint8)
    (to_y, from_y), (to_x, from_x) = _middle(new_height, height), _middle(new_width, width)
    out[:, to_y, to_x] = new[:, from_y, from_x]
    return out


def _middle(have: int, want: int) -> tuple[slice, slice]:
    """Where in ``want`` rows the middle of ``have`` goes, and which of them it is."""
    size, gap = min(have, want), abs(have - want) // 2
    return (slice(0, size), slice(gap, gap + size)) if have >= want else (slice(gap, gap + size), slice(0, size))


def _replaced(clip: Clip, got: str, told: str) -> DataError:
    return DataError(
        f"clip '{clip.clip_id}': its file has {got}, the dataset's table says {told}; the file was replaced by another "
        "kind of clip. Put the old one back, or import it anew."
    )
