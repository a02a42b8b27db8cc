"""The Bradley-Terry objective on noised pairs."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from diffusers import WanTransformer3DModel
from torch import Tensor, nn

from videoalign.errors import ConfigError, ModelError
from videoalign.flow.condition import Condition
from videoalign.losses.preference import label_shares
from videoalign.models.latent_reward import LatentRewardModel
from videoalign.randomness import Draws
from videoalign.stats.shares import share
from videoalign.training.loop import FitConfig, fit
from videoalign.training.objective import Loss, means, pair_differences
from videoalign.training.objectives.flow import TimeSettings
from videoalign.training.objectives.latent_reward import (
    LatentGroup,
    LatentRewardObjective,
    by_band,
    collate_latent_groups,
    measure_by_noise,
    near_prompts,
    noised,
)
from videoalign.training.objectives.reward import VerdictCriterion

SHAPE = (4, 3, 4, 4)


def draws(num: int, seed: int = 0) -> Draws:
    """Those of a whole step of ``num`` groups."""
    return Draws(seed, 0, range(num), num)


def told(loss: Loss) -> tuple[Tensor, dict[str, float]]:
    """The mean loss and the numbers to log."""
    names, table = loss.sums()
    mean = (loss.weight * loss.value).sum() / loss.weight.sum().clamp_min(1)
    return mean, {k: v for k, v in means([(names, table.tolist())]).items() if not k.startswith("loss")}


class Probe(nn.Module):
    """Scores the mean of the latents, so that every number can be worked by hand; keeps what it was given."""

    dimensions = ("up", "flat")

    def __init__(self) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.ones(()))

    def score(self, x_t: Tensor, t: Tensor, condition: Condition) -> Tensor:
        self.seen = (x_t, t, condition["text"])
        up = self.gain * x_t.flatten(1).mean(1)
        return torch.stack([up, 0 * up], 1)

    def unit(self, t: Tensor) -> None:
        """None: differences count as they are."""

    def head_names(self) -> tuple[str, ...]:
        return ("gain",)


def pair(level_a: float, level_b: float, labels: tuple[int, ...]) -> LatentGroup:
    return two_clips(torch.full(SHAPE, level_a), torch.full(SHAPE, level_b), torch.zeros(2, 3), labels)


def two_clips(a: Tensor, b: Tensor, text: Tensor, labels: tuple[int, ...], others: Tensor | None = None) -> LatentGroup:
    other_rows = [] if others is None else Condition({"text": others}).split()
    condition = Condition({"text": text[None]})
    return LatentGroup(torch.stack([a, b]), condition, torch.tensor([[0, 1]]), torch.tensor([labels]), other_rows)


def test_both_clips_get_the_same_noise_at_the_same_time() -> None:
    reward = Probe()
    batch = collate_latent_groups([pair(1.0, -1.0, (1, 0)), pair(0.5, 2.0, (-1, 1))])
    LatentRewardObjective(reward).loss(batch, draws(2, 3))
    x_t, t, text = reward.seen
    assert torch.equal(t[::2], t[1::2])
    assert text.shape == (4, 2, 3)
    assert t[0] != t[2]
    share = (1 - t[::2]).reshape(2, 1, 1, 1, 1)
    torch.testing.assert_close(x_t[::2] - x_t[1::2], share * (batch.latents[::2] - batch.latents[1::2]))
    noise = (x_t[::2] - share * batch.latents[::2]) / t[::2].reshape(2, 1, 1, 1, 1)
    assert float(noise.std()) == pytest.approx(1.0, abs=0.1)


def test_pure_noise_tells_nothing() -> None:
    reward, batch = tiny_reward(), collate_latent_groups(planted_pairs(3, 0))
    noise = torch.randn(3, *SHAPE)
    scores = reward.score(*noised(batch, torch.ones(3), noise, torch.device("cpu")))
    difference = pair_differences(scores, batch.pairs)
    torch.testing.assert_close(difference, torch.zeros(3, 2), rtol=0, atol=1e-6)


def test_the_loss_is_the_hand_worked_mean_over_decided_entries() -> None:
    batch = collate_latent_groups([pair(1.0, -1.0, (1, 0)), pair(0.0, 2.0, (1, -1)), pair(3.0, 0.0, (0, 0))])
    loss, metrics = told(LatentRewardObjective(Probe()).loss(batch, draws(3)))
    t = TimeSettings().draw(draws(3))
    # differences: 2 (1 - t) told right, -2 (1 - t) told wrong, and 0 on the flat dimension
    first, second = (2 * (1 - float(time)) for time in t[:2])
    wanted = [math.log1p(math.exp(-first)), math.log1p(math.exp(second)), math.log(2)]
    assert float(loss.detach()) == pytest.approx(sum(wanted) / 3, rel=1e-5)
    assert (metrics["accuracy/up"], metrics["accuracy/flat"]) == (0.5, 0.0)


def test_under_a_law_of_ties_a_tie_teaches_and_counts() -> None:
    """Rao and Kupper at theta 5: two thirds for a tie of equals, and more for the pair that lies nearer."""
    batch = collate_latent_groups([pair(1.0, -1.0, (0, 22)), pair(0.0, 0.0, (0, 22)), pair(3.0, 0.0, (22, 22))])
    loss = LatentRewardObjective(Probe(), criterion=VerdictCriterion("btt", 2)).loss(batch, draws(3))
    t = TimeSettings().draw(draws(3))
    assert loss.weight.tolist() == [1, 1, 0]
    first = 24 / ((1 + 5 * math.exp(-2 * (1 - t[0]))) * (1 + 5 * math.exp(2 * (1 - t[0]))))
    assert loss.value.tolist() == pytest.approx([-math.log(first), -math.log(2 / 3), 0.0], rel=1e-5)


def test_on_clean_clips_every_time_is_zero() -> None:
    reward, batch = Probe(), collate_latent_groups([pair(1.0, -1.0, (1, 0)), pair(0.5, 2.0, (-1, 1))])
    loss = LatentRewardObjective(reward, clean=True).loss(batch, draws(2, 3))
    assert torch.equal(reward.seen[0], batch.latents)
    assert (reward.seen[1] == 0).all() and loss.t is not None and (loss.t == 0).all()


def test_a_reward_learns_how_far_it_is_off_at_which_noise(tmp_path) -> None:
    """Verdicts drawn from Thurstone's law, of which noise hides more and more: what is planted is found again.

    The scores are given, so that the law alone is learnt: those of the finished clips lie around them with a deviation
    of 3 t, and raters see with one of 1 and call a tie what is within 0.7 of nothing.
    """
    reward = tiny_reward("thurstone")
    law = VerdictCriterion("thurstone", 2, learn=True)
    objective = LatentRewardObjective(reward, criterion=law)
    rate, draw = torch.optim.Adam(objective.parameter_groups()[-1]["params"], lr=0.05), torch.Generator().manual_seed(0)
    for _ in range(150):
        t = torch.rand(2000, generator=draw)
        seen = 3 * torch.randn(2000, 1, generator=draw)
        off = seen + (1 + 2 * (3 * t[:, None]) ** 2).sqrt() * torch.randn(2000, 2, generator=draw)
        labels = torch.where(off.abs() < 0.7, 0.0, off.sign())
        rate.zero_grad()
        law.losses(seen.expand(-1, 2), label_shares(labels), reward.unit(t)).mean().backward()
        rate.step()
    reward.width = tuple(law.widths() or ())
    assert reward.width == pytest.approx((0.7, 0.7), rel=0.1)
    times = torch.tensor([0.25, 0.5, 0.75, 1.0])
    torch.testing.assert_close(reward.deviation(times), 3 * times[:, None].expand(-1, 2), rtol=0.12, atol=0.0)
    likely = reward.verdicts(torch.tensor([[0.7, 0.0], [0.7, 0.0]]), torch.tensor([0.0, 1.0])).detach()
    torch.testing.assert_close(likely.sum(-1), torch.ones(2, 2))
    assert likely[0, 0, 0] == pytest.approx(0.5, abs=0.02), "half of those who see 0.7 tell it"
    assert likely[1, 1, 1] < 0.2 < likely[0, 1, 1], "in noise even equals are hardly known to be a tie"
    reward.save_pretrained(tmp_path)
    loaded = LatentRewardModel.from_pretrained(tmp_path)
    assert (loaded.law, loaded.width) == ("thurstone", reward.width)
    assert torch.equal(loaded.deviation(times), reward.deviation(times))
    with pytest.raises(ModelError, match="trained with loss=bt and does not know how far.*loss=thurstone"):
        tiny_reward().deviation(times)


def test_a_batch_without_a_decided_entry_costs_nothing_and_teaches_nothing() -> None:
    reward = Probe()
    loss, metrics = told(LatentRewardObjective(reward).loss(collate_latent_groups([pair(1.0, 0.0, (0, 0))]), draws(1)))
    loss.backward()
    assert (float(loss.detach()), float(reward.gain.grad), metrics) == (0.0, 0.0, {})


def test_a_group_costs_one_score_a_clip_and_the_same_as_its_pairs() -> None:
    """Three clips in one group are the three pairs of them, at the group's own time and noise."""
    levels, reward = (1.0, 0.2, -0.5), Probe()
    pairs = torch.tensor([[0, 1], [2, 0], [1, 2]])
    labels = torch.tensor([[1, 22], [-1, 22], [1, 1]])
    clips = torch.stack([torch.full(SHAPE, level) for level in levels])
    three = LatentGroup(clips, Condition({"text": torch.zeros(1, 2, 3)}), pairs, labels, ())
    batch = collate_latent_groups([three, pair(0.3, 0.1, (1, 22))])
    loss, metrics = told(LatentRewardObjective(reward).loss(batch, draws(2, 5)))
    t = TimeSettings().draw(draws(2, 5))
    assert len(reward.seen[0]) == 5
    torch.testing.assert_close(reward.seen[1], t[[0, 0, 0, 1, 1]])
    gaps = [0.8 * (1 - t[0]), 1.5 * (1 - t[0]), 0.7 * (1 - t[0]), 0.2 * (1 - t[1])]
    wanted = [math.log1p(math.exp(-float(gap))) for gap in gaps] + [math.log(2)]  # the last on the flat dimension
    assert float(loss.detach()) == pytest.approx(sum(wanted) / 5, rel=1e-5)
    assert (metrics["accuracy/up"], metrics["accuracy/flat"]) == (1.0, 0.0)


