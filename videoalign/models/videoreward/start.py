"""An untrained reward on a pretrained model."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch

from videoalign.contracts.records import Dimension
from videoalign.errors import ConfigError
from videoalign.models.videoreward.checkpoint import RewardParts, read_base
from videoalign.models.videoreward.families import POSITIONS, find_family
from videoalign.models.videoreward.loading import LoadOptions
from videoalign.models.videoreward.processing import ReadingLimits
from videoalign.models.videoreward.prompt import default_template
from videoalign.models.videoreward.settings import RewardSettings
from videoalign.randomness import fold_in

POOLINGS = ("special", "last")
"""Scores are read at a token per dimension, or all at the last token of the turn."""


def new_parts(
    base: str | Path,
    *,
    dimensions: Sequence[Dimension],
    limits: ReadingLimits | None,
    template: str | None,
    positions: str | None,
    pooling: str,
    shared_head: bool | None,
    seed: int,
    load: LoadOptions,
) -> RewardParts:
    """Backbone and tokenizer of the base, settings, new tokens and a new head; see `VideoReward.from_base`.

    Raises:
        ConfigError: unknown positions or pooling, or dimensions that do not fit.
        ModelError: the base cannot be loaded.
    """
    if positions is not None and positions not in POSITIONS:
        raise ConfigError(f"positions: got '{positions}', wanted one of {', '.join(POSITIONS)}.")
    if pooling not in POOLINGS:
        raise ConfigError(f"pooling: got '{pooling}', wanted one of {', '.join(POOLINGS)}.")
    if pooling == "last" and shared_head:
        raise ConfigError("shared_head: got True with pooling=last, which wants a row for each; set shared_head=False.")
    backbone, tokenizer = read_base(base, load=load)
    family = find_family(backbone.config.model_type)
    settings = RewardSettings(
        dimensions=tuple(dimensions),
        template=template or default_template(dimensions, system=family.system, pooling=pooling),
        limits=limits or family.processor(backbone.config.vision_config).limits,
        positions="plain" if (positions or family.positions) == "plain" else "mrope",
        pooling="special" if pooling == "special" else "last",
        shared_head=pooling == "special" if shared_head is None else shared_head,
        provenance={"base": Path(base).name if Path(base).is_dir() else str(base)},
    )
    generator = fold_in(seed, "reward")
    rows = backbone.get_input_embeddings().weight.detach().float().cpu()
    width = rows.shape[1]
    tokens = rows.mean(0) + rows.std() * torch.randn(settings.num_tokens, width, generator=generator)
    head = torch.randn(settings.num_head_rows, width, generator=generator)
    return RewardParts(backbone, tokenizer, settings, tokens=tokens, head=head * width**-0.5)
