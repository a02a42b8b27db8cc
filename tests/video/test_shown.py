"""Frames are read as ffmpeg and browsers show them: turned, mirrored and in square pixels; `probe` agrees."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction

import numpy as np
import pytest

from videoalign.errors import LimitError, VideoError
from videoalign.video.files import probe, read_video
from videoalign.video.limits import ClipLimits
from videoalign.video.shown import shown_size

from .clips import encoded, grey, with_matrix

Turn = Callable[[np.ndarray], np.ndarray]
ORIENTATIONS: dict[str, tuple[tuple[int, int, int, int], Turn]] = {
    "as it is": ((1, 0, 0, 1), lambda f: f),
    "quarter clockwise": ((0, 1, -1, 0), lambda f: np.rot90(f, -1, (1, 2))),
    "half": ((-1, 0, 0, -1), lambda f: f[:, ::-1, ::-1]),
    "quarter counter-clockwise": ((0, -1, 1, 0), lambda f: np.rot90(f, 1, (1, 2))),
    "left and right exchanged": ((-1, 0, 0, 1), lambda f: f[:, :, ::-1]),
    "upside down": ((1, 0, 0, -1), lambda f: f[:, ::-1]),
    "transposed": ((0, 1, 1, 0), lambda f: f.transpose(0, 2, 1, 3)),
    "transposed along the other diagonal": ((0, -1, -1, 0), lambda f: f[:, ::-1, ::-1].transpose(0, 2, 1, 3)),
}


@pytest.fixture(scope="module")
def upright() -> bytes:
    """Ten frames of 48 x 32, a bright corner at the upper left, a half bright one at the upper right."""
    frames = grey(10, 32, 48)
    frames[:, :8, :8] = 250
    frames[:, :8, -8:] = 130
    return encoded(frames, g="4")


@pytest.mark.parametrize("name", ORIENTATIONS)
def test_every_orientation_is_read_as_it_is_shown_whole_and_by_seeking(upright: bytes, name: str) -> None:
    matrix, turned = ORIENTATIONS[name]
    clip = with_matrix(upright, *matrix)
    wanted = turned(read_video(upright).frames)
    whole, some, info = read_video(clip), read_video(clip, [9, 2, 5]), probe(clip)
    assert np.array_equal(whole.frames, wanted)
    assert np.array_equal(some.frames, wanted[[9, 2, 5]])
    assert (info.height, info.width) == whole.frames.shape[1:3]
    assert probe(clip, every_frame=True) == info


@pytest.mark.parametrize("scale", [0.5, 2.0])
def test_a_matrix_that_also_enlarges_is_read_by_its_orientation(upright: bytes, scale: float) -> None:
    clip = with_matrix(upright, -scale, 0, 0, scale)
    assert np.array_equal(read_video(clip).frames, read_video(upright).frames[:, :, ::-1])


def test_a_matrix_of_zeros_asks_for_nothing(upright: bytes) -> None:
    assert np.array_equal(read_video(with_matrix(upright, 0, 0, 0, 0)).frames, read_video(upright).frames)


@pytest.mark.parametrize(
    "matrix", [(0.7071, 0.7071, -0.7071, 0.7071), (-0.7071, 0.7071, 0.7071, 0.7071), (1, 0.1, 0, 1)]
)
def test_other_turns_are_refused_by_every_way_of_reading(upright: bytes, matrix: tuple[float, ...]) -> None:
    clip = with_matrix(upright, *matrix)
    for read in (probe, read_video, lambda clip: read_video(clip, [3])):
        with pytest.raises(VideoError, match=r"turned by .* degrees; only quarter turns"):
            read(clip)


@pytest.mark.parametrize(("aspect", "size"), [
    (Fraction(2, 1), (32, 96)),
    (Fraction(1, 2), (64, 48)),
    (Fraction(8, 9), (36, 48)),
    (Fraction(10, 11), (35, 48)),
    (Fraction(1, 1), (32, 48)),
])  # fmt: skip
def test_pixels_that_are_not_square_are_read_in_the_size_that_is_shown(aspect: Fraction, size: tuple[int, int]) -> None:
    frames = grey(10, 32, 48)
    frames[:, :, :24] = 240
    clip = encoded(frames, g="4", aspect=aspect)
    info, whole, some = probe(clip), read_video(clip), read_video(clip, [9, 2, 5])
    assert (info.height, info.width) == whole.frames.shape[1:3] == size
    assert info.pixel_aspect == pytest.approx(float(aspect))
    assert np.array_equal(some.frames, whole.frames[[9, 2, 5]])
    middle = size[1] // 2
    assert whole.frames[0, :, : middle - 4].min() > 225
    assert whole.frames[0, :, middle + 4 :].max() < 35
    assert [round(float(frame[:, middle + 8 :].mean() - 20) / 4) for frame in whole.frames] == list(range(10))


def test_stretched_pixels_are_stretched_before_the_turn() -> None:
    clip = with_matrix(encoded(grey(4, 32, 48), aspect=Fraction(2, 1)), 0, 1, -1, 0)
    assert read_video(clip).frames.shape[1:3] == (96, 32)
    assert (probe(clip).height, probe(clip).width) == (96, 32)


def test_no_side_shrinks_and_the_aspect_is_that_of_the_picture() -> None:
    assert shown_size(480, 720, Fraction(8, 9)) == (540, 720)
    assert shown_size(480, 720, Fraction(32, 27)) == (480, 853)


def test_limits_count_the_pixels_that_are_shown() -> None:
    clip = encoded(grey(4, 32, 48), aspect=Fraction(10, 1))
    with pytest.raises(LimitError, match="frames of 480x32"):
        read_video(clip, limits=ClipLimits(frame_pixels=32 * 479))
    with pytest.raises(LimitError, match="pixels to be read"):
        read_video(clip, [0, 3], limits=ClipLimits(read_pixels=2 * 32 * 480 - 1))
