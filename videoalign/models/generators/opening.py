"""A diffusers folder or hub id to a pipeline; what is no Wan text-to-video model is told before any weight is read."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import diffusers
import torch
from diffusers import WanPipeline
from huggingface_hub import snapshot_download

from videoalign.errors import ConfigError, ModelError
from videoalign.models.digest import note_files
from videoalign.models.generators.settings import SETTINGS_FILE, SamplingSettings, read_settings, require_legal
from videoalign.models.quiet import no_bars

INDEX_FILE = "model_index.json"
SMALL_FILES = (INDEX_FILE, SETTINGS_FILE, "transformer/config.json", "vae/config.json")
"""What is fetched of a hub id to find out whether it can be used at all."""

WEIGHED_PARTS = ("transformer", "vae", "text_encoder")
"""Parts of a pipeline that have weights."""

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}


def open_pipeline(
    source: str | Path, values: Mapping[str, Any], *, dtype: torch.dtype
) -> tuple[WanPipeline, SamplingSettings]:
    """The pipeline in a folder or of a hub id, and what it samples.

    Args:
        source: folder with ``model_index.json``, or ``owner/model`` on the hub.
        values: settings that are to be other than the model's own.
        dtype: precision of transformer and text encoder; the autoencoder stays in float32.

    Raises:
        ModelError: no such model, or not a text-to-video Wan model with one transformer.
        ConfigError: a setting that the model cannot meet.
    """
    folder = _local(source)
    index = _read(source, folder, INDEX_FILE)
    require_family(source, index)
    transformer, vae = (_read(source, folder, f"{part}/config.json") for part in ("transformer", "vae"))
    require_channels(source, transformer, vae)
    settings = read_settings(folder, values)
    require_legal(Path(source).name, settings, vae, transformer)
    try:
        with quiet():
            pipeline = WanPipeline.from_pretrained(source, dtype={"vae": torch.float32, "default": dtype})
    except (OSError, ValueError, TypeError, KeyError, AttributeError, ImportError) as error:
        raise _cannot_open(source, error) from None
    for part in WEIGHED_PARTS:
        note_files(getattr(pipeline, part), folder / part)
    return pipeline, settings


def require_family(name: str | Path, index: Mapping[str, Any]) -> None:
    """Checks what ``model_index.json`` says of a pipeline: its class, one transformer, one time per clip.

    Raises:
        ModelError: another family, or a kind of Wan model that is not supported.
    """
    family = index.get("_class_name")
    if not isinstance(family, str):
        raise _cannot_open(name, f"{INDEX_FILE} names no pipeline")
    if family != "WanPipeline":
        raise ModelError(
            f"--model: {name} is {_article(family)} {family}; wanted a WanPipeline, a text-to-video model such as "
            "Wan 2.1."
        )
    second, first = index.get("transformer_2") or [None], index.get("transformer") or [None]
    per_token = bool(index.get("expand_timesteps"))
    if second[-1] is not None or first[-1] is None or per_token:
        kind = "a time per token, as Wan 2.2 TI2V has" if per_token else "two transformers, as Wan 2.2 A14B has"
        raise ModelError(
            f"--model: {name} is a WanPipeline with {kind}; wanted a Wan model with one transformer and one time per "
            "clip, such as Wan 2.1."
        )


def require_channels(name: str | Path, transformer: Mapping[str, Any], vae: Mapping[str, Any]) -> None:
    """Checks that the transformer reads latents of the autoencoder and nothing beside them.

    Raises:
        ModelError: it wants more, as image-to-video models do.
    """
    got, wanted = transformer.get("in_channels"), vae.get("z_dim")
    if got != wanted or transformer.get("image_dim") is not None:
        more = "an image" if got == wanted else f"{got} channels where the autoencoder makes {wanted}"
        raise ModelError(
            f"--model: the transformer of {name} reads {more}; wanted a text-to-video model, such as Wan 2.1 T2V."
        )


def resolve_place(device: str, dtype: str) -> tuple[str, torch.dtype]:
    """Device and precision by name; ``auto`` is the graphics card where there is one, and there bfloat16.

    Raises:
        ConfigError: an unknown precision, or a device that cannot be used here.
    """
    place = ("cuda" if torch.cuda.is_available() else "cpu") if device == "auto" else device
    try:
        kind = torch.empty(0, device=place).device.type
    except (RuntimeError, AssertionError) as error:
        reason = " ".join(str(error).split())[:80]
        raise ConfigError(f"--device: cannot use '{place}' here ({reason}); give cpu, or leave it out.") from None
    if dtype == "auto":
        return place, torch.float32 if kind == "cpu" else torch.bfloat16
    if dtype not in DTYPES:
        raise ConfigError(f"--dtype: got '{dtype}'; wanted auto, {' or '.join(DTYPES)}.")
    return place, DTYPES[dtype]


@contextmanager
def quiet() -> Iterator[None]:
    """No progress bars of the libraries while a folder is read or written."""
    shown = diffusers.utils.logging.is_progress_bar_enabled()
    diffusers.utils.logging.disable_progress_bar()
    try:
        with no_bars():
            yield
    finally:
        if shown:
            diffusers.utils.logging.enable_progress_bar()


def _local(source: str | Path) -> Path:
    """The folder, or that of a hub id's snapshot with its small files in it."""
    folder, text = Path(source), str(source)
    if folder.exists() or text.count("/") != 1 or text[0] in "./~":
        if not (folder / INDEX_FILE).is_file():
            raise ModelError(
                f"--model: {source} holds no {INDEX_FILE}; give 'sprites', a diffusers folder or a hub id."
            )
        return folder
    try:
        with quiet():
            return Path(snapshot_download(text, allow_patterns=list(SMALL_FILES)))
    except (OSError, ValueError) as error:
        raise _cannot_open(source, error) from None


def _read(source: str | Path, folder: Path, name: str) -> dict[str, Any]:
    try:
        values = json.loads((folder / name).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise _cannot_open(source, f"{name} is missing") from None
    except (OSError, ValueError) as error:
        raise _cannot_open(source, f"{name}: {error}") from None
    if not isinstance(values, dict):
        raise _cannot_open(source, f"{name} holds no settings")
    return values


def _cannot_open(source: str | Path, reason: object) -> ModelError:
    return ModelError(f"--model: {source} cannot be opened as a WanPipeline ({' '.join(str(reason).split())[:200]}).")


def _article(name: str) -> str:
    spelt = name[:2].isupper() or name[1:2].isdigit()
    return "an" if name[0] in ("AEFHILMNORSX" if spelt else "AEIO") else "a"
