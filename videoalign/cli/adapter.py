"""``videoalign adapter``: adapters for other programs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from videoalign.cli.common import local_path


def register(app: typer.Typer) -> None:
    """Adds the group to the command line."""
    group = typer.Typer(help="Adapters for other programs.", no_args_is_help=True)
    group.callback()(lambda: None)
    group.command("export")(export)
    app.add_typer(group, name="adapter")


def export(
    adapter: Annotated[Path, typer.Argument(metavar="A", help="An adapter: folder or file.", parser=local_path)],
    out: Annotated[
        Path, typer.Option("--out", metavar="FILE", help="The .safetensors file to make.", parser=local_path)
    ],
) -> None:
    """Write an adapter of a Wan model for ComfyUI; diffusers and peft load the folder as it is."""
    from videoalign.models.adapter_files import export_comfyui

    export_comfyui(adapter, out)
    print(out)
