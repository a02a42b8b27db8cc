"""Clips over the weights of two dimensions: few at first, then where they would differ most from those there are."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from videoalign.contracts.video import Video
from videoalign.video.files import read_video
from videoalign.web.studio.cache import Cache
from videoalign.web.studio.making import Made
from videoalign.web.studio.opening import Opened
from videoalign.web.studio.recipe import AskedGrid, Recipe
from videoalign.web.studio.sheet import contact_sheet

Place = tuple[float, float]
"""Weights of two dimensions, each from 0 to 1."""

FIRST: tuple[Place, ...] = ((0.0, 0.0), (1.0, 0.0), (0.0, 1.0), (1.0, 1.0), (0.5, 0.5))
"""Where every grid begins."""
FINEST = 1 / 16
"""Smallest distance of two weights."""


def next_place(scores: Mapping[Place, Place]) -> Place | None:
    """Between which two neighbours the plot of the scores is emptiest: the place in their middle.

    Neighbours are two places with no other in the circle between them. A gap counts twice where both ends are on the
    Pareto front, since it is the front that is looked for.

    Args:
        scores: of each place that was tried, on the same two dimensions, higher is better.

    Returns:
        None where no two neighbours have room between them, as with a single place.
    """
    places = list(scores)
    at = np.array(places, dtype=np.float64).reshape(-1, 2)
    values = np.array([scores[place] for place in places], dtype=np.float64).reshape(-1, 2)
    spread = np.ptp(values, axis=0) if len(values) else np.ones(2)
    values = values / np.where(spread > 0, spread, 1.0)  # both dimensions weigh the same in the plot
    on_front = [not any((other >= row).all() and (other > row).any() for other in values) for row in values]
    best: tuple[float, Place] | None = None
    for i in range(len(places)):
        for j in range(i):
            middle, radius = (at[i] + at[j]) / 2, np.linalg.norm(at[i] - at[j]) / 2
            away = np.linalg.norm(at - middle, axis=1)
            found = tuple((np.round(middle / FINEST) * FINEST).tolist())
            if (np.delete(away, [i, j]) < radius - 1e-9).any() or found in scores:
                continue
            gap = float(np.linalg.norm(values[i] - values[j])) * (2.0 if on_front[i] and on_front[j] else 1.0)
            if best is None or gap > best[0]:
                best = gap, (found[0], found[1])
    return best[1] if best is not None else None


class Grid:
    """A grid as it grows."""

    def __init__(self, opened: Opened, asked: AskedGrid) -> None:
        self.opened, self.asked = opened, asked
        self.made: dict[str, Made] = {}
        """Clips that are there, by key; filled by whoever makes them."""
        self._places: list[Place] = []

    @property
    def total(self) -> int:
        """Clips in all, if there is room for every point."""
        return self.asked.num_points * len(set(self.asked.seeds))

    def plan(self) -> Iterator[Recipe]:
        """The clips, point after point; the next point is chosen once all before it are there."""
        while len(self._places) < self.asked.num_points:
            if len(self._places) < len(FIRST):
                place: Place | None = FIRST[len(self._places)]
            else:
                place = next_place({place: self._outcome(place) for place in self._places})
            if place is None:
                return
            self._places.append(place)
            yield from self._recipes(place)

    def points(self) -> list[dict[str, Any]]:
        """The points that are whole, in the order in which they were made, with the mean scores of each."""
        return [
            {"place": list(place), "scores": _means(clips), "key": self.opened.key(clips[0].recipe)}
            for place in list(self._places)
            if (clips := self._clips(place))
        ]

    def sheet(self, cache: Cache) -> Video | None:
        """The clips of the first seed as one, ordered by their weights; None where none is there any more."""
        places = sorted((point["place"], point["key"]) for point in self.points())
        there = [(place, key) for place, key in places if cache.get(key) is not None]
        labelled = [(self._label(place), read_video(cache.path(key))) for place, key in there]
        return contact_sheet(labelled) if labelled else None

    def _recipes(self, place: Place) -> list[Recipe]:
        weights = {**self.asked.weights, **dict(zip(self.asked.axes, place, strict=True))}
        settings = self.asked.model_copy(update={"weights": weights})
        return [settings.with_seed(seed) for seed in dict.fromkeys(self.asked.seeds)]

    def _clips(self, place: Place) -> list[Made]:
        """The clips of a place, all or none."""
        found = [self.made.get(self.opened.key(recipe)) for recipe in self._recipes(place)]
        there = [one for one in found if one is not None]
        return there if len(there) == len(found) else []

    def _outcome(self, place: Place) -> Place:
        means = _means(self._clips(place))
        first, second = (means.get(name, 0.0) for name in self.asked.axes)
        return first, second

    def _label(self, place: Sequence[float]) -> str:
        weights = " ".join(f"{name} {weight:.3g}" for name, weight in zip(self.asked.axes, place, strict=True))
        return f"{weights}  x{self.asked.strength:.3g}"


def _means(clips: Sequence[Made]) -> dict[str, float]:
    """The judge's mean scores or, without one, what the guide thought last."""
    rows = [clip.scores or (clip.curve[-1].scores if clip.curve else {}) for clip in clips]
    names = [name for name in rows[0] if all(name in row for row in rows)] if rows else []
    return {name: sum(row[name] for row in rows) / len(rows) for name in names}
