"""The truth of the sprite world: VQ, MQ and TA measured from pixels alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.ndimage import gaussian_filter, maximum_filter

from videoalign.contracts.video import Video
from videoalign.errors import DataError
from videoalign.video.judge import FrameJudge
from videoalign.worlds.sprites.prompts import COLOURS, MOTIONS, SHAPES, Sentence, parse
from videoalign.worlds.sprites.renderer import GROWTH, SIZE_PX, TRAVEL_PX, coverage

MIN_CHROMA = 45.0
"""Spread of R, G and B, in grey levels, below which there is no shape to see."""
SHAKE_PX = 1.0
"""Shake that halves the smoothness; at a third of it a tenth is lost."""
CORE_PX = 60
"""Number of most colourful pixels that stand for the inside of a shape."""


@dataclass(frozen=True)
class Sighting:
    """The shape as seen in each frame."""

    mask: np.ndarray
    """Soft outline in [0, 1], (F, H, W)."""
    edge: np.ndarray
    """Chroma in units of the shape's own, (F, H, W)."""
    chroma: np.ndarray
    """Chroma of the inside in grey levels, (F,)."""
    present: np.ndarray
    """Whether there is a shape, bool (F,)."""
    x: np.ndarray
    y: np.ndarray
    """Centroid in pixels, (F,)."""
    radius: np.ndarray
    """Radius in pixels of the circle of equal area, (F,)."""
    colour: np.ndarray
    """Mean RGB of the inside, (3,)."""


class Oracle(FrameJudge):
    """Scores clips of this world; every score lies in [0, 1]."""

    name = "oracle"
    dimensions: tuple[str, ...] = ("VQ", "MQ", "TA")

    def score_videos(self, videos: Sequence[Video], prompts: Sequence[str]) -> np.ndarray:
        """Scores, float64 (N, 3).

        Raises:
            DataError: a clip is not of this world's size, or a prompt is not one of its sentences.
        """
        if len(videos) != len(prompts):
            raise DataError(f"oracle: got {len(videos)} clips and {len(prompts)} prompts; wanted one prompt per clip.")
        return np.array([self._score_one(v, p) for v, p in zip(videos, prompts, strict=True)]).reshape(-1, 3)

    def _score_one(self, video: Video, prompt: str) -> tuple[float, float, float]:
        if video.frames.shape[1:3] != (SIZE_PX, SIZE_PX):
            height, width = video.frames.shape[1:3]
            raise DataError(
                f"oracle: clip is {width}x{height}; wanted {SIZE_PX}x{SIZE_PX}, a clip of the sprite world."
            )
        try:
            sentence = parse(prompt)
        except ValueError as error:
            raise DataError(f"oracle: {error}.") from None
        seen = look(video.frames)
        if seen.present.mean() < 0.5:
            return 0.0, 0.0, 0.0
        return visual_quality(video.frames, seen), motion_quality(seen), text_alignment(seen, sentence)


def look(frames: np.ndarray) -> Sighting:
    """Finds the shape by its colourfulness; the backdrop and its grain are nearly grey."""
    planes = _planes(frames)  # (3, F, H, W)
    chroma = planes.max(0) - planes.min(0)  # (F, H, W)
    num_frames = len(frames)
    core = np.partition(chroma.reshape(num_frames, -1), -CORE_PX, axis=1)[:, -CORE_PX:].mean(1)  # (F,)
    edge = chroma / np.maximum(core, MIN_CHROMA)[:, None, None]
    mask = np.clip((edge - 0.5) * 4 + 0.5, 0.0, 1.0)
    # partly covered pixels count by their share, or a straight edge that crosses the grid would look like a shake
    cover = np.clip((edge - 0.1) / 0.9, 0.0, 1.0) * (maximum_filter(mask, (1, 7, 7)) > 0)
    mass = np.maximum(cover.sum((1, 2)), 1e-6)
    grid = np.arange(frames.shape[1]) + 0.5
    inside = mask * (edge > 0.85)
    weight = inside.sum() if inside.sum() > 0 else 1.0
    return Sighting(
        mask=mask,
        edge=edge,
        chroma=core,
        present=core > MIN_CHROMA,
        x=(cover.sum(1) @ grid) / mass,
        y=(cover.sum(2) @ grid) / mass,
        radius=np.sqrt(mass / np.pi),
        colour=(planes * inside).sum((1, 2, 3)) / weight,
    )


def _planes(frames: np.ndarray) -> np.ndarray:
    """R, G and B apart, float64 (3, F, H, W); many times faster to reduce over than (F, H, W, 3)."""
    return np.moveaxis(frames, -1, 0).astype(np.float64, order="C")


def visual_quality(frames: np.ndarray, seen: Sighting) -> float:
    """Geometric mean of sharpness, cleanness of the backdrop and vividness."""
    slope = np.hypot(*np.gradient(seen.edge, axis=(1, 2)))
    steepest = np.partition(slope.reshape(len(slope), -1), -CORE_PX, axis=1)[:, -CORE_PX:].mean()
    sharp = min(steepest / 0.45, 1.0)
    vivid = min(float(seen.chroma.mean()) / 110.0, 1.0)
    return float((sharp * np.exp(-grain_level(frames, seen) / 6.0) * vivid) ** (1 / 3))


