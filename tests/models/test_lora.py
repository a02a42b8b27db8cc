"""Laws of adapters, on a small random Wan transformer."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from peft import PeftModel
from torch import Tensor
from torch.testing import assert_close

from videoalign.errors import ConfigError, ModelError
from videoalign.flow.condition import Condition
from videoalign.models.adapter_files import read_adapter
from videoalign.models.generators.generator import PipelineGenerator
from videoalign.models.lora import (
    LoraSettings,
    adapter_parameters,
    add_lora,
    as_reference,
    has_adapter,
    load_adapter,
    remove_adapter,
    save_adapter,
)
from videoalign.models.small_wan import TINY_SETTINGS, TINY_SIZES, small_wan_generator

Inputs = tuple[Tensor, Tensor, Condition]


@pytest.fixture
def generator() -> PipelineGenerator:
    return small_wan_generator(["a red circle moves left"], TINY_SIZES, settings=TINY_SETTINGS)


@pytest.fixture
def inputs(generator: PipelineGenerator) -> Inputs:
    x = torch.stack([generator.sampler.noise(0), generator.sampler.noise(1)])
    return x, torch.tensor([0.3, 0.8]), generator.conditioner.encode(["a red circle", "a circle moves"])


def trained(generator: PipelineGenerator, settings: LoraSettings, seed: int = 0) -> dict[str, torch.nn.Parameter]:
    parameters = add_lora(generator.network.transformer, settings, seed=seed)
    draws = torch.Generator().manual_seed(7)
    with torch.no_grad():
        for value in parameters.values():
            value.add_(0.1 * torch.randn(value.shape, generator=draws))
    return parameters


@pytest.mark.parametrize(("targets", "layers"), [("attention", 8), ("attention+ffn", 10)])
def test_a_new_adapter_changes_nothing_and_alone_is_trainable(
    generator: PipelineGenerator, inputs: Inputs, targets: str, layers: int
) -> None:
    before = generator.network(*inputs)
    parameters = add_lora(generator.network.transformer, LoraSettings(rank=4, targets=targets))
    assert torch.equal(generator.network(*inputs), before)
    assert len(parameters) == 2 * layers * 2  # two factors, two blocks
    trainable = {name for name, value in generator.network.transformer.named_parameters() if value.requires_grad}
    assert trainable == set(parameters)


def test_first_factors_follow_the_seed_and_leave_the_global_generator_alone(generator: PipelineGenerator) -> None:
    state = torch.get_rng_state()
    first = {k: v.clone() for k, v in add_lora(generator.network.transformer, LoraSettings(), seed=1).items()}
    assert torch.equal(torch.get_rng_state(), state)
    remove_adapter(generator.network.transformer)
    again = add_lora(generator.network.transformer, LoraSettings(), seed=1)
    assert all(torch.equal(first[name], value) for name, value in again.items())
    remove_adapter(generator.network.transformer)
    other = add_lora(generator.network.transformer, LoraSettings(), seed=2)
    assert not any(torch.equal(first[name], other[name]) for name in other if "lora_A" in name)


def test_switched_off_it_is_the_base_bit_for_bit_and_comes_back(generator: PipelineGenerator, inputs: Inputs) -> None:
    base = generator.network(*inputs)
    parameters = trained(generator, LoraSettings(rank=4))
    adapted = generator.network(*inputs)
    assert (adapted - base).abs().max() > 1e-3
    with as_reference(generator.network.transformer):
        assert torch.equal(generator.network(*inputs), base)
        with as_reference(generator.network.transformer):
            assert torch.equal(generator.network(*inputs), base)
        assert torch.equal(generator.network(*inputs), base)
    assert torch.equal(generator.network(*inputs), adapted)
    assert all(value.requires_grad for value in parameters.values())
    with pytest.raises(RuntimeError, match="stop"), as_reference(generator.network.transformer):
        raise RuntimeError("stop")
    assert torch.equal(generator.network(*inputs), adapted)


def test_a_frozen_adapter_stays_frozen_after_being_off(generator: PipelineGenerator) -> None:
    for value in trained(generator, LoraSettings()).values():
        value.requires_grad_(False)
    with as_reference(generator.network.transformer):
        pass
    assert not any(value.requires_grad for value in adapter_parameters(generator.network.transformer).values())


def test_gradients_of_a_forward_before_the_switch_survive_it(generator: PipelineGenerator, inputs: Inputs) -> None:
    parameters = trained(generator, LoraSettings())
    loss = generator.network(*inputs).square().mean()
    with torch.no_grad(), as_reference(generator.network.transformer):
        generator.network(*inputs)
    loss.backward()
    assert all(value.grad is not None and value.grad.abs().sum() > 0 for value in parameters.values())


@pytest.mark.parametrize("targets", ["attention", "attention+ffn"])
def test_saved_and_loaded_it_is_the_same_here_and_in_peft(
    generator: PipelineGenerator, inputs: Inputs, tmp_path: Path, targets: str
) -> None:
    base = generator.network(*inputs)
    trained(generator, LoraSettings(rank=4, alpha=6, targets=targets))
    adapted = generator.network(*inputs)
    assert (adapted - base).abs().max() > 1e-3
    save_adapter(generator.network.transformer, tmp_path / "a", generator.identity())
    remove_adapter(generator.network.transformer)
    assert not has_adapter(generator.network.transformer)
    assert_close(generator.network(*inputs), base)
    load_adapter(generator.network.transformer, tmp_path / "a", base=generator.identity())
    assert_close(generator.network(*inputs), adapted)
    assert not any(value.requires_grad for value in generator.network.transformer.parameters())
    remove_adapter(generator.network.transformer)
    load_adapter(generator.network.transformer, tmp_path / "a", scale=0.0)
    assert_close(generator.network(*inputs), base)
    remove_adapter(generator.network.transformer)
    by_peft = PeftModel.from_pretrained(generator.network.transformer, str(tmp_path / "a"))
    x, t, condition = inputs
    assert_close(by_peft(x, 1000 * t, condition["text"], return_dict=False)[0], adapted)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_factors_are_float32_and_the_same_over_a_base_of_any_precision(dtype: torch.dtype) -> None:
    first, other = (
        small_wan_generator(["a red circle moves left"], TINY_SIZES, settings=TINY_SETTINGS) for _ in range(2)
    )
    other.network.transformer.to(dtype)
    plain, wanted = (add_lora(made.network.transformer, LoraSettings(rank=4), seed=3) for made in (first, other))
    for name, value in plain.items():
        assert wanted[name].dtype == torch.float32
        assert torch.equal(wanted[name], value)


def test_small_steps_are_learnt_over_a_bfloat16_base_and_kept_in_the_file(
    generator: PipelineGenerator, inputs: Inputs, tmp_path: Path
) -> None:
    """A thousandth of what bfloat16 can tell apart moves every factor; the folder loads over both precisions."""
    generator.network.transformer.to(torch.bfloat16)
    parameters = trained(generator, LoraSettings(rank=4))
    before = {name: value.clone() for name, value in parameters.items()}
    optimizer = torch.optim.AdamW(parameters.values(), lr=1e-6, weight_decay=0.0)
    generator.network(*inputs).square().mean().backward()
    optimizer.step()
    moved = torch.cat([(value - before[name]).flatten() for name, value in parameters.items()])
    assert float((moved != 0).float().mean()) > 0.95
    save_adapter(generator.network.transformer, tmp_path / "a", generator.identity())
    adapted = generator.network(*inputs)
    remove_adapter(generator.network.transformer)
    load_adapter(generator.network.transformer, tmp_path / "a", base=generator.identity())
    assert torch.equal(generator.network(*inputs), adapted)
    assert all(value.dtype == torch.float32 for value in adapter_parameters(generator.network.transformer).values())
    wide = small_wan_generator(["a red circle moves left"], TINY_SIZES, settings=TINY_SETTINGS)
    load_adapter(wide.network.transformer, tmp_path / "a")
    for name, value in adapter_parameters(wide.network.transformer).items():
        assert torch.equal(value, parameters[name])


def test_an_adapter_started_from_another_keeps_that_as_its_reference(
    generator: PipelineGenerator, inputs: Inputs, tmp_path: Path
) -> None:
    base = generator.network(*inputs)
    trained(generator, LoraSettings(rank=4, alpha=6))
    started = generator.network(*inputs)
    save_adapter(generator.network.transformer, tmp_path / "a", generator.identity())
    remove_adapter(generator.network.transformer)
    parameters = add_lora(
        generator.network.transformer, LoraSettings(rank=4, alpha=24), start=read_adapter(tmp_path / "a")
    )
    assert len(parameters) == 32 and all(value.requires_grad for value in parameters.values())
    torch.testing.assert_close(generator.network(*inputs), started, rtol=0, atol=1e-5)
    with torch.no_grad():
        for value in parameters.values():
            value.mul_(1.5)
    changed = generator.network(*inputs)
    with as_reference(generator.network.transformer), as_reference(generator.network.transformer):
        assert torch.equal(generator.network(*inputs), started)
    with as_reference(generator.network.transformer):
        assert torch.equal(generator.network(*inputs), started)
    assert torch.equal(generator.network(*inputs), changed)
    assert all(value.requires_grad for value in parameters.values())
    trainable = {name for name, value in generator.network.transformer.named_parameters() if value.requires_grad}
    assert trainable == set(parameters)
    save_adapter(generator.network.transformer, tmp_path / "b", generator.identity())
    remove_adapter(generator.network.transformer)
    assert torch.equal(generator.network(*inputs), base)
    load_adapter(generator.network.transformer, tmp_path / "b")
    assert torch.equal(generator.network(*inputs), changed)


def test_a_start_of_another_size_or_place_is_refused(generator: PipelineGenerator, tmp_path: Path) -> None:
    trained(generator, LoraSettings(rank=4))
    save_adapter(generator.network.transformer, tmp_path / "a", generator.identity())
    remove_adapter(generator.network.transformer)
    start = read_adapter(tmp_path / "a")
    with pytest.raises(ConfigError, match=r"start: its adapter has rank 4; lora.rank is 16. Set lora.rank=4"):
        add_lora(generator.network.transformer, LoraSettings(), start=start)
    with pytest.raises(ConfigError, match=r"start: .* not of the same layers"):
        add_lora(generator.network.transformer, LoraSettings(rank=4, targets="attention+ffn"), start=start)
    assert not has_adapter(generator.network.transformer)


def test_targets_that_a_model_does_not_have_are_refused() -> None:
    other = small_wan_generator(["a"], TINY_SIZES, settings=TINY_SETTINGS).network.transformer
    for block in other.blocks:
        block.ffn = torch.nn.Identity()
    with pytest.raises(ModelError, match=r"'attention\+ffn' adapts layers named ffn.net.0.proj, but Wan.* has none"):
        add_lora(other, LoraSettings(targets="attention+ffn"))
    assert not has_adapter(other)
    with pytest.raises(ModelError, match="lora.targets: adapters go onto a WanTransformer3DModel.*; got a Linear"):
        add_lora(torch.nn.Linear(2, 2), LoraSettings())


def test_mistakes_are_one_line_errors_and_leave_the_transformer_bare(
    generator: PipelineGenerator, tmp_path: Path
) -> None:
    with pytest.raises(ModelError, match="holds no adapter"):
        load_adapter(generator.network.transformer, tmp_path)
    trained(generator, LoraSettings(rank=4))
    with pytest.raises(ModelError, match="has one already"):
        add_lora(generator.network.transformer, LoraSettings())
    save_adapter(generator.network.transformer, tmp_path / "a", generator.identity())
    with pytest.raises(ModelError, match="has one already"):
        load_adapter(generator.network.transformer, tmp_path / "a")
    remove_adapter(generator.network.transformer)
    stranger = small_wan_generator(["a"], TINY_SIZES, settings=TINY_SETTINGS, seed=9, name="stranger")
    with pytest.raises(ModelError, match=r"was trained on 'small' .* not on 'stranger'"):
        load_adapter(stranger.network.transformer, tmp_path / "a", base=stranger.identity())
    wide = small_wan_generator(["a"], TINY_SIZES.model_copy(update={"num_heads": 4}), settings=TINY_SETTINGS)
    with pytest.raises(ModelError, match="does not fit this model"):
        load_adapter(wide.network.transformer, tmp_path / "a")
    assert not has_adapter(wide.network.transformer)
    deep = small_wan_generator(["a"], TINY_SIZES.model_copy(update={"num_layers": 3}), settings=TINY_SETTINGS)
    with pytest.raises(ModelError, match="have no counterpart"):
        load_adapter(deep.network.transformer, tmp_path / "a")
    weights = tmp_path / "a" / "adapter_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:100])
    with pytest.raises(ModelError, match="cannot be used"):
        load_adapter(generator.network.transformer, tmp_path / "a")
    assert not has_adapter(generator.network.transformer)


def test_the_folder_says_what_it_was_trained_on(generator: PipelineGenerator, tmp_path: Path) -> None:
    trained(generator, LoraSettings(rank=3, alpha=5))
    save_adapter(generator.network.transformer, tmp_path, generator.identity())
    config = json.loads((tmp_path / "adapter_config.json").read_text())
    assert (config["r"], config["lora_alpha"], config["base_model_name_or_path"]) == (3, 5, "small")
    assert json.loads((tmp_path / "base.json").read_text()) == generator.identity()
