"""The noisy-latent reward: the generator's own blocks, read per dimension."""

from __future__ import annotations

import json

import pytest
import torch
from diffusers import WanTransformer3DModel
from safetensors.torch import load_file

from videoalign.errors import ModelError
from videoalign.flow.condition import Condition
from videoalign.models.latent_reward import LatentRewardModel


def transformer(num_layers: int = 6, seed: int = 0) -> WanTransformer3DModel:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return WanTransformer3DModel(
            patch_size=(1, 2, 2),
            num_attention_heads=2,
            attention_head_dim=16,
            in_channels=4,
            out_channels=4,
            text_dim=8,
            freq_dim=16,
            ffn_dim=48,
            num_layers=num_layers,
            rope_max_seq_len=32,
        ).eval()


@pytest.fixture
def inputs() -> tuple[torch.Tensor, torch.Tensor, Condition]:
    generator = torch.Generator().manual_seed(5)
    x = torch.randn(5, 4, 5, 4, 4, generator=generator)
    text = torch.randn(5, 7, 8, generator=generator)
    return x, torch.tensor([0.05, 0.3, 0.5, 0.8, 0.99]), Condition({"text": text})


@pytest.mark.parametrize(("depth", "blocks"), [(1, 1), (3, 1), (4, 1), (6, 1), (8, 2), (40, 10)])
def test_a_quarter_of_the_depth_is_copied_and_at_least_one_block(depth: int, blocks: int) -> None:
    base = transformer(1)
    base.register_to_config(num_layers=depth)
    while len(base.blocks) < depth:
        base.blocks.append(transformer(1).blocks[0])
    assert len(LatentRewardModel.from_transformer(base, ["VQ"]).transformer.blocks) == blocks


def test_tokens_after_the_copied_blocks_are_the_generators_own(inputs) -> None:
    x, t, condition = inputs
    base = transformer()
    reward = LatentRewardModel.from_transformer(base, ["VQ", "MQ"], num_blocks=3)
    seen = {}
    handle = base.blocks[3].register_forward_pre_hook(lambda _, args: seen.update(theirs=args[0]))
    base(x, t * 1000, condition["text"])
    handle.remove()
    reward.norm.register_forward_pre_hook(lambda _, args: seen.update(ours=args[0]))
    reward.score(x, t, condition)
    torch.testing.assert_close(seen["ours"], seen["theirs"], rtol=1e-6, atol=1e-6)


def test_training_the_reward_leaves_the_generator_alone(inputs) -> None:
    base = transformer()
    before = {name: value.clone() for name, value in base.state_dict().items()}
    reward = LatentRewardModel.from_transformer(base, ["VQ", "MQ", "TA"])
    optimizer = torch.optim.SGD(reward.parameters(), lr=1.0)
    reward.score(*inputs).square().mean().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for n, p in reward.named_parameters() if "to_key" not in n)
    optimizer.step()
    assert all(torch.equal(before[name], value) for name, value in base.state_dict().items())


