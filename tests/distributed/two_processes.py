"""What one of two processes does; started by test_processes.py with the variables that a launcher sets."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from videoalign.data.dataset import Dataset
from videoalign.distributed import ALONE, Processes, join
from videoalign.flow.condition import Condition
from videoalign.models.videoreward import VideoReward
from videoalign.models.videoreward.processing import ReadingLimits
from videoalign.models.videoreward.tuning import part_of
from videoalign.randomness import Draws
from videoalign.recipes.reward.data import read_lessons
from videoalign.recipes.reward.train import RewardTrainConfig, train_reward
from videoalign.training.judged_groups import weigh
from videoalign.training.loop import FitConfig, fit
from videoalign.training.objective import Loss
from videoalign.training.objectives.dpo import DpoObjective
from videoalign.training.objectives.flow import PairExample, TimeSettings, collate_pairs
from videoalign.training.objectives.reward import RewardObjective, find_criterion

LIMITS = {"fps": 4.0, "min_frame_pixels": 32 * 32, "max_frame_pixels": 32 * 32}


def counts(row: Tensor) -> float:
    return float(row[2] > -0.5)


class Uneven:
    """Least squares over rows of which some are left out, so that batches differ in how many count."""

    def __init__(self) -> None:
        self.model = nn.Linear(2, 1).double()
        with torch.no_grad():
            self.model.weight.fill_(0.3)
            self.model.bias.zero_()

    def parameter_groups(self) -> list[dict[str, Any]]:
        return [{"params": list(self.model.parameters())}]

    def loss(self, batch: list[Tensor], draws: Draws) -> Loss:
        x = torch.stack(batch)
        errors = (self.model(x[:, :2]).squeeze(1) - x[:, 0] + 2 * x[:, 1] - 1).square()
        return Loss(errors, torch.tensor([counts(row) for row in batch]).double())

    def state_dict(self) -> dict[str, Tensor]:
        return {name: value.clone() for name, value in self.model.state_dict().items()}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        self.model.load_state_dict(state)


def fit_uneven(
    out: Path, batch_size: int, processes: Processes, *, accumulate_steps: int = 1, collate: Any = list
) -> dict[str, Any]:
    examples = list(torch.randn(11, 3, generator=torch.Generator().manual_seed(1)).double())
    sizes = {"batch_size": batch_size, "accumulate_steps": accumulate_steps}
    config = FitConfig(num_steps=9, learning_rate=0.05, save_every_steps=2, **sizes)
    task = Uneven()
    rows = fit(task, examples, collate, config, out, processes=processes)
    return {"weights": task.state_dict(), "losses": [row["loss"] for row in rows]}


class Stop(Exception):
    pass


def fit_stopped(out: Path, processes: Processes) -> dict[str, Any]:
    """As `fit_uneven` with batches of two, stopped in both processes at the sixth step and started again."""
    calls = 0

    def collate(batch: list[Tensor]) -> list[Tensor]:
        nonlocal calls
        calls += 1
        if calls == 6:
            raise Stop
        return batch

    with suppress(Stop):
        fit_uneven(out, 2, processes, collate=collate)
    return fit_uneven(out, 2, processes)


def fit_reward(out: Path, dataset: Path, base: Path, batch_size: int, processes: Processes) -> dict[str, Any]:
    """A real reward, in float64 so that only the law is seen."""
    data = Dataset.open(dataset)
    reward = VideoReward.from_base(base, limits=ReadingLimits.model_validate(LIMITS)).double().train()
    task = RewardObjective(reward, find_criterion("btt", 3), reward.dimensions, part_of=part_of, rates={})
    lessons = read_lessons(reward, task.criterion, data, RewardTrainConfig(max_clips=2))
    groups, collate = lessons.groups, lessons.reader.collate
    config = FitConfig(num_steps=2, batch_size=batch_size, learning_rate=1e-3, warmup_steps=0)
    rows = fit(task, groups, collate, config, out, processes=processes)
    counts = [weigh(task.criterion, [group]) for group in groups]
    starts = range(2 * processes.rank, len(groups), 2 * processes.count)
    measured = task.measure((collate(groups[start : start + 2]) for start in starts), processes)
    return {"losses": [row["loss"] for row in rows], "weights": dict(task.state_dict()), "counts": counts} | {
        "measured": measured
    }


class Affine(nn.Module):
    """v = x_t a + b + mean text; b alone is trained on top of the reference."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Parameter(torch.zeros(())), nn.Parameter(torch.zeros(4, 1, 1, 1))

    def forward(self, x_t: Tensor, t: Tensor, condition: Condition) -> Tensor:
        return (
            condition["text"].mean((1, 2)).reshape(-1, 1, 1, 1, 1) + self.a * x_t + self.b * t.reshape(-1, 1, 1, 1, 1)
        )

    @contextmanager
    def off(self) -> Iterator[None]:
        a, b = self.a.data, self.b.data
        self.a.data, self.b.data = torch.zeros_like(a), torch.zeros_like(b)
        yield
        self.a.data, self.b.data = a, b


