"""``videoalign evaluate`` and ``videoalign quickstart``: what was gained, and the whole path in one command."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer

from videoalign.cli.common import (
    AsJson,
    ConfigFile,
    Device,
    Dtype,
    Fresh,
    OffloadOption,
    Overrides,
    load_config,
    print_json,
    print_table,
)
from videoalign.cli.engine import Address, EngineName, RaySettings, engine_of
from videoalign.cli.places import made_folder, read_model, read_model_with_adapter
from videoalign.cli.watching import progress

QUICKSTART_FOLDER = Path("runs/quickstart")


def register(app: typer.Typer) -> None:
    """Adds both commands."""
    app.command("evaluate")(evaluate)
    app.command("quickstart")(quickstart)


def evaluate(
    base: Annotated[str, typer.Option("--base", metavar="M", help="Generator to compare with.", parser=read_model)],
    candidate: Annotated[
        str,
        typer.Option(
            "--candidate",
            metavar="M[:A]",
            help="Generator, or generator:adapter folder.",
            parser=read_model_with_adapter,
        ),
    ],
    prompts: Annotated[str, typer.Option("--prompts", metavar="FILE", help="Prompts that no adapter was trained on.")],
    judge: Annotated[
        str, typer.Option("--judge", metavar="R|oracle", help="Who says which clip is better.", parser=read_model)
    ],
    out: Annotated[
        Path, typer.Option("--out", metavar="DIR", help="Folder for clips, numbers and report.", parser=made_folder)
    ],
    settings: Overrides = None,
    config: ConfigFile = None,
    per_prompt: Annotated[int | None, typer.Option("--per-prompt", help="Clips per prompt and model.")] = None,
    seed: Annotated[int | None, typer.Option("--seed", help="Decides the noise of every clip.")] = None,
    adapter_strength: Annotated[
        float | None,
        typer.Option("--adapter-strength", help="How much of an adapter is used: 1 as trained, 0 the base."),
    ] = None,
    device: Device = "auto",
    dtype: Dtype = "auto",
    offload: OffloadOption = "none",
    allow_teacher_judge: Annotated[
        bool | None,
        typer.Option("--allow-teacher-judge", help="Let the judge have labelled the training data; tables say so."),
    ] = None,
    allow_trained_prompts: Annotated[
        bool | None,
        typer.Option("--allow-trained-prompts", help="Let prompts have been trained on; tables say so."),
    ] = None,
    engine: EngineName = "local",
    address: Address = None,
    ray: RaySettings = None,
    fresh: Fresh = False,
    as_json: AsJson = False,
) -> None:
    """Count how often a generator beats another on the same prompts and seeds."""
    from videoalign.recipes.generator.evaluate import EvaluateConfig
    from videoalign.recipes.generator.evaluate import evaluate as run

    allowed = {"allow_teacher_judge": allow_teacher_judge, "allow_trained_prompts": allow_trained_prompts}
    numbers = {"per_prompt": per_prompt, "seed": seed, "adapter_strength": adapter_strength}
    options = load_config(EvaluateConfig, config, settings, **numbers, **allowed)
    place: dict[str, Any] = {"device": device, "dtype": dtype, "offload": offload}
    place["engine"] = engine_of(engine, address, ray)
    results = run(base, candidate, prompts, judge, out, options, **place, fresh=fresh, progress=progress)
    if as_json:
        print_json(results)
        return
    show_win_rates(results["alignment"], results["warnings"])
    for note in (results["judge_note"], results["prompts_note"]):
        if note:
            print(note)
    print(f"report: {out / 'report.html'}")


def quickstart(
    settings: Overrides = None,
    out: Annotated[
        Path, typer.Option("--out", metavar="DIR", help="Folder of the run.", parser=made_folder)
    ] = QUICKSTART_FOLDER,
    config: ConfigFile = None,
    seed: Annotated[int | None, typer.Option("--seed", help="Decides every random draw.")] = None,
    fresh: Fresh = False,
    as_json: AsJson = False,
) -> None:
    """Walk the whole path on the embedded world: clips, judgements, reward, alignment, steering, report."""
    from videoalign.recipes.quickstart import run
    from videoalign.recipes.quickstart_settings import QuickstartConfig

    options = load_config(QuickstartConfig, config, settings, seed=seed)
    results = run(out, options, fresh=fresh, say=partial(print, file=sys.stderr, flush=True))
    if as_json:
        print_json(results)
        return
    show_win_rates(results["alignment"])
    _show_guidance(results["guidance"])
    print(f"report: {out / 'report.html'}")


def show_win_rates(alignment: dict[str, dict[str, dict[str, Any]]], warnings: Sequence[str] = ()) -> None:
    """A table of what `compare` gives, a row a method."""
    names = list(next(iter(alignment.values())))
    cells = [
        [method, *(f"{row['win_rate']:.2f} [{row['low']:.2f}, {row['high']:.2f}]" for row in comparison.values())]
        for method, comparison in alignment.items()
    ]
    print_table(["wins over base", *names], cells, title=" ".join(warnings) or None)


def _show_guidance(guidance: list[dict[str, Any]]) -> None:
    names = [name for name in guidance[0] if name not in ("weights", "details")] if guidance else []
    rows = [
        [" ".join(f"{name}={weight:g}" for name, weight in entry["weights"].items()), *(entry[name] for name in names)]
        for entry in guidance
    ]
    if rows:
        print_table(["guided, wins over unguided", *names], rows)
