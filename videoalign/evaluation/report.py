"""``report.html``: one file, nothing fetched, that shows a run to a person."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from videoalign.contracts.output import whole_file
from videoalign.contracts.records import TOGETHER
from videoalign.errors import DataError
from videoalign.evaluation import report_view as view
from videoalign.evaluation.compare import headline
from videoalign.video.files import probe

REPORT_FILE = "report.html"

SECTIONS: dict[str, str] = {
    "run": "What was run",
    "videos": "Videos",
    "win-rates": "Win rates",
    "guidance": "Steering",
    "reward": "Reward",
    "training": "Training",
    "timings": "Time",
    "reproduce": "Do it again",
}
"""Anchor and short title of each section, in order; one without content is left out of the page."""


@dataclass(frozen=True, kw_only=True)
class ClipRow:
    """Clips of one prompt and one seed, to be looked at side by side."""

    prompt: str
    clips: Mapping[str, Path]
    """Name of the arm, or the weights in words, to its H.264 mp4; shown in this order."""
    scores: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    """Name of the arm to the judge's score per dimension, higher is better; may be left out."""


@dataclass(frozen=True, kw_only=True)
class ReportMedia:
    """What a report shows besides numbers; an empty part is left out of the page."""

    comparisons: Sequence[ClipRow] = ()
    """Base against each method, a row a prompt. About six rows of five clips play well on a phone."""
    guidance: Sequence[ClipRow] = ()
    """One prompt a row, one clip a weighting."""
    histories: Mapping[str, Sequence[Mapping[str, float]]] = field(default_factory=dict)
    """Name of what was trained to its log rows, as `training.loop.fit` returns them."""


def write_report(folder: str | Path, results: Mapping[str, Any], media: ReportMedia) -> Path:
    """Writes ``report.html`` into ``folder`` and returns its path.

    Args:
        folder: an output folder; made when absent.
        results: what ``results.json`` holds; see docs/reference/results.md. ``alignment`` is required.
        media: clips and training logs.

    Raises:
        DataError: no ``alignment`` in the results, or one without ``overall``.
        VideoError: a clip is missing or cannot be played.
        OutputError: the report cannot be written.
    """
    alignment = results.get("alignment") or {}
    if not alignment or any(TOGETHER not in comparison for comparison in alignment.values()):
        raise DataError(
            f"results: a report needs alignment.<method>.{TOGETHER} for at least one method; got {sorted(alignment)}."
        )
    page = _environment().get_template("report.html.jinja").render(_context(results, media))
    path = Path(folder) / REPORT_FILE
    with whole_file(path) as aside:
        aside.write_text(page, encoding="utf-8")
    return path


def data_uri(path: str | Path) -> str:
    """The mp4 as a ``data:`` address.

    Raises:
        VideoError: missing, truncated or not a video.
    """
    probe(path)
    return "data:video/mp4;base64," + base64.b64encode(Path(path).read_bytes()).decode("ascii")


def _context(results: Mapping[str, Any], media: ReportMedia) -> dict[str, Any]:
    judge = str(results.get("judge", "oracle"))
    second = results.get("alignment_videoreward") or {}
    stages = results.get("seconds") or {}
    reward = results.get("reward") or {}
    guidance = results.get("guidance") or []
    colours = {method: index for index, method in enumerate(results["alignment"])}
    found = headline(results["alignment"])
    best = results["alignment"][found["method"]][TOGETHER]
    context: dict[str, Any] = {
        "headline": view.headline_view(found, best, colours[found["method"]]),
        "judge_note": results.get("judge_note", ""),
        "prompts_note": results.get("prompts_note", ""),
        "warnings": results.get("warnings", ()),
        "about": results.get("about", ""),
        "run": results.get("run") or {},
        "dimensions": results.get("dimensions") or {},
        "judge": judge,
        "win_rates": view.win_rate_rows(results["alignment"]),
        "second": view.win_rate_rows(second),
        "guidance": guidance,
        "guidance_dimensions": [name for name in guidance[0] if name not in ("weights", "details")] if guidance else [],
        "reward": reward,
        "reward_columns": view.reward_columns(reward),
        "panels": [*view.round_panels(results), *view.curve_panels(media.histories)],
        "stages": stages,
        "total_seconds": sum(stages.values()),
        "longest_seconds": max(stages.values(), default=0.0) or 1.0,
        "versions": results.get("versions") or {},
        "seed": results.get("seed"),
        "command": results.get("command", ""),
        "comparisons": [_playable(row, colours) for row in media.comparisons],
        "guided": [_playable(row, {}) for row in media.guidance],
    }
    present = {
        "run": context["about"] or context["run"] or context["dimensions"],
        "videos": context["comparisons"],
        "guidance": guidance,
        "reward": reward,
        "training": context["panels"],
        "timings": stages,
    }
    context["sections"] = [(key, title) for key, title in SECTIONS.items() if present.get(key, True)]
    return context


def _playable(row: ClipRow, colours: Mapping[str, int]) -> dict[str, Any]:
    clips = [
        {
            "name": view.method_name(arm),
            "uri": Markup(data_uri(path)),
            "scores": row.scores.get(arm, {}),
            "colour": colours.get(arm),
        }
        for arm, path in row.clips.items()
    ]
    return {"prompt": row.prompt, "clips": clips}


def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("videoalign.evaluation", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"percent": view.percent, "seconds": view.seconds, "weights": view.weights_text}
    return environment
