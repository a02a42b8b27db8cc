"""When the frames of a clip are shown, by the timestamps of its packets, without decoding them."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

import av.format
import numpy as np

from videoalign.errors import VideoError
from videoalign.video.opening import OpenClip

_RATE_TOLERANCE = 0.005
"""Up to this relative difference the container's stated rate is taken for exact and the timestamps for rounded."""


@dataclass(frozen=True)
class Scan:
    """A pass over the packets, without decoding them."""

    times: list[int] | None
    """Timestamps in the order of showing; None when some packet has none, or two have the same."""
    keys: list[int]
    """Timestamps of the frames that decoding can start from, sorted."""
    num_frames: int
    fps: float


def scan_packets(clip: OpenClip) -> Scan:
    """Reads every packet of the clip.

    Raises:
        VideoError: packets are missing or damaged, there is none, or the rate is unknown.
        LimitError: over the limits.
    """
    guard, stream = clip.guard, clip.stream
    name = guard.name
    times: list[int | None] = []
    keys: list[int] = []
    seen = 0
    for packet in guard.in_time(clip.container.demux(stream)):
        if packet.size == 0:
            continue
        if packet.is_corrupt:
            raise VideoError(f"{name}: truncated or damaged at frame {seen}; fetch the file again.")
        seen += 1
        if packet.is_discard:
            continue
        times.append(packet.pts)
        guard.length(len(times), 0.0)
        if packet.is_keyframe and packet.pts is not None:
            keys.append(packet.pts)
    if seen < stream.frames:
        raise VideoError(f"{name}: truncated, {seen} of {stream.frames} frames are there; fetch the file again.")
    if not times:
        raise VideoError(f"{name}: has no frames; give a file that plays.")
    known = sorted(time for time in times if time is not None)
    ordered = known if len(set(known)) == len(times) else None
    fps = _rate(clip, ordered)
    guard.length(len(times), len(times) / fps)
    return Scan(ordered, sorted(keys), len(times), fps)


def is_constant(times: list[int] | None) -> bool:
    """Whether frames follow each other evenly, but for the rounding of timestamps (a tick at each end) and a tenth."""
    steps = np.diff(times or [])
    return len(steps) == 0 or bool(np.ptp(steps) <= _tolerance(steps))


def _rate(clip: OpenClip, times: list[int] | None) -> float:
    """Frames per second by the timestamps; the stated rate serves where it agrees or where timestamps say nothing."""
    stated = float(clip.stream.average_rate or 0)
    untimed = clip.container.format.flags & av.format.Flags.no_timestamps.value  # type: ignore[operator]
    measured = stated
    if times is not None and len(times) > 1:
        measured = float(1 / (_mean_step(np.diff(times)) * (clip.stream.time_base or Fraction(1))))
    if untimed or not measured:
        raise VideoError(
            f"{clip.guard.name}: its frame rate is unknown; convert it to mp4 with the rate that it was made at."
        )
    return stated if abs(stated - measured) <= _RATE_TOLERANCE * measured else measured


def _mean_step(steps: np.ndarray) -> Fraction:
    """Ticks from a frame to the next; steps that differ from nearly all others are gaps, as a cut leaves, and do not
    count. Where many differ the rate varies, and all count."""
    even = steps[np.abs(steps - np.median(steps)) <= _tolerance(steps)]
    counted = even if len(steps) - len(even) <= max(1, len(steps) // 10) and len(even) else steps
    return Fraction(int(counted.sum()), len(counted))


def _tolerance(steps: np.ndarray) -> float:
    return max(2.0, 0.1 * float(np.median(steps)))
