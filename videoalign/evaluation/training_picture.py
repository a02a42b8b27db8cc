"""The curves of a training as a picture that any page can show."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from matplotlib.figure import Figure

from videoalign.contracts.output import whole_file

PANELS = {
    "loss": ("loss", None),
    "implicit_accuracy": ("implicit accuracy", 0.5),
    "margin": ("margin", 0.0),
    "win_excess": ("winners' error over the reference's", 0.0),
    "gradient_norm": ("gradient norm", None),
}
"""Columns of the log, with what stands above each and the value that it is measured against."""


def training_picture(rows: Sequence[Mapping[str, float]], file: Path) -> bool:
    """Writes a PNG with a panel for each of `PANELS` that the log has, values of held-out pairs beside them.

    Args:
        rows: of ``log.jsonl``, at least one.
        file: to make.

    Returns:
        Whether there was anything to show.

    Raises:
        OutputError: the place cannot be written.
    """
    shown = [name for name in PANELS if any(name in row for row in rows)]
    if not shown:
        return False
    figure = Figure(figsize=(3.2 * len(shown), 2.6))
    room = {"left": 0.17 / len(shown), "right": 1 - 0.05 / len(shown), "bottom": 0.18, "top": 0.88, "wspace": 0.28}
    figure.subplots_adjust(**room)  # to look for room, for titles too, takes longer than to draw
    for place, name in enumerate(shown):
        title, level = PANELS[name]
        axes = figure.add_subplot(1, len(shown), place + 1)
        for column, label in ((name, "training pairs"), (f"val/{name}", "held-out pairs")):
            points = [(row["step"], row[column]) for row in rows if column in row]
            if points:
                axes.plot(*zip(*points, strict=True), label=label, linewidth=1.2)
        if level is not None:
            axes.axhline(level, color="grey", linewidth=0.8, linestyle="--")
        axes.set_title(title, fontsize=9, y=1.0)
        axes.set_xlabel("step", fontsize=8)
        axes.tick_params(labelsize=8)
        axes.locator_params(nbins=4)
        if any(f"val/{name}" in row for row in rows):
            axes.legend(fontsize=7)
    with whole_file(file) as aside:
        figure.savefig(aside, dpi=120, format="png")
    return True
