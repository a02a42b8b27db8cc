"""What the renderer draws, in numbers."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from videoalign.worlds.sprites.prompts import ALL_SENTENCES, COLOURS, MOTIONS, SHAPES, Sentence
from videoalign.worlds.sprites.renderer import (
    GROWTH,
    NUM_FRAMES,
    SIZE_PX,
    TRAVEL_PX,
    Flaws,
    Scene,
    coverage,
    render,
    sample_scene,
)


def scene(
    shape: str = "circle", motion: str = "moves right", *, flaws: Flaws | None = None, seed: int = 0, **changes: object
) -> Scene:
    made = Scene(Sentence("red", shape, motion), (32.0, 32.0), 10.0, (40.0, 42.0, 46.0), flaws or Flaws(), seed)
    return replace(made, **changes)


def cover(clip: np.ndarray, scene: Scene) -> np.ndarray:
    """Share of each pixel that the shape covers, (F, H, W), by projection on the way from backdrop to colour."""
    shade = np.linspace(1.12, 0.88, SIZE_PX)[None, :, None, None]
    ground = np.array(scene.background) * shade
    way = np.array(COLOURS[scene.sentence.colour]) - ground
    return ((clip - ground) * way).sum(-1) / (way**2).sum(-1)


def track(clip: np.ndarray, scene: Scene) -> np.ndarray:
    """Centroid x, y and radius in each frame, (3, F) pixels."""
    share = cover(clip, scene)
    grid, mass = np.arange(SIZE_PX) + 0.5, share.sum((1, 2))
    return np.stack([(share.sum(1) @ grid) / mass, (share.sum(2) @ grid) / mass, np.sqrt(mass / np.pi)])


@pytest.mark.parametrize("radius", [8.5, 11.0])
@pytest.mark.parametrize("shape", SHAPES)
def test_every_shape_has_the_area_of_its_circle(shape: str, radius: float) -> None:
    centres = np.array([31.0, 32.3, 33.7])
    area = coverage(shape, centres, centres[::-1], np.full(3, radius)).sum((1, 2))
    np.testing.assert_allclose(area, np.pi * radius**2, rtol=0.015)


@pytest.mark.parametrize("shape", SHAPES)
def test_every_shape_lies_around_its_centre(shape: str) -> None:
    drawn = coverage(shape, np.array([30.0]), np.array([35.0]), np.array([10.0]))[0]
    grid = np.arange(SIZE_PX) + 0.5
    assert drawn.sum(0) @ grid / drawn.sum() == pytest.approx(30.0, abs=0.05)
    assert drawn.sum(1) @ grid / drawn.sum() == pytest.approx(35.0, abs=0.05)


def test_an_unknown_shape_is_refused() -> None:
    with pytest.raises(ValueError, match="circle, square, triangle, cross"):
        coverage("star", np.array([1.0]), np.array([1.0]), np.array([1.0]))


@pytest.mark.parametrize("motion", MOTIONS)
def test_the_shape_moves_as_the_sentence_says_and_not_otherwise(motion: str) -> None:
    drawn = scene(motion=motion)
    x, y, radius = track(render(drawn), drawn)
    moved = np.array([x[-1] - x[0], y[-1] - y[0], np.log(radius[-1] / radius[0])])
    wanted = np.array(MOTIONS[motion]) * (TRAVEL_PX, TRAVEL_PX, np.log(GROWTH))
    np.testing.assert_allclose(moved, wanted, atol=0.1)
    pace = np.diff(np.stack([x, y, np.log(radius)]), axis=1)
    np.testing.assert_allclose(pace, np.repeat(wanted[:, None] / (NUM_FRAMES - 1), NUM_FRAMES - 1, 1), atol=0.05)


def test_sampled_scenes_keep_the_whole_path_in_the_frame() -> None:
    rng = np.random.default_rng(0)
    for sentence in ALL_SENTENCES[::2]:
        drawn = sample_scene(sentence, rng)
        clip = render(drawn)
        assert clip.shape == (NUM_FRAMES, SIZE_PX, SIZE_PX, 3)
        rim = np.concatenate([clip[:, 0], clip[:, -1], clip[:, :, 0], clip[:, :, -1]], axis=1).astype(float)
        assert (rim.max(-1) - rim.min(-1)).max() < 25  # nothing colourful on the rim


def test_the_same_scene_is_the_same_clip_and_another_seed_another_flaw() -> None:
    flaws = Flaws(grain=10.0, jitter_px=2.0, frozen_share=0.5)
    assert (render(scene(flaws=flaws)) == render(scene(flaws=flaws))).all()
    assert (render(scene(flaws=flaws)) != render(scene(flaws=flaws, seed=1))).mean() > 0.3
    assert (render(scene()) == render(scene(seed=1))).all()  # a clean clip draws nothing


@pytest.mark.parametrize("blur_px", [1.0, 2.0, 4.0])
def test_blur_flattens_an_edge_to_that_of_a_gaussian_and_keeps_the_mass(blur_px: float) -> None:
    """A step through a Gaussian of deviation s has the slope 1 / (s sqrt(2 pi))."""
    sharp, blurred = (cover(render(scene("square", flaws=Flaws(blur_px=b))), scene("square")) for b in (0.0, blur_px))
    middle = blurred[NUM_FRAMES // 2, SIZE_PX // 2]  # a row through the middle
    pixel = np.hypot(blur_px, 0.29)  # a pixel's own width is a box of deviation 0.29
    assert np.abs(np.diff(middle)).max() == pytest.approx(1 / (pixel * np.sqrt(2 * np.pi)), rel=0.06)
    assert blurred.sum() == pytest.approx(sharp.sum(), rel=0.02)


@pytest.mark.parametrize("grain", [5.0, 10.0, 20.0])
def test_grain_is_grey_noise_of_the_given_deviation_with_no_rest_in_time(grain: float) -> None:
    clean, noisy = (render(scene(flaws=Flaws(grain=g), seed=3)).astype(float) for g in (0.0, grain))
    added = noisy - clean
    dark = cover(clean, scene())[0] < 0.01
    assert added[:, dark].std() == pytest.approx(grain, rel=0.1)
    assert (added[:, dark].max(-1) - added[:, dark].min(-1)).mean() < 1.0  # the same in R, G and B
    first, last = added[0][dark].mean(-1), added[-1][dark].mean(-1)
    assert np.corrcoef(first, added[1][dark].mean(-1))[0, 1] > 0.95
    assert abs(np.corrcoef(first, last)[0, 1]) < 0.3


def test_jitter_moves_the_shape_by_its_deviation_in_each_frame() -> None:
    shifts = []
    for seed in range(12):
        clean, shaken = scene(seed=seed), scene(seed=seed, flaws=Flaws(jitter_px=2.0))
        shifts.append(track(render(shaken), shaken)[:2] - track(render(clean), clean)[:2])
    moved = np.stack(shifts)  # (seeds, 2, F)
    assert moved.std() == pytest.approx(2.0, rel=0.1)
    assert abs(moved.mean()) < 0.3
    assert abs(np.corrcoef(moved[..., 1:].ravel(), moved[..., :-1].ravel())[0, 1]) < 0.15  # new in each frame


@pytest.mark.parametrize("share", [0.25, 0.5, 1.0])
def test_a_freeze_holds_its_share_of_the_clip_in_one_piece_and_shortens_the_path(share: float) -> None:
    begins = set()
    for seed in range(8):
        frozen = scene(flaws=Flaws(frozen_share=share), seed=seed)
        clip = render(frozen)
        still = (clip[1:] == clip[:-1]).all(axis=(1, 2, 3))
        assert still.sum() == round(share * (NUM_FRAMES - 1))
        held = np.flatnonzero(still)
        assert (np.diff(held) == 1).all()
        begins.add(int(held[0]))
        x = track(clip, frozen)[0]
        assert x[-1] - x[0] == pytest.approx((1 - share) * TRAVEL_PX, abs=0.1)
    assert len(begins) == 1 if share == 1.0 else len(begins) > 2
