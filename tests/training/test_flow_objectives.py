"""Laws of SFT, Flow-RWR and Flow-DPO, on velocities that can be worked out by hand."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from videoalign.flow.condition import Condition, join_conditions
from videoalign.randomness import Draws
from videoalign.training.objective import Loss, means
from videoalign.training.objectives.dpo import DpoObjective, reference_errors
from videoalign.training.objectives.flow import (
    ClipExample,
    PairExample,
    PairReference,
    TimeSettings,
    collate_clips,
    collate_pairs,
    noise_of_seed,
    velocity_errors,
)
from videoalign.training.objectives.rwr import RwrObjective, clip_weights
from videoalign.training.objectives.sft import SftObjective

SHAPE = (2, 3, 2, 2)
TIMES = TimeSettings()


def draws(num: int, seed: int = 0) -> Draws:
    """Those of a whole step of ``num`` examples."""
    return Draws(seed, 0, range(num), num)


def drawn(num: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Its times and noise."""
    return TIMES.draw(draws(num, seed)), draws(num, seed).normal("noise", SHAPE)


def told(loss: Loss) -> tuple[Tensor, dict[str, float]]:
    """The mean loss and the numbers to log."""
    names, table = loss.sums()
    return (loss.weight * loss.value).sum() / loss.weight.sum(), means([(names, table.tolist())])


class Affine(nn.Module):
    """v = x_t a + b + mean text, and the same with a = b = 0 while it is off."""

    def __init__(self, a: float = 0.0, b: float = 0.0) -> None:
        super().__init__()
        self.a, self.b, self.on = nn.Parameter(torch.tensor(a)), nn.Parameter(torch.tensor(b)), True
        self.calls: list[int] = []

    def forward(self, x_t: Tensor, t: Tensor, condition: Condition) -> Tensor:
        self.calls.append(len(x_t))
        base = condition["text"].mean((1, 2)).reshape(-1, 1, 1, 1, 1).expand_as(x_t)
        return base + self.a * x_t + self.b if self.on else base

    @contextmanager
    def off(self) -> Iterator[None]:
        self.on = False
        try:
            yield
        finally:
            self.on = True


def pairs(num: int = 4) -> list[PairExample]:
    generator = torch.Generator().manual_seed(11)

    def clip() -> Tensor:
        return torch.randn(SHAPE, generator=generator)

    return [
        PairExample(win=clip(), lose=clip(), condition=Condition({"text": torch.full((1, 3, 2), 0.1 * i)}))
        for i in range(num)
    ]


def conditions(batch: list[PairExample]) -> Condition:
    return join_conditions(pair.condition for pair in batch)


def dpo(model: Affine, **options: object) -> DpoObjective:
    named = dict(model.named_parameters())
    return DpoObjective(model, named, TIMES, model.off, **{"beta": 10.0, **options})  # type: ignore[arg-type]


