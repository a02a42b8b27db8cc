"""The result of a reward on a benchmark as a page of tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

COLUMNS: dict[str, tuple[str, ...]] = {
    "Accuracy": ("without_ties", "generator_identity", "with_ties", "random", "always_tie", "rater_agreement"),
    "Areas and probabilities": ("auc", "tie_auc", "log_loss", "log_loss_shares", "brier", "ece", "own_log_loss"),
    "What was counted": ("n", "n_decided", "num_prompts", "tie_share", "threshold", "left_out"),
}
"""Heading of a table to the figures in it."""

INTERVALS = {
    "without_ties": ("low", "high"),
    "with_ties": ("with_ties_low", "with_ties_high"),
    "auc": ("auc_low", "auc_high"),
    "tie_auc": ("tie_auc_low", "tie_auc_high"),
}
"""Ends of a figure's 95% interval."""

BY_GENERATORS = ("n", "n_decided", "tie_share", "without_ties", "with_ties")


def benchmark_page(result: Mapping[str, Any]) -> str:
    """Markdown with every figure of ``result.json`` but the bins of reliability."""
    reward, dataset, settings, left_out = (result[key] for key in ("reward", "dataset", "settings", "left_out"))
    counting = "as the official code counts" if settings["legacy"] else "its tie threshold fitted on other prompts"
    parts = [
        f"# {reward['name']} on {dataset['name']}",
        f"{dataset['pairs']} pairs of {dataset['clips']} clips and {dataset['prompts']} prompts, split "
        f"{dataset['split']}; accuracy with ties {counting}. Intervals are of 95% and allow for pairs of one prompt "
        "resembling each other.",
        next(iter(result["figures"].values()))["note"],
        f"Left out: {left_out['pairs']} pairs ({len(left_out['rows'])} rows that could not be used, "
        f"{len(left_out['clips'])} clips that could not be scored); {left_out['repeated_rows']} rows repeat another.",
    ]
    for title, keys in COLUMNS.items():
        rows = [[name, *(_cell(row, key) for key in keys)] for name, row in result["figures"].items()]
        parts += [f"## {title}", _table(["dimension", *keys], rows)]
    for name, figures in result["figures"].items():
        if figures["by_generators"]:
            rows = [
                [" and ".join(row["generators"]), *(_cell(row, key) for key in BY_GENERATORS)]
                for row in figures["by_generators"]
            ]
            parts += [f"## {name} by generators", _table(["generators", *BY_GENERATORS], rows)]
    told = {"reward": reward, "dataset": dataset, **settings, **result["versions"], "finished": result["finished"]}
    return "\n\n".join([*parts, "## What the figures depend on", _table(["what", "value"], _flat(told))]) + "\n"


def _cell(row: Mapping[str, Any], key: str) -> str:
    ends = [row.get(end) for end in INTERVALS.get(key, ())]
    interval = f" ({_number(ends[0])} to {_number(ends[1])})" if ends and None not in ends else ""
    return _number(row[key]) + interval


def _number(value: Any) -> str:
    return "-" if value is None else f"{value:.3f}" if isinstance(value, float) else str(value)


def _flat(values: Mapping[str, Any], above: str = "") -> list[list[str]]:
    rows = []
    for name, value in values.items():
        rows += _flat(value, f"{above}{name}.") if isinstance(value, Mapping) else [[f"{above}{name}", str(value)]]
    return rows


def _table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [columns, ["---"] * len(columns), *rows]
    return "\n".join(f"| {' | '.join(str(cell).replace('|', '/') for cell in line)} |" for line in lines)
