"""A diffusers folder or hub id to a pipeline; what is of no supported family is told before any weight is read."""

from __future__ import annotations

import inspect
import json
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import torch
from diffusers import DiffusionPipeline
from diffusers.utils import logging
from huggingface_hub import snapshot_download
from torch import nn

from videoalign.errors import ConfigError, ModelError
from videoalign.models.generators.families import family_of
from videoalign.models.generators.parts import require_whole
from videoalign.models.generators.settings import SETTINGS_FILE, SamplingSettings, read_settings
from videoalign.models.generators.wan_kinds import opened_as
from videoalign.models.generators.weights import ATTRIBUTE, UNREADABLE, Source, Weights, module_of, partwise
from videoalign.models.quiet import no_bars, no_notes

INDEX_FILE = "model_index.json"
GUIDER_FILE = "guider/guider_config.json"
SMALL_FILES = (INDEX_FILE, SETTINGS_FILE, "*/config.json", GUIDER_FILE)
"""What is fetched of a hub id to find out whether it can be used at all."""

WEIGHT_KINDS = ("*.safetensors", "*.bin")
"""Files that hold weights."""

PLAIN_NAME = re.compile(r"[a-z_]+(-\d+-of-\d+)?\.(safetensors|bin)(\.index\.json)?")
"""Of a file of weights that is read where no variant is asked for."""

IN_FLOAT32 = ("vae", "image_encoder")
"""Parts that are read in float32 whatever is asked for, as diffusers' own examples do."""

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}


def open_pipeline(
    source: str | Path,
    values: Mapping[str, Any],
    *,
    dtype: torch.dtype,
    device: str,
    offload: str = "none",
    name: str | None = None,
) -> tuple[DiffusionPipeline, SamplingSettings]:
    """The pipeline in a folder or of a hub id, and what it samples; no weights are read before they are used.

    Args:
        source: folder with ``model_index.json``, or ``owner/model`` on the hub.
        values: settings that are to be other than the model's own.
        dtype: precision of transformer and text encoder; the autoencoder stays in float32.
        device: where it runs.
        offload: see `weights.Offload`.
        name: what errors call it; its source by default.

    Raises:
        ModelError: no such model, or not one of a supported family.
        ConfigError: a setting that the model cannot meet.
    """
    folder = _local(source)
    index = _read(source, folder, INDEX_FILE)
    if not isinstance(index.get("_class_name"), str):
        raise _cannot_open(source, f"{INDEX_FILE} names no pipeline")
    index["_class_name"] = opened_as(source, index, values.get("from_picture"))
    family = family_of(source, index["_class_name"])
    family.require_index(source, index)
    require_whole(source, index, parts=[part for part in _needed(family.pipeline) if part not in family.unused])
    weighed = [part for part in family.weighed if (index.get(part) or [None])[-1] is not None]
    configs = {part: _read(source, folder, f"{part}/config.json") for part in weighed} | {"pipeline": index}
    family.require_parts(source, configs)
    if (folder / GUIDER_FILE).is_file():
        configs["guider"] = _read(source, folder, GUIDER_FILE)
    settings = read_settings(folder, values, family.defaults.changed(family.own_settings(configs)))
    family.require_legal(name or Path(source).name, settings, configs)
    sources = {}
    for part in weighed:
        kind = module_of(*index[part])
        if kind is None:
            raise _cannot_open(source, f"{INDEX_FILE} names '{'.'.join(map(str, index[part]))}' as its {part}")
        own = torch.float32 if part in IN_FLOAT32 else dtype
        sources[part] = Source(kind, own, partial(_fetched, source, folder, part))
        if folder == Path(source):
            _require_weights(source, folder / part)
    unused = dict.fromkeys(part for part in family.unused if part in index)
    small = [part for part, told in index.items() if isinstance(told, list) and part not in {*weighed, *unused}]
    gone = [part for part in small if index[part][-1] is not None and not (folder / part).is_dir()]
    if gone and folder == Path(source):
        raise _cannot_open(source, f"{gone[0]} is missing")
    others = [f"{part}/*" for part in small]
    try:
        with quiet():
            if folder != Path(source):
                folder = Path(snapshot_download(str(source), allow_patterns=[*SMALL_FILES, *others]))
            outlines = {part: _outline(part, found, folder) for part, found in sources.items()}
            with no_notes(logging):  # of parts of one of diffusers' own pipelines, which it prints whole
                pipeline = partwise(family.pipeline).from_pretrained(folder, **outlines, **unused)
    except UNREADABLE as error:
        raise _cannot_open(source, error) from None
    setattr(pipeline, ATTRIBUTE, Weights(str(source), sources, outlines, device, offload))
    return pipeline, settings


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
    with no_bars(), no_bars(logging):
        yield


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


def _fetched(source: str | Path, folder: Path, part: str) -> Path:
    """The folder of a part with its weights in it, safetensors rather than what is older."""
    if folder != Path(source):
        for kind in ("*.safetensors*", "*"):
            snapshot_download(str(source), allow_patterns=[f"{part}/*.json", f"{part}/{kind}"])
            if any(file for known in WEIGHT_KINDS for file in (folder / part).glob(known)):
                break
        _require_weights(source, folder / part)
    return folder / part


def _require_weights(source: str | Path, folder: Path) -> None:
    """Raises `ModelError` for a part without files of weights, or with those of a variant alone, as fp16."""
    files = sorted(file.name for kind in (*WEIGHT_KINDS, "*.index.json") for file in folder.glob(kind))
    if not files:
        raise _cannot_open(source, f"{folder.name} holds no weights")
    if not any(map(PLAIN_NAME.fullmatch, files)):
        raise _cannot_open(source, f"{folder.name} holds {files[0]} and no weights without a variant in their name")


def _outline(part: str, found: Source, folder: Path) -> nn.Module:
    try:
        return found.outline(folder / part)
    except UNREADABLE as error:
        raise ValueError(f"{part}: {error}") from None


def _needed(pipeline: type[DiffusionPipeline]) -> list[str]:
    """Components that a pipeline cannot be without."""
    parameters = inspect.signature(pipeline).parameters.values()
    return [
        one.name for one in parameters if one.default is one.empty and one.name not in pipeline._optional_components
    ]


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
    return ModelError(f"--model: {source} cannot be opened as a generator ({' '.join(str(reason).split())[:200]}).")
