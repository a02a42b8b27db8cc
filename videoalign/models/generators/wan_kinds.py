"""Which Wan pipelines can be worked with, and in which sizes: told by their settings, before any weight is read."""

from __future__ import annotations

from collections.abc import Mapping
from math import lcm
from pathlib import Path
from typing import Any

from videoalign.errors import ConfigError, ModelError
from videoalign.models.generators.parts import require_whole
from videoalign.models.generators.settings import SamplingSettings
from videoalign.models.generators.sizes import require_sizes

FROM_TEXT, FROM_PICTURE = "WanPipeline", "WanImageToVideoPipeline"
"""Classes of pipelines by what they make clips from."""

PIPELINE_STEP = 16
"""The WanPipeline wants multiples of this, whatever its parts could work in."""


def require_index(name: str | Path, index: Mapping[str, Any]) -> None:
    """Checks by ``model_index.json`` that a Wan pipeline has its parts, and a second transformer only with a boundary.

    Raises:
        ModelError: it has not.
    """
    require_whole(name, index, parts=("transformer", "vae", "text_encoder"))
    if (index.get("transformer_2") or [None])[-1] is not None and index.get("boundary_ratio") is None:
        raise ModelError(
            f"--model: {name} is a {index.get('_class_name', 'WanPipeline')} of two transformers without "
            "boundary_ratio, which says where one ends; write it into model_index.json (0.875 for Wan 2.2 A14B)."
        )


def require_parts(name: str | Path, configs: Mapping[str, Mapping[str, Any]]) -> None:
    """Checks that the transformers read latents of the autoencoder and nothing beside them.

    Raises:
        ModelError: they want more, as image-to-video models do.
    """
    wanted = configs["vae"].get("z_dim")
    for config in (configs[part] for part in ("transformer", "transformer_2") if part in configs):
        got = config.get("in_channels")
        if got != wanted or config.get("image_dim") is not None:
            more = "an image" if got == wanted else f"{got} channels where the autoencoder makes {wanted}"
            raise ModelError(
                f"--model: the transformer of {name} reads {more}; wanted a text-to-video model, such as Wan 2.1 T2V."
            )


def opened_as(name: str | Path, index: Mapping[str, Any], from_picture: bool | None) -> str:
    """Class of the pipeline that a model is opened as: that of ``model_index.json``, but that one whose parts serve for
    texts and for pictures (Wan 2.2 TI2V) is opened for what is asked.

    Raises:
        ConfigError: a model of the one is asked for the other.
    """
    own = str(index["_class_name"])
    if from_picture is None or from_picture == (own == FROM_PICTURE):
        return own
    if index.get("expand_timesteps") and own in (FROM_TEXT, FROM_PICTURE):
        return FROM_PICTURE if from_picture else FROM_TEXT
    raise ConfigError(
        f"from_picture: got {str(from_picture).lower()}; '{Path(name).name}' is a {own}, which makes clips from a "
        f"{'text alone' if from_picture else 'picture'}. Leave it out, or give another model with --model."
    )


def require_image_parts(name: str | Path, configs: Mapping[str, Mapping[str, Any]]) -> None:
    """Checks that the transformers read latents, as many of one picture and a mask, and that there is what makes them;
    or latents alone, where the pipeline puts the picture into those (``expand_timesteps``).

    Raises:
        ModelError: they read something else.
    """
    if configs["pipeline"].get("expand_timesteps"):
        require_parts(name, configs)
        return
    channels, time = configs["vae"].get("z_dim", 0), configs["vae"].get("scale_factor_temporal", 0)
    for config in (configs[part] for part in ("transformer", "transformer_2") if part in configs):
        got = config.get("in_channels")
        if got != 2 * channels + time:
            raise ModelError(
                f"--model: the transformer of {name} reads {got} channels where the autoencoder makes {channels}, or "
                f"{2 * channels + time} with a picture and its mask; wanted an image-to-video model, as Wan 2.1 I2V."
            )
        if config.get("pos_embed_seq_len") is not None:
            raise ModelError(
                f"--model: the transformer of {name} reads a first and a last picture; wanted one that reads the first "
                "alone, such as Wan 2.1 I2V."
            )
        if config.get("image_dim") is not None and "image_encoder" not in configs:
            raise ModelError(
                f"--model: {name} lacks the image_encoder that its transformer reads; wanted a whole model."
            )


def require_legal(name: str, settings: SamplingSettings, configs: Mapping[str, Mapping[str, Any]]) -> None:
    """Checks that frames, height and width are such that autoencoder and transformer can work in them.

    Args:
        name: of the model, for the message.
        settings: of the model.
        configs: settings of its parts.

    Raises:
        ConfigError: they are not; the message names the nearest ones that are.
    """
    time, space = (int(configs["vae"][f"scale_factor_{kind}"]) for kind in ("temporal", "spatial"))
    _, down, right = configs["transformer"]["patch_size"]
    down, right = (lcm(space * patch, PIPELINE_STEP) for patch in (down, right))
    require_sizes(name, settings, time=time, down=down, right=right)
