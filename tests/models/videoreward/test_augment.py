from __future__ import annotations

import torch
from hypothesis import given
from hypothesis import strategies as st

from videoalign.models.videoreward.augment import shift_clips
from videoalign.models.videoreward.backbone import ModelInputs
from videoalign.models.videoreward.processing import ReadingLimits, VideoProcessor, patchify, unpatchify

PROCESSOR = VideoProcessor(ReadingLimits(), patch=4, merge=2, temporal=2)
SIZES = (4, 2, 2)


def batch(*clips: torch.Tensor) -> ModelInputs:
    parts = [patchify(frames, *SIZES) for frames in clips]
    return ModelInputs(
        input_ids=torch.zeros(len(clips), 1, dtype=torch.long),
        lengths=torch.ones(len(clips), dtype=torch.long),
        pixels=torch.cat([values for values, _ in parts]),
        grids=torch.tensor([grid for _, grid in parts]),
    )


def clips_of(inputs: ModelInputs) -> list[torch.Tensor]:
    parts = inputs.pixels.split(inputs.grids.prod(1).tolist())
    return [unpatchify(v, tuple(g), *SIZES) for v, g in zip(parts, inputs.grids.tolist(), strict=True)]


def marked(row: int, column: int, height: int = 16, width: int = 24) -> torch.Tensor:
    frames = torch.zeros(4, 3, height, width)
    frames[:, :, row, column] = torch.arange(1.0, 13.0).reshape(4, 3)
    return frames


@given(st.integers(1, 3), st.integers(1, 3), st.integers(1, 3))
def test_frames_come_back_from_their_patches(num: int, high: int, wide: int) -> None:
    frames = torch.rand(2 * num, 3, 8 * high, 8 * wide)
    values, grid = patchify(frames, *SIZES)
    assert torch.equal(unpatchify(values, grid, *SIZES), frames)


def test_a_share_of_zero_changes_nothing() -> None:
    inputs = batch(marked(5, 7))
    assert shift_clips(inputs, PROCESSOR, 0.0, torch.Generator()) is inputs


def test_all_frames_of_a_clip_move_together_and_no_farther_than_asked() -> None:
    offsets = set()
    for seed in range(40):
        generator = torch.Generator().manual_seed(seed)
        (moved,) = clips_of(shift_clips(batch(marked(8, 12)), PROCESSOR, 0.125, generator))
        ((row, column),) = moved[0, 0].nonzero().tolist()
        assert torch.equal(moved, marked(row, column))
        offsets.add((row - 8, column - 12))
    assert {row for row, _ in offsets} == {-2, -1, 0, 1, 2}  # an eighth of 16 rows
    assert {column for _, column in offsets} == {-3, -2, -1, 0, 1, 2, 3}  # and of 24 columns


def test_edges_are_repeated() -> None:
    ramp = torch.arange(16.0)[:, None].expand(4, 3, 16, 24).contiguous()
    (moved,) = clips_of(shift_clips(batch(ramp), PROCESSOR, 0.5, torch.Generator().manual_seed(1)))
    rows = moved[0, 0, :, 0]
    assert rows.min() >= 0 and rows.max() <= 15
    assert set(rows.diff().tolist()) <= {0.0, 1.0}
    assert torch.equal(moved, moved[:1, :1, :, :1].expand_as(moved))


def test_clips_of_different_sizes_are_moved_apart_and_the_same_seed_moves_them_the_same_way() -> None:
    inputs = batch(marked(8, 12), marked(4, 4, 8, 8))
    first, again = (shift_clips(inputs, PROCESSOR, 0.2, torch.Generator().manual_seed(3)) for _ in range(2))
    assert torch.equal(first.pixels, again.pixels) and not torch.equal(first.pixels, inputs.pixels)
    assert [tuple(clip.shape) for clip in clips_of(first)] == [(4, 3, 16, 24), (4, 3, 8, 8)]
    assert first.input_ids is inputs.input_ids
