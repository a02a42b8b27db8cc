"""Which parts of a reward are trained: the language model whole, through LoRA or not at all; the tower or not."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import torch
from peft import LoraConfig, inject_adapter_in_model
from peft.tuners.lora import LoraLayer
from pydantic import Field
from torch import nn

from videoalign.config import Config
from videoalign.models.videoreward.model import VideoReward
from videoalign.randomness import fold_in

LINEARS = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
"""Linear layers of the language model that LoRA goes onto; the vision tower is never touched."""

PARTS = ("language", "vision", "merger", "tokens", "head")


class Tuning(Config):
    """What is trained; reward tokens and head always are."""

    language: Literal["full", "lora", "frozen"] = "full"
    """The language model: every weight, low-rank updates of its linear layers, or nothing."""
    vision: Literal["full", "frozen"] = "full"
    """The vision tower with its merger: every weight or nothing."""
    lora_rank: int = Field(64, gt=0)
    """Rank of the updates, where language is lora."""
    lora_alpha: float = Field(128.0, gt=0)
    """The updates are scaled by lora_alpha / lora_rank."""


def prepare_tuning(reward: VideoReward, tuning: Tuning, *, seed: int = 0, checkpointing: bool = False) -> None:
    """Sets what wants a gradient; for LoRA, puts adapters into the language model. `finish_tuning` ends it.

    The adapters start from weights that depend on the seed alone, and change no score.

    Args:
        reward: to be trained.
        tuning: what of it.
        seed: of the adapters.
        checkpointing: a training pass keeps what enters each layer alone and runs the layers again going back. The
            gradients are the same; memory falls from all activations to one layer's, and a step takes about a third
            longer.
    """
    model = reward.backbone
    reward.requires_grad_(True)
    model.visual.requires_grad_(tuning.vision == "full")
    model.language_model.requires_grad_(tuning.language == "full")
    if tuning.language == "lora":
        config = LoraConfig(r=tuning.lora_rank, lora_alpha=tuning.lora_alpha, target_modules=list(LINEARS))
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(fold_in(seed, "lora").initial_seed())
            inject_adapter_in_model(config, model.language_model)
    for part in (model.language_model, model.visual) if checkpointing else ():
        _switch(part, "enable")({"use_reentrant": False})
        part.disable_input_require_grads()  # what enters need not want a gradient where checkpoints are not reentrant


def finish_tuning(reward: VideoReward) -> None:
    """Takes the adapters of LoRA into the weights, where there are any, and ends checkpointing."""
    language: nn.Module = reward.backbone.language_model
    for part in (language, reward.backbone.visual):
        _switch(part, "disable")()
    for name, module in list(language.named_modules()):
        if isinstance(module, LoraLayer):
            module.merge()
            parent, _, child = name.rpartition(".")
            setattr(language.get_submodule(parent), child, module.get_base_layer())


def _switch(part: Any, name: str) -> Callable[..., None]:
    """The method of transformers, by its name of today or the one before."""
    named: Callable[..., None] | None = getattr(part, f"activation_checkpointing_{name}", None)
    return named or getattr(part, f"gradient_checkpointing_{name}")


def part_of(name: str) -> str:
    """Which of `PARTS` a parameter of a VideoReward belongs to, by its name."""
    if name.startswith("backbone.visual.merger."):
        return "merger"
    if name.startswith("backbone.visual."):
        return "vision"
    return "language" if name.startswith("backbone.") else name.split(".")[0]
