"""Charts as inline SVG: coloured by the page's style sheet, with real text, readable on a phone."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from markupsafe import Markup, escape

WIDTH, HEIGHT = 330, 210
LEFT, RIGHT, TOP, BOTTOM = 48, 16, 10, 30
"""Margins of a line chart, in the units of its view box."""

MAX_POINTS = 240
"""A longer line is thinned to about this many points; a page holds many lines."""


@dataclass(frozen=True, kw_only=True)
class Line:
    """One line of a chart."""

    label: str
    x: Sequence[float]
    y: Sequence[float]
    colour: int
    """Place in the style sheet's palette, from 0."""


def interval_svg(value: float, low: float, high: float, *, colour: int, label: str) -> Markup:
    """A dot on a whisker over the range 0 to 1, with a rule at one half; stretches with its column.

    Args:
        value: the estimate in [0, 1].
        low: lower end of its interval.
        high: upper end of its interval.
        colour: place in the palette.
        label: what a screen reader says.
    """
    a, b, middle = (f"{100 * share:.2f}%" for share in (low, high, value))
    return Markup(
        f'<svg class="interval" role="img" aria-label="{escape(label)}" height="22">'
        '<line class="rail" x1="0%" x2="100%" y1="11" y2="11"/>'
        '<line class="half" x1="50%" x2="50%" y1="0" y2="22"/>'
        f'<line class="whisker s{colour}" x1="{a}" x2="{b}" y1="11" y2="11"/>'
        f'<circle class="dot s{colour}" cx="{middle}" cy="11" r="5"/></svg>'
    )


def line_chart(title: str, lines: Sequence[Line], *, rule: float | None = None) -> Markup:
    """Lines over training steps: each value faint, their running mean bold, the labels at the top.

    Args:
        title: what a screen reader says.
        lines: at least one line with at least one point.
        rule: height of a dashed rule to measure against, as one half for an accuracy.
    """
    lines = [_thinned(line) for line in lines]
    heights = np.concatenate([np.asarray(line.y, dtype=float) for line in lines] + [[rule] if rule is not None else []])
    y_ticks = nice_ticks(float(heights.min()), float(heights.max()), 4)
    x_ticks = nice_ticks(0.0, max(float(max(line.x)) for line in lines), 4)
    frame = _Frame(x_ticks[0], max(x_ticks[-1], 1e-12), y_ticks[0], y_ticks[-1])
    parts = [_grid(frame, x_ticks, y_ticks)]
    if rule is not None:
        y = frame.y(rule)
        parts.append(Markup(f'<line class="half" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>'))
    for line in lines:
        parts += [_path(frame, line, line.y, "raw"), _path(frame, line, running_mean(line.y).tolist(), "mean")]
    return Markup(
        f'<svg class="chart" role="img" aria-label="{escape(title)}" viewBox="0 0 {WIDTH} {HEIGHT}">'
        f"{Markup('').join(parts)}</svg>"
    )


def running_mean(values: Sequence[float], span: int | None = None) -> np.ndarray:
    """Centred mean over ``span`` points (a tenth of the line when not given), shorter at both ends."""
    half = (span if span is not None else max(len(values) // 10, 1)) // 2
    sums = np.concatenate([[0.0], np.cumsum(np.asarray(values, dtype=float))])
    begin = np.maximum(np.arange(len(values)) - half, 0)
    end = np.minimum(np.arange(len(values)) + half + 1, len(values))
    return (sums[end] - sums[begin]) / (end - begin)


def nice_ticks(low: float, high: float, num: int) -> list[float]:
    """About ``num`` round numbers, evenly spaced, that enclose ``low`` and ``high``."""
    if high - low < 1e-9 * max(abs(high), abs(low), 1.0):
        low, high = low - 0.5, high + 0.5
    rough = (high - low) / num
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(factor * power for factor in (1, 2, 2.5, 5, 10) if factor * power >= rough * 0.999)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [float(f"{k * step:.12g}") for k in range(first, last + 1)]


@dataclass(frozen=True)
class _Frame:
    x_low: float
    x_high: float
    y_low: float
    y_high: float

    def x(self, value: float) -> float:
        return LEFT + (value - self.x_low) / (self.x_high - self.x_low) * (WIDTH - LEFT - RIGHT)

    def y(self, value: float) -> float:
        return HEIGHT - BOTTOM - (value - self.y_low) / (self.y_high - self.y_low) * (HEIGHT - TOP - BOTTOM)


def _grid(frame: _Frame, x_ticks: list[float], y_ticks: list[float]) -> Markup:
    parts = []
    for tick in y_ticks:
        y = frame.y(tick)
        parts.append(f'<line class="rail" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>')
        parts.append(f'<text class="tick" x="{LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{tick:g}</text>')
    for tick in x_ticks:
        x = frame.x(tick)
        parts.append(f'<text class="tick" x="{x:.1f}" y="{HEIGHT - 12}" text-anchor="middle">{tick:g}</text>')
    return Markup("".join(parts))


def _path(frame: _Frame, line: Line, y: Sequence[float], kind: str) -> Markup:
    points = " ".join(f"{frame.x(a):.1f},{frame.y(b):.1f}" for a, b in zip(line.x, y, strict=True))
    return Markup(f'<polyline class="{kind} s{line.colour}" points="{points}"/>')


def _thinned(line: Line) -> Line:
    stride = max(math.ceil(len(line.x) / MAX_POINTS), 1)
    return Line(label=line.label, x=list(line.x)[::stride], y=list(line.y)[::stride], colour=line.colour)
