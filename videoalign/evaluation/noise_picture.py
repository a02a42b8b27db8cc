"""What a reward on noisy latents is worth at which noise, as a picture that any page can show."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from matplotlib.figure import Figure

from videoalign.contracts.output import whole_file


@dataclass(frozen=True)
class Panel:
    """One chart over t."""

    title: str
    lines: Mapping[str, Sequence[tuple[float, float]]]
    """Points (t, value) by dimension."""
    rule: float | None = None
    """What the values are measured against."""


def noise_picture(panels: Sequence[Panel], file: Path) -> None:
    """Writes a PNG of the panels side by side.

    Args:
        panels: at least one.
        file: to make.

    Raises:
        OutputError: the place cannot be written.
    """
    figure = Figure(figsize=(3.4 * len(panels), 2.8), layout="constrained")
    for place, panel in enumerate(panels):
        axes = figure.add_subplot(1, len(panels), place + 1)
        for name, points in panel.lines.items():
            axes.plot(*zip(*points, strict=True), label=name, marker="o", markersize=3.5, linewidth=1.2)
        if panel.rule is not None:
            axes.axhline(panel.rule, color="grey", linewidth=0.8, linestyle="--")
        axes.set_title(panel.title, fontsize=9)
        axes.set_xlabel("t: 0 is the clip, 1 is noise", fontsize=8)
        axes.set_xlim(0, 1)
        axes.tick_params(labelsize=8)
        axes.legend(fontsize=7)
    with whole_file(file) as aside:
        figure.savefig(aside, dpi=120, format="png")
