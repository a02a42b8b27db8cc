"""What is trained and what is not, whatever the family of the backbone; and that checkpointing changes no gradient."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor

from videoalign.contracts.video import Video
from videoalign.models.videoreward import VideoReward
from videoalign.models.videoreward.processing import ReadingLimits
from videoalign.models.videoreward.tuning import LINEARS, Tuning, finish_tuning, part_of, prepare_tuning

LIMITS = ReadingLimits(fps=4.0, min_frame_pixels=48 * 48, max_frame_pixels=48 * 48)
PROMPTS = ["a red circle moves left", "one cross , blue , grows"]


@pytest.fixture(params=["qwen2_vl", "qwen2_5_vl", "qwen3_vl"])
def any_family(request: pytest.FixtureRequest, bases: dict[str, Path]) -> VideoReward:
    return VideoReward.from_base(bases[request.param], limits=LIMITS)


def gradients(reward: VideoReward, clips: list[Video]) -> tuple[dict[str, Tensor], dict[str, int]]:
    """Gradients of a loss, and how often a layer of each kind ran."""
    runs = dict.fromkeys(("language", "vision"), 0)

    def count(kind: str) -> None:
        runs[kind] += 1

    layers = {"language": reward.backbone.language_model.layers[1].mlp, "vision": reward.backbone.visual.blocks[1].mlp}
    hooks = [layer.register_forward_pre_hook(lambda *_, k=kind: count(k)) for kind, layer in layers.items()]
    reward.train()
    reward.zero_grad()
    inputs = reward.inputs([reward.processor.read(clip) for clip in clips], PROMPTS[: len(clips)])
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
    tuning = Tuning.model_validate({"language": language, "lora_rank": 2})
    one, other = (VideoReward.from_base(tiny_base) for _ in range(2))
    prepare_tuning(one, tuning)
    prepare_tuning(other, tuning, checkpointing=True)
    chosen = [clips[k] for k in which]
    plain, once = gradients(one, chosen)
    saving, twice = gradients(other, chosen)
    assert (once, twice) == ({"language": 1, "vision": 1}, {"language": 2, "vision": 2})
    assert plain.keys() == saving.keys()
    assert {name.split(".")[1] for name in plain if "backbone" in name} == {"language_model", "visual"}
    for name, gradient in plain.items():
        torch.testing.assert_close(saving[name], gradient, rtol=1e-5, atol=1e-6, msg=name)
    finish_tuning(other)
    prepare_tuning(other, Tuning())
    assert gradients(other, chosen)[1] == once  # it has ended


def test_checkpointing_is_the_same_for_every_family(any_family: VideoReward, clips: list[Video]) -> None:
    prepare_tuning(any_family, Tuning())
    plain, _ = gradients(any_family, clips[:2])
    prepare_tuning(any_family, Tuning(), checkpointing=True)
    saving, runs = gradients(any_family, clips[:2])
    assert runs == {"language": 2, "vision": 2}
    for name, gradient in plain.items():
        torch.testing.assert_close(saving[name], gradient, rtol=1e-5, atol=1e-5, msg=name)


def test_the_tower_never_gets_adapters_whatever_its_layers_are_called(any_family: VideoReward) -> None:
    before = {name for name, _ in any_family.named_modules()}
    prepare_tuning(any_family, Tuning(language="lora", lora_rank=2))
    adapted = {name for name, _ in any_family.named_modules()} - before
    assert adapted and all(name.startswith("backbone.language_model.layers.") for name in adapted)
    layers = {name.split(".")[-2] for name in adapted if name.endswith("lora_A")}
    assert layers == set(LINEARS)


def test_of_the_embedding_the_tokens_of_the_reward_alone_are_trained(any_family: VideoReward) -> None:
    """With LoRA the table itself is frozen: the rows of the reward tokens are parameters of their own."""
    prepare_tuning(any_family, Tuning(language="lora", lora_rank=2))
    table = any_family.backbone.get_input_embeddings()
    assert not table.weight.requires_grad
    assert any_family.tokens.requires_grad and any_family.tokens.shape == (3, table.embedding_dim)
    trained = {name for name, p in any_family.named_parameters() if p.requires_grad}
    assert {part_of(name) for name in trained} == {"language", "vision", "merger", "tokens", "head"}
    assert all("lora_" in name for name in trained if part_of(name) == "language")
    for vision, wanted in (("full", True), ("frozen", False)):
        prepare_tuning(any_family, Tuning(language="frozen", vision=vision))
        assert {p.requires_grad for p in any_family.backbone.visual.parameters()} == {wanted}
        assert not any(p.requires_grad for p in any_family.backbone.language_model.parameters())
