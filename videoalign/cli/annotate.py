"""``videoalign annotate``: people judge pairs of clips in their browsers."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from videoalign.cli.annotate_agreement import agreement, leaderboard
from videoalign.cli.common import ConfigFile, Overrides, load_config
from videoalign.errors import ConfigError


def register(app: typer.Typer) -> None:
    """Adds the commands."""
    group = typer.Typer(help="Collect judgements from people, and see how far they agree.", no_args_is_help=True)
    group.command("serve")(serve)
    group.command("agreement")(agreement)
    group.command("leaderboard")(leaderboard)
    app.add_typer(group, name="annotate")


def serve(
    dataset: Annotated[Path, typer.Argument(metavar="D", help="A dataset folder.")],
    settings: Overrides = None,
    db: Annotated[
        str | None, typer.Option("--db", metavar="URL", help="postgresql://...; default D/annotate.sqlite.")
    ] = None,
    host: Annotated[str | None, typer.Option("--host", help="Address to listen on; default 127.0.0.1.")] = None,
    port: Annotated[int | None, typer.Option("--port", help="Port; 0 takes a free one; default 8000.")] = None,
    config: ConfigFile = None,
) -> None:
    """Let people judge the pairs of a dataset in their browsers, until told to stop."""
    try:
        from videoalign.web.annotate.server import Started
        from videoalign.web.annotate.server import serve as serve_programme
        from videoalign.web.annotate.settings import AnnotateSettings
    except ModuleNotFoundError as error:
        raise ConfigError(f"annotate serve: {error.name} is missing; pip install 'videoalign[web]'.") from None

    options = load_config(AnnotateSettings, config, settings, db=db, host=host, port=port)

    def started(server: Started) -> None:
        print(f"{server.address}: {server.num_pairs} pairs", flush=True)
        print(f"admin link, for one use: {server.admin_link}", flush=True)

    serve_programme(dataset, options, on_start=started)
