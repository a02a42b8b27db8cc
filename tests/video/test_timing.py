"""Frames per second by the timestamps: a gap that a cut leaves does not count, a rate that varies is the mean."""

from __future__ import annotations

from fractions import Fraction

import pytest

from videoalign.video.files import probe, read_video

from .clips import encoded, grey


@pytest.mark.parametrize("container", ["mp4", "matroska"])
@pytest.mark.parametrize("place", [0, 10, 22])
def test_one_gap_does_not_change_the_rate(container: str, place: int) -> None:
    times = [index + (3 if index > place else 0) for index in range(24)]
    clip = encoded(grey(24), container=container, times=times, time_base=Fraction(1, 24))
    info = probe(clip)
    assert info.fps == pytest.approx(24.0, rel=0.005)
    assert (info.num_frames, info.constant_rate) == (24, False)
    assert info.duration_seconds == pytest.approx(1.0, rel=0.005)
    assert read_video(clip).fps == info.fps


def test_steps_that_are_rounded_to_milliseconds_are_even() -> None:
    times = [round(1000 * index / 24) for index in range(48)]
    info = probe(encoded(grey(48), container="matroska", times=times, time_base=Fraction(1, 1000)))
    assert info.fps == pytest.approx(24.0, rel=0.005)
    assert info.constant_rate


@pytest.mark.parametrize("steps", [[1, 5] * 6, [1] * 6 + [5] * 6, [1, 1, 1, 1, 7, 9], [2, 4], [1, 2, 3, 4, 5, 6]])
@pytest.mark.parametrize("container", ["mp4", "matroska"])
def test_a_rate_that_varies_is_the_mean(container: str, steps: list[int]) -> None:
    times = [sum(steps[:index]) for index in range(len(steps) + 1)]
    info = probe(encoded(grey(len(times)), container=container, times=times, time_base=Fraction(1, 10)))
    assert info.fps == pytest.approx(10 * len(steps) / sum(steps), rel=0.005)
    assert not info.constant_rate
