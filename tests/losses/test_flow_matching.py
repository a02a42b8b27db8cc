from __future__ import annotations

import pytest
import torch

from videoalign.losses.flow_matching import per_sample_mse
from videoalign.randomness import fold_in


def test_error_is_the_mean_square_of_each_sample_by_hand() -> None:
    prediction = torch.tensor([[1.0, 2.0], [0.0, 0.0]])
    target = torch.tensor([[0.0, 4.0], [3.0, 0.0]])
    assert per_sample_mse(prediction, target).tolist() == [2.5, 4.5]


def test_error_does_not_grow_with_the_length_of_the_video() -> None:
    prediction, target = torch.randn(2, 3, 4, 2, 5, 5, generator=fold_in(0), dtype=torch.float64)
    longer = per_sample_mse(prediction.repeat(1, 1, 6, 1, 1), target.repeat(1, 1, 6, 1, 1))
    torch.testing.assert_close(longer, per_sample_mse(prediction, target))


def test_samples_do_not_mix() -> None:
    prediction = torch.randn(3, 4, 2, 3, 3, generator=fold_in(1), requires_grad=True)
    per_sample_mse(prediction, torch.zeros(3, 4, 2, 3, 3))[1].backward()
    assert prediction.grad is not None
    assert prediction.grad[[0, 2]].abs().max() == 0
    torch.testing.assert_close(prediction.grad[1], 2 * prediction[1].detach() / 72)


def test_half_precision_is_summed_in_single() -> None:
    prediction = torch.full((1, 70_000), 1.0, dtype=torch.bfloat16)
    error = per_sample_mse(prediction, torch.zeros_like(prediction))
    assert error.dtype == torch.float32
    assert error.item() == 1.0


@pytest.mark.parametrize(("left", "right"), [((2, 3), (2, 1)), ((2, 3), (3,)), ((4,), (4,))])
def test_shapes_that_would_broadcast_are_refused(left: tuple[int, ...], right: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="must share one shape"):
        per_sample_mse(torch.zeros(left), torch.zeros(right))
