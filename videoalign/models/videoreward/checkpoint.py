"""A reward as a folder: a transformers backbone, its tokenizer, and ``reward.json`` with ``reward.safetensors``."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase

from videoalign.contracts.output import whole_folder, write_json
from videoalign.errors import ModelError
from videoalign.models.digest import note_files
from videoalign.models.quiet import no_bars
from videoalign.models.videoreward.families import FAMILIES, Family, find_family
from videoalign.models.videoreward.hub import local_folder
from videoalign.models.videoreward.loading import LoadOptions
from videoalign.models.videoreward.settings import LAYOUT_VERSION, RewardSettings

SETTINGS_FILE, HEAD_FILE = "reward.json", "reward.safetensors"
MODEL_FOLDER = "model"
"""Where a training run keeps its reward, so that the run's own folder can be given as well."""


@dataclass(frozen=True, eq=False)
class RewardParts:
    """What a reward is made of."""

    backbone: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    settings: RewardSettings
    tokens: Tensor
    """Embeddings of the reward tokens, float (D, H); none of them where scores are read at the last token."""
    head: Tensor
    """Weight of the linear head, float (1 or D, H)."""


def write_checkpoint(folder: str | Path, parts: RewardParts) -> None:
    """Writes the folder whole or not at all, replacing an old one.

    Raises:
        ModelError: the backbone was loaded in 8 or 4 bits.
        OutputError: the disk is full or the place cannot be written.
    """
    if getattr(parts.backbone, "is_quantized", False):
        raise ModelError(f"{folder}: a reward that was loaded with quantise cannot be saved; load it without.")
    with no_bars(), whole_folder(folder) as aside:
        parts.backbone.save_pretrained(aside)
        parts.tokenizer.save_pretrained(aside)
        tensors = {"tokens": parts.tokens, "head": parts.head}
        save_file({k: v.detach().cpu().contiguous() for k, v in tensors.items()}, aside / HEAD_FILE)
        write_json(aside / SETTINGS_FILE, parts.settings.model_dump(mode="json"))


def read_checkpoint(folder: str | Path, *, revision: str | None = None, load: LoadOptions | None = None) -> RewardParts:
    """Reads a folder of `write_checkpoint`, a training run's folder that holds one, or a hub id of either.

    Raises:
        ConfigError: no such device.
        ModelError: no reward there, one of a later version, or weights that do not fit or are damaged; also see
            `LoadOptions.check`.
    """
    load = load or LoadOptions()
    load.check()
    folder = find_checkpoint(local_folder(folder, "no reward here", revision=revision))
    settings = RewardSettings.load(folder / SETTINGS_FILE)
    if settings.layout_version > LAYOUT_VERSION:
        raise ModelError(f"{folder}: reward layout {settings.layout_version} is newer than {LAYOUT_VERSION}; upgrade.")
    backbone, tokenizer = read_base(folder, load=load)
    try:
        tensors = load_file(folder / HEAD_FILE)
    except (OSError, SafetensorError) as error:
        raise ModelError(
            f"{folder}: cannot read {HEAD_FILE} ({error}); a reward without its head never scores."
        ) from None
    width = backbone.config.text_config.hidden_size
    wanted = {"tokens": (settings.num_tokens, width), "head": (settings.num_head_rows, width)}
    got = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
    if got != wanted:
        raise ModelError(f"{folder}: {HEAD_FILE} holds {got}, wanted {wanted}; train or convert the reward again.")
    return RewardParts(backbone, tokenizer, settings, tensors["tokens"].float(), tensors["head"].float())


def find_checkpoint(folder: str | Path) -> Path:
    """The folder itself or its ``model`` folder, whichever holds a reward.

    Raises:
        ModelError: neither does.
    """
    folder = Path(folder)
    for place in (folder, folder / MODEL_FOLDER):
        if (place / SETTINGS_FILE).is_file():
            return place
    raise ModelError(f"{folder}: no reward here ({SETTINGS_FILE} is missing); make one with 'videoalign reward train'.")


def read_base(
    name_or_path: str | Path, *, load: LoadOptions | None = None
) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """The backbone, on its device, and the tokenizer of a folder or hub id; every weight must be there.

    Raises:
        ConfigError: no such device.
        ModelError: not found, another kind of model, or weights that are missing; also see `LoadOptions.check`.
    """
    load = load or LoadOptions()
    told = load.arguments()
    titles = [family.title for family in FAMILIES.values()]
    folder = local_folder(name_or_path, f"cannot load a {', '.join(titles[:-1])} or {titles[-1]}")
    family = _family(folder)
    whole = not (folder / SETTINGS_FILE).is_file()  # a reward keeps its backbone without the language-model head
    cls = family.whole if whole else family.bare
    try:
        with no_bars():
            model, report = cls.from_pretrained(str(folder), output_loading_info=True, **told)
        tokenizer = AutoTokenizer.from_pretrained(str(folder))
    except (OSError, ValueError, SafetensorError, RuntimeError, ImportError) as error:
        reason = " ".join(str(error).split())[:200]
        raise ModelError(
            f"{name_or_path}: cannot load a {family.title} ({reason}); give its folder or hub id."
        ) from None
    missing = sorted(report["missing_keys"]) + sorted(str(key) for key in report["mismatched_keys"])
    if missing:
        raise ModelError(f"{name_or_path}: {len(missing)} weights are missing, {missing[0]} first; fetch it again.")
    backbone = model.model if whole else model
    placed = backbone if load.quantise else backbone.to(load.device or "cpu")
    note_files(placed, folder)
    return placed, tokenizer


def _family(folder: Path) -> Family:
    config = folder / "config.json"
    if not config.is_file():
        raise ModelError(f"{folder}: no config.json here; give the folder of a model.")
    return find_family(json.loads(config.read_text(encoding="utf-8")).get("model_type"), folder)
