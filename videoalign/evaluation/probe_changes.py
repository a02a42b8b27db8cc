"""Changes to clips and prompts whose effect on a reward is known beforehand; the same draws make the same change."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice

import numpy as np
from PIL import Image, ImageFilter

from videoalign.contracts.output import fingerprint
from videoalign.contracts.video import Video
from videoalign.errors import DataError

BLUR_SHARE = 1 / 50
"""Radius of the blur, as a share of the shorter side."""
NOISE_LEVEL = 25.0
"""Deviation of the noise in grey levels."""
OVERLAY_WEIGHT = 0.4
"""How much of an overlaid pixel is overlay."""
RESIZE_SHARE = 3 / 4
"""Side of a resized clip, as a share of what it was."""
NUM_CANDIDATES = 8
"""Prompts that are drawn for a swap; the one that shares the fewest words is taken."""
LUMA = np.array([0.299, 0.587, 0.114], dtype=np.float32)
"""Weights of R, G and B in a grey level (ITU-R BT.601)."""


def draws(seed: int, *names: str) -> np.random.Generator:
    """Random numbers that depend on the seed and the names alone."""
    return np.random.default_rng(int(fingerprint([seed, *names]), 16))


def freeze(video: Video, rng: np.random.Generator) -> Video:
    """The middle frame, as often as there are frames."""
    num_frames = len(video.frames)
    return Video(np.repeat(video.frames[[num_frames // 2]], num_frames, axis=0), video.fps)


def shuffle(video: Video, rng: np.random.Generator) -> Video:
    """The frames in a drawn order, never the one they had."""
    order = rng.permutation(len(video.frames))
    if (order == np.arange(len(order))).all():
        order = np.roll(order, 1)
    return Video(video.frames[order], video.fps)


def reverse(video: Video, rng: np.random.Generator) -> Video:
    """The last frame first."""
    return Video(video.frames[::-1], video.fps)


def loop(video: Video, rng: np.random.Generator) -> Video:
    """The first half twice, as many frames as before; of an odd number, the middle frame counts to the first half."""
    num_frames = len(video.frames)
    return Video(video.frames[np.arange(num_frames) % ((num_frames + 1) // 2)], video.fps)


def grey(video: Video, rng: np.random.Generator) -> Video:
    """Without colour, as bright as before."""
    frames = np.empty_like(video.frames)
    for before, after in zip(video.frames, frames, strict=True):
        after[...] = np.rint(before @ LUMA)[..., None]
    return Video(frames, video.fps)


def blur(video: Video, rng: np.random.Generator) -> Video:
    """Gaussian blur of a radius of `BLUR_SHARE` of the shorter side."""
    soften = ImageFilter.GaussianBlur(BLUR_SHARE * min(video.frames.shape[1:3]))
    return Video(np.stack([np.asarray(Image.fromarray(frame).filter(soften)) for frame in video.frames]), video.fps)


def add_noise(video: Video, rng: np.random.Generator) -> Video:
    """Gaussian noise of deviation `NOISE_LEVEL`, drawn anew for every frame, pixel and channel."""
    frames = np.empty_like(video.frames)
    for before, after in zip(video.frames, frames, strict=True):
        level = before + np.float32(NOISE_LEVEL) * rng.standard_normal(before.shape, dtype=np.float32)
        after[...] = np.rint(level).clip(0, 255)
    return Video(frames, video.fps)


def overlay(video: Video, rng: np.random.Generator) -> Video:
    """Half-transparent diagonal stripes, each white beside black, so that they show on any picture."""
    height, width = video.frames.shape[1:3]
    period = max(min(height, width) // 6, 4)
    place = np.add.outer(np.arange(height), np.arange(width)) % period  # (H, W)
    frames = video.frames.copy()
    for level, striped in ((255.0, place < period // 4), (0.0, (place >= period // 4) & (place < period // 4 * 2))):
        frames[:, striped] = np.rint((1 - OVERLAY_WEIGHT) * frames[:, striped] + OVERLAY_WEIGHT * level)
    return Video(frames, video.fps)


def double_rate(video: Video, rng: np.random.Generator) -> Video:
    """The same frames, said to be played twice as fast."""
    return Video(video.frames, video.fps * 2)


def halve_rate(video: Video, rng: np.random.Generator) -> Video:
    """The same frames, said to be played half as fast."""
    return Video(video.frames, video.fps / 2)


def resize(video: Video, rng: np.random.Generator) -> Video:
    """The whole picture, smaller: `RESIZE_SHARE` of each side, bicubic, anti-aliased."""
    height, width = (max(round(side * RESIZE_SHARE), 1) for side in video.frames.shape[1:3])
    smaller = [Image.fromarray(frame).resize((width, height), Image.Resampling.BICUBIC) for frame in video.frames]
    return Video(np.stack([np.asarray(picture) for picture in smaller]), video.fps)


def unchanged(video: Video, rng: np.random.Generator) -> Video:
    """The clip as it is."""
    return video


def swap_prompt(prompt: str, prompts: Sequence[str], rng: np.random.Generator) -> str:
    """Another prompt: of `NUM_CANDIDATES` drawn ones, the one that shares the fewest words with ``prompt``.

    Args:
        prompt: the clip's own.
        prompts: those to take from; the clip's own may be among them.
        rng: where the draws come from.

    Raises:
        DataError: all prompts have the same words.
    """
    own = _words(prompt)
    others = (other for other in (prompts[index] for index in rng.permutation(len(prompts))) if _words(other) != own)
    drawn = list(islice(others, NUM_CANDIDATES))
    if not drawn:
        raise DataError(f"prompts: all are worded like '{prompt}', so none can be swapped in; probe more prompts.")
    return min(drawn, key=lambda other: _likeness(own, _words(other)))


def _words(prompt: str) -> frozenset[str]:
    return frozenset(prompt.lower().split())


def _likeness(one: frozenset[str], other: frozenset[str]) -> float:
    """Words in both, as a share of the words in either."""
    return len(one & other) / len(one | other)
