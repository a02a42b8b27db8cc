"""Two processes on the CPU, joined by gloo as torchrun would join them, train as one does."""

from __future__ import annotations

import runpy
from pathlib import Path
from typing import Any

import pytest
import torch

from videoalign.data.dataset import Dataset
from videoalign.distributed import ALONE, join
from videoalign.training.checkpoint import RunLog

SCRIPT = Path(__file__).with_name("two_processes.py")
launching = runpy.run_path(str(SCRIPT.with_name("launching.py")))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("two")


@pytest.fixture(scope="module")
def two(folder: Path, judged_dataset: Dataset, tiny_base: Path) -> list[dict[str, Any]]:
    port, folders = launching["free_port"](), (folder, judged_dataset.path, tiny_base)
    told = [{"variables": launching["variables"](rank, 2, port), "folders": folders} for rank in (0, 1)]
    both = [launching["start"](str(SCRIPT), each) for each in told]
    for process in both:
        process.join(timeout=300)
        assert process.exitcode == 0
    return [torch.load(folder / f"{rank}.pt") for rank in (0, 1)]


@pytest.fixture(scope="module")
def one(folder: Path, judged_dataset: Dataset, tiny_base: Path) -> dict[str, Any]:
    result: dict[str, Any] = runpy.run_path(str(SCRIPT))["alone"](folder, judged_dataset.path, tiny_base)
    return result


def test_without_a_launcher_there_is_one_process() -> None:
    assert join() == ALONE
    assert ALONE.is_first and ALONE.gather("x") == ["x"]


def test_processes_know_each_other(two: list[dict[str, Any]]) -> None:
    assert [(row["rank"], row["count"]) for row in two] == [(0, 2), (1, 2)]
    assert all(row["gathered"] == [{"rank": 0}, {"rank": 1}] for row in two)


def test_two_processes_with_batches_of_two_are_one_with_batches_of_four(
    two: list[dict[str, Any]], one: dict[str, Any]
) -> None:
    """Also where the batches differ in how much of them counts, and for a step cut into two batches."""
    for row in (*(part["uneven"] for part in two), one["accumulated"]):
        assert row["losses"] == pytest.approx(one["uneven"]["losses"], abs=1e-12)
        for name, value in one["uneven"]["weights"].items():
            torch.testing.assert_close(row["weights"][name], value, rtol=0, atol=1e-12)


def test_the_law_holds_for_a_reward(two: list[dict[str, Any]], one: dict[str, Any]) -> None:
    assert len(set(one["reward"]["counts"])) > 1  # groups differ in how many judgements they hold
    for part in two:
        assert part["reward"]["losses"] == pytest.approx(one["reward"]["losses"], abs=1e-6)
        assert part["reward"]["measured"] == pytest.approx(one["reward"]["measured"], abs=1e-6)
        for name, value in part["reward"]["weights"].items():
            torch.testing.assert_close(value, one["reward"]["weights"][name], rtol=0, atol=1e-6, msg=name)


def test_the_law_holds_for_an_objective_that_draws(two: list[dict[str, Any]], one: dict[str, Any]) -> None:
    """Flow-DPO: one process with batches of eight, two with batches of four, and steps cut into two and eight."""
    whole, *cut = one["dpo"]
    for part in (*(each["dpo"] for each in two), *cut):
        for name, value in whole["weights"].items():
            torch.testing.assert_close(part["weights"][name], value, rtol=0, atol=1e-5)
        for row, wanted in zip(part["rows"], whole["rows"], strict=True):
            assert row == pytest.approx(wanted, abs=1e-5)


def test_only_the_first_process_shows_steps_and_both_end_alike(two: list[dict[str, Any]], folder: Path) -> None:
    assert [row["shown"] for row in two] == [5, 0]
    torch.testing.assert_close(two[0]["tokens"], two[1]["tokens"], rtol=0, atol=1e-6)
    assert [row["rows"] for row in two] == [5, 5]
    assert [row["step"] for row in RunLog(folder / "whole" / "log.jsonl").rows()] == [1, 2, 3, 4, 5]


def test_a_stopped_training_of_two_ends_as_the_unbroken_one(two: list[dict[str, Any]]) -> None:
    for part in two:
        assert part["stopped"]["losses"] == part["uneven"]["losses"]
        for name, value in part["uneven"]["weights"].items():
            assert torch.equal(part["stopped"]["weights"][name], value)
