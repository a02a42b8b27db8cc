"""Curves side by side as a picture that any page can show: those of a training, or of a reward by noise."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from matplotlib.figure import Figure

from videoalign.contracts.output import whole_file

LOGGED = {
    "loss": ("loss", None),
    "implicit_accuracy": ("implicit accuracy", 0.5),
    "margin": ("margin", 0.0),
    "win_excess": ("winners' error over the reference's", 0.0),
    "gradient_norm": ("gradient norm", None),
}
"""Columns of the log, with what stands above each and the value that it is measured against."""


@dataclass(frozen=True)
class Panel:
    """One chart."""

    title: str
    lines: Mapping[str, Sequence[tuple[float, float]]]
    """Points (x, y) by name."""
    rule: float | None = None
    """What the values are measured against."""


def line_picture(
    panels: Sequence[Panel], file: Path, *, x: str, limits: tuple[float, float] | None = None, marker: str | None = None
) -> None:
    """Writes a PNG of the panels side by side.

    Args:
        panels: at least one.
        file: to make.
        x: what stands below each.
        limits: of x; default: those of the points.
        marker: of each point, as matplotlib has it.

    Raises:
        OutputError: the place cannot be written.
    """
    figure, num = Figure(figsize=(3.2 * len(panels), 2.6)), len(panels)
    room = {"left": 0.17 / num, "right": 1 - 0.05 / num, "bottom": 0.18, "top": 0.88, "wspace": 0.28}
    figure.subplots_adjust(**room)  # to look for room, for titles too, takes longer than to draw
    for place, panel in enumerate(panels):
        axes = figure.add_subplot(1, num, place + 1)
        for name, points in panel.lines.items():
            axes.plot(*zip(*points, strict=True), label=name, marker=marker, markersize=3.5, linewidth=1.2)
        if panel.rule is not None:
            axes.axhline(panel.rule, color="grey", linewidth=0.8, linestyle="--")
        axes.set_title(panel.title, fontsize=9, y=1.0)
        axes.set_xlabel(x, fontsize=8)
        axes.tick_params(labelsize=8)
        axes.locator_params(nbins=4)
        axes.set_xlim(limits)
        axes.legend(fontsize=7)
    with whole_file(file) as aside:
        figure.savefig(aside, dpi=120, format="png")


def training_picture(rows: Sequence[Mapping[str, float]], file: Path) -> bool:
    """Writes a PNG with a panel for each of `LOGGED` that the rows of a log have, values of held-out pairs in it too.

    Returns:
        Whether there was anything to show.

    Raises:
        OutputError: the place cannot be written.
    """
    panels = []
    for name, (title, rule) in LOGGED.items():
        columns = {"training pairs": name, "held-out pairs": f"val/{name}"}
        points = {
            label: [(row["step"], row[column]) for row in rows if column in row] for label, column in columns.items()
        }
        if points["training pairs"]:
            panels.append(Panel(title, {label: found for label, found in points.items() if found}, rule))
    if panels:
        line_picture(panels, file, x="step")
    return bool(panels)
