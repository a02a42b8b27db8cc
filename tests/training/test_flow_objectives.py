"""Laws of SFT, Flow-RWR and Flow-DPO, on velocities that can be worked out by hand."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from videoalign.flow.times import fold_in
from videoalign.training.objectives.dpo import DpoObjective, reference_errors
from videoalign.training.objectives.flow import (
    ClipExample,
    PairExample,
    PairReference,
    TimeSettings,
    collate_clips,
    collate_pairs,
    draw,
    noise_of_seed,
    velocity_errors,
)
from videoalign.training.objectives.rwr import RwrObjective, clip_weights
from videoalign.training.objectives.sft import SftObjective

SHAPE = (2, 3, 2, 2)
IN_ORDER = TimeSettings(stratified=False)


class Affine(nn.Module):
    """v = x_t a + b + mean text, and the same with a = b = 0 while it is off."""

    def __init__(self, a: float = 0.0, b: float = 0.0) -> None:
        super().__init__()
        self.a, self.b, self.on = nn.Parameter(torch.tensor(a)), nn.Parameter(torch.tensor(b)), True
        self.calls: list[int] = []

    def forward(self, x_t: Tensor, t: Tensor, text: Tensor) -> Tensor:
        self.calls.append(len(x_t))
        base = text.mean((1, 2)).reshape(-1, 1, 1, 1, 1).expand_as(x_t)
        return base + self.a * x_t + self.b if self.on else base

    @contextmanager
    def off(self) -> Iterator[None]:
        self.on = False
        try:
            yield
        finally:
            self.on = True


def pairs(num: int = 4) -> list[PairExample]:
    draws = torch.Generator().manual_seed(11)

    def clip() -> Tensor:
        return torch.randn(SHAPE, generator=draws)

    return [PairExample(win=clip(), lose=clip(), text=torch.full((3, 2), 0.1 * i)) for i in range(num)]


def dpo(model: Affine, **options: object) -> DpoObjective:
    named = dict(model.named_parameters())
    return DpoObjective(model, named, IN_ORDER, model.off, **{"beta": 10.0, **options})  # type: ignore[arg-type]


def by_hand(model: Affine, batch: list[PairExample], t: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
    """Excess errors of winners and losers, written out."""
    sides = []
    for name in ("win", "lose"):
        x = torch.stack([getattr(pair, name) for pair in batch])
        text = torch.stack([pair.text for pair in batch]).mean((1, 2)).reshape(-1, 1, 1, 1, 1)
        x_t = x + t.reshape(-1, 1, 1, 1, 1) * (noise - x)
        policy = (text + model.a * x_t + model.b - (noise - x)).square().mean((1, 2, 3, 4))
        reference = (text - (noise - x)).square().mean((1, 2, 3, 4))
        sides.append(policy - reference)
    return sides[0], sides[1]


def test_dpo_is_log_two_at_the_reference_with_half_of_the_gradient() -> None:
    loss, panel = dpo(Affine()).loss(collate_pairs(pairs()), fold_in(0))
    assert loss.item() == pytest.approx(math.log(2), abs=1e-6)
    assert panel["gradient_factor"] == pytest.approx(0.5)
    assert panel["win_excess"] == panel["lose_excess"] == panel["margin"] == 0.0


@pytest.mark.parametrize(("schedule", "power"), [("constant", 0), ("squared", 2)])
def test_dpo_and_its_panel_equal_the_formula_written_out(schedule: str, power: int) -> None:
    model, batch = Affine(0.3, -0.2), pairs()
    loss, panel = dpo(model, schedule=schedule).loss(collate_pairs(batch), fold_in(5))
    t, noise = draw(4, SHAPE, IN_ORDER, fold_in(5))
    win, lose = by_hand(model, batch, t, noise)
    margin = -0.5 * 10.0 * (1 - t) ** power * (win - lose)
    want = torch.log1p((-margin).exp()).mean()
    torch.testing.assert_close(loss, want)
    assert panel["margin"] == pytest.approx(float(margin.mean()), rel=1e-4)
    assert panel["implicit_accuracy"] == float((margin > 0).float().mean())
    assert panel["win_excess"] == pytest.approx(float(win.mean()), rel=1e-4)
    assert panel["lose_excess"] == pytest.approx(float(lose.mean()), rel=1e-4)
    assert panel["gradient_factor"] == pytest.approx(float((1 / (1 + margin.exp())).mean()), rel=1e-4)


def test_dpo_takes_one_forward_for_policy_and_one_for_reference() -> None:
    model = Affine(0.1)
    dpo(model).loss(collate_pairs(pairs(3)), fold_in(0))
    assert model.calls == [6, 6]


def test_a_small_step_against_the_gradient_favours_the_winners() -> None:
    model, batch = Affine(0.0, 0.0), collate_pairs(pairs())
    objective = dpo(model)
    loss, _ = objective.loss(batch, fold_in(1))
    loss.backward()
    with torch.no_grad():
        for value in model.parameters():
            value -= 1e-3 * value.grad
    after, panel = objective.loss(batch, fold_in(1))
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
                live = velocity_errors(model, x, torch.stack([p.text for p in batch]), cached.times[:, k], noise)
            torch.testing.assert_close(getattr(cached, f"errors_{name}")[:, k], live)
    one = [
        replace(pair, reference=PairReference(*(value[:1] for value in parts)))
        for pair, parts in zip(batch, zip(*vars(cached).values(), strict=True), strict=True)
    ]
    model.calls.clear()
    loss, _ = dpo(model).loss(collate_pairs(one), fold_in(0))
    assert model.calls == [8]  # no pass of the reference
    noise = torch.stack([noise_of_seed(int(seed), SHAPE) for seed in cached.noise_seeds[:, 0]])
    win, lose = by_hand(model, batch, cached.times[:, 0], noise)
    torch.testing.assert_close(loss, torch.log1p((5.0 * (win - lose)).exp()).mean())


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
    _, panel = dpo(model).loss(batch, fold_in(2))
    sign = math.copysign(1.0, panel["margin"])
    if sign < 0:
        batch = replace(batch, win=batch.lose, lose=batch.win)
        _, panel = dpo(model).loss(batch, fold_in(2))
    assert panel["margin"] > 0
    capped, _ = dpo(model, margin_cap=panel["margin"] / 2).loss(batch, fold_in(2))
    capped.backward()
    assert float(model.b.grad) == 0.0
    model.zero_grad()
    free, _ = dpo(model, margin_cap=panel["margin"] * 2).loss(batch, fold_in(2))
    free.backward()
    assert float(model.b.grad) != 0.0


def test_the_anchor_adds_the_winners_error_and_weights_scale_pairs() -> None:
    model, batch = Affine(0.3, 0.1), pairs(2)
    plain, panel = dpo(model).loss(collate_pairs(batch), fold_in(3))
    anchored, _ = dpo(model, sft_weight=0.25).loss(collate_pairs(batch), fold_in(3))
    assert (anchored - plain).item() == pytest.approx(0.25 * panel["error_win"], rel=1e-4)
    t, noise = draw(2, SHAPE, IN_ORDER, fold_in(3))
    win, lose = by_hand(model, batch, t, noise)
    each = torch.log1p((5.0 * (win - lose)).exp())
    weighted = [replace(pair, weight=weight) for pair, weight in zip(batch, (0.5, 1.5), strict=True)]
    loss, _ = dpo(model).loss(collate_pairs(weighted), fold_in(3))
    torch.testing.assert_close(loss, (0.5 * each[0] + 1.5 * each[1]) / 2)


def test_sft_is_the_winners_flow_matching_error() -> None:
    model, batch = Affine(0.2, 0.1), pairs()
    objective = SftObjective(model, dict(model.named_parameters()), IN_ORDER)
    loss, _ = objective.loss(collate_pairs(batch), fold_in(4))
    t, noise = draw(4, SHAPE, IN_ORDER, fold_in(4))
    x, text = torch.stack([p.win for p in batch]), torch.stack([p.text for p in batch])
    torch.testing.assert_close(loss, velocity_errors(model, x, text, t, noise).mean())


def test_rwr_weighs_clips_by_their_exponential_reward() -> None:
    weights = clip_weights({"a": 0.0, "b": math.log(3)}, temperature=1.0, clip_quantile=1.0)
    assert weights == pytest.approx({"a": 0.5, "b": 1.5})
    sharper = clip_weights({"a": 0.0, "b": math.log(3)}, temperature=0.5, clip_quantile=1.0)
    assert sharper == pytest.approx({"a": 0.2, "b": 1.8})
    model, batch = Affine(0.2), pairs(2)
    clips = [ClipExample(latents=p.win, text=p.text, weight=w) for p, w in zip(batch, (0.5, 1.5), strict=True)]
    loss, panel = RwrObjective(model, dict(model.named_parameters()), IN_ORDER).loss(collate_clips(clips), fold_in(6))
    t, noise = draw(2, SHAPE, IN_ORDER, fold_in(6))
    errors = velocity_errors(model, collate_clips(clips).latents, collate_clips(clips).text, t, noise)
    torch.testing.assert_close(loss, (0.5 * errors[0] + 1.5 * errors[1]) / 2)
    assert panel["effective_share"] == pytest.approx(4 / (2 * 2.5))


def test_draws_in_order_do_not_depend_on_how_the_batch_is_cut() -> None:
    whole, cut = fold_in(9), fold_in(9)
    t, noise = draw(6, SHAPE, IN_ORDER, whole)
    parts = [draw(num, SHAPE, IN_ORDER, cut) for num in (1, 2, 3)]
    assert torch.equal(t, torch.cat([part[0] for part in parts]))
    assert torch.equal(noise, torch.cat([part[1] for part in parts]))


def test_stratified_times_fall_one_into_each_part_of_equal_probability() -> None:
    t, _ = draw(8, SHAPE, TimeSettings(), fold_in(0))
    assert sorted((t * 8).floor().long().tolist()) == list(range(8))
    assert t.tolist() != sorted(t.tolist())


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
