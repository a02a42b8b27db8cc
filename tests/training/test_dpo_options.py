"""What Flow-DPO makes of its options: each the formula written out, in any cut of the step and across a stop."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from videoalign.errors import ConfigError
from videoalign.flow.condition import Condition
from videoalign.losses.flow_dpo import safe_share, utility
from videoalign.randomness import Draws
from videoalign.training.loop import FitConfig, fit
from videoalign.training.objective import means
from videoalign.training.objectives.dpo import DpoObjective, reference_errors
from videoalign.training.objectives.flow import (
    FlowObjective,
    PairExample,
    PairReference,
    TimeSettings,
    collate_pairs,
    spread_weights,
    velocities,
)

SHAPE = (2, 4, 2, 2)
TIMES = TimeSettings()


class Frames(nn.Module):
    """v = a x_t + b_f, a number for each frame; 0 while it is off."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Parameter(torch.tensor(0.2)), nn.Parameter(torch.linspace(-0.3, 0.3, 4))
        self.on = True

    def forward(self, x_t: Tensor, t: Tensor, condition: Condition) -> Tensor:
        return self.on * (self.a * x_t + self.b.view(-1, 1, 1))

    @contextmanager
    def off(self) -> Iterator[None]:
        self.on = False
        try:
            yield
        finally:
            self.on = True


def pairs(num: int = 8) -> list[PairExample]:
    win, lose = torch.randn(2, num, *SHAPE, generator=torch.Generator().manual_seed(4))
    condition = Condition({"text": torch.zeros(1, 1, 1)})
    return [PairExample(win=w, lose=x, condition=condition) for w, x in zip(win, lose, strict=True)]


def stored(model: Frames, examples: list[PairExample]) -> list[PairExample]:
    with model.off():
        found = reference_errors(model, examples, seeds=range(len(examples)), num_draws=2, times=TIMES)
    rows = zip(*vars(found).values(), strict=True)
    return [replace(pair, reference=PairReference(*row)) for pair, row in zip(examples, rows, strict=True)]


def dpo(model: Frames, **options: Any) -> DpoObjective:
    return DpoObjective(model, dict(model.named_parameters()), TIMES, model.off, **{"beta": 20.0, **options})


def told(objective: FlowObjective, examples: list[PairExample]) -> tuple[Tensor, dict[str, float]]:
    loss = objective.loss(collate_pairs(examples), Draws(0, 0, range(len(examples)), len(examples)))  # type: ignore[attr-defined]
    names, table = loss.sums()
    return loss.value, means([(names, table.tolist())])


def by_hand(model: Frames, examples: list[PairExample]) -> tuple[Tensor, Tensor]:
    """Residuals of the policy on winners and losers, (B, ...), at the draws of a whole step."""
    batch, draws = collate_pairs(examples), Draws(0, 0, range(len(examples)), len(examples))
    t, noise = TIMES.draw(draws), draws.normal("noise", SHAPE)
    sides = [velocities(model, x, batch.condition, t, noise) for x in (batch.win, batch.lose)]
    return sides[0][0] - sides[0][1], sides[1][0] - sides[1][1]


@pytest.mark.parametrize("cached", [False, True])
def test_weighing_half_of_the_frames_is_training_on_that_half(cached: bool) -> None:
    model, examples = Frames(), pairs()
    options = {"frame_weights": (0.0, 1.0)}
    half, _ = told(dpo(model, **options), stored(model, examples) if cached else examples)
    assert spread_weights((0.0, 1.0), 5) == [0, 0, 0, 1, 1]
    half.sum().backward()
    assert model.b.grad is not None
    assert model.b.grad[:2].abs().max() == 0 and model.b.grad[2:].abs().min() > 0
    even, _ = told(dpo(model, frame_weights=(3.0, 3.0, 3.0, 3.0)), stored(model, examples) if cached else examples)
    plain, _ = told(dpo(model), stored(model, examples) if cached else examples)
    torch.testing.assert_close(even, plain)
    assert (half - plain).abs().max() > 1e-3
    with pytest.raises(ConfigError, match="frame_weights: got 5, but a clip has 4 latent frames"):
        told(dpo(model, frame_weights=(1.0,) * 5), examples)


def test_frames_weighed_from_the_cache_are_those_of_a_live_reference() -> None:
    model, examples = Frames(), stored(Frames(), pairs())
    objective = dpo(model, frame_weights=(1.0, 4.0), beta=500.0)
    with model.off():
        assert objective.reference_drift(collate_pairs(examples)) < 1e-3
        assert dpo(model, beta=500.0).reference_drift(collate_pairs(examples)) < 1e-3