def test_swapping_a_pair_and_its_labels_changes_nothing() -> None:
    one = collate_latent_groups([pair(1.0, 0.2, (1, -1))])
    other = collate_latent_groups([pair(0.2, 1.0, (-1, 1))])
    losses = [LatentRewardObjective(Probe()).loss(batch, draws(1, 1)).value for batch in (one, other)]
    torch.testing.assert_close(losses[0], losses[1])


def test_a_group_costs_the_same_however_the_step_is_cut_and_counts_by_its_decided_entries() -> None:
    """Also the other prompt that each of its clips is held against."""
    groups = [titled(1.0, -1.0, 2.0, 0.5), pair(1.0, 0.0, (1, 1)), pair(0.3, 0.0, (1, 0)), pair(2.0, 0.0, (-1, 0))]
    texts = torch.linspace(-1, 1, 3).reshape(-1, 1, 1).expand(-1, 2, 3)
    groups = [replace(group, others=Condition({"text": texts}).split()) for group in groups]
    objective = LatentRewardObjective(Reader(), contrast_dimensions=("up",), contrast_weight=0.7)
    whole = objective.loss(collate_latent_groups(groups), draws(4, 9))
    assert whole.weight.tolist() == [0, 2, 1, 1]
    parts = [
        objective.loss(collate_latent_groups([groups[place] for place in places]), Draws(9, 0, places, 4))
        for places in ([3], [1, 0], [2])
    ]
    torch.testing.assert_close(torch.cat([part.value for part in parts]), whole.value[[3, 1, 0, 2]])
    assert torch.equal(torch.cat([part.weight for part in parts]), whole.weight[[3, 1, 0, 2]])


