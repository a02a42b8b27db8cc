"""What is trained and what is not, whatever the family of the backbone; and that checkpointing changes no gradient."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor

from videoalign.contracts.video import Video
from videoalign.models.videoreward import VideoReward
from videoalign.models.videoreward.tuning import Tuning, gradient_checkpointing, prepare_tuning

PROMPTS = ["a red circle moves left", "one cross , blue , grows"]


def gradients(reward: VideoReward, clips: list[Video], on: bool) -> tuple[dict[str, Tensor], dict[str, int]]:
    """Gradients of a loss, and how often a layer of each kind ran."""
    runs = dict.fromkeys(("language", "vision"), 0)

    def count(kind: str) -> None:
        runs[kind] += 1

    layers = {"language": reward.backbone.language_model.layers[1].mlp, "vision": reward.backbone.visual.blocks[1].mlp}
    hooks = [layer.register_forward_pre_hook(lambda *_, k=kind: count(k)) for kind, layer in layers.items()]
    reward.train()
    reward.zero_grad()
    inputs = reward.inputs([reward.processor.read(clip) for clip in clips], PROMPTS[: len(clips)])
    with gradient_checkpointing(reward, on):
        reward(inputs).square().sum().backward()
    for hook in hooks:
        hook.remove()
    return {name: p.grad.clone() for name, p in reward.named_parameters() if p.grad is not None}, runs


@pytest.mark.parametrize("language", ["full", "lora"])
@pytest.mark.parametrize("which", [[0, 0], [0, 1]])
def test_gradients_are_the_same_with_checkpointing_and_layers_run_twice(
    tiny_base: Path, clips: list[Video], language: str, which: list[int]
) -> None:
    """Clips of one frame size run through the attention by frames, clips of two sizes do not."""
    reward = VideoReward.from_base(tiny_base)
    prepare_tuning(reward, Tuning.model_validate({"language": language, "lora_rank": 2}))
    chosen = [clips[k] for k in which]
    plain, once = gradients(reward, chosen, False)
    saving, twice = gradients(reward, chosen, True)
    assert (once, twice) == ({"language": 1, "vision": 1}, {"language": 2, "vision": 2})
    assert plain.keys() == saving.keys()
    assert {name.split(".")[1] for name in plain if "backbone" in name} == {"language_model", "visual"}
    for name, gradient in plain.items():
        torch.testing.assert_close(saving[name], gradient, rtol=1e-5, atol=1e-6, msg=name)
    again, runs = gradients(reward, chosen, False)
    assert runs == once  # it ends with the block
