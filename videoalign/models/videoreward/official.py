"""Checkpoints of the official VideoReward code as rewards of this package."""

from __future__ import annotations

import ast
import json
from pathlib import Path
from string import Formatter
from typing import Any

import torch
from torch import Tensor
from transformers import AutoTokenizer, PreTrainedTokenizerBase

from videoalign.contracts.records import DEFAULT_DIMENSIONS, Dimension
from videoalign.errors import ConfigError, ModelError
from videoalign.models.videoreward.checkpoint import read_base
from videoalign.models.videoreward.families.qwen2_vl import QWEN2_VL
from videoalign.models.videoreward.model import VideoReward
from videoalign.models.videoreward.official_state import (
    EMBEDDING,
    HEAD,
    UNUSED,
    WHOLE_FILE,
    LoraScale,
    check_complete,
    merge_state,
    read_official_state,
)
from videoalign.models.videoreward.processing import ReadingLimits
from videoalign.models.videoreward.prompt import ASSISTANT, PROMPT, SYSTEM, USER, reward_token
from videoalign.models.videoreward.settings import Normalisation, RewardSettings
from videoalign.stores.opening import as_given

CONFIG_FILE = "model_config.json"
PROMPT_FIELD = "text_prompt"


def read_official(checkpoint: str | Path, base: str | Path, template: str | Path) -> VideoReward:
    """The reward that an official checkpoint is, ready to score and to save.

    Both layouts (`model.pth`; adapter with the rest), heads of one row or one per dimension, and key names from before
    and after transformers 4.52 are read. Every tensor finds its place, or it is an error. Positions are 0..L-1 on all
    axes, as the official code ran them.

    Args:
        checkpoint: folder with ``model_config.json`` and ``checkpoint-*`` folders (the last one is taken), or one of
            those.
        base: folder or hub id of the Qwen2-VL that it was trained from.
        template: the rubric of the official repository: its ``prompt_template.py``, or its text alone.

    Raises:
        ConfigError: the template is not one with reward tokens, or another than ``model_config.json`` asks for.
        ModelError: a file is missing or damaged, settings that cannot be reproduced, a base that is no Qwen2-VL, or
            tensors that do not fit.
    """
    folder, config = _find(Path(checkpoint))
    dimensions, text = _dimensions(config, _rubric(Path(template)))
    state = read_official_state(folder)
    backbone, _ = read_base(base)
    if backbone.config.model_type != QWEN2_VL.kind:
        raise ModelError(
            f"--base: {base} is a '{backbone.config.model_type}' model; official checkpoints are made from a "
            f"{QWEN2_VL.title} ({QWEN2_VL.kind}). Give the base it was made from."
        )
    wanted = backbone.state_dict()
    whole = (folder / WHOLE_FILE).is_file()
    weights = merge_state(state, {} if whole else wanted, _lora_scale(config))
    tower = not config["model_config"].get("freeze_vision_tower", False)
    check_complete(weights, wanted, whole=whole, tower=tower)
    tokenizer = _tokenizer(folder)
    ids = _token_ids(tokenizer, dimensions, len(weights[EMBEDDING]))
    head, tokens = weights.pop(HEAD).float(), weights[EMBEDDING][ids].float()
    weights.pop(UNUSED, None)
    backbone.resize_token_embeddings(len(weights[EMBEDDING]), mean_resizing=False)
    backbone.load_state_dict(weights, strict=False)
    settings = _settings(config, dimensions, text, _shared(head, len(dimensions)))
    settings = settings.model_copy(update={"provenance": {"base": as_given(base), "official": folder.name}})
    return VideoReward(backbone, tokenizer, settings, tokens=tokens, head=head).eval()


def _find(path: Path) -> tuple[Path, dict[str, Any]]:
    """The folder of the weights and the configuration of its run."""
    steps = {
        int(p.name.rpartition("-")[2]): p for p in path.glob("checkpoint-*") if p.name.rpartition("-")[2].isdigit()
    }
    folder, root = (steps[max(steps)], path) if steps else (path, path)
    file = next((place / CONFIG_FILE for place in (root, root.parent) if (place / CONFIG_FILE).is_file()), None)
    if file is None:
        raise ModelError(
            f"{path}: got no {CONFIG_FILE} here or above; wanted the folder of an official VideoReward, "
            "such as a download of KlingTeam/VideoReward."
        )
    try:
        config = json.loads(file.read_text(encoding="utf-8"))
        for section in ("data_config", "model_config", "peft_lora_config"):
            config[section].keys()
    except (ValueError, KeyError, AttributeError) as error:
        raise ModelError(f"{file}: is no configuration of the official code ({error}); fetch it again.") from None
    _check_reproducible(file, config)
    return folder, config