def test_shifted_times_lean_towards_noise() -> None:
    reward = Probe()
    batch = collate_latent_groups([pair(1.0, 0.0, (1, 1))] * 400)
    found = []
    for shift in (0.2, 1.0, 5.0):
        objective = LatentRewardObjective(reward, TimeSettings(shift=shift))
        objective.loss(batch, draws(400))
        found.append(float(reward.seen[1].mean()))
    # the mean of s u / (1 + (s - 1) u) for uniform u is s / (s - 1) - s ln s / (s - 1)^2
    for mean, shift in zip(found, (0.2, None, 5.0), strict=True):
        wanted = 0.5 if shift is None else shift / (shift - 1) - shift * math.log(shift) / (shift - 1) ** 2
        assert mean == pytest.approx(wanted, abs=0.05)


def test_bands_count_decided_entries_and_ties_where_the_law_knows_them() -> None:
    """Of four pairs one is a tie; by hand: P of what was said is 0.8, 0.1, 0.5 and 0.6."""
    differences, t = torch.tensor([[1.0], [2.0], [0.3], [1.0]]), torch.tensor([0.1, 0.2, 0.5, 0.9])
    labels = torch.tensor([[1.0], [-1.0], [0.0], [1.0]])
    likely = torch.tensor([[[0.8, 0.1, 0.1]], [[0.72, 0.18, 0.1]], [[0.4, 0.5, 0.1]], [[0.6, 0.2, 0.2]]])
    groups = torch.tensor([0, 1, 1, 0])
    found = by_band(differences, likely, labels, t, groups, ["q"])
    rights = {"": 2 / 3, "/t0.00-0.33": 0.5, "/t0.67-1.00": 1.0}
    assert {key: value for key, value in found.items() if "accuracy/" in key} == {
        f"accuracy/q{ending}": pytest.approx(value) for ending, value in rights.items()
    }
    assert {key: value for key, value in found.items() if "decided/" in key} == {
        "decided/q": 2, "decided/q/t0.00-0.33": 2, "decided/q/t0.67-1.00": 1
    }  # fmt: skip
    wanted = share([1, 0, 1], [0, 1, 0])
    assert (found["accuracy_low/q"], found["accuracy_high/q"]) == (wanted.low, wanted.high)
    assert (found["accuracy_low/q/t0.67-1.00"], found["accuracy_high/q/t0.67-1.00"]) == (0, 1), (
        "one group tells nothing"
    )
    logs = -np.log([0.8, 0.1, 0.5, 0.6])
    assert found["log_loss/q"] == pytest.approx(logs.mean())
    assert found["log_loss/q/t0.00-0.33"] == pytest.approx(logs[:2].mean())
    assert found["log_loss/q/t0.33-0.67"] == pytest.approx(logs[2])
    # the likeliest verdict: right with 0.8, wrong with 0.72, right with 0.5 and 0.6
    assert found["calibration_error/q"] == pytest.approx((0.2 + 0.72 + 0.5 + 0.4) / 4)
    likely[..., 1] = 0  # a law without ties says nothing of the tie
    assert by_band(differences, likely, labels, t, groups, ["q"])["log_loss/q"] == pytest.approx(logs[[0, 1, 3]].mean())


