"""The families of video generators, by the class of their pipeline; a new one is a file and a row here."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from diffusers import DiffusionPipeline

from videoalign.contracts.generator import Codec, Conditioner, Sampler, VelocityNet
from videoalign.errors import ModelError
from videoalign.models.generators import wan, wan_kinds
from videoalign.models.generators.settings import SamplingSettings

Configs = Mapping[str, Mapping[str, Any]]
"""Settings of the parts of a pipeline, by their name in it."""


@dataclass(frozen=True)
class Family:
    """One way to make the parts of a `contracts.generator.Generator` from a diffusers pipeline."""

    pipeline: type[DiffusionPipeline]
    """Whose folders it opens."""
    weighed: tuple[str, ...]
    """Parts of the pipeline that have weights; a model may lack some of them."""
    require_index: Callable[[str | Path, Mapping[str, Any]], None]
    """Of a name and ``model_index.json``: raises `ModelError` for a kind of pipeline that is not supported."""
    require_parts: Callable[[str | Path, Configs], None]
    """Of a name and `Configs`: raises `ModelError` for parts that are not supported."""
    require_legal: Callable[[str, SamplingSettings, Configs], None]
    """Of a name, settings and `Configs`: raises `ConfigError` where the model cannot work in these settings."""
    codec: Callable[[Any, SamplingSettings, str], Codec]
    """Of the pipeline, the settings and the name, as those below."""
    conditioner: Callable[[Any, SamplingSettings, str], Conditioner]
    network: Callable[[Any, SamplingSettings, str], VelocityNet]
    sampler: Callable[[Any, SamplingSettings, str], Sampler]


FAMILIES: dict[str, Family] = {
    "WanPipeline": Family(
        pipeline=wan.WanPipeline,
        weighed=wan.WEIGHED_PARTS,
        require_index=wan_kinds.require_index,
        require_parts=wan_kinds.require_parts,
        require_legal=wan_kinds.require_legal,
        codec=wan.WanCodec,
        conditioner=wan.WanConditioner,
        network=wan.WanNetwork,
        sampler=wan.WanSampler,
    ),
}
"""By the class name that ``model_index.json`` tells."""


def family_of(name: str | Path, pipeline_class: str) -> Family:
    """The family of a pipeline.

    Args:
        name: of the model, for the message.
        pipeline_class: name of the pipeline's class.

    Raises:
        ModelError: there is none for it.
    """
    if pipeline_class not in FAMILIES:
        raise ModelError(
            f"--model: {name} is {_article(pipeline_class)} {pipeline_class}; wanted a {' or '.join(FAMILIES)}, a "
            "text-to-video model such as Wan 2.1."
        )
    return FAMILIES[pipeline_class]


def _article(name: str) -> str:
    spelt = name[:2].isupper() or name[1:2].isdigit()
    return "an" if name[0] in ("AEFHILMNORSX" if spelt else "AEIO") else "a"
