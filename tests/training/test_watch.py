"""Alarms, patience, the mean of weights, memory that runs out: what is looked at and what is done about it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from videoalign.errors import ConfigError
from videoalign.randomness import Draws
from videoalign.training import optimizers
from videoalign.training.alarms import WINDOW_STEPS, Alarms, alarms_of, out_of_patience
from videoalign.training.averaging import Averaged
from videoalign.training.loop import FitConfig, fit
from videoalign.training.objective import Loss
from videoalign.training.objectives.flow import FlowObjective, TimeSettings

HEALTHY = {"margin": 1.0, "win_excess": -0.1, "error_win": 1.0, "gradient_factor": 0.3, "margin_of_VQ": 0.5}


@pytest.mark.parametrize(
    ("wrong", "name", "says"),
    [
        ({"margin": 12.0}, "margin", r"margin runs away \(12\): lower fit.learning_rate"),
        ({"win_excess": 0.05}, "winners", r"winners' error has risen by 5.0 %: set safeguard=0.6"),
        ({"gradient_factor": 0.01}, "gradient", r"give 0.01 of their gradient: they are learnt"),
        ({"margin_of_VQ": -0.2}, "dimension VQ", r"VQ falls \(-0.2\) while the whole rises \(1\).*--weights"),
    ],
)
def test_each_thing_that_goes_wrong_is_told_with_what_to_change(wrong: dict[str, float], name: str, says: str) -> None:
    assert alarms_of(HEALTHY) == alarms_of({"loss": 1.0}) == []
    (alarm,) = alarms_of(HEALTHY | wrong)
    assert alarm.name == name
    with pytest.raises(AssertionError, match=says):
        raise AssertionError(alarm.says)


def test_a_dimension_may_fall_while_the_whole_does_not_rise() -> None:
    assert alarms_of(HEALTHY | {"margin": 0.05, "margin_of_VQ": -0.2}) == []
    assert alarms_of(HEALTHY | {"margin_of_VQ/t0.00-0.33": -0.2}) == []


def test_an_alarm_sounds_once_until_it_went_away() -> None:
    told: list[str] = []
    alarms = Alarms(told.append)
    for step in range(1, 4 * WINDOW_STEPS + 1):
        bad = (step - 1) // WINDOW_STEPS % 2 == 0
        alarms.after_step(step, {**HEALTHY, "step": step, "margin": 30.0 if bad else 0.0})
    assert len(told) == 2
    assert told[0].startswith(f"step {WINDOW_STEPS}: the margin runs away")


def test_patience_counts_validations_without_a_better_one() -> None:
    rows = [{"step": 1.0}, *({"val/loss": value} for value in (3.0, 2.0, 2.5, 2.0))]
    assert not out_of_patience(rows[:4], "val/loss", 2)
    assert out_of_patience(rows, "val/loss", 2)
    assert not out_of_patience([*rows, {"val/loss": 1.9}], "val/loss", 2)
    assert not out_of_patience([], "val/loss", 1)


class Pull(FlowObjective):
    """One number, pulled to 1; memory runs out at a step and a size where that is asked for."""

    def __init__(self, full_at: int | None = None, error: Exception | None = None) -> None:
        self.value, self.full_at, self.error = nn.Parameter(torch.zeros(1)), full_at, error
        super().__init__(lambda x, t, c: x, {"value": self.value}, TimeSettings())

    def loss(self, batch: list[Tensor], draws: Draws) -> Loss:
        if draws.step == self.full_at and self.error is not None:
            raise self.error
        value = (self.value - 1).square().expand(len(batch))
        return Loss(value, torch.ones(len(batch)))


FIT = FitConfig(num_steps=20, batch_size=2, learning_rate=0.1, warmup_steps=0, save_every_steps=5)


def train(objective: Pull | Averaged, out: Path, **changes: object) -> list[dict[str, float]]:
    options = {key: changes.pop(key) for key in ("validate", "stop", "memory_advice") if key in changes}
    config = FIT.model_copy(update=changes)
    after = objective.after_update
    return fit(objective, [torch.zeros(1)] * 4, list, config, out, after_update=after, **options)  # type: ignore[arg-type]


def test_the_mean_of_the_weights_by_hand_and_across_a_stop(tmp_path: Path) -> None:
    inner = Pull()
    averaged, seen = Averaged(inner, 0.9), list[float]()
    mean = 0.0
    update = averaged.after_update

    def watched(row: dict[str, float]) -> None:
        nonlocal mean
        update(row)
        keep = min(0.9, (1 + row["step"]) / (10 + row["step"]))
        mean = keep * mean + (1 - keep) * float(inner.value)
        seen.append(float(averaged.mean["value"]))
        assert seen[-1] == pytest.approx(mean, rel=1e-5)

    averaged.after_update = watched  # type: ignore[method-assign, assignment]
    train(averaged, tmp_path / "whole")
    assert seen[-1] != float(inner.value)
    with averaged.at_mean():
        assert float(inner.value) == seen[-1]
    first, again = Averaged(Pull(), 0.9), Averaged(Pull(), 0.9)
    train(first, tmp_path / "cut", num_steps=7)
    train(again, tmp_path / "cut")
    assert torch.equal(again.mean["value"], averaged.mean["value"])
    assert torch.equal(again.inner.parameters["value"], inner.value)
    with pytest.raises(ValueError, match="names differ"):
        again.load_state_dict({"value": torch.zeros(1)})


def test_a_run_that_stops_early_stays_stopped_and_keeps_its_last_step(tmp_path: Path) -> None:
    values = iter([3.0, 2.0, 2.5, 2.2, 0.0, 0.0])

    def validate() -> dict[str, float]:
        return {"loss": next(values)}

    def stop(rows: list[dict[str, float]]) -> bool:
        return out_of_patience(rows, "val/loss", 2)

    stopped = Pull()
    rows = train(stopped, tmp_path, validate=validate, stop=stop, validate_every_steps=3)
    assert [row["step"] for row in rows] == list(range(1, 13))
    again = Pull()
    assert train(again, tmp_path, validate=validate, stop=stop, validate_every_steps=3) == rows
    assert torch.equal(again.value, stopped.value)


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."),
        RuntimeError("[enforce fail at alloc_cpu.cpp:1] DefaultCPUAllocator: can't allocate memory: you tried 9 bytes"),
        MemoryError(),
    ],
)
@pytest.mark.parametrize(
    ("size", "says"),
    [
        (4, "batches of 4; set fit.batch_size=2 fit.accumulate_steps=2; the run goes on then, with the same steps"),
        (3, "batches of 3; set fit.batch_size=1 fit.accumulate_steps=3; the run goes on then, with the same steps"),
        (1, "batches of 1; lower this."),
    ],
)
def test_memory_that_ran_out_says_what_to_lower_and_by_how_much(
    tmp_path: Path, error: Exception, size: int, says: str
) -> None:
    with pytest.raises(ConfigError, match=f"fit.batch_size: memory ran out at step 7 with {says}"):
        train(Pull(6, error), tmp_path, batch_size=size, memory_advice="lower this")
    assert (tmp_path / "checkpoint" / "state.json").is_file()


def test_other_errors_pass(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="a bug"):
        train(Pull(6, RuntimeError("a bug")), tmp_path)


def test_the_rate_falls_along_a_line() -> None:
    from videoalign.training.loop import rate_factor

    config = FIT.model_copy(update={"num_steps": 10, "schedule": "linear", "final_rate_share": 0.1})
    assert [rate_factor(step, config) for step in (0, 5, 10)] == pytest.approx([1.0, 0.55, 0.1])


class Wrapping(torch.optim.SGD):
    """Keeps its numbers as bitsandbytes does: moments in a group of their own, and a whole number of steps."""

    def step(self, closure: None = None) -> None:  # type: ignore[override]
        for group in self.param_groups:
            for value in group["params"]:
                kept = self.state[value]
                kept["step"] = kept.get("step", 0) + 1
                kept["moment"] = kept.get("moment", torch.zeros_like(value, dtype=torch.uint8)) + 1
                value.data -= group["lr"] * kept["moment"] * value.grad

    def state_dict(self) -> dict[str, Any]:
        found = super().state_dict()
        return {
            **found,
            "state": {
                key: {"step": kept["step"], "wrapped": {"moment": kept["moment"]}}
                for key, kept in found["state"].items()
            },
        }


def test_an_optimizer_that_keeps_groups_and_whole_numbers_goes_on_bit_for_bit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(
        optimizers.OPTIMIZERS, "adamw8bit", lambda groups, betas, **options: Wrapping(groups, **options)
    )
    whole, cut = Pull(), Pull()
    train(whole, tmp_path / "whole", optimizer="adamw8bit", num_steps=10, learning_rate=1e-3)
    train(Pull(), tmp_path / "cut", optimizer="adamw8bit", num_steps=4, learning_rate=1e-3)
    train(cut, tmp_path / "cut", optimizer="adamw8bit", num_steps=10, learning_rate=1e-3)
    assert torch.equal(cut.value, whole.value)


def test_the_8_bit_optimizer_is_asked_for_where_it_is_not_installed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(optimizers, "find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r"adamw8bit wants the package bitsandbytes, .* pip install"):
        train(Pull(), tmp_path, optimizer="adamw8bit")