def grain_level(frames: np.ndarray, seen: Sighting) -> float:
    """Deviation of the backdrop from its own smooth shading, in grey levels."""
    grey = _planes(frames).mean(0)
    backdrop = (gaussian_filter(seen.edge, (0, 2, 2)) < 0.15).astype(np.float64)
    if not backdrop.any():  # grain so strong that edges are everywhere
        backdrop = np.ones_like(backdrop)
    blur = (0, 5, 5)
    smooth = gaussian_filter(grey * backdrop, blur, mode="nearest") / np.maximum(
        gaussian_filter(backdrop, blur, mode="nearest"), 1e-6
    )
    return float((grey - smooth)[backdrop > 0].std())


def motion_quality(seen: Sighting) -> float:
    """Geometric mean of smoothness and dynamic degree, times the share of frames with a shape.

    Smoothness falls with the frame-to-frame shake; the dynamic degree is the distance covered (or the growth) as a
    share of a full move, so that a frozen clip scores 0.
    """
    tracks = np.stack([seen.x, seen.y, seen.radius])  # (3, F) pixels
    shake_px = np.sqrt(np.mean(np.diff(tracks, n=2, axis=1) ** 2, axis=1) / 6).max()
    smooth = 1 / (1 + (shake_px / SHAKE_PX) ** 2)
    dynamic = min(float(np.linalg.norm(_travel(seen))) / 0.85, 1.0)
    return float(np.sqrt(smooth * dynamic) * seen.present.mean())


def text_alignment(seen: Sighting, sentence: Sentence) -> float:
    """Mean of how well colour, shape and motion fit the sentence, each in [0, 1]."""
    return float(np.mean(_fits(seen, sentence)))


def attribute_fits(frames: np.ndarray, sentence: Sentence) -> tuple[float, float, float]:
    """How well colour, shape and motion fit the sentence, each in [0, 1]; all 0 where there is no shape.

    Args:
        frames: uint8 (F, 64, 64, 3).
        sentence: what the clip should show.
    """
    seen = look(frames)
    return _fits(seen, sentence) if seen.present.mean() >= 0.5 else (0.0, 0.0, 0.0)


def _fits(seen: Sighting, sentence: Sentence) -> tuple[float, float, float]:
    return _colour_fit(seen, sentence), _shape_fit(seen, sentence), _motion_fit(seen, sentence)


def _colour_fit(seen: Sighting, sentence: Sentence) -> float:
    """1 within 14 degrees of the named hue, 0 beyond 40 degrees."""
    cosine = _hue(seen.colour) @ _hue(np.array(COLOURS[sentence.colour], dtype=np.float64))
    return float(np.clip((cosine - np.cos(np.radians(40))) / (np.cos(np.radians(14)) - np.cos(np.radians(40))), 0, 1))


def _hue(rgb: np.ndarray) -> np.ndarray:
    offset = rgb - rgb.mean()
    return offset / max(float(np.linalg.norm(offset)), 1e-6)


def _shape_fit(seen: Sighting, sentence: Sentence) -> float:
    """Posterior of the named shape from the overlap with each shape drawn at the same place and size."""
    shown = np.flatnonzero(seen.present)
    frames = shown[np.linspace(0, len(shown) - 1, 5).round().astype(int)]
    mask = seen.mask[frames]
    overlap = {}
    for shape in SHAPES:
        drawn = coverage(shape, seen.x[frames], seen.y[frames], seen.radius[frames])
        overlap[shape] = float(
            np.mean(np.minimum(mask, drawn).sum((1, 2)) / np.maximum(np.maximum(mask, drawn).sum((1, 2)), 1e-6))
        )
    evidence = np.exp(np.array([overlap[s] - max(overlap.values()) for s in SHAPES]) / 0.04)
    return float(evidence[SHAPES.index(sentence.shape)] / evidence.sum())


def _motion_fit(seen: Sighting, sentence: Sentence) -> float:
    """Share of the movement that goes the named way, discounted when there is little movement."""
    travel = _travel(seen)
    along = float(travel @ np.array(MOTIONS[sentence.motion]))
    return float(np.clip(1.15 * along / (np.linalg.norm(travel) + 0.15), 0.0, 1.0))


def _travel(seen: Sighting) -> np.ndarray:
    """Movement over the clip as (x, y, log size), each in units of a full move, (3,): straight-line fits through the
    frames that show the shape."""
    time = np.linspace(-0.5, 0.5, len(seen.x))[seen.present]
    time = time - time.mean()
    radius = np.maximum(seen.radius, 0.5)
    tracks = np.stack([seen.x / TRAVEL_PX, seen.y / TRAVEL_PX, np.log(radius) / np.log(GROWTH)])[:, seen.present]
    return np.asarray((tracks - tracks.mean(1, keepdims=True)) @ time / (time @ time))
