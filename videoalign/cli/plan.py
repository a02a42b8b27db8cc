"""``videoalign status`` and ``plan``: what has been done in a folder, and what is to come would take."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from videoalign.cli.common import (
    AsJson,
    ConfigFile,
    Model,
    Overrides,
    ReadDataset,
    load_config,
    print_json,
    print_table,
)
from videoalign.cli.places import local_path, read_dataset


def register(app: typer.Typer) -> None:
    """Adds the commands to the command line."""
    app.command("status")(status)
    app.command("plan")(plan)


def status(
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="A dataset or a run.", parser=read_dataset)],
    as_json: AsJson = False,
) -> None:
    """Say what a dataset or a run holds, what runs in it now, and what it waits for."""
    from videoalign.recipes.status import folder_status

    found = folder_status(folder)
    if as_json:
        print_json(asdict(found))
        return
    print(f"{folder}: {found.what}")
    if found.done:
        print_table(["what is there", "how much"], list(map(list, found.done.items())))
    if found.ended:
        print(f"came to its end, with {found.ended}")
    for name, holder in found.running.items():
        print(f"running in {name}: {holder}")
    for text in found.waits_for:
        print(f"waits for {text}")
    if not found.running and not found.waits_for:
        print("nothing runs, nothing is missing")


def plan(
    dataset: ReadDataset,
    model: Model,
    settings: Overrides = None,
    seconds: Annotated[
        list[str] | None,
        typer.Option("--seconds", metavar="STAGE=SECONDS", help="Measured seconds of a card for a unit; repeat."),
    ] = None,
    measured: Annotated[
        Path | None,
        typer.Option("--measured", metavar="FILE", help="Log of earlier runs with --log json.", parser=local_path),
    ] = None,
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """Tell hours of graphics cards, terabytes and money from prompts to an adapter, before anything is made."""
    from videoalign.cli.common import parse_weights
    from videoalign.data.dataset import Dataset
    from videoalign.models.generators import load_generator
    from videoalign.recipes.generator.plan import PlanConfig, measured_seconds, plan_dataset

    options = load_config(PlanConfig, config, settings)
    known = measured_seconds(measured) if measured is not None else {}
    for one in seconds or ():
        known |= parse_weights(one, option="--seconds", example="generate=41") or {}
    generator = load_generator(model, settings=options.of_model())
    rows = plan_dataset(Dataset.open(dataset), generator, options, measured=known)
    if as_json:
        print_json({"settings": options.model_dump(mode="json"), "stages": [asdict(row) for row in rows]})
        return
    size = sum(row.bytes or 0 for row in rows)
    scale, unit = next((one for one in ((1e12, "TB"), (1e9, "GB")) if size >= one[0]), (1e6, "MB"))
    hours = max(hours or 0 for row in rows for hours in (row.computed_hours, row.measured_hours))
    per_hour, time = (1, "hours") if hours >= 0.1 else (3600, "seconds")
    shown = [
        [
            row.work,
            f"{row.units} {row.unit}s",
            _number(row.operations and row.operations / 1e12),
            _number(row.computed_hours and row.computed_hours * per_hour),
            _number(row.measured_hours and row.measured_hours * per_hour),
            _number(row.bytes and row.bytes / scale),
            _number(row.money),
        ]
        for row in rows
    ]
    print_table(["stage", "units", "TFLOP a unit", f"{time}, computed", f"{time}, measured", unit, "money"], shown)
    told = f"{options.tflops:g} TFLOP/s at {options.utilisation:.0%}, {options.price:g} an hour"
    print(f"computed: the transformer alone, {told}; measured: seconds given or logged; money: measured where known")
    money, unknown = sum(row.money or 0 for row in rows), [row.work for row in rows if row.money is None]
    without = f", without {', '.join(unknown)}: give their seconds with --measured or --seconds" if unknown else ""
    print(f"together: {_number(size / scale)} {unit}, money {_number(money)}{without}")


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3g}"
