from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st

from videoalign.contracts.video import Video
from videoalign.errors import VideoError
from videoalign.models.videoreward.processing import (
    PIXEL_MEAN,
    PIXEL_STD,
    ReadingLimits,
    VideoProcessor,
    patchify,
    resize_frames,
    sample_indices,
    smart_size,
)

OFFICIAL = ReadingLimits()


def test_frames_are_chosen_by_the_official_rule() -> None:
    assert sample_indices(17, 24, OFFICIAL) == [0, 5, 11, 16]  # 1.4 frames wanted, four are the least
    assert sample_indices(17, 8, ReadingLimits(fps=4)) == [0, 2, 5, 7, 9, 11, 14, 16]
    assert len(sample_indices(126, 24, OFFICIAL)) == 10  # 10.5 rounds to an even 10
    assert len(sample_indices(152, 30, OFFICIAL)) == 10
    assert sample_indices(3, 24, OFFICIAL) == [0, 2]  # no more than the clip has, and even
    assert len(sample_indices(10000, 1, OFFICIAL)) == 768


@given(st.integers(2, 2000), st.floats(0.5, 120), st.floats(0.1, 30))
def test_chosen_frames_are_even_in_number_and_span_the_clip(num_frames: int, fps: float, wanted: float) -> None:
    indices = sample_indices(num_frames, fps, ReadingLimits(fps=wanted))
    assert len(indices) % 2 == 0
    assert 2 <= len(indices) <= num_frames
    assert (indices[0], indices[-1]) == (0, num_frames - 1)
    assert indices == sorted(set(indices))


@pytest.mark.parametrize("fps", [0.0, -1.0, float("nan"), float("inf")])
def test_an_unknown_rate_is_an_error(fps: float) -> None:
    with pytest.raises(VideoError, match="frame rate"):
        sample_indices(17, fps, OFFICIAL)


def test_a_still_is_no_clip() -> None:
    with pytest.raises(VideoError, match="1 frame"):
        sample_indices(1, 24, OFFICIAL)


def test_sizes_are_those_of_the_official_code() -> None:
    limits = (28, OFFICIAL.min_frame_pixels, OFFICIAL.max_frame_pixels)
    assert smart_size(480, 480, *limits) == (448, 448)
    assert smart_size(384, 672, *limits) == (336, 588)  # 24 x 42 patches of 14
    assert smart_size(256, 256, *limits) == (336, 336)  # enlarged to the least area
    assert smart_size(64, 64, 16, 4096, 4096) == (64, 64)


@given(st.integers(16, 4000), st.integers(16, 4000))
def test_sizes_keep_to_the_limits(height: int, width: int) -> None:
    if max(height, width) > 16 * min(height, width):
        return
    new_height, new_width = smart_size(height, width, 28, OFFICIAL.min_frame_pixels, OFFICIAL.max_frame_pixels)
    assert new_height % 28 == new_width % 28 == 0
    assert OFFICIAL.min_frame_pixels <= new_height * new_width <= OFFICIAL.max_frame_pixels
    assert abs(np.log((new_height / new_width) / (height / width))) < 0.45  # one block of the shorter side


def test_a_ribbon_is_refused() -> None:
    with pytest.raises(VideoError, match="too narrow"):
        smart_size(4, 1000, 28, 1, 10**9)


def test_resizing_gives_the_official_pixels(shared: Path) -> None:
    stored = np.load(shared / "parity" / "example_3_B_frames.npz")
    frames = torch.from_numpy(stored["frames"]).permute(0, 3, 1, 2)
    resized = resize_frames(frames, *stored["resized"].shape[-2:])
    apart = np.abs(resized.numpy().astype(int) - stored["resized"].astype(int))
    assert apart.max() <= 1
    assert (apart > 0).mean() < 1e-4


@pytest.mark.parametrize(("old", "new"), [((60, 100), (28, 56)), ((28, 40), (56, 56)), ((57, 31), (57, 84))])
def test_resizing_is_torch_bicubic_with_antialias(old: tuple[int, int], new: tuple[int, int]) -> None:
    frames = torch.randint(0, 256, (3, 3, *old), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    whole = F.interpolate(frames.float(), new, mode="bicubic", antialias=True, align_corners=False)
    wanted = whole.round().clamp(0, 255)
    apart = (resize_frames(frames, *new).float() - wanted).abs()
    assert apart.max() <= 1  # where a sum ends on a half, its order decides
    assert (apart > 0).float().mean() < 1e-3


def test_patches_stand_in_merge_blocks() -> None:
    frames = torch.arange(4 * 3 * 8 * 16).reshape(4, 3, 8, 16)
    patches, grid = patchify(frames, patch=2, merge=2, temporal=2)
    assert grid == (2, 4, 8)
    row = 0
    for t in range(2):
        for block_y in range(2):
            for block_x in range(4):
                for y in (0, 1):
                    for x in (0, 1):
                        top, left = 2 * (2 * block_y + y), 2 * (2 * block_x + x)
                        cube = frames[2 * t : 2 * t + 2, :, top : top + 2, left : left + 2]
                        assert torch.equal(patches[row], cube.transpose(0, 1).flatten())
                        row += 1
    assert row == len(patches)


def test_grey_levels_become_units_of_the_towers_training_set() -> None:
    processor = VideoProcessor(ReadingLimits(min_frame_pixels=64, max_frame_pixels=64), patch=4, merge=2, temporal=2)
    frames = np.zeros((4, 8, 8, 3), dtype=np.uint8)
    frames[...] = (255, 0, 51)
    values = processor.normalise(processor.read(Video(frames, 1.0)).values).reshape(-1, 3, 2 * 4 * 4)
    expected = [(level - m) / s for level, m, s in zip((1.0, 0.0, 0.2), PIXEL_MEAN, PIXEL_STD, strict=True)]
    assert torch.allclose(values, torch.tensor(expected)[None, :, None].expand_as(values), atol=1e-6)