def by_hand(model: Affine, batch: list[PairExample], t: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
    """Excess errors of winners and losers, written out."""
    sides = []
    for name in ("win", "lose"):
        x = torch.stack([getattr(pair, name) for pair in batch])
        text = conditions(batch)["text"].mean((1, 2)).reshape(-1, 1, 1, 1, 1)
        x_t = x + t.reshape(-1, 1, 1, 1, 1) * (noise - x)
        policy = (text + model.a * x_t + model.b - (noise - x)).square().mean((1, 2, 3, 4))
        reference = (text - (noise - x)).square().mean((1, 2, 3, 4))
        sides.append(policy - reference)
    return sides[0], sides[1]


def test_dpo_is_log_two_at_the_reference_with_half_of_the_gradient() -> None:
    loss, panel = told(dpo(Affine()).loss(collate_pairs(pairs()), draws(4)))
    assert loss.item() == pytest.approx(math.log(2), abs=1e-6)
    assert panel["gradient_factor"] == pytest.approx(0.5)
    assert panel["implicit_accuracy"] == 0.5  # no margin is half right, neither right nor wrong
    assert panel["win_excess"] == panel["lose_excess"] == panel["margin"] == 0.0


def test_dpo_counts_a_pair_right_by_the_clip_that_is_likelier_to_be_better() -> None:
    model, shares = Affine(0.3, -0.2), []
    for preference in (1.0, 0.8, 0.2, 0.0):
        batch = collate_pairs([replace(pair, preference=preference) for pair in pairs()])
        shares.append(told(dpo(model).loss(batch, draws(4, 5)))[1]["implicit_accuracy"])
    assert shares[0] == shares[1] == 1 - shares[2] == 1 - shares[3] != 0.5


@pytest.mark.parametrize(("schedule", "power"), [("constant", 0), ("squared", 2)])
def test_dpo_and_its_panel_equal_the_formula_written_out(schedule: str, power: int) -> None:
    model, batch = Affine(0.3, -0.2), pairs()
    loss, panel = told(dpo(model, schedule=schedule).loss(collate_pairs(batch), draws(4, 5)))
    t, noise = drawn(4, 5)
    win, lose = by_hand(model, batch, t, noise)
    margin = -0.5 * 10.0 * (1 - t) ** power * (win - lose)
    want, margin = torch.log1p((-margin).exp()).mean(), margin.detach()
    torch.testing.assert_close(loss, want)
    assert panel["margin"] == pytest.approx(float(margin.mean()), rel=1e-4)
    assert panel["implicit_accuracy"] == float((margin > 0).float().mean())
    for low, high in ((0, 1 / 3), (1 / 3, 2 / 3), (2 / 3, 1)):
        inside = (t >= low) & (t < high)
        assert panel[f"margin/t{low:.2f}-{high:.2f}"] == pytest.approx(float(margin[inside].mean()), rel=1e-4)
    assert panel["win_excess"] == pytest.approx(float(win.mean()), rel=1e-4)
    assert panel["lose_excess"] == pytest.approx(float(lose.mean()), rel=1e-4)
    assert panel["gradient_factor"] == pytest.approx(float((1 / (1 + margin.exp())).mean()), rel=1e-4)


def test_dpo_takes_one_forward_for_policy_and_one_for_reference() -> None:
    model = Affine(0.1)
    dpo(model).loss(collate_pairs(pairs(3)), draws(3))
    assert model.calls == [6, 6]


def test_a_small_step_against_the_gradient_favours_the_winners() -> None:
    model, batch = Affine(0.0, 0.0), collate_pairs(pairs())
    objective = dpo(model)
    loss, _ = told(objective.loss(batch, draws(4, 1)))
    loss.backward()
    with torch.no_grad():
        for value in model.parameters():
            value -= 1e-3 * value.grad
    after, panel = told(objective.loss(batch, draws(4, 1)))
    assert after.item() < loss.item()
    assert panel["margin"] > 0
    assert panel["win_excess"] < panel["lose_excess"]


def test_cached_reference_errors_equal_live_ones_and_give_the_same_loss() -> None:
    model, batch = Affine(0.4, 0.3), pairs()
    with model.off():
        cached = reference_errors(
            model, batch, seeds=range(4), num_draws=3, times=TimeSettings(shift=2.0), batch_size=3
        )
    assert cached.times.shape == cached.errors_win.shape == (4, 3)
    for k in range(3):
        noise = torch.stack([noise_of_seed(int(seed), SHAPE) for seed in cached.noise_seeds[:, k]])
        for name in ("win", "lose"):
            x = torch.stack([getattr(pair, name) for pair in batch])
            with model.off(), torch.no_grad():
                live = velocity_errors(model, x, conditions(batch), cached.times[:, k], noise)
            torch.testing.assert_close(getattr(cached, f"errors_{name}")[:, k], live)
    one = [
        replace(pair, reference=PairReference(*(value[:1] for value in parts)))
        for pair, parts in zip(batch, zip(*vars(cached).values(), strict=True), strict=True)
    ]
    model.calls.clear()
    loss, _ = told(dpo(model).loss(collate_pairs(one), draws(4)))
    assert model.calls == [8]  # no pass of the reference
    noise = torch.stack([noise_of_seed(int(seed), SHAPE) for seed in cached.noise_seeds[:, 0]])
    win, lose = by_hand(model, batch, cached.times[:, 0], noise)
    torch.testing.assert_close(loss, torch.log1p((5.0 * (win - lose)).exp()).mean())


class Deep(nn.Module):
    """Layers whose activations are kept for going back."""

    def __init__(self) -> None:
        super().__init__()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            self.layers = nn.Sequential(*(nn.Sequential(nn.Linear(2, 2), nn.Tanh()) for _ in range(6)))
        self.calls: list[int] = []

    def forward(self, x_t: Tensor, t: Tensor, condition: Condition) -> Tensor:
        self.calls.append(len(x_t))
        return self.layers(x_t)

    @contextmanager
    def off(self) -> Iterator[None]:
        yield


def test_winners_and_losers_one_by_one_give_the_same_gradients_and_keep_no_activations_of_both() -> None:
    batch = collate_pairs(pairs(8))
    found, kept = [], []
    for one_by_one in (False, True):
        model, seen = Deep(), []
        named = dict(model.named_parameters())
        objective = DpoObjective(model, named, TIMES, model.off, beta=20.0, sft_weight=0.1, one_by_one=one_by_one)
        with torch.autograd.graph.saved_tensors_hooks(lambda x, seen=seen: (seen.append(x.numel()), x)[1], lambda x: x):
            loss = objective.loss(batch, draws(8))
        kept.append(sum(seen))
        loss.value.mean().backward()
        found.append({name: value.grad for name, value in named.items()})
        # reference; policy; and, one by one, each side again on the way back, when the other's activations are gone
        assert model.calls == ([16, 8, 8, 8, 8] if one_by_one else [16, 16])
    for name, gradient in found[0].items():
        assert gradient.abs().max() > 0
        torch.testing.assert_close(found[1][name], gradient, rtol=1e-4, atol=1e-7)
    assert kept[1] < 0.25 * kept[0]


def test_cached_draws_are_spread_over_the_law_and_differ_between_pairs() -> None:
    cached = reference_errors(Affine(), pairs(), seeds=range(4), num_draws=5, times=TimeSettings())
    strata = (cached.times * 5).floor().long()
    assert torch.equal(strata, torch.arange(5).expand(4, 5))
    assert len(cached.noise_seeds.unique()) == 20


def test_a_margin_above_the_cap_stops_pushing() -> None:
    batch = collate_pairs(pairs(1))
    model = Affine(0.0, 0.0)
    with torch.no_grad():
        model.b.fill_(0.5)
    _, panel = told(dpo(model).loss(batch, draws(1, 2)))
    sign = math.copysign(1.0, panel["margin"])
    if sign < 0:
        batch = replace(batch, win=batch.lose, lose=batch.win)
        _, panel = told(dpo(model).loss(batch, draws(1, 2)))
    assert panel["margin"] > 0
    capped, _ = told(dpo(model, margin_cap=panel["margin"] / 2).loss(batch, draws(1, 2)))
    capped.backward()
    assert float(model.b.grad) == 0.0
    model.zero_grad()
    free, _ = told(dpo(model, margin_cap=panel["margin"] * 2).loss(batch, draws(1, 2)))
    free.backward()
    assert float(model.b.grad) != 0.0


def test_the_anchor_adds_the_winners_error_and_weights_scale_pairs() -> None:
    model, batch = Affine(0.3, 0.1), pairs(2)
    plain, panel = told(dpo(model).loss(collate_pairs(batch), draws(2, 3)))
    anchored, _ = told(dpo(model, sft_weight=0.25).loss(collate_pairs(batch), draws(2, 3)))
    assert (anchored - plain).item() == pytest.approx(0.25 * panel["error_win"], rel=1e-4)
    t, noise = drawn(2, 3)
    win, lose = by_hand(model, batch, t, noise)
    each = torch.log1p((5.0 * (win - lose)).exp())
    weighted = [replace(pair, weight=weight) for pair, weight in zip(batch, (0.5, 1.5), strict=True)]
    loss, _ = told(dpo(model).loss(collate_pairs(weighted), draws(2, 3)))
    torch.testing.assert_close(loss, (0.5 * each[0] + 1.5 * each[1]) / 2)


def test_sft_is_the_winners_flow_matching_error() -> None:
    model, batch = Affine(0.2, 0.1), pairs()
    objective = SftObjective(model, dict(model.named_parameters()), TIMES)
    loss, _ = told(objective.loss(collate_pairs(batch), draws(4, 4)))
    t, noise = drawn(4, 4)
    x = torch.stack([p.win for p in batch])
    torch.testing.assert_close(loss, velocity_errors(model, x, conditions(batch), t, noise).mean())


def test_rwr_weighs_clips_by_their_exponential_reward() -> None:
    weights = clip_weights({"a": 0.0, "b": math.log(3)}, temperature=1.0, clip_quantile=1.0)
    assert weights == pytest.approx({"a": 0.5, "b": 1.5})
    sharper = clip_weights({"a": 0.0, "b": math.log(3)}, temperature=0.5, clip_quantile=1.0)
    assert sharper == pytest.approx({"a": 0.2, "b": 1.8})
    model, batch = Affine(0.2), pairs(2)
    clips = [
        ClipExample(latents=p.win, condition=p.condition, weight=w) for p, w in zip(batch, (0.5, 1.5), strict=True)
    ]
    objective = RwrObjective(model, dict(model.named_parameters()), TIMES)
    loss, panel = told(objective.loss(collate_clips(clips), draws(2, 6)))
    t, noise = drawn(2, 6)
    errors = velocity_errors(model, collate_clips(clips).latents, collate_clips(clips).condition, t, noise)
    torch.testing.assert_close(loss, (0.5 * errors[0] + 1.5 * errors[1]) / 2)
    assert panel["effective_share"] == pytest.approx((0.5 + 1.5) / (0.25 + 2.25))


@pytest.mark.parametrize("cached", [False, True])
@pytest.mark.parametrize("stratified", [False, True])
def test_a_pair_costs_the_same_however_the_step_is_cut_and_whatever_stands_beside_it(
    stratified: bool, cached: bool
) -> None:
    model, batch = Affine(0.3, -0.2), pairs(6)
    if cached:
        with model.off():
            stored = reference_errors(model, batch, seeds=range(6), num_draws=3, times=TIMES)
        rows = zip(*vars(stored).values(), strict=True)
        batch = [replace(pair, reference=PairReference(*row)) for pair, row in zip(batch, rows, strict=True)]
    objective = dpo(model)
    objective.times = TimeSettings(stratified=stratified)
    whole = objective.loss(collate_pairs(batch), draws(6))
    parts = [
        objective.loss(collate_pairs([batch[place] for place in places]), Draws(0, 0, places, 6))
        for places in ([0], [5, 2], [1, 3, 4])
    ]
    places = torch.tensor([0, 5, 2, 1, 3, 4])
    torch.testing.assert_close(torch.cat([part.value for part in parts]), whole.value[places])
    assert torch.equal(torch.cat([part.t for part in parts]), whole.t[places])


def test_times_fall_one_into_each_part_of_the_law_over_the_whole_step() -> None:
    """Eight batches of one are as even as one batch of eight."""
    t = torch.cat([TIMES.draw(Draws(0, 3, [place], 8)) for place in range(8)])
    assert sorted((t * 8).floor().long().tolist()) == list(range(8))
    assert t.tolist() != sorted(t.tolist())
    means_of_steps = [float(TIMES.draw(Draws(0, step, range(16), 16)).mean()) for step in range(100)]
    assert torch.tensor(means_of_steps).std() == pytest.approx(1 / 16 / math.sqrt(12 * 16), rel=0.2)


def test_stored_draws_are_taken_as_often_one_as_another_over_a_step() -> None:
    model, batch = Affine(), pairs(8)
    stored = reference_errors(model, batch, seeds=range(8), num_draws=4, times=TIMES)
    rows = zip(*vars(stored).values(), strict=True)
    batch = [replace(pair, reference=PairReference(*row)) for pair, row in zip(batch, rows, strict=True)]
    t = torch.cat([dpo(model).loss(collate_pairs([pair]), Draws(0, 0, [n], 8)).t for n, pair in enumerate(batch)])
    assert torch.equal((t * 4).floor().long().bincount(), torch.tensor([2, 2, 2, 2]))


def test_time_laws_have_the_quantiles_that_they_should() -> None:
    u = torch.tensor([0.02275, 0.5, 0.97725])  # -2, 0 and 2 standard deviations
    assert TimeSettings().from_uniform(u).tolist() == pytest.approx(u.tolist(), abs=1e-6)
    logit = TimeSettings(law="logit_normal").from_uniform(u)
    assert logit.tolist() == pytest.approx([1 / (1 + math.exp(2)), 0.5, 1 / (1 + math.exp(-2))], abs=1e-3)
    shifted = TimeSettings(shift=3.0).from_uniform(torch.tensor([0.5]))
    assert float(shifted) == pytest.approx(0.75)


def test_state_goes_back_in_place_and_other_names_are_refused() -> None:
    model, other = Affine(0.2, 0.1), Affine(0.7, 0.6)
    dpo(model).load_state_dict(dpo(other).state_dict())
    assert float(model.a) == pytest.approx(0.7)
    with pytest.raises(ValueError, match="names differ"):
        dpo(model).load_state_dict({"a": torch.tensor(0.0)})