def test_head_and_blocks_may_learn_at_different_rates() -> None:
    reward = tiny_reward()
    blocks, head = LatentRewardObjective(reward, learning_rate_head=1e-2).parameter_groups()
    assert head["lr"] == 1e-2
    assert "lr" not in blocks
    assert len(blocks["params"]) + len(head["params"]) == len(list(reward.parameters()))
    assert any(parameter is reward.queries for parameter in head["params"])
    with pytest.raises(ConfigError, match="learning_rate_head"):
        LatentRewardObjective(reward, learning_rate_head=0.0)
    with pytest.raises(ConfigError, match="no parameter"):
        LatentRewardObjective(reward.requires_grad_(False))


def tiny_reward(law: str = "bt") -> LatentRewardModel:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        base = WanTransformer3DModel(
            num_attention_heads=2,
            attention_head_dim=16,
            in_channels=4,
            out_channels=4,
            text_dim=8,
            freq_dim=16,
            ffn_dim=48,
            num_layers=4,
            rope_max_seq_len=32,
        )
    return LatentRewardModel.from_transformer(base, ["bright", "asked"], law=law, seed=1)


def planted_pairs(num: int, seed: int) -> list[LatentGroup]:
    """``bright`` prefers more of channel 0; ``asked`` more of channel 1 or less, as the text says."""
    generator = torch.Generator().manual_seed(seed)
    pairs = []
    for _ in range(num):
        levels = torch.randn(2, 4, 1, 1, 1, generator=generator)
        a, b = (0.5 * torch.randn(SHAPE, generator=generator) + level for level in levels)
        sign = 1.0 if torch.rand((), generator=generator) < 0.5 else -1.0
        text = torch.zeros(3, 8)
        text[:, :4] = 3 * sign
        difference = (a - b).flatten(1).mean(1)
        labels = tuple(int(torch.sign(value)) for value in (difference[0], sign * difference[1]))
        pairs.append(two_clips(a, b, text, labels))
    return pairs


def test_a_planted_preference_is_learnt_in_few_steps_at_every_noise_level(tmp_path) -> None:
    reward = tiny_reward()
    objective = LatentRewardObjective(reward)
    config = FitConfig(num_steps=180, batch_size=32, learning_rate=3e-3, schedule="cosine", save_every_steps=1000)
    rows = fit(objective, planted_pairs(800, 0), collate_latent_groups, config, tmp_path)
    held_out = [collate_latent_groups(planted_pairs(100, seed)) for seed in (1, 2)]
    accuracy = measure_by_noise(reward, held_out, seed=0, draws=6)
    for name, least in (("bright", 0.9), ("asked", 0.85)):
        assert accuracy[f"accuracy/{name}"] > least
        assert accuracy[f"accuracy/{name}/t0.67-1.00"] > least - 0.05
    assert rows[0]["loss"] == pytest.approx(math.log(2), abs=0.05)
    assert sum(row["loss"] for row in rows[-10:]) / 10 < 0.35
    assert measure_by_noise(reward, held_out, seed=0, draws=6) == accuracy


