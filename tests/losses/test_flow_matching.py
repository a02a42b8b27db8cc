from __future__ import annotations

import pytest
import torch

from videoalign.losses.flow_matching import per_frame_mse, per_sample_mse
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


def test_errors_of_frames_by_hand_and_their_mean_is_the_clips() -> None:
    prediction = torch.zeros(1, 2, 2, 1, 1)
    prediction[0, :, 0, 0, 0], prediction[0, :, 1, 0, 0] = torch.tensor([1.0, 3.0]), torch.tensor([0.0, 2.0])
    assert per_frame_mse(prediction, torch.zeros_like(prediction)).tolist() == [[5.0, 2.0]]
    prediction, target = torch.randn(2, 3, 4, 5, 6, 7, generator=fold_in(2), dtype=torch.float64)
    torch.testing.assert_close(per_frame_mse(prediction, target).mean(1), per_sample_mse(prediction, target))
    with pytest.raises(ValueError, match=r"must share one shape \(B, C, F, H, W\)"):
        per_frame_mse(torch.zeros(2, 3), torch.zeros(2, 3))


@pytest.mark.parametrize(("left", "right"), [((2, 3), (2, 1)), ((2, 3), (3,)), ((4,), (4,))])
def test_shapes_that_would_broadcast_are_refused(left: tuple[int, ...], right: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="must share one shape"):
        per_sample_mse(torch.zeros(left), torch.zeros(right))
