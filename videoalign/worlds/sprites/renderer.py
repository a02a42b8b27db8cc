"""Draws the clips of the sprite world, clean or flawed, with numpy alone."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from scipy.ndimage import gaussian_filter

from videoalign.worlds.sprites.prompts import COLOURS, MOTIONS, SHAPES, Sentence

NUM_FRAMES = 17
SIZE_PX = 64
FPS = 8.0

TRAVEL_PX = 26.0
"""Distance that a moving shape covers in one clip."""
CENTRE_SPREAD_PX = 5.0
"""Farthest that the middle of a path lies from the middle of the picture, along each axis."""
EXTENT = {"circle": 1.0, "square": 0.89, "triangle": 1.56, "cross": 1.19}
"""Farthest reach of a shape from its centroid along an axis, in units of its radius."""
GROWTH = 2.1
"""Ratio of the larger to the smaller size when a shape grows or shrinks."""


@dataclass(frozen=True)
class Flaws:
    """What is wrong with a clip; all zero is a clean one."""

    blur_px: float = 0.0
    """Standard deviation of a Gaussian blur over the whole picture."""
    grain: float = 0.0
    """Standard deviation, in grey levels of 255, of a blotchy noise that drifts over the clip."""
    jitter_px: float = 0.0
    """Standard deviation of a random displacement of the shape in each frame."""
    frozen_share: float = 0.0
    """Share of the clip, in [0, 1], during which the shape stands still; 1 is a still picture."""


@dataclass(frozen=True)
class Scene:
    """Everything that decides the pixels of one clip."""

    sentence: Sentence
    centre_px: tuple[float, float]
    """Middle of the path (x, y)."""
    radius_px: float
    background: tuple[float, float, float]
    """sRGB of the backdrop, 0 to 255."""
    flaws: Flaws = field(default_factory=Flaws)
    seed: int = 0
    """Draws the grain, the jitter and the moment of a freeze."""


def sample_scene(sentence: Sentence, rng: np.random.Generator, flaws: Flaws | None = None) -> Scene:
    """A random scene for a sentence, the whole path inside the frame."""
    radius = float(rng.uniform(9.5, 11.5))
    dx, dy, _ = MOTIONS[sentence.motion]
    reach = radius * EXTENT[sentence.shape] * (GROWTH**0.5 if dx == dy == 0 else 1.0)
    room = SIZE_PX / 2 - reach - 1.0
    reach_x, reach_y = room - abs(dx) * TRAVEL_PX / 2, room - abs(dy) * TRAVEL_PX / 2
    spread_x, spread_y = (min(max(reach, 0.0), CENTRE_SPREAD_PX) for reach in (reach_x, reach_y))
    centre = (
        SIZE_PX / 2 + float(rng.uniform(-1, 1)) * spread_x,
        SIZE_PX / 2 + float(rng.uniform(-1, 1)) * spread_y,
    )
    level = float(rng.uniform(26, 58))
    background = (level * 0.92, level, level * 1.12)
    return Scene(sentence, centre, radius, background, flaws or Flaws(), int(rng.integers(2**31)))


def render(scene: Scene) -> np.ndarray:
    """The clip, uint8 (F, H, W, 3)."""
    rng = np.random.default_rng(scene.seed)
    x, y, radius = _trajectory(scene, rng)
    cover = coverage(scene.sentence.shape, x, y, radius)[..., None]  # (F, H, W, 1)
    shade = np.linspace(1.12, 0.88, SIZE_PX)[None, :, None, None]
    clip = cover * np.array(COLOURS[scene.sentence.colour]) + (1 - cover) * np.array(scene.background) * shade
    if scene.flaws.blur_px > 0:
        clip = gaussian_filter(clip, (0, scene.flaws.blur_px, scene.flaws.blur_px, 0), mode="nearest")
    if scene.flaws.grain > 0:
        clip = clip + scene.flaws.grain * _blotches(rng)[..., None]
    return np.clip(np.rint(clip), 0, 255).astype(np.uint8)


def trajectory(scene: Scene) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Where the shape is in each frame of `render`, flaws included: x, y and radius in pixels, each (F,)."""
    return _trajectory(scene, np.random.default_rng(scene.seed))


def _trajectory(scene: Scene, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    progress = _progress(scene.flaws.frozen_share, rng)  # (F,) in [-0.5, 0.5]
    dx, dy, dsize = MOTIONS[scene.sentence.motion]
    wobble = rng.normal(0.0, 1.0, (NUM_FRAMES, 2)) * scene.flaws.jitter_px
    x = scene.centre_px[0] + dx * TRAVEL_PX * progress + wobble[:, 0]
    y = scene.centre_px[1] + dy * TRAVEL_PX * progress + wobble[:, 1]
    return x, y, scene.radius_px * GROWTH ** (dsize * progress)


def coverage(shape: str, x: np.ndarray, y: np.ndarray, radius: np.ndarray) -> np.ndarray:
    """Anti-aliased coverage in [0, 1] of a shape at each (x, y, radius), float (N, H, W).

    Every shape has the area of a circle of the given radius, so that size tells nothing about shape.

    Raises:
        ValueError: for a shape outside `SHAPES`.
    """
    grid = np.arange(SIZE_PX) + 0.5
    u = (grid[None, None, :] - x[:, None, None]) / radius[:, None, None]
    v = (grid[None, :, None] - y[:, None, None]) / radius[:, None, None]
    return np.clip(0.5 - _signed_distance(shape, u, v) * radius[:, None, None], 0.0, 1.0)


def _signed_distance(shape: str, u: np.ndarray, v: np.ndarray) -> np.ndarray:
    """Distance to the outline in units of the radius, negative inside; each shape of area pi."""
    if shape == "circle":
        return np.sqrt(u**2 + v**2) - 1.0
    if shape == "square":
        half = np.pi**0.5 / 2
        return np.maximum(abs(u), abs(v)) - half
    if shape == "triangle":  # equilateral, point up, centroid at the origin
        inradius = (np.pi / (3 * 3**0.5)) ** 0.5
        return np.maximum(v, abs(u) * 3**0.5 / 2 - v / 2) - inradius
    if shape == "cross":  # two bars, three times as long as wide
        half = (np.pi / 20) ** 0.5
        a, b = abs(u), abs(v)
        return np.minimum(np.maximum(a - 3 * half, b - half), np.maximum(a - half, b - 3 * half))
    raise ValueError(f"shape must be one of {', '.join(SHAPES)}; got {shape!r}")


def _progress(frozen_share: float, rng: np.random.Generator) -> np.ndarray:
    """Where on its path the shape is in each frame; it waits for ``frozen_share`` of the clip, then goes on."""
    steps = NUM_FRAMES - 1
    held = round(frozen_share * steps)
    begin = int(rng.integers(0, steps - held + 1))
    moving = np.ones(steps)
    moving[begin : begin + held] = 0.0
    path = np.concatenate([[0.0], np.cumsum(moving)]) / steps
    return path - path[-1] / 2


def _blotches(rng: np.random.Generator) -> np.ndarray:
    """Smooth noise of unit deviation, float (F, H, W), that changes slowly over the clip."""
    ends = gaussian_filter(rng.normal(size=(2, SIZE_PX, SIZE_PX)), (0, 2.0, 2.0), mode="wrap")
    ends /= ends.std(axis=(1, 2), keepdims=True)
    angle = np.linspace(0, np.pi / 2, NUM_FRAMES)[:, None, None]
    return np.cos(angle) * ends[0] + np.sin(angle) * ends[1]