def _check_reproducible(file: Path, config: dict[str, Any]) -> None:
    """Checks that the run read clips and pooled scores in the one way that is reproduced here."""
    data, model = config["data_config"], config["model_config"]
    kept = {
        "reward_token": (model.get("reward_token"), "special"),
        "use_special_tokens": (model.get("use_special_tokens"), True),
        "prompt_template_type": (data.get("prompt_template_type"), "detailed_special"),
        "sample_type": (data.get("sample_type", "uniform"), "uniform"),
        "num_frames": (data.get("num_frames"), None),
    }
    for name, (got, want) in kept.items():
        if got != want:
            raise ModelError(f"{file}: {name} is {got!r}; only {want!r} can be converted.")


def _rubric(file: Path) -> str:
    """Text of the rubric: the file's own, or the one string with reward tokens in a Python file."""
    try:
        text = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(
            f"--template: cannot read {file} ({error}); give prompt_template.py or a text file."
        ) from None
    if file.suffix != ".py":
        return text
    try:
        nodes = ast.walk(ast.parse(text))
    except SyntaxError as error:
        raise ConfigError(f"--template: {file} is no Python ({error}); fetch it again.") from None
    strings = [node.value for node in nodes if isinstance(node, ast.Constant) and isinstance(node.value, str)]
    found = [value for value in strings if "{" + PROMPT_FIELD + "}" in value and "_reward|>" in value]
    if len(found) != 1:
        raise ConfigError(f"--template: {file} holds {len(found)} rubrics with reward tokens, wanted 1; give its text.")
    return found[0]


def _dimensions(config: dict[str, Any], rubric: str) -> tuple[tuple[Dimension, ...], str]:
    """The dimensions and the whole chat turn; a dimension sees the prompt when its token stands after it."""
    names = config["data_config"].get("eval_dim") or []
    names = [names] if isinstance(names, str) else list(names)
    try:
        pieces = list(Formatter().parse(rubric))
    except ValueError as error:
        raise ConfigError(f"--template: its braces do not match ({error}); give the rubric unchanged.") from None
    fields = [field for _, field, _, _ in pieces if field is not None]
    absent = [reward_token(name) for name in names if reward_token(name) not in rubric]
    if fields != [PROMPT_FIELD] or not names or absent:
        lacks = f" and lacks {absent[0]}" if absent else ""
        raise ConfigError(
            f"--template: it has the fields {fields}{lacks}; wanted {{{PROMPT_FIELD}}} once and one token for "
            f"each of {names}. Give the official detailed_special rubric."
        )
    text = "".join(literal + (PROMPT if field is not None else "") for literal, field, _, _ in pieces)
    known = {dimension.name: dimension for dimension in DEFAULT_DIMENSIONS}
    dimensions = tuple(
        known.get(name, Dimension(name=name, guideline=f"{name}, as the official rubric has it.")).model_copy(
            update={"sees_prompt": text.index(reward_token(name)) > text.index(PROMPT)}
        )
        for name in names
    )
    return dimensions, f"<|im_start|>system\n{SYSTEM}<|im_end|>\n{USER}{text}{ASSISTANT}"


def _lora_scale(config: dict[str, Any]) -> LoraScale:
    peft = config["peft_lora_config"]
    return LoraScale(int(peft["lora_r"]), float(peft["lora_alpha"]), bool(peft.get("use_rslora", False)))


def _tokenizer(folder: Path) -> PreTrainedTokenizerBase:
    for place in (folder / "tokenizer", folder):
        if (place / "tokenizer_config.json").is_file():
            tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(place)
            return tokenizer
    raise ModelError(f"{folder}: got no tokenizer; wanted its 'tokenizer' folder. Fetch the checkpoint again.")


def _token_ids(tokenizer: PreTrainedTokenizerBase, dimensions: tuple[Dimension, ...], num_rows: int) -> Tensor:
    vocabulary = tokenizer.get_vocab()
    ids = [vocabulary.get(reward_token(dimension.name), num_rows) for dimension in dimensions]
    for dimension, token in zip(dimensions, ids, strict=True):
        if token >= num_rows:
            raise ModelError(
                f"checkpoint: no embedding for {reward_token(dimension.name)} among {num_rows} rows; "
                "tokenizer and weights belong to different runs."
            )
    return torch.tensor(ids)


def _shared(head: Tensor, num_dimensions: int) -> bool:
    if head.ndim != 2 or len(head) not in (1, num_dimensions):
        raise ModelError(
            f"checkpoint: its head is {tuple(head.shape)}; wanted 1 row, or one per dimension, {num_dimensions}."
        )
    return len(head) == 1


def _settings(
    config: dict[str, Any], dimensions: tuple[Dimension, ...], template: str, shared_head: bool
) -> RewardSettings:
    data, stated = config["data_config"], config.get("inference_config") or {}
    keys = {d.name: (f"{d.name}_mean", f"{d.name}_std") for d in dimensions}
    complete = all(key in stated for pair in keys.values() for key in pair)
    return RewardSettings(
        dimensions=dimensions,
        template=template,
        limits=ReadingLimits(fps=data["fps"], max_frame_pixels=data["max_frame_pixels"]),
        positions="plain",
        shared_head=shared_head,
        normalisation={name: Normalisation(mean=stated[mean], std=stated[std]) for name, (mean, std) in keys.items()}
        if complete
        else None,
    )
