"""``videoalign adapter``: adapters for other programs, in a model's weights, and their page."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from videoalign.cli.common import Model
from videoalign.cli.places import local_path, made_folder, read_folder

AdapterPath = Annotated[Path, typer.Argument(metavar="A", help="An adapter: folder or file.", parser=read_folder)]


def register(app: typer.Typer) -> None:
    """Adds the group to the command line."""
    group = typer.Typer(help="Adapters for other programs.", no_args_is_help=True)
    group.callback()(lambda: None)
    group.command("export")(export)
    group.command("merge")(merge)
    group.command("card")(card)
    app.add_typer(group, name="adapter")


def export(
    adapter: AdapterPath,
    out: Annotated[
        Path, typer.Option("--out", metavar="FILE", help="The .safetensors file to make.", parser=local_path)
    ],
) -> None:
    """Write an adapter for ComfyUI; diffusers and peft load the folder as it is."""
    from videoalign.models.adapter_files import export_comfyui

    for file in export_comfyui(adapter, out):
        print(file)


def merge(
    adapter: AdapterPath,
    model: Model,
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="Folder of the model to make.", parser=made_folder)],
    strength: Annotated[float, typer.Option("--strength", "--adapter-strength", help="1 as trained.")] = 1.0,
    dtype: Annotated[
        str, typer.Option("--dtype", help="Precision of the weights: float32, or bfloat16, which rounds the update.")
    ] = "float32",
) -> None:
    """Write a model with the adapter in its weights, which diffusers opens like any other."""
    from videoalign.recipes.generator.merge import merge as run

    print(run(model, adapter, out, scale=strength, dtype=dtype))


def card(
    adapter: Annotated[Path, typer.Argument(metavar="A", help="Folder of an adapter.", parser=made_folder)],
    evaluation: Annotated[
        Path | None,
        typer.Option("--evaluation", metavar="FILE", help="results.json of 'evaluate' of it.", parser=local_path),
    ] = None,
    licence: Annotated[str | None, typer.Option("--licence", help="As the Hugging Face hub names it.")] = None,
) -> None:
    """Write README.md of an adapter anew, with its evaluation."""
    from videoalign.recipes.generator.model_card import read_results, write_model_card

    results = None if evaluation is None else read_results(evaluation)
    print(write_model_card(adapter, results=results, licence=licence))