def fit_dpo(out: Path, batch_size: int, processes: Processes, *, accumulate_steps: int = 1) -> dict[str, Any]:
    """Flow-DPO over 20 steps, its times and noise drawn at every step."""
    generator = torch.Generator().manual_seed(2)

    def clip() -> Tensor:
        return torch.randn(4, 3, 2, 2, generator=generator)

    pairs = [
        PairExample(win=clip() + 0.3, lose=clip(), condition=Condition({"text": torch.full((1, 3, 2), 0.1 * k)}))
        for k in range(13)
    ]
    model = Affine()
    task = DpoObjective(model, dict(model.named_parameters()), TimeSettings(), model.off, beta=20.0)
    sizes = {"batch_size": batch_size, "accumulate_steps": accumulate_steps}
    config = FitConfig(num_steps=20, learning_rate=0.02, warmup_steps=0, **sizes)
    rows = fit(task, pairs, collate_pairs, config, out, processes=processes)
    same = [{name: value for name, value in row.items() if name != "seconds"} for row in rows]
    return {"rows": same, "weights": dict(task.state_dict())}


def reward_config() -> RewardTrainConfig:
    fit_config = {"num_steps": 5, "batch_size": 1, "save_every_steps": 2, "validate_every_steps": 2}
    return RewardTrainConfig.model_validate(
        {"limits": LIMITS, "fit": fit_config, "keep": "best", "shift_share": 0.2, "tuning": {"language": "lora"}}
    )


def main(folder: Path, dataset: Path, base: Path) -> None:
    processes = join()
    shown: list[float] = []
    result: dict[str, Any] = {
        "rank": processes.rank,
        "count": processes.count,
        "gathered": processes.gather({"rank": processes.rank}),
        "uneven": fit_uneven(folder / "uneven", 2, processes),
        "stopped": fit_stopped(folder / "stopped", processes),
        "reward": fit_reward(folder / "reward", dataset, base, 2, processes),
        "dpo": fit_dpo(folder / "dpo", 4, processes),
    }
    trained = train_reward(
        Dataset.open(dataset), str(base), folder / "whole", reward_config(), on_step=lambda row: shown.append(1)
    )
    result |= {"shown": len(shown), "tokens": trained.reward.tokens.detach(), "rows": len(trained.history)}
    torch.save(result, folder / f"{processes.rank}.pt")


def alone(folder: Path, dataset: Path, base: Path) -> dict[str, Any]:
    return {
        "uneven": fit_uneven(folder / "alone-uneven", 4, ALONE),
        "accumulated": fit_uneven(folder / "alone-accumulated", 2, ALONE, accumulate_steps=2),
        "reward": fit_reward(folder / "alone-reward", dataset, base, 4, ALONE),
        "dpo": [fit_dpo(folder / f"alone-dpo-{size}", size, ALONE, accumulate_steps=8 // size) for size in (8, 4, 1)],
    }


if __name__ == "__main__":
    told: Any = globals()["TOLD"]
    os.environ.update(told["variables"])
    torch.set_num_threads(1)
    main(*told["folders"])
