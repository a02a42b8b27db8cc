"""``videoalign rounds``: a generator aligned round by round, each on clips of the model so far."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from videoalign.cli.common import (
    AsJson,
    ConfigFile,
    Device,
    Dtype,
    Fresh,
    Model,
    OffloadOption,
    Overrides,
    ReadDataset,
    load_config,
    print_json,
    print_note,
)
from videoalign.cli.evaluate import show_win_rates
from videoalign.cli.places import made_folder, read_model
from videoalign.cli.watching import progress


def register(app: typer.Typer) -> None:
    """Adds the command."""
    app.command("rounds")(rounds)


def rounds(
    dataset: ReadDataset,
    model: Model,
    reward: Annotated[
        str,
        typer.Option("--reward", metavar="R", help="Reward that labels the clips of each round.", parser=read_model),
    ],
    out: Annotated[
        Path, typer.Option("--out", metavar="DIR", help="Folder of the rounds and the report.", parser=made_folder)
    ],
    settings: Overrides = None,
    judge: Annotated[
        str | None,
        typer.Option(
            "--judge",
            metavar="R|oracle",
            help="Who compares the rounds on held-out prompts; not R itself.",
            parser=read_model,
        ),
    ] = None,
    num_rounds: Annotated[int | None, typer.Option("--rounds", help="How many; also to go on with a run.")] = None,
    device: Device = "auto",
    dtype: Dtype = "auto",
    offload: OffloadOption = "none",
    config: ConfigFile = None,
    allow_teacher_judge: Annotated[
        bool | None,
        typer.Option("--allow-teacher-judge", help="Let the judge be the reward that labels; tables say so."),
    ] = None,
    fresh: Fresh = False,
    as_json: AsJson = False,
) -> None:
    """Align round by round: generate, score, pair, encode, align, and again with the adapter so far."""
    from videoalign.data.dataset import Dataset
    from videoalign.recipes.generator.rounds import rounds as run
    from videoalign.recipes.generator.rounds_settings import RoundsConfig

    flags = {"num_rounds": num_rounds, "allow_teacher_judge": allow_teacher_judge}
    options = load_config(RoundsConfig, config, settings, **flags)
    place = {"device": device, "dtype": dtype, "offload": offload}
    opened = Dataset.open(dataset)
    results = run(
        opened, model, reward, out, options, judge=judge, **place, fresh=fresh, progress=progress, say=print_note
    )
    if as_json:
        print_json(results)
        return
    for row in results["rounds"]:
        scores = ", ".join(f"{name} {value:.3f}" for name, value in row["reward"].items())
        print(f"round {row['round']}: {row['clips']} clips, {row['pairs']} pairs; mean scores before it: {scores}")
    if "alignment" in results:
        show_win_rates(results["alignment"], results["warnings"])
        print(f"report: {out / 'report.html'}")
    for note in filter(None, (results["judge_note"], results["prompts_note"])):
        print(note)
    print(f"adapter: {results['adapter']}")