def test_scores_are_differentiable_in_the_latents_as_finite_differences_say(inputs) -> None:
    x, t, condition = (part.to(torch.float64) for part in inputs)
    reward = LatentRewardModel.from_transformer(transformer(), ["VQ", "MQ", "TA"]).double()
    x.requires_grad_(True)
    direction = torch.randn(x.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    for k in range(3):
        (gradient,) = torch.autograd.grad(reward.score(x, t, condition)[:, k].sum(), x)
        step = 1e-4
        with torch.no_grad():
            ahead, behind = (reward.score(x + s * step * direction, t, condition)[:, k].sum() for s in (1, -1))
        # the blocks' norms run in float32, whatever the weights are
        assert float((gradient * direction).sum()) == pytest.approx(float(ahead - behind) / (2 * step), rel=0.02)


def test_a_score_depends_on_its_own_sample_time_and_text_alone(inputs) -> None:
    x, t, condition = inputs
    reward = LatentRewardModel.from_transformer(transformer(), ["VQ", "MQ", "TA"])
    whole = reward.score(x, t, condition)
    assert whole.shape == (5, 3)
    for i in range(5):
        torch.testing.assert_close(reward.score(x[i : i + 1], t[i : i + 1], condition.rows([i]))[0], whole[i])
    assert (reward.score(x, t.flip(0), condition) - whole).abs().max() > 1e-4
    assert (reward.score(x, t, condition.rows([4, 3, 2, 1, 0])) - whole).abs().max() > 1e-4


def test_saved_and_loaded_rewards_have_the_same_weights_and_score_alike(inputs, tmp_path) -> None:
    reward = LatentRewardModel.from_transformer(transformer(), ["VQ", "Grace"], num_blocks=2, base="tiny", seed=3)
    reward.save_pretrained(tmp_path / "reward")
    loaded = LatentRewardModel.from_pretrained(tmp_path / "reward")
    assert loaded.dimensions == ("VQ", "Grace")
    assert (loaded.base, loaded.num_blocks) == ("tiny", 2)
    state = reward.state_dict()
    assert all(torch.equal(state[name], value) for name, value in loaded.state_dict().items())
    torch.testing.assert_close(loaded.score(*inputs), reward.score(*inputs))
    assert sorted(file.name for file in (tmp_path / "reward").iterdir()) == ["latent_reward.json", "model.safetensors"]


def test_a_folder_that_tells_no_class_is_of_a_wan_and_names_weights_as_its_transformer_does(inputs, tmp_path) -> None:
    reward = LatentRewardModel.from_transformer(transformer(), ["VQ"], num_blocks=2, seed=3)
    reward.save_pretrained(tmp_path)
    file = tmp_path / "latent_reward.json"
    told = json.loads(file.read_text())
    file.write_text(json.dumps({key: told[key] for key in told if key not in ("transformer_class", "constants")}))
    torch.testing.assert_close(LatentRewardModel.from_pretrained(tmp_path).score(*inputs), reward.score(*inputs))
    copied = {name for name in transformer(2).state_dict() if name.startswith(("patch_", "condition_", "blocks."))}
    head = {"queries", "norm.weight", "norm.bias", "head_norm.weight", "head_norm.bias", "head_weight", "head_bias"}
    reading = {f"to_{part}.{kind}" for part in ("key", "value") for kind in ("weight", "bias")}
    assert set(load_file(tmp_path / "model.safetensors")) == copied | head | reading


def test_an_adapter_on_the_generator_is_left_out(inputs) -> None:
    from peft import LoraConfig

    base = transformer()
    plain = LatentRewardModel.from_transformer(base, ["VQ"], seed=1).score(*inputs)
    base.add_adapter(LoraConfig(r=2, target_modules=["to_q", "to_v"], init_lora_weights=False))
    assert torch.equal(LatentRewardModel.from_transformer(base, ["VQ"], seed=1).score(*inputs), plain)


def test_the_draw_of_the_head_follows_the_seed_and_touches_no_global_state(inputs) -> None:
    torch.manual_seed(0)
    expected = torch.rand(1)
    torch.manual_seed(0)
    one, same, other = (LatentRewardModel.from_transformer(transformer(), ["VQ"], seed=s) for s in (1, 1, 2))
    assert torch.equal(torch.rand(1), expected)
    assert torch.equal(one.score(*inputs), same.score(*inputs))
    assert not torch.equal(one.score(*inputs), other.score(*inputs))


@pytest.mark.parametrize("damage", ["missing", "no json", "other format", "other weights", "cut weights"])
def test_a_damaged_folder_is_one_line(damage: str, tmp_path) -> None:
    folder = tmp_path / "reward"
    reward = LatentRewardModel.from_transformer(transformer(), ["VQ"])
    if damage != "missing":
        reward.save_pretrained(folder)
    file = folder / "latent_reward.json"
    if damage == "no json":
        file.write_text("{")
    if damage == "other format":
        file.write_text(json.dumps({"format": "something"}))
    if damage == "other weights":
        file.write_text(file.read_text().replace('"num_blocks": 1', '"num_blocks": 2'))
    if damage == "cut weights":
        weights = folder / "model.safetensors"
        weights.write_bytes(weights.read_bytes()[:1000])
    with pytest.raises(ModelError, match="guide: ") as error:
        LatentRewardModel.from_pretrained(folder)
    assert "\n" not in str(error.value)


def test_what_does_not_fit_is_refused(inputs) -> None:
    x, t, condition = inputs
    base = transformer()
    with pytest.raises(ModelError, match="num_blocks must be 1 to 6"):
        LatentRewardModel.from_transformer(base, ["VQ"], num_blocks=7)
    with pytest.raises(ModelError, match="different dimensions"):
        LatentRewardModel.from_transformer(base, ["VQ", "VQ"])
    with pytest.raises(ModelError, match="got Linear"):
        LatentRewardModel.from_transformer(torch.nn.Linear(2, 2), ["VQ"])
    reward = LatentRewardModel.from_transformer(base, ["VQ"], base="tiny")
    with pytest.raises(ModelError, match="'tiny' reads latents"):
        reward.score(x[:, :3], t, condition)
    with pytest.raises(ModelError, match="'big' has text_dim 16"):
        reward.require_base("big", {**base.config, "text_dim": 16})
    reward.require_base("same", base.config)
