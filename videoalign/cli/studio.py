"""``videoalign studio``: a page to steer a generator by eye."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from videoalign.cli.common import (
    ConfigFile,
    Device,
    Dtype,
    Host,
    OffloadOption,
    Overrides,
    Port,
    load_config,
)
from videoalign.cli.evaluate import QUICKSTART_FOLDER
from videoalign.cli.places import local_path, read_folder, read_model
from videoalign.cli.sample import Guide
from videoalign.errors import ConfigError

if TYPE_CHECKING:
    from videoalign.web.studio.opening import Opened, Sources


def register(app: typer.Typer) -> None:
    """Adds the command."""
    app.command("studio")(studio)


def studio(
    settings: Overrides = None,
    run: Annotated[
        Path | None,
        typer.Option(
            "--run",
            metavar="RUN",
            help=f"A quickstart run, to steer its model; without any of these options, {QUICKSTART_FOLDER}.",
            parser=read_folder,
        ),
    ] = None,
    model: Annotated[
        str | None,
        typer.Option("--model", metavar="M", help="'sprites', a diffusers folder or a hub id.", parser=read_model),
    ] = None,
    guide: Guide = None,
    adapter: Annotated[
        list[Path] | None,
        typer.Option(
            "--adapter", metavar="A", help="Adapter to compare with the base; may be repeated.", parser=read_folder
        ),
    ] = None,
    judge: Annotated[
        str | None,
        typer.Option(
            "--judge",
            metavar="R|oracle",
            help="Who scores the clips; of sprites the oracle does.",
            parser=read_model,
        ),
    ] = None,
    host: Host = None,
    port: Port = None,
    token_file: Annotated[
        Path | None,
        typer.Option(
            "--token-file",
            metavar="FILE",
            help="Tokens that let in, one a line; else $VIDEOALIGN_TOKEN.",
            parser=local_path,
        ),
    ] = None,
    device: Device = "auto",
    dtype: Dtype = "auto",
    offload: OffloadOption = "none",
    config: ConfigFile = None,
) -> None:
    """Steer a generator by eye: a page with a slider for each dimension, until told to stop."""
    try:
        from videoalign.web.studio.server import serve_studio
        from videoalign.web.studio.settings import StudioSettings
        from videoalign.web.tokens import read_tokens
    except ModuleNotFoundError as error:
        raise ConfigError(f"studio: {error.name} is missing; pip install 'videoalign[web]'.") from None

    options = load_config(StudioSettings, config, settings, host=host, port=port)
    sources = _sources(run, model, guide, adapter or [], judge)

    def started(opened: Opened, link: str) -> None:
        steered = f"guide on {', '.join(opened.dimensions)}" if opened.dimensions else "no guide"
        scored = f"scored by '{opened.judge.name}'" if opened.judge is not None else "not scored"
        print(f"{opened.sources.model}: {steered}, {len(opened.sources.adapters)} adapters, {scored}", flush=True)
        print(f"open {link}", flush=True)

    place = {"device": device, "dtype": dtype, "offload": offload}
    serve_studio(sources, options, place, read_tokens(token_file), on_start=started)


def _sources(
    run: Path | None, model: str | None, guide: Path | None, adapters: list[Path], judge: str | None
) -> Sources:
    """What the options name; a run brings everything that no option names."""
    from dataclasses import replace

    from videoalign.web.studio.opening import SPRITES, Sources, adapters_by_name, sources_of_run
    from videoalign.worlds.sprites.oracle import Oracle

    if run is None and model is None and guide is None and not adapters:
        run = QUICKSTART_FOLDER
        if not run.exists():
            raise ConfigError(
                f"studio: nothing to steer with: there is no run in {run}; make one, in some minutes, with: videoalign "
                "quickstart. Or give --guide L, that guide train made, or --adapter A, and the --model that it is of."
            )
    if run is not None and model is not None:
        raise ConfigError("--model: a run says which model it is of; leave out --model or --run.")
    if run is not None:
        found = sources_of_run(run)
    elif guide is None and not adapters:
        raise ConfigError(
            f"studio: nothing to steer '{model}' with; give --guide L, made with: videoalign guide train DATASET "
            f"--model {model} --out L, or --adapter A, made with: videoalign align."
        )
    else:
        name = model or SPRITES
        found = Sources(model=name, judge=Oracle.name if name == SPRITES else None)
    named = {**found.adapters, **adapters_by_name(adapters)}
    return replace(found, guide=guide or found.guide, adapters=named, judge=judge or found.judge)
