"""``videoalign guide``: train the noisy-latent reward that steers sampling."""

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
    LatentsDataset,
    Model,
    OffloadOption,
    Overrides,
    load_config,
    print_json,
)
from videoalign.cli.places import made_folder
from videoalign.cli.watching import progress


def register(app: typer.Typer) -> None:
    """Adds the group to the command line."""
    group = typer.Typer(help="Guidance: a reward on noisy latents that steers sampling.", no_args_is_help=True)
    group.callback()(lambda: None)
    group.command("train")(train)
    app.add_typer(group, name="guide")


def train(
    dataset: LatentsDataset,
    model: Model,
    out: Annotated[
        Path, typer.Option("--out", metavar="L", help="Folder of the latent reward to make.", parser=made_folder)
    ],
    settings: Overrides = None,
    pairs: Annotated[
        str | None,
        typer.Option("--pairs", metavar="NAME", help="Pairs to train on; default: every two clips of a prompt."),
    ] = None,
    reward: Annotated[
        str | None,
        typer.Option(
            "--reward", metavar="R", help="Reward whose scores label the pairs; default: the raters' verdicts."
        ),
    ] = None,
    device: Device = "auto",
    dtype: Dtype = "auto",
    offload: OffloadOption = "none",
    config: ConfigFile = None,
    fresh: Fresh = False,
    as_json: AsJson = False,
) -> None:
    """Train a latent reward on pairs; a run that stopped goes on where it was."""
    from videoalign.data.dataset import Dataset
    from videoalign.distributed import join
    from videoalign.models.generators import load_generator
    from videoalign.recipes.generator.guide import train_guide
    from videoalign.recipes.generator.guide_settings import GuideTrainConfig

    options = load_config(GuideTrainConfig, config, settings)
    folder = Dataset.open(dataset)
    scores = None if reward is None else Path(reward).name
    join()  # each of several processes takes its graphics card before it opens the model
    generator = load_generator(model, device=device, dtype=dtype, offload=offload, settings=options.of_model())
    result = train_guide(folder, generator, out, options, scores=scores, pairs=pairs, fresh=fresh, progress=progress)
    last = result.history[-1]
    measured = {"accuracy": result.accuracy, "calibration": result.calibration}
    if as_json:
        print_json({"guide": str(out), "pairs": result.num_pairs, "last": last, **measured})
        return
    told = result.accuracy
    dimensions = [name for name in result.reward.dimensions if f"accuracy/{name}" in told]
    numbers = ", ".join(
        f"{name} {told[f'accuracy/{name}']:.2f} "
        f"[{told[f'accuracy_low/{name}']:.2f}, {told[f'accuracy_high/{name}']:.2f}]"
        for name in dimensions
    )
    held_out = f"; accuracy on held-out prompts: {numbers}" if numbers else ""
    print(f"{out}: {result.num_pairs} pairs, {int(last['step'])} steps, loss {last['loss']:.4g}{held_out}")
