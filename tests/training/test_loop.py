"""Laws of the training loop, on linear regression, where the answer is known."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from videoalign.errors import ConfigError, DataError, OutputError
from videoalign.randomness import Draws
from videoalign.training.callbacks import KeepBest
from videoalign.training.loop import FitConfig, fit, rate_factor
from videoalign.training.objective import Loss
from videoalign.training.order import bucketed_order, example_order


class Line:
    """y = w x + b by least squares, with noise on x."""

    def __init__(self, noise: float = 0.1, dropout: float = 0.0) -> None:
        self.model = nn.Linear(3, 1)
        self.noise, self.dropout = noise, nn.Dropout(dropout)
        with torch.no_grad():
            self.model.weight.zero_()
            self.model.bias.zero_()

    def parameter_groups(self) -> list[dict]:
        return [{"params": [self.model.weight]}, {"params": [self.model.bias], "lr": 0.02}]

    def loss(self, batch: tuple[Tensor, Tensor], draws: Draws) -> Loss:
        x, y = batch
        x = x + self.noise * draws.normal("noise", (3,))
        error = (self.model(self.dropout(x)).squeeze(1) - y).square()
        return Loss(error, torch.ones_like(error), draws.uniform("time"), {"y": y})

    def state_dict(self) -> dict[str, Tensor]:
        return {name: value.clone() for name, value in self.model.state_dict().items()}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        self.model.load_state_dict(state)


def examples(num: int = 20) -> list[tuple[Tensor, Tensor]]:
    x = torch.randn(num, 3, generator=torch.Generator().manual_seed(3))
    return [(row, row @ torch.tensor([1.0, -2.0, 0.5]) + 0.3) for row in x]


def collate(rows: list[tuple[Tensor, Tensor]]) -> tuple[Tensor, Tensor]:
    return torch.stack([x for x, _ in rows]), torch.stack([y for _, y in rows])


CONFIG = FitConfig(num_steps=30, batch_size=8, learning_rate=0.05, save_every_steps=7, schedule="cosine")


class Stop:
    def __init__(self, at: int) -> None:
        self.at = at

    def after_step(self, step: int, row: dict) -> None:
        if step == self.at:
            raise KeyboardInterrupt


def test_a_save_cut_short_leaves_the_checkpoint_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(KeyboardInterrupt):
        fit(Line(), examples(), collate, CONFIG, tmp_path, callbacks=[Stop(10)])
    kept = sorted(file.name for file in (tmp_path / "checkpoint").iterdir())
    assert kept == ["optimizer-00000007.safetensors", "state.json", "weights-00000007.safetensors"]

    def full(*args: object, **options: object) -> None:
        raise OutputError("the disk is full")

    with monkeypatch.context() as patch:
        patch.setattr("videoalign.training.checkpoint.write_json", full)
        with pytest.raises(OutputError, match="the disk is full"):
            fit(Line(), examples(), collate, CONFIG, tmp_path)
    steps: list[float] = []
    fit(Line(), examples(), collate, CONFIG, tmp_path, on_step=lambda row: steps.append(row["step"]))
    assert steps[0] == 8
    assert len(list((tmp_path / "checkpoint").iterdir())) == 3


@pytest.mark.parametrize("log_every", [1, 4])
def test_stop_and_resume_gives_bit_equal_weights_and_the_same_log(tmp_path: Path, log_every: int) -> None:
    config = CONFIG.model_copy(update={"log_every_steps": log_every})
    whole, broken = Line(dropout=0.3), Line(dropout=0.3)
    history = fit(whole, examples(), collate, config, tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        fit(broken, examples(), collate, config, tmp_path / "broken", callbacks=[Stop(17)])
    resumed = Line(dropout=0.3)
    again = fit(resumed, examples(), collate, config, tmp_path / "broken")
    for name, value in whole.state_dict().items():
        assert torch.equal(value, resumed.state_dict()[name])
    for one, other in zip(history, again, strict=True):
        assert {**one, "seconds": 0} == {**other, "seconds": 0}
    assert [row["step"] for row in again] == [*range(log_every, 30, log_every), 30]


def test_a_finished_run_is_loaded_and_not_trained_again(tmp_path: Path) -> None:
    first = Line()
    history = fit(first, examples(), collate, CONFIG, tmp_path)
    second = Line()
    steps: list[dict] = []
    assert fit(second, examples(), collate, CONFIG, tmp_path, on_step=steps.append) == history
    assert steps == []
    assert torch.equal(first.model.weight, second.model.weight)


def test_one_batch_of_eight_equals_eight_of_one_and_its_rows_are_the_same_means(tmp_path: Path) -> None:
    wide, narrow = Line(), Line()
    rows = fit(wide, examples(), collate, CONFIG, tmp_path / "wide")
    config = CONFIG.model_copy(update={"batch_size": 1, "accumulate_steps": 8})
    others = fit(narrow, examples(), collate, config, tmp_path / "narrow")
    torch.testing.assert_close(wide.model.weight, narrow.model.weight, rtol=1e-4, atol=1e-6)
    for row, other in zip(rows, others, strict=True):
        assert row | {"seconds": 0} == pytest.approx(other | {"seconds": 0}, rel=1e-3)
    assert {"y/t0.00-0.33", "y/t0.33-0.67", "loss/t0.67-1.00"} <= set().union(*rows)


def test_it_finds_the_line(tmp_path: Path) -> None:
    line = Line(noise=0.0)
    config = FitConfig(num_steps=150, batch_size=10, learning_rate=0.1, schedule="cosine")
    history = fit(line, examples(), collate, config, tmp_path)
    torch.testing.assert_close(line.model.weight[0], torch.tensor([1.0, -2.0, 0.5]), atol=1e-2, rtol=0)
    assert history[-1]["loss"] < 1e-3 * history[0]["loss"]
    assert json.loads((tmp_path / "log.jsonl").read_text().splitlines()[-1]) == history[-1]


def test_every_epoch_visits_each_example_once_and_orders_differ() -> None:
    order = example_order(10, 0, 30, seed=1)
    epochs = [order[start : start + 10] for start in (0, 10, 20)]
    assert all(sorted(epoch) == list(range(10)) for epoch in epochs)
    assert epochs[0] != epochs[1]
    assert example_order(10, 7, 9, seed=1) == order[7:16]
    assert example_order(10, 0, 10, seed=2) != epochs[0]


def test_rate_rises_linearly_then_falls_along_half_a_cosine() -> None:
    config = FitConfig(num_steps=110, warmup_steps=10, schedule="cosine", final_rate_share=0.2)
    assert rate_factor(0, config) == pytest.approx(0.1)
    assert rate_factor(9, config) == pytest.approx(1.0)
    assert rate_factor(60, config) == pytest.approx(0.6)
    assert rate_factor(110, config) == pytest.approx(0.2)
    assert rate_factor(500, config.model_copy(update={"schedule": "constant"})) == 1.0


def test_the_global_generator_is_left_alone(tmp_path: Path) -> None:
    line, other = Line(dropout=0.5), Line(dropout=0.5)
    before = torch.get_rng_state()
    fit(line, examples(), collate, CONFIG, tmp_path / "one")
    assert torch.equal(before, torch.get_rng_state())
    torch.rand(3)
    fit(other, examples(), collate, CONFIG, tmp_path / "other")
    assert torch.equal(line.model.weight, other.model.weight)


def test_validation_joins_the_row_and_the_best_weights_are_kept(tmp_path: Path) -> None:
    line = Line()
    values = iter([0.2, 0.9, 0.5])
    keeper = KeepBest(line, tmp_path / "best.safetensors", "val/accuracy")
    seen: list[int] = []
    at_best: list[Tensor] = []

    class Snapshot:
        def after_step(self, step: int, row: dict[str, float]) -> None:
            if step % 10 == 0:
                seen.append(step)
                at_best.append(line.model.weight.detach().clone())

    config = CONFIG.model_copy(update={"validate_every_steps": 10})
    history = fit(
        line, examples(), collate, config, tmp_path / "run",
        callbacks=[keeper, Snapshot()], validate=lambda: {"accuracy": next(values)},
    )  # fmt: skip
    assert [row["val/accuracy"] for row in history if "val/accuracy" in row] == [0.2, 0.9, 0.5]
    assert seen == [10, 20, 30]
    assert keeper.best() == {"step": 20, "value": 0.9}
    keeper.restore()
    assert torch.equal(line.model.weight, at_best[1])


def test_mistakes_are_one_line_errors(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="0 examples"):
        fit(Line(), [], collate, CONFIG, tmp_path / "empty")
    fit(Line(), examples(), collate, CONFIG, tmp_path / "run")
    other = CONFIG.model_copy(update={"weight_decay": 0.01})
    with pytest.raises(OutputError, match=r"weight_decay was 0.0, now 0.01"):
        fit(Line(), examples(), collate, other, tmp_path / "run")
    with pytest.raises(OutputError, match=r"num_steps: got 20, but .* holds a run of 30 steps"):
        fit(Line(), examples(), collate, CONFIG.model_copy(update={"num_steps": 20}), tmp_path / "run")

    class Longer(Line):
        def load_state_dict(self, state: dict[str, Tensor]) -> None:
            raise ValueError("names differ, such as model.bias")

    with pytest.raises(OutputError, match=r"holds the weights of another model \(names differ, such as model.bias\)"):
        fit(Longer(), examples(), collate, CONFIG, tmp_path / "run")
    (tmp_path / "run" / "checkpoint" / "weights-00000030.safetensors").write_bytes(b"short")
    with pytest.raises(OutputError, match="damaged"):
        fit(Line(), examples(), collate, CONFIG, tmp_path / "run")


def test_validations_without_anything_to_validate_on_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="nothing held out to validate on"):
        fit(Line(), examples(), collate, CONFIG.model_copy(update={"validate_every_steps": 5}), tmp_path)


def test_a_finished_run_goes_on_for_more_steps_as_if_it_had_been_that_long(tmp_path: Path) -> None:
    """Also at another rate of writing, and with its steps cut otherwise."""
    steady = CONFIG.model_copy(update={"schedule": "constant"})
    whole, longer = Line(), Line()
    rows = fit(whole, examples(), collate, steady, tmp_path / "whole")
    fit(Line(), examples(), collate, steady.model_copy(update={"num_steps": 11}), tmp_path / "run")
    seen: list[float] = []
    again = fit(longer, examples(), collate, steady, tmp_path / "run", on_step=lambda row: seen.append(row["step"]))
    assert seen == list(range(12, 31))
    assert torch.equal(whole.model.weight, longer.model.weight)
    assert [{**row, "seconds": 0} for row in rows] == [{**row, "seconds": 0} for row in again]
    cut = steady.model_copy(
        update={"num_steps": 40, "batch_size": 2, "accumulate_steps": 4, "save_every_steps": 3, "log_every_steps": 5}
    )
    assert [row["step"] for row in fit(Line(), examples(), collate, cut, tmp_path / "run")][-3:] == [30, 35, 40]


def test_a_loss_that_is_not_finite_stops_the_run_and_names_who_brought_it(tmp_path: Path) -> None:
    line = Line()
    broken = [(x, y * math.inf) for x, y in examples()]
    with pytest.raises(ConfigError, match="at step 1 the loss is inf .* 4 more; wanted finite numbers"):
        fit(line, broken, collate, CONFIG, tmp_path / "all")
    assert torch.equal(line.model.weight, torch.zeros(1, 3))
    one = [(x, math.inf * y if index == 7 else y) for index, (x, y) in enumerate(examples())]
    cut = CONFIG.model_copy(update={"batch_size": 2, "accumulate_steps": 4})
    with pytest.raises(ConfigError, match="the loss is inf and the gradient norm (nan|inf), with clip 7; wanted"):
        fit(Line(), one, collate, cut, tmp_path / "one", name_of="clip {}".format)


def test_after_a_loss_that_is_not_finite_the_run_goes_on_from_its_checkpoint_at_a_lower_rate(tmp_path: Path) -> None:
    class Fragile(Line):
        """Breaks at step 9 as long as the rate is high."""

        fast = True

        def loss(self, batch: tuple[Tensor, Tensor], draws: Draws) -> Loss:
            loss = super().loss(batch, draws)
            return Loss(loss.value * (math.nan if self.fast and draws.step == 8 else 1.0), loss.weight)

    with pytest.raises(ConfigError, match=r"at step 9 .* lower learning_rate \(now 0.05\)"):
        fit(Fragile(), examples(), collate, CONFIG, tmp_path)
    seen: list[dict[str, float]] = []
    slow = Fragile()
    slow.fast = False
    lower = CONFIG.model_copy(update={"learning_rate": 0.01})
    rows = fit(slow, examples(), collate, lower, tmp_path, on_step=seen.append)
    assert seen[0]["step"] == 8  # the checkpoint was of step 7
    assert [row["step"] for row in rows] == list(range(1, 31))
    assert rows[6]["learning_rate"] > 0.03 and max(row["learning_rate"] for row in rows[7:]) <= 0.01


@pytest.mark.parametrize(("num", "size"), [(40, 4), (41, 4), (43, 8), (3, 4), (5, 1)])
def test_bucketed_epochs_visit_each_example_once_and_any_part_of_the_walk_is_the_same(num: int, size: int) -> None:
    lengths = [(17 * k) % 23 for k in range(num)]
    order = bucketed_order(lengths, size, seed=1)
    walk = order(0, 5 * num)
    epochs = [walk[start : start + num] for start in range(0, 5 * num, num)]
    assert all(sorted(epoch) == list(range(num)) for epoch in epochs)
    assert bucketed_order(lengths, size, seed=1)(num + 2, 2 * num) == walk[num + 2 : 3 * num + 2]
    if num > 5:
        assert epochs[0] != epochs[1] and bucketed_order(lengths, size, seed=2)(0, num) != epochs[0]


def test_bucketed_batches_hold_near_lengths_and_save_padding() -> None:
    """403 examples of 50 to 1050 tokens in batches of 4: of what is read, the share that is padding."""
    lengths = (50 + 1000 * torch.rand(403, generator=torch.Generator().manual_seed(0))).long().tolist()

    def padding(walk: list[int]) -> float:
        batches = [[lengths[n] for n in walk[start : start + 4]] for start in range(0, len(walk), 4)]
        return 1 - sum(map(sum, batches)) / sum(4 * max(batch) for batch in batches)

    num = 4 * 403  # four epochs; they begin within batches
    assert padding(example_order(403, 0, num, seed=0)) > 0.3
    assert padding(bucketed_order(lengths, 4, seed=0)(0, num)) < 0.03
    assert padding(bucketed_order(lengths, 4, seed=0, num_mixed=8)(0, num)) < 0.1
    first, second = (bucketed_order(lengths, 4, seed=0)(start, 400) for start in (0, 403))
    assert {frozenset(first[k : k + 4]) for k in range(0, 400, 4)} != {
        frozenset(second[k : k + 4]) for k in range(1, 400, 4)
    }


def test_another_order_resumes_exactly(tmp_path: Path) -> None:
    order = bucketed_order([k % 7 for k in range(20)], 8, seed=0)
    whole, resumed = Line(), Line()
    fit(whole, examples(), collate, CONFIG, tmp_path / "whole", order=order)
    with pytest.raises(KeyboardInterrupt):
        fit(Line(), examples(), collate, CONFIG, tmp_path / "broken", callbacks=[Stop(17)], order=order)
    fit(resumed, examples(), collate, CONFIG, tmp_path / "broken", order=order)
    assert torch.equal(whole.model.weight, resumed.model.weight)
    plain = Line()
    fit(plain, examples(), collate, CONFIG, tmp_path / "plain")
    assert not torch.equal(plain.model.weight, whole.model.weight)


def test_examples_count_by_their_weight_over_the_whole_step(tmp_path: Path) -> None:
    """One batch of eight equals two of four where half of the rows, unevenly spread, count for nothing."""

    class Above(Line):
        def loss(self, batch: tuple[Tensor, Tensor], draws: Draws) -> Loss:
            x, y = batch
            return Loss((self.model(x).squeeze(1) - y).square(), (x[:, 0] > 0).float() * (1 + x[:, 1].square()))

    losses, weights = [], []
    for size, times in ((8, 1), (4, 2), (1, 8)):
        line, config = Above(), CONFIG.model_copy(update={"batch_size": size, "accumulate_steps": times})
        rows = fit(line, examples(), collate, config, tmp_path / str(size))
        losses.append([row["loss"] for row in rows])
        weights.append(line.model.weight.detach())
    assert losses[1] == pytest.approx(losses[0], rel=1e-4) and losses[2] == pytest.approx(losses[0], rel=1e-4)
    for weight in weights[1:]:
        torch.testing.assert_close(weight, weights[0], rtol=1e-3, atol=1e-5)


def test_a_step_in_which_nothing_counts_leaves_the_weights(tmp_path: Path) -> None:
    class Nothing(Line):
        def loss(self, batch: tuple[Tensor, Tensor], draws: Draws) -> Loss:
            error = super().loss(batch, draws).value
            return Loss(error, torch.zeros_like(error))

    line = Nothing()
    rows = fit(line, examples(), collate, CONFIG, tmp_path)
    assert torch.equal(line.model.weight, torch.zeros(1, 3))
    assert {row["loss"] for row in rows} == {0.0}


def test_a_loss_is_one_number_per_example() -> None:
    one = torch.ones(3)
    for wrong in (
        {"value": one[:1].squeeze()},
        {"weight": one[:2]},
        {"t": one[None]},
        {"metrics": {"m": (one, one[:1])}},
    ):
        with pytest.raises(ValueError, match="one number per example"):
            Loss(**{"value": one, "weight": one, **wrong})
