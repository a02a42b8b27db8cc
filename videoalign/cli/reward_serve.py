"""``videoalign reward serve``: scores over HTTP."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from videoalign.cli.common import (
    ConfigFile,
    Host,
    Load,
    Overrides,
    Port,
    load_config,
)
from videoalign.cli.places import local_path, read_model
from videoalign.errors import ConfigError

if TYPE_CHECKING:
    from videoalign.contracts.reward import RewardModel


def serve(
    reward: Annotated[str, typer.Argument(metavar="R", help="A reward folder or hub id.", parser=read_model)],
    settings: Overrides = None,
    host: Host = None,
    port: Port = None,
    token_file: Annotated[
        Path | None,
        typer.Option(
            "--token-file", metavar="FILE", help="Bearer tokens, one a line; else $VIDEOALIGN_TOKEN.", parser=local_path
        ),
    ] = None,
    config: ConfigFile = None,
    load: Load = None,
) -> None:
    """Score clips over HTTP until told to stop; then everything taken in is answered first."""
    try:
        from videoalign.models.videoreward import VideoReward
        from videoalign.models.videoreward.loading import LoadOptions
        from videoalign.web.score.server import serve_reward
        from videoalign.web.score.settings import ServeSettings
        from videoalign.web.tokens import read_tokens
    except ModuleNotFoundError as error:
        raise ConfigError(f"reward serve: {error.name} is missing; pip install 'videoalign[web]'.") from None

    options = load_config(ServeSettings, config, settings, host=host, port=port)

    def started(model: RewardModel, address: str) -> None:
        print(f"{address}: reward '{model.name}' on {', '.join(model.dimensions)}", flush=True)

    how = load_config(LoadOptions, None, load).model_dump()
    serve_reward(lambda: VideoReward.from_pretrained(reward, **how), options, read_tokens(token_file), on_start=started)
