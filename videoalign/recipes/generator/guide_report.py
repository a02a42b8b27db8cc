"""The page of a noisy-latent reward: what taught it, and what it knows at which noise."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import torch

from videoalign.contracts.output import RUN_FILE, whole_file
from videoalign.contracts.versions import library_versions
from videoalign.data.lineage import read_lineage
from videoalign.evaluation.line_picture import Panel, line_picture, training_picture
from videoalign.models.latent_reward import LatentRewardModel
from videoalign.recipes.generator.model_card import (
    CARD_FILE,
    CURVES_FILE,
    MARK,
    markdown_table,
    require_own_page,
    setting_rows,
    taught_rows,
)
from videoalign.training.checkpoint import RunLog
from videoalign.training.objective import NOISE_BANDS, band_ending

NOISE_FILE = "noise.png"
"""Picture of the accuracy and calibration by time."""
TOLD = ("accuracy", "calibration_error", "log_loss")
"""Numbers of `by_band` that the page shows."""


def write_guide_page(folder: Path, reward: LatentRewardModel, measured: Mapping[str, float]) -> None:
    """Writes ``README.md`` and its pictures into the folder of a training.

    Args:
        folder: what `train_guide` left.
        reward: that it trained.
        measured: on held-out pairs, see `measure_by_noise`; empty where there were none.

    Raises:
        OutputError: there is a README.md that somebody else wrote, or the place cannot be written.
    """
    require_own_page(folder)
    run = json.loads((folder / RUN_FILE).read_text(encoding="utf-8"))
    rows = RunLog(folder / "log.jsonl").rows()
    has_curves = training_picture(rows, folder / CURVES_FILE)
    panels = _panels(reward, measured)
    if panels:
        line_picture(panels, folder / NOISE_FILE, x="t: 0 is the clip, 1 is noise", limits=(0.0, 1.0), marker="o")
    none = "None measured: no pair of a prompt in split `val` is judged. `videoalign data split` holds some out."
    sections = [
        MARK,
        f"# {folder.resolve().name}",
        f"A reward on noisy latents of `{reward.base}`: the first {reward.num_blocks} blocks of its transformer, which "
        f"score {', '.join(reward.dimensions)}. It steers sampling: `videoalign sample --guide {folder.name}`, or "
        "`RewardGuidance.attach(pipe, PATH, weights=...)` on a pipeline of diffusers.",
        "## On prompts that it was not taught",
        *([f"![by time]({NOISE_FILE})"] if panels else []),
        *([_READING, markdown_table(_columns(measured), _rows(reward, measured))] if measured else [none]),
        *(["## What it knows of its doubt", _doubt(reward)] if reward.log_deviation is not None else []),
        "## What taught it",
        markdown_table(["what", "value"], taught_rows(run, read_lineage(folder))),
        "## Settings",
        markdown_table(["setting", "value"], setting_rows(run, rows)),
        *(["## Training", f"![loss by step]({CURVES_FILE})"] if has_curves else []),
        "## Versions",
        ", ".join(f"{name} {version}" for name, version in library_versions().items()),
    ]
    with whole_file(folder / CARD_FILE) as aside:
        aside.write_text("\n\n".join(sections) + "\n", encoding="utf-8")


_READING = (
    "Accuracy is the share of decided pairs that are ordered rightly, with its 95% interval, in which pairs of one "
    "prompt count as alike; one half is chance, and near the noise it may be no more. The calibration error is how far "
    "the probability of the likeliest verdict is from how often it is right, and the loss is -ln of the probability of "
    "what was said: of decided pairs alone under `loss=bt`, else of ties too."
)


def _bands() -> list[tuple[float, float]]:
    return list(zip(NOISE_BANDS, NOISE_BANDS[1:], strict=False))


def _columns(measured: Mapping[str, float]) -> list[str]:
    return ["dimension", "t", "prompts", *(name.replace("_", " ") for name in TOLD if _has(measured, name))]


def _has(measured: Mapping[str, float], name: str) -> bool:
    return any(key.startswith(f"{name}/") for key in measured)


def _rows(reward: LatentRewardModel, measured: Mapping[str, float]) -> list[list[str]]:
    told = [name for name in TOLD if _has(measured, name)]
    bands = [("all", ""), *((f"{low:.2f} to {high:.2f}", band_ending(low, high)) for low, high in _bands())]
    return [
        [name, band, *(_shown(measured, what, f"/{name}{ending}") for what in ("decided", *told))]
        for name in reward.dimensions
        for band, ending in bands
    ]


def _shown(measured: Mapping[str, float], what: str, ending: str) -> str:
    if what + ending not in measured:
        return ""
    value = measured[what + ending]
    if what == "decided":
        return f"{value:.0f}"
    if what != "accuracy":
        return f"{value:.3f}"
    return f"{value:.3f} [{measured[f'accuracy_low{ending}']:.2f}, {measured[f'accuracy_high{ending}']:.2f}]"


def _panels(reward: LatentRewardModel, measured: Mapping[str, float]) -> list[Panel]:
    panels = []
    for what, rule in (("accuracy", 0.5), ("calibration_error", 0.0)):
        lines = {
            name: [
                ((low + high) / 2, measured[key])
                for low, high in _bands()
                if (key := f"{what}/{name}{band_ending(low, high)}") in measured
            ]
            for name in reward.dimensions
        }
        lines = {name: points for name, points in lines.items() if points}
        if lines:
            panels.append(Panel(what.replace("_", " "), lines, rule))
    if reward.log_deviation is not None:
        times = torch.linspace(0, 1, 21)
        columns = reward.deviation(times.to(reward.head_bias.device)).detach().cpu().T.tolist()
        curves = [list(zip(times.tolist(), column, strict=True)) for column in columns]
        lines = dict(zip(reward.dimensions, curves, strict=True))
        panels.append(Panel("deviation of a score", lines, 0.0))
    return panels


def _doubt(reward: LatentRewardModel) -> str:
    times = torch.linspace(0, 1, 5)
    columns = reward.deviation(times.to(reward.head_bias.device)).detach().cpu().T.tolist()
    table = [
        [name, *(f"{value:.2f}" for value in column)] for name, column in zip(reward.dimensions, columns, strict=True)
    ]
    told = (
        "How far a score may be from that of the finished clip, as a deviation, in the unit of the scores: 1 is the "
        "deviation of what raters see. `reward.deviation(t)` gives it from Python."
    )
    return told + "\n\n" + markdown_table(["dimension", *(f"t = {t:.2f}" for t in times.tolist())], table)
