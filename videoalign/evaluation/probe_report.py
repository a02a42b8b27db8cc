"""What probes found, for people: a folder with the numbers, a page in Markdown and a plot."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch, Rectangle
from matplotlib.ticker import NullLocator

from videoalign.contracts.output import whole_folder, write_json
from videoalign.errors import OutputError
from videoalign.evaluation.probes import MIN_PROMPTS, expected_range

FILES = ("probes.json", "probes.md", "probes.png")

PAPER, INK, SOFT, LINE, TINT = "#fbfaf8", "#1c1b19", "#5d5a54", "#dedbd4", "#dce9f7"
MARKS: dict[str | None, tuple[str, str]] = {
    "ok": ("#1a7f4b", "o"),
    "unclear": ("#b4540a", "s"),
    "wrong": ("#a8324a", "X"),
    None: ("#4f6470", "o"),
}
"""Verdict to its colour and shape."""
WORDS: dict[str | None, str] = {"ok": "as expected", "unclear": "unclear", "wrong": "wrong", None: "no verdict"}
TICKS = (-20, -10, -5, -2, -1, 0, 1, 2, 5, 10, 20)
ROW_INCHES = 0.42
THINNEST = 0.03
"""Deviations to either side of 0 that are shaded at least, so that a dimension that may not move shows it."""
COLUMNS = ("probe", "on", "expected", "change [95%]", "share [95%]", "verdict")


def require_free(out: str | Path, *, fresh: bool = False) -> None:
    """Checks that a report may be written to ``out``: absent, empty or, with ``fresh``, a folder with an old report.

    Raises:
        OutputError: otherwise.
    """
    out = Path(out)
    if out.exists() and not out.is_dir():
        raise OutputError(f"--out: {out} is a file; give a folder.")
    held = {file.name for file in out.iterdir()} if out.is_dir() else set()
    if held - set(FILES):
        raise OutputError(f"--out: {out} holds other files than a probe report; give a new or empty folder.")
    if held and not fresh:
        raise OutputError(f"--out: {out} holds a probe report already; give another folder.")


def write_probe_report(out: str | Path, result: Mapping[str, Any], *, fresh: bool = False) -> None:
    """Writes ``probes.json``, ``probes.md`` and ``probes.png`` into ``out``, all or none.

    Args:
        out: a folder; made when absent.
        result: what `recipes.probe.probe_reward` gives.
        fresh: replace a report that is there.

    Raises:
        OutputError: see `require_free`; the disk is full or the place cannot be written.
    """
    require_free(out, fresh=fresh)
    with whole_folder(out) as aside:
        write_json(aside / "probes.json", result)
        (aside / "probes.md").write_text(markdown(result), encoding="utf-8")
        plot(result).savefig(aside / "probes.png", dpi=150)


def table_rows(result: Mapping[str, Any]) -> list[list[str]]:
    """Each probe and dimension in words, in `COLUMNS`; the share is of the clips whose own change is as expected."""
    return [
        [
            probe["probe"],
            name,
            row["expected"] or "-",
            _change(row),
            "-" if row["share"] is None else f"{row['share']:.0%} [{row['share_low']:.0%}, {row['share_high']:.0%}]",
            row["verdict"] or "-",
        ]
        for probe in result["probes"]
        for name, row in probe["dimensions"].items()
    ]


def markdown(result: Mapping[str, Any]) -> str:
    """The page: what was probed, a table of all changes with their reasons, and what was refused."""
    settings = result["settings"]
    counted = [row for probe in result["probes"] for row in probe["dimensions"].values()]
    cells = zip(table_rows(result), counted, strict=True)
    rows = [[*words, str(row["n"]), row["reason"] or "-"] for words, row in cells]
    head = [*COLUMNS, "clips", "why it is expected"]
    lines = [
        f"# Probes of `{result['reward']}`",
        "",
        f"{result['clips']} clips of {result['prompts']} prompts of `{result['dataset']}` (split {settings['split']}, "
        f"seed {settings['seed']}). Changes are in deviations of the untouched clips' scores; one of up to "
        f"{settings['band']:g} counts as none. The share is of the clips whose own change is as expected. Below "
        f"{settings['min_clips']} clips or {MIN_PROMPTS} prompts there is no verdict.",
        "",
        "![Change of the scores under each probe](probes.png)",
        "",
        *(f"| {' | '.join(row)} |" for row in [head, ["---"] * len(head), *rows]),
        "",
        *(f"- **{probe['probe']}**: {probe['what']}." for probe in result["probes"]),
        "",
        *refusals(result),
    ]
    return "\n".join(lines).rstrip() + "\n"


def refusals(result: Mapping[str, Any]) -> list[str]:
    """A line for each probe under which the reward would not score every clip."""
    return [
        f"{probe['probe']}: {probe['refused']} of {result['clips']} clips were refused; the first: {probe['refusal']}"
        for probe in result["probes"]
        if probe["refused"]
    ]


def _change(row: Mapping[str, Any]) -> str:
    if row["change"] is None:
        return "-"
    told = "" if row["low"] is None else f" [{_signed(row['low'])}, {_signed(row['high'])}]"
    return _signed(row["change"]) + told


def plot(result: Mapping[str, Any]) -> Figure:
    """A panel per dimension, a row per probe: the mean change on its interval, over the range that was expected."""
    names, probes, band = list(result["deviation"]), result["probes"], result["settings"]["band"]
    height = ROW_INCHES * len(probes) + 1.6
    figure = Figure(figsize=(max(2.0 + 3.1 * len(names), 8.5), height), facecolor=PAPER)
    panels = figure.subplots(1, len(names), sharey=True, squeeze=False)[0]
    limits = _limits([row for probe in probes for row in probe["dimensions"].values()], band)
    for axes, name in zip(panels, names, strict=True):
        _frame(axes, name, len(probes), limits)
        for index, probe in enumerate(probes):
            _draw_row(axes, index, probe["dimensions"][name], band, limits)
    panels[0].set_yticks(range(len(probes)), [probe["probe"] for probe in probes], color=INK, fontsize=10)
    title = f"{result['reward']}: {result['clips']} clips of {result['prompts']} prompts, changed in known ways"
    figure.suptitle(title, x=0.012, y=1 - 0.14 / height, ha="left", va="top", color=INK, fontsize=12)
    caption = "Mean change of the score in deviations, with its 95% interval; logarithmic beyond 1."
    figure.text(0.012, 0.38 / height, caption, fontsize=9, color=SOFT)
    figure.legend(
        handles=[
            Patch(facecolor=TINT, label=f"expected (a change up to {band:g} counts as none)"),
            *(Line2D([], [], linestyle="none", label=words, **_mark(verdict)) for verdict, words in WORDS.items()),
        ],
        loc="lower left",
        bbox_to_anchor=(0.004, 0.0),
        ncols=5,
        frameon=False,
        fontsize=9,
        labelcolor=SOFT,
    )
    figure.tight_layout(rect=(0, 0.52 / height, 1, 1 - 0.3 / height), pad=0.6, w_pad=1.4)
    return figure


def _limits(rows: list[Mapping[str, Any]], band: float) -> tuple[float, float]:
    """Ends of the axis: all intervals, and on the right some room for the numbers."""
    ends = [row[end] for row in rows for end in ("change", "low", "high") if row[end] is not None]
    return 1.15 * min([-1.0, -2 * band, *ends]), 2 * max([0.5, band, *ends])


def _frame(axes: Axes, name: str, num_rows: int, limits: tuple[float, float]) -> None:
    axes.set_facecolor(PAPER)
    axes.set_title(name, loc="left", fontsize=11, color=INK, fontweight="bold")
    axes.set_xscale("symlog", linthresh=1.0, linscale=0.8)
    axes.set_xlim(*limits)
    axes.set_ylim(num_rows - 0.5, -0.5)
    ticks = [tick for tick in TICKS if limits[0] <= tick <= limits[1]]
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_xticks(ticks, [f"{tick:+d}" if tick else "0" for tick in ticks])
    axes.tick_params(length=0, labelsize=9, labelcolor=SOFT)
    axes.axvline(0, color=SOFT, linewidth=0.8, zorder=1)
    axes.spines[:].set_visible(False)
    for index in range(num_rows + 1):
        axes.axhline(index - 0.5, color=LINE, linewidth=0.6, zorder=0)


def _draw_row(axes: Axes, index: int, row: Mapping[str, Any], band: float, limits: tuple[float, float]) -> None:
    if row["expected"] not in (None, "any"):
        low, high = expected_range(row["expected"], band)
        low, high = max(min(low, -THINNEST), limits[0]), max(high, THINNEST) if high > 0 else high
        axes.add_patch(Rectangle((low, index - 0.36), high - low, 0.72, facecolor=TINT, edgecolor="none", zorder=0.5))
    told: dict[str, Any] = {"transform": axes.get_yaxis_transform(), "ha": "right", "va": "center", "fontsize": 8}
    if row["change"] is None:
        axes.text(0.995, index, "refused", color=SOFT, **told)
        return
    mark = _mark(row["verdict"])
    if row["low"] is not None:
        axes.plot([row["low"], row["high"]], [index, index], color=mark["color"], linewidth=2.4, zorder=2)
    axes.plot([row["change"]], [index], zorder=3, **mark)
    axes.text(0.995, index, _signed(row["change"]), color=mark["color"], **told)


def _mark(verdict: str | None) -> dict[str, Any]:
    colour, shape = MARKS[verdict]
    return {"color": colour, "marker": shape, "markersize": 7, "markerfacecolor": colour if verdict else PAPER}


def _signed(value: float) -> str:
    """Two decimals and a sign; no negative zero."""
    return f"{round(value, 2) + 0.0:+.2f}"
