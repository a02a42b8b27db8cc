"""A model with an adapter in its weights, as a folder that diffusers opens without either of us."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from videoalign.data.lineage import joined_lineage, read_lineage, write_lineage
from videoalign.errors import OutputError
from videoalign.models.network_adapters import merge_adapters
from videoalign.recipes.generator.generate import open_generator


def merge(
    model: str | Path,
    adapter: str | Path,
    out: str | Path,
    *,
    scale: float = 1.0,
    dtype: str = "float32",
    settings: Mapping[str, Any] | None = None,
) -> Path:
    """Writes base and adapter as one pipeline, both transformers of a model that has two; the folder.

    Args:
        model: name, folder or hub id of the base.
        adapter: folder or file, see `models.adapter_files.read_adapter`.
        out: folder to make.
        scale: strength of the adapter.
        dtype: precision of the weights that are written; half precision rounds the update.
        settings: of `SamplingSettings`, other than the model's own, for the ``videoalign.json`` in the folder.

    Raises:
        ModelError: no such model or adapter, or an adapter of another model.
        OutputError: ``out`` holds something, or cannot be written.
    """
    out = Path(out)
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise OutputError(f"--out: {out} is not empty; give a new folder.")
    generator = open_generator(model, adapter, scale=scale, dtype=dtype, settings=settings)
    merge_adapters(generator.network)
    generator.save_pretrained(out)
    of_base = None if generator.folder is None else read_lineage(generator.folder)
    if (taught := joined_lineage(read_lineage(adapter), of_base)) is not None:
        write_lineage(out, taught.method, taught.teachers, taught.prompts)
    return out