def test_a_stopped_and_resumed_run_ends_in_the_same_weights_to_the_bit(tmp_path) -> None:
    pairs, ends = planted_pairs(40, 3), []

    class Stop(Exception):
        pass

    def stop(row: dict[str, float]) -> None:
        if row["step"] == 7:
            raise Stop

    config = FitConfig(num_steps=10, batch_size=8, learning_rate=1e-3, save_every_steps=4)
    for folder, on_step in (("whole", None), ("cut", stop), ("cut", None)):
        objective = LatentRewardObjective(tiny_reward())
        try:
            fit(objective, pairs, collate_latent_groups, config, tmp_path / folder, on_step=on_step)
        except Stop:
            continue
        ends.append(objective.state_dict())
    assert all(torch.equal(ends[0][name], value) for name, value in ends[1].items())


class Reader(Probe):
    """Adds what the text says, so that the prompt counts on the first dimension."""

    def score(self, x_t: Tensor, t: Tensor, condition: Condition) -> Tensor:
        text = condition["text"]
        self.texts = [*getattr(self, "texts", []), text]
        return super().score(x_t, t, condition) + torch.stack([text.flatten(1).mean(1), 0 * t], 1)


def titled(level: float, *others: float) -> LatentGroup:
    texts = torch.tensor(others).reshape(-1, 1, 1).expand(-1, 2, 3)
    return two_clips(torch.zeros(SHAPE), torch.zeros(SHAPE), torch.full((2, 3), level), (0, 0), texts)


def test_the_contrast_term_is_bradley_terry_of_the_own_prompt_against_another() -> None:
    reward = Reader()
    batch = collate_latent_groups([titled(1.0, -1.0), titled(-1.0, 3.0)])  # no verdicts: contrast alone
    objective = LatentRewardObjective(reward, contrast_dimensions=("up",), contrast_weight=0.5)
    loss = objective.loss(batch, draws(2))
    own, other = (text[:, 0, 0].tolist() for text in reward.texts)
    assert own == [1, 1, -1, -1] and other == [-1, -1, 3, 3]
    assert loss.value.tolist() == pytest.approx([0.5 * math.log1p(math.exp(-2)), 0.5 * math.log1p(math.exp(4))])
    assert told(loss)[1]["contrast/up"] == 0.5


def test_every_other_prompt_has_its_turn() -> None:
    reward = Reader()
    objective = LatentRewardObjective(reward, contrast_dimensions=("up",), contrast_weight=1.0)
    objective.loss(collate_latent_groups([titled(0.0, 1.0, 2.0, 3.0)] * 30), draws(30))
    assert sorted(set(reward.texts[1][:, 0, 0].tolist())) == [1.0, 2.0, 3.0]


def test_without_a_weight_or_another_prompt_there_is_no_contrast() -> None:
    for weight, groups in ((0.0, [titled(1.0, -1.0)]), (1.0, [titled(1.0)])):
        reward = Reader()
        objective = LatentRewardObjective(reward, contrast_dimensions=("up",), contrast_weight=weight)
        loss = objective.loss(collate_latent_groups(groups), draws(1))
        assert len(reward.texts) == 1
        assert "contrast/up" not in loss.metrics


def test_near_prompts_share_words_and_are_never_the_prompt_itself() -> None:
    words = torch.eye(6)  # a state per word: 0 and 1 share two of three, 2 and 3 likewise, the halves nothing
    prompts = ((0, 1, 2), (0, 1, 3), (3, 4, 5), (2, 4, 5))
    rows = [Condition({"text": words[list(prompt)][None]}) for prompt in prompts]
    assert near_prompts(rows, 1)[:, 0].tolist() == [1, 0, 3, 2]
    assert sorted(near_prompts(rows, 9)[0].tolist()) == [1, 2, 3]
    assert near_prompts(rows[:1], 4).shape == (1, 0)


def test_a_wrong_contrast_is_named() -> None:
    with pytest.raises(ConfigError, match="no dimension 'upp'.*up"):
        LatentRewardObjective(Reader(), contrast_dimensions=("upp",), contrast_weight=1.0)
    with pytest.raises(ConfigError, match="contrast_weight"):
        LatentRewardObjective(Reader(), contrast_dimensions=("up",), contrast_weight=-1.0)
