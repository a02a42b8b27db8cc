"""Clips of several shapes for one model: which of its shapes each clip goes into."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import replace
from functools import partial

from videoalign.contracts.generator import Codec, Generator
from videoalign.contracts.records import Clip
from videoalign.errors import ConfigError, DataError
from videoalign.recipes.generator.clip_fit import ClipFit, ClipSettings

Shape = tuple[int, int, int]
"""(frames, height, width)."""


class Buckets:
    """The shapes that a generator is to work in: its own, and those of `ClipSettings.buckets`.

    Args:
        generator: whose codec encodes the clips.
        settings: see `ClipSettings`.
        group: what the user's command has ``settings`` in, as ``encode.``, for messages.

    Raises:
        ConfigError: a shape that the model cannot work in.
    """

    def __init__(self, generator: Generator, settings: ClipSettings, group: str = "") -> None:
        self.group = group
        own = ClipFit.of(generator, settings, group)
        self.codecs: dict[ClipFit, Codec] = {}
        shapes = list(dict.fromkeys([own.shape, *settings.buckets]))
        told = " or ".join(map(str, shapes))
        for shape in shapes:
            frames, height, width = shape
            fit = replace(own, num_frames=frames, height=height, width=width, works_in=told)
            self.codecs[fit] = self._codec(generator, shape)

    def _codec(self, generator: Generator, shape: Shape) -> Codec:
        try:
            return generator.changed(dict(zip(("num_frames", "height", "width"), shape, strict=True))).codec
        except ConfigError as error:
            raise ConfigError(f"{self.group}buckets: got {list(shape)}; {error}") from None

    def choose(self, clips: Sequence[Clip], together: Iterable[tuple[str, str]] = ()) -> dict[str, ClipFit]:
        """By clip id the shape that it is brought to: the one for which least has to be done to it.

        Args:
            clips: with other ids.
            together: ids of clips that are compared, which go into one bucket.

        Raises:
            DataError: a clip that fits none as it is and that the settings do not say how to change, or clips to be
                compared that fit none together.
        """
        by_id, links = {clip.clip_id: clip for clip in clips}, list(together)
        if len(self.codecs) == 1:
            (only,) = self.codecs
            for clip in clips:
                only.changes(clip)
            return dict.fromkeys(by_id, only)
        chosen: dict[str, ClipFit] = {}
        for ids in _connected(by_id, links):
            fit = self._least([by_id[clip_id] for clip_id in ids])
            if fit is None:
                raise self._refused([by_id[clip_id] for clip_id in ids], links)
            chosen |= dict.fromkeys(ids, fit)
        return chosen

    def _least(self, clips: Sequence[Clip]) -> ClipFit | None:
        """The bucket that all these clips fit with the least change; None where there is none."""
        costs = {fit: cost for fit in self.codecs if (cost := _cost(fit, clips)) is not None}
        return min(costs, key=costs.__getitem__) if costs else None

    def _refused(self, clips: Sequence[Clip], links: Iterable[tuple[str, str]]) -> DataError:
        """What to say of clips that no bucket takes together; raises where one of them fits none by itself."""
        by_id, alone = {clip.clip_id: clip for clip in clips}, dict[str, ClipFit]()
        for clip in clips:
            fit = self._least([clip]) or min(self.codecs, key=partial(_distance, clip=clip))
            fit.changes(clip)
            alone[clip.clip_id] = fit
        a, b = next((a, b) for a, b in links if a in alone and b in alone and alone[a] != alone[b])
        return DataError(
            f"pairs: clip '{a}' has (frames, height, width) {_shape(by_id[a])} and clip '{b}', which it is compared "
            f"with, {_shape(by_id[b])}; both clips of a pair go into one bucket. Leave the pair out, or bring clips to "
            f"one with {self.group}other_length=trim and {self.group}other_size=crop or pad."
        )


def _cost(fit: ClipFit, clips: Sequence[Clip]) -> tuple[float, ...] | None:
    """What bringing clips to a bucket takes from them, the worst first; None where it cannot be done."""
    try:
        changed = sum(bool(fit.changes(clip)) for clip in clips)
    except DataError:
        return None
    return changed, *(sum(parts) for parts in zip(*(_distance(fit, clip) for clip in clips), strict=True))


def _distance(fit: ClipFit, clip: Clip) -> tuple[float, float, float]:
    """How far a bucket is from a clip in the ratio of its sides, in frames, and in the number of pixels."""
    sides = math.log(fit.height / fit.width) - math.log(clip.height / clip.width)
    pixels = math.log(fit.height * fit.width) - math.log(clip.height * clip.width)
    return abs(sides), abs(fit.num_frames - clip.num_frames), abs(pixels)


def _connected(ids: Iterable[str], links: Iterable[tuple[str, str]]) -> list[list[str]]:
    """The ids in groups: those that are linked, directly or through others, in one; in the order of their first."""
    group = {clip_id: [clip_id] for clip_id in ids}
    for a, b in links:
        if group[a] is not group[b]:
            group[a] += group[b]
            group |= dict.fromkeys(group[b], group[a])
    return list({id(members): members for members in group.values()}.values())


def _shape(clip: Clip) -> Shape:
    return clip.num_frames, clip.height, clip.width
