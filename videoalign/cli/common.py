"""What commands share: options with one meaning everywhere, progress bars, results for people or machines."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from videoalign.cli.places import grown_dataset, latents_dataset, local_path, read_dataset, read_model
from videoalign.cli.watching import WATCHING, log_event
from videoalign.config import Config
from videoalign.errors import ConfigError

if TYPE_CHECKING:
    from videoalign.contracts.reward import RewardModel

AnyConfig = TypeVar("AnyConfig", bound=Config)


Folder = Annotated[Path, typer.Argument(metavar="D", help="A dataset folder on this machine.", parser=local_path)]
ReadDataset = Annotated[Path, typer.Argument(metavar="D", help="A dataset: folder or address.", parser=read_dataset)]
GrownDataset = Annotated[Path, typer.Argument(metavar="D", help="A dataset: folder or address.", parser=grown_dataset)]
LatentsDataset = Annotated[
    Path, typer.Argument(metavar="D", help="A dataset: folder or address.", parser=latents_dataset)
]
Model = Annotated[
    str,
    typer.Option("--model", metavar="M", help="'sprites', a diffusers folder or a hub id.", parser=read_model),
]
ConfigFile = Annotated[
    Path | None,
    typer.Option("--config", metavar="FILE.yaml", help="Settings from a YAML file.", parser=local_path),
]
Overrides = Annotated[
    list[str] | None,
    typer.Argument(metavar="KEY=VALUE", help="Settings by name; they win over the file.", show_default=False),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print the result as JSON, for machines.")]
Fresh = Annotated[bool, typer.Option("--fresh", help="Start over instead of reusing what is there.")]
Seed = Annotated[int, typer.Option("--seed", help="Decides every random draw.")]
Host = Annotated[str | None, typer.Option("--host", help="Address to listen on; default 127.0.0.1.")]
Port = Annotated[int | None, typer.Option("--port", help="Port; 0 takes a free one; default 8000.")]

Device = Annotated[
    str, typer.Option("--device", help="Where the model runs, as in cpu or cuda; auto: the GPU where there is one.")
]
Dtype = Annotated[
    str, typer.Option("--dtype", help="Its precision, float32 or bfloat16; auto: float32, and bfloat16 on a GPU.")
]

OffloadOption = Annotated[
    str,
    typer.Option(
        "--offload",
        metavar="none|model|sequential",
        help="Keep parts of the model, or, much slower, layers, off the graphics card while they do not run.",
    ),
]

Load = Annotated[
    list[str] | None,
    typer.Option(
        "--load", metavar="KEY=VALUE", help="How the weights are held: dtype, attention, quantise, device; repeat."
    ),
]


def load_config(cls: type[AnyConfig], file: Path | None, overrides: Sequence[str] | None, **flags: Any) -> AnyConfig:
    """Settings of this class from the file, the overrides and, where given, flags that name one setting each.

    A flag that is None was not given. Flags win over overrides, and overrides over the file.

    Raises:
        ConfigError: see `Config.load`.
    """
    given = [f"{key}={json.dumps(value)}" for key, value in flags.items() if value is not None]
    return cls.load(file, [*(overrides or ()), *given])


def open_reward(reward: str | Path, load: Sequence[str] | None) -> RewardModel:
    """The reward in a folder or on the hub, loaded as these settings of `LoadOptions` say, or a judge by its name.

    Raises:
        ConfigError: an unknown setting.
        ModelError: no reward there, or it cannot be loaded so.
    """
    from videoalign.models.videoreward.loading import LoadOptions
    from videoalign.recipes.judges import open_judge

    return open_judge(reward, **load_config(LoadOptions, None, load).model_dump())


def parse_weights(
    text: str | None, *, option: str = "--weights", example: str = "VQ=1,MQ=0.5"
) -> dict[str, float] | None:
    """``VQ=1,MQ=0.5`` as a dictionary; None stays None, which means the same weight for every dimension.

    Raises:
        ConfigError: not of that form, or a name that stands twice.
    """
    if text is None:
        return None
    weights: dict[str, float] = {}
    for part in text.split(","):
        name, _, value = (piece.strip() for piece in part.partition("="))
        if name in weights:
            raise ConfigError(f"{option}: '{name}' stands twice in '{text}'; give each name once, as in {example}.")
        try:
            weights[name] = float(value if name else "")
        except ValueError:
            raise ConfigError(f"{option}: '{part}' must look like NAME=NUMBER, as in {example}.") from None
    return weights


def parse_names(text: str | None) -> list[str] | None:
    """``a, b,c`` as a list of names; None stays None."""
    return None if text is None else [name.strip() for name in text.split(",") if name.strip()]


def print_note(text: str) -> None:
    """What is worth knowing and no mistake, on stderr."""
    if WATCHING.log == "json":
        log_event("note", text=text)
    else:
        print(f"note: {text}", file=sys.stderr)


def tell_strangers(dataset: Path) -> None:
    """Says on stderr how many judgements were left out since their clips are not in the dataset."""
    from videoalign.data.known import count_strangers

    if number := count_strangers(dataset):
        print_note(f"{dataset}: {number} judgements on clips that are not in the dataset are left out")


def print_json(value: Any) -> None:
    """``value`` on stdout as JSON; NaN is refused."""
    print(json.dumps(value, indent=2, allow_nan=False))


def print_table(columns: Sequence[str], rows: Sequence[Sequence[Any]], title: str | None = None) -> None:
    """A table on stdout; numbers that are not whole show three decimals."""
    from rich.console import Console
    from rich.table import Table

    table = Table(*columns, title=title, title_justify="left")
    for row in rows:
        table.add_row(*(f"{cell:.3f}" if isinstance(cell, float) else str(cell) for cell in row))
    Console().print(table)
