"""Rewards and their bases by folder or hub id."""

from __future__ import annotations

from pathlib import Path

from huggingface_hub import snapshot_download

from videoalign.errors import ModelError
from videoalign.models.quiet import no_bars

PATTERNS = ("*.json", "*.safetensors", "*.txt", "*.jinja", "*.model")
"""Files that are fetched: settings, weights, tokenizer."""


def local_folder(name: str | Path, what: str, *, revision: str | None = None) -> Path:
    """The folder itself, or the downloaded files of a hub id.

    Args:
        name: a folder or a hub id.
        what: how the error begins.
        revision: branch, tag or commit of the hub id.

    Raises:
        ModelError: neither a folder nor on the hub, or the hub cannot be reached.
    """
    if Path(name).is_dir():
        if revision is not None:
            raise ModelError(f"{name}: {what}: it is a folder, and revision={revision} is for hub ids; leave it out.")
        return Path(name)
    try:
        with no_bars():
            return Path(snapshot_download(str(name), revision=revision, allow_patterns=list(PATTERNS)))
    except (OSError, ValueError) as error:
        reason = " ".join(str(error).split())[:160]
        raise ModelError(
            f"{name}: {what}: no such folder, and nothing from the hub under this id ({reason}); "
            "give the folder or the hub id."
        ) from None