@pytest.mark.parametrize("one_by_one", [False, True])
@pytest.mark.parametrize("weights", [None, (1.0, 3.0)])
def test_the_safeguard_scales_the_losers_gradient_pair_by_pair_and_nothing_else(
    one_by_one: bool, weights: tuple[float, ...] | None
) -> None:
    model, examples = Frames(), pairs()
    plain, before = told(dpo(model, frame_weights=weights), examples)
    guarded, panel = told(dpo(model, frame_weights=weights, safeguard=0.9, one_by_one=one_by_one), examples)
    torch.testing.assert_close(guarded, plain)
    assert {name: panel[name] for name in before} == pytest.approx(before)
    win, lose = by_hand(model, examples)
    w = torch.ones(4) if weights is None else torch.tensor(spread_weights(weights, 4))
    frames = w.view(-1, 1, 1)
    share = safe_share(win * frames, lose * frames, mu=0.9)
    assert panel["loser_share"] == pytest.approx(float(share.mean()), rel=1e-5)
    assert 0 < share.min() < 1
    e_win, e_lose = ((side.square() * frames).sum((1, 2, 3, 4)) / (w.sum() * 8) for side in (win, lose))
    with torch.no_grad(), model.off():
        ref = [(side.square() * frames).sum((1, 2, 3, 4)) / (w.sum() * 8) for side in by_hand(model, examples)]
    factor = (10 * ((e_win - ref[0]) - (e_lose - ref[1]))).sigmoid().detach()
    want = torch.autograd.grad((10 * factor * (e_win - share * e_lose)).sum(), model.a)
    guarded.sum().backward()
    torch.testing.assert_close(model.a.grad, want[0], rtol=1e-4, atol=1e-5)


def test_ties_draw_their_margin_to_zero_and_do_not_count_as_right_or_wrong() -> None:
    model, examples = Frames(), pairs(4)
    mixed = [replace(pair, preference=0.5) if n < 2 else pair for n, pair in enumerate(examples)]
    plain, _ = told(dpo(model), examples)
    loss, panel = told(dpo(model), mixed)
    margins = -torch.log(plain.exp() - 1)  # of -log sigmoid
    torch.testing.assert_close(loss[:2], 0.5 * (plain[:2] + torch.log1p(margins[:2].exp())), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(loss[2:], plain[2:])
    assert panel["implicit_accuracy"] == float((margins[2:] > 0).float().mean())


def test_utility_and_smoothing_reach_the_loss() -> None:
    model, examples = Frames(), pairs(4)
    plain, _ = told(dpo(model), examples)
    margins = -torch.log(plain.exp() - 1)
    loss, _ = told(dpo(model, utility=utility("ipo")), examples)
    torch.testing.assert_close(loss, 0.5 * (margins - 0.5).square(), rtol=1e-3, atol=1e-4)
    loss, _ = told(dpo(model, label_smoothing=0.2), examples)
    torch.testing.assert_close(loss, 0.8 * plain + 0.2 * torch.log1p(margins.exp()), rtol=1e-4, atol=1e-5)


FIT = FitConfig(num_steps=12, batch_size=8, learning_rate=0.02, warmup_steps=0, save_every_steps=5)


def run(out: Path, **changes: Any) -> tuple[DpoObjective, list[dict[str, float]]]:
    model = Frames()
    with torch.no_grad():
        model.a.zero_(), model.b.zero_()
    objective = dpo(model, beta=500.0, gradient_target=0.2)
    config = FIT.model_copy(update=changes)
    return objective, fit(objective, pairs(16), collate_pairs, config, out, after_update=objective.after_update)


def test_beta_is_steered_by_the_whole_step_and_survives_a_stop_bit_for_bit(tmp_path: Path) -> None:
    whole, rows = run(tmp_path / "whole")
    assert rows[0]["beta"] == 500.0
    for before, after in zip(rows, rows[1:], strict=False):
        wanted = before["beta"] * math.exp(0.2 * (before["gradient_factor"] - 0.2))
        assert after["beta"] == pytest.approx(min(8000.0, wanted), rel=1e-6)
    run(tmp_path / "cut", num_steps=7)
    stopped, _ = run(tmp_path / "cut")
    assert stopped.beta == whole.beta != 500.0
    assert all(torch.equal(value, stopped.state_dict()[name]) for name, value in whole.state_dict().items())
    parts, others = run(tmp_path / "parts", batch_size=2, accumulate_steps=4)
    assert parts.beta == pytest.approx(whole.beta, rel=1e-5)
    for row, other in zip(rows, others, strict=True):
        assert other["loss"] == pytest.approx(row["loss"], rel=1e-4, abs=1e-5)


def test_margins_of_dimensions_are_those_of_the_clip_that_is_better_there() -> None:
    model, examples = Frames(), pairs(3)
    margins = -torch.log(told(dpo(model), examples)[0].exp() - 1)
    known = ({"VQ": 1, "MQ": -1}, {"VQ": 1, "MQ": 0}, {})
    marked = [replace(pair, better=better) for pair, better in zip(examples, known, strict=True)]
    loss, panel = told(dpo(model), marked)
    torch.testing.assert_close(loss, told(dpo(model), examples)[0])
    assert panel["margin_of_VQ"] == pytest.approx(float(margins[:2].mean()), rel=1e-3)
    assert panel["margin_of_MQ"] == pytest.approx(-float(margins[0]), rel=1e-3)
