"""Loss and gradients of the official VideoAlign code, float64."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from videoalign.losses.preference import label_shares, regression_loss, verdict_loss

INVALID = 22
"""The official code's label of a missing judgement."""


def mean_over_all(losses: Tensor, judged: Tensor) -> Tensor:
    """The official reduction: masked elements count in the denominator."""
    return losses.where(judged, 0.0).mean()


def official_loss(case: dict[str, Any], score_a: Tensor, score_b: Tensor) -> Tensor:
    if case["loss_type"] == "reg":
        ratings = [torch.tensor(case[key], dtype=torch.float64) for key in ("scores_a", "scores_b")]
        a, b = (mean_over_all(regression_loss(s, r), r != 0) for s, r in zip((score_a, score_b), ratings, strict=True))
        return (a + b) / 2
    label = torch.tensor(case["labels"])
    return mean_over_all(verdict_loss(score_a - score_b, label_shares(label), case["loss_type"]), label != INVALID)


@pytest.mark.parametrize("loss_type", ["bt", "btt", "reg"])
def test_loss_and_gradients_are_those_of_the_official_code(shared: Path, loss_type: str) -> None:
    cases = json.loads((shared / "parity" / "reward_loss_vectors.json").read_text())
    case = next(case for case in cases if case["loss_type"] == loss_type)
    score_a, score_b = (
        torch.tensor(case[key], dtype=torch.float64, requires_grad=True) for key in ("rewards_a", "rewards_b")
    )
    loss = official_loss(case, score_a, score_b)
    gradients = torch.autograd.grad(loss, (score_a, score_b))
    assert loss.item() == pytest.approx(case["loss"], abs=1e-10, rel=0)
    for gradient, key in zip(gradients, ("grad_a", "grad_b"), strict=True):
        torch.testing.assert_close(gradient, torch.tensor(case[key], dtype=torch.float64), rtol=0, atol=1e-10)
