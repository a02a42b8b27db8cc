"""The result of a reward on a benchmark as a page of tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from videoalign.evaluation.figures import groups, of_generators, table


def benchmark_page(result: Mapping[str, Any]) -> str:
    """Markdown with every figure of ``result.json`` but the bins of reliability, in the tables of `figures.groups`."""
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
    for title, figures in groups().items():
        parts += [f"## {title}", _table(*table("dimension", result["figures"].items(), figures))]
    for name, row in result["figures"].items():
        if row["by_generators"]:
            pairs = [(" and ".join(pair["generators"]), pair) for pair in row["by_generators"]]
            parts += [f"## {name} by generators", _table(*table("generators", pairs, of_generators()))]
    told = {"reward": reward, "dataset": dataset, **settings, **result["versions"], "finished": result["finished"]}
    return "\n\n".join([*parts, "## What the figures depend on", _table(["what", "value"], _flat(told))]) + "\n"


def _flat(values: Mapping[str, Any], above: str = "") -> list[list[str]]:
    rows = []
    for name, value in values.items():
        rows += _flat(value, f"{above}{name}.") if isinstance(value, Mapping) else [[f"{above}{name}", str(value)]]
    return rows


def _table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [columns, ["---"] * len(columns), *rows]
    return "\n".join(f"| {' | '.join(str(cell).replace('|', '/') for cell in line)} |" for line in lines)
