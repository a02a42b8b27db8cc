"""What a report says, worked out from the results: its headline, the rows of its tables, the panels of its curves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup, escape

from videoalign.contracts.records import TOGETHER
from videoalign.evaluation.charts import Line, interval_svg, line_chart
from videoalign.evaluation.compare import collapsed
from videoalign.evaluation.figures import REWARD, Figure

METHOD_NAMES: dict[str, Markup] = {
    "base": Markup("Base"),
    "candidate": Markup("The candidate"),
    "sft": Markup("SFT"),
    "rwr": Markup("Flow-RWR"),
    "dpo": Markup("Flow-DPO"),
    "dpo_t": Markup("Flow-DPO, &beta;(1&minus;t)&sup2;"),
    "videoreward": Markup("VideoReward"),
    "guide": Markup("Noisy-latent reward"),
}
"""Short name of a method to what a reader sees; a name that is not here stands for itself."""


@dataclass(frozen=True, kw_only=True)
class Panel:
    """One chart with its words."""

    title: str
    caption: Markup
    svg: Markup
    legend: tuple[tuple[Markup, int], ...]
    """Label and index in the palette of each line."""


def method_name(name: str) -> Markup:
    """What a reader sees for a method."""
    return METHOD_NAMES.get(name, Markup(escape(name)))


def percent(share: float, digits: int = 1, sign: str = "%") -> str:
    """0.9167 as 91.7%."""
    return f"{100 * share:.{digits}f}{sign}"


def seconds(value: float) -> str:
    """A duration in words: 7.2 s, 3 min 05 s, 1 h 02 min."""
    if value < 60:
        return f"{value:.1f} s"
    whole = round(value)
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


def headline_view(found: Mapping[str, Any], row: Mapping[str, Any], colour: int) -> dict[str, Any]:
    """The one sentence to take away: the best method overall, with an interval that allows for its having been chosen.

    Args:
        found: what `evaluation.compare.headline` gives.
        row: the method's overall row.
        colour: the method's index in the palette.

    Returns:
        ``claim`` (Markup), ``interval``, what kind it is, ``row`` (the counts with the ends of that interval) and
        ``svg``, that row drawn.
    """
    name, rate, count = method_name(found["method"]), percent(found["win_rate"], 0), found["num_methods"]
    if found["low"] > 0.5:
        claim = Markup("{} beats the base on {} of clips.").format(name, rate)
    elif found["high"] >= 0.5:
        claim = Markup("No clear winner: {} beats the base on {} of clips, which chance could explain.").format(
            name, rate
        )
    else:
        claim = Markup("The base is better: {} beats it on only {} of clips.").format(name, rate)
    interval = "95% interval" if count == 1 else f"95% interval, widened because it is the best of {count} methods"
    row = {**row, "win_rate": found["win_rate"], "low": found["low"], "high": found["high"]}
    return {"claim": claim, "interval": interval, "row": row, "svg": _interval(found["method"], TOGETHER, row, colour)}


def win_rate_rows(alignment: Mapping[str, Mapping[str, Mapping[str, float]]]) -> list[dict[str, Any]]:
    """One row a method: its name, colour, cells (dimension, row, drawn interval) and the dimensions that collapsed."""
    rows = []
    for colour, (method, comparison) in enumerate(alignment.items()):
        cells = [
            {"dimension": dimension, "row": row, "svg": _interval(method, dimension, row, colour)}
            for dimension, row in comparison.items()
        ]
        fallen = collapsed(comparison)
        rows.append({"key": method, "name": method_name(method), "colour": colour, "cells": cells, "fallen": fallen})
    return rows


def reward_columns(reward: Mapping[str, Mapping[str, Any]]) -> dict[str, list[Figure]]:
    """Group of columns to the figures in it, without those that hold no number for any dimension."""
    present = {key for row in reward.values() for key, value in row.items() if value is not None}
    groups: dict[str, list[Figure]] = {}
    for figure in REWARD:
        if figure.column and figure.key in present:
            groups.setdefault(figure.column[0], []).append(figure)
    return groups


def weights_text(weights: Mapping[str, float]) -> str:
    """``VQ 1, TA 0.5``, leaving zeros out."""
    return ", ".join(f"{name} {weight:g}" for name, weight in weights.items() if weight) or "none"


def round_panels(results: Mapping[str, Any]) -> list[Panel]:
    """Charts of a run in rounds: win rates over the base and the teacher's scores, by round; none of another run.

    Args:
        results: ``rounds`` has a row a round; ``alignment`` is in their order.
    """
    rounds, comparisons = results.get("rounds") or [], list(results["alignment"].values())
    if not rounds:
        return []
    wins = {name: [0.5, *(row[name]["win_rate"] for row in comparisons)] for name in comparisons[0]}
    scores = {name: [row["reward"][name] for row in rounds] for name in rounds[0]["reward"]}
    told = (
        ("Wins over the base, by round", "On held-out prompts; round 0 is the base itself.", wins, 0.5),
        ("Scores by the reward that labels, by round", "Means over the clips that a round begins with.", scores, None),
    )
    return [_by_round(title, Markup(escape(caption)), curves, rule) for title, caption, curves, rule in told]


def _by_round(title: str, caption: Markup, curves: Mapping[str, Sequence[float]], rule: float | None) -> Panel:
    lines = [Line(label=name, x=range(len(y)), y=y, colour=colour) for colour, (name, y) in enumerate(curves.items())]
    ends = "; ".join(f"{line.label} from {line.y[0]:.3g} to {line.y[-1]:.3g}" for line in lines)
    legend = tuple((Markup(escape(line.label)), line.colour) for line in lines)
    return Panel(title=title, caption=caption, svg=line_chart(f"{title}. {ends}.", lines, rule=rule), legend=legend)


def curve_panels(histories: Mapping[str, Sequence[Mapping[str, float]]]) -> list[Panel]:
    """Charts of training: losses, one a method, then whatever the methods logged of their health.

    Args:
        histories: method to its log rows, each with ``step`` and numbers by name.
    """
    colours = {method: index for index, method in enumerate(histories)}
    panels = [
        _panel(
            f"Loss: {_plain(method)}", Markup(""), [(method_name(method), method, "loss", colours[method])], histories
        )
        for method in histories
    ]
    for key, title, caption, rule in _SHARED_PANELS:
        wanted = [(method_name(m), m, key, colours[m]) for m in histories]
        panels.append(_panel(title, caption, wanted, histories, rule=rule))
    for method, rows in histories.items():
        names = [
            key.removeprefix("accuracy/") for key in _keys(rows) if key.count("/") == 1 and key.startswith("accuracy/")
        ]
        wanted = [(Markup(escape(name)), method, f"accuracy/{name}", index) for index, name in enumerate(names)]
        title = f"Accuracy: {_plain(method)}"
        panels.append(
            _panel(title, Markup("Share of the training pairs predicted correctly."), wanted, histories, rule=0.5)
        )
    for method in histories:
        wanted = [(Markup("winner"), method, "win_excess", 0), (Markup("loser"), method, "lose_excess", 1)]
        title = f"Error against the reference: {_plain(method)}"
        panels.append(_panel(title, _EXCESS_CAPTION, wanted, histories, rule=0.0))
    return [panel for panel in panels if panel is not None]


_SHARED_PANELS: tuple[tuple[str, str, Markup, float | None], ...] = (
    (
        "implicit_accuracy",
        "Implicit accuracy",
        Markup("Share of training pairs whose winner the model has moved towards more than the loser."),
        0.5,
    ),
    (
        "margin",
        "Margin",
        Markup("How far winner and loser have moved apart, times &beta;/2; it should rise and level off."),
        0.0,
    ),
    (
        "gradient_factor",
        "Gradient factor",
        Markup("How hard a pair still pulls: 0.5 at the start, 0 when it is learnt."),
        None,
    ),
)

_EXCESS_CAPTION = Markup(
    "Velocity error minus the frozen base's. The winner's should sink; when it rises with the loser's, training has "
    "gone too far."
)


def _panel(
    title: str,
    caption: Markup,
    wanted: Sequence[tuple[Markup, str, str, int]],
    histories: Mapping[str, Sequence[Mapping[str, float]]],
    rule: float | None = None,
) -> Panel | None:
    lines, legend = [], []
    for label, method, key, colour in wanted:
        rows = [row for row in histories[method] if key in row]
        if rows:
            y = [float(row[key]) for row in rows]
            lines.append(Line(label=str(label), x=[float(row["step"]) for row in rows], y=y, colour=colour))
            legend.append((label, colour))
    if not lines:
        return None
    ends = "; ".join(f"{Markup(line.label).unescape()} from {line.y[0]:.3g} to {line.y[-1]:.3g}" for line in lines)
    svg = line_chart(f"{title} over training steps. {ends}.", lines, rule=rule)
    return Panel(title=title, caption=caption, svg=svg, legend=tuple(legend))


def _keys(rows: Sequence[Mapping[str, float]]) -> list[str]:
    return list(dict.fromkeys(key for row in rows for key in row))


def _interval(method: str, dimension: str, row: Mapping[str, float], colour: int) -> Markup:
    span = f"{percent(row['low'])} to {percent(row['high'])}"
    label = f"{_plain(method)}, {dimension}: {percent(row['win_rate'])}, interval {span}"
    return interval_svg(row["win_rate"], row["low"], row["high"], colour=colour, label=label)


def _plain(method: str) -> str:
    return method_name(method).unescape()
