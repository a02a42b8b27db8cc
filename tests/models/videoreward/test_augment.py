from __future__ import annotations

from collections import Counter

import torch
from hypothesis import given
from hypothesis import strategies as st

from videoalign.models.videoreward.augment import augment_clips, jitter
from videoalign.models.videoreward.backbone import ModelInputs
from videoalign.models.videoreward.processing import (
    PIXEL_MEAN,
    PIXEL_STD,
    ReadingLimits,
    VideoProcessor,
    patchify,
    unpatchify,
)
from videoalign.randomness import fold_in

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


def test_zero_changes_nothing_and_draws_nothing() -> None:
    inputs, generator = batch(marked(5, 7)), torch.Generator().manual_seed(0)
    before = generator.get_state()
    assert augment_clips(inputs, PROCESSOR, [(generator, 1)]) is inputs
    assert torch.equal(generator.get_state(), before)


def test_all_frames_of_a_clip_move_together_and_no_farther_than_asked() -> None:
    offsets = set()
    for seed in range(40):
        generator = torch.Generator().manual_seed(seed)
        (moved,) = clips_of(augment_clips(batch(marked(8, 12)), PROCESSOR, [(generator, 1)], shift_share=0.125))
        ((row, column),) = moved[0, 0].nonzero().tolist()
        assert torch.equal(moved, marked(row, column))
        offsets.add((row - 8, column - 12))
    assert {row for row, _ in offsets} == {-2, -1, 0, 1, 2}  # an eighth of 16 rows
    assert {column for _, column in offsets} == {-3, -2, -1, 0, 1, 2, 3}  # and of 24 columns


def test_edges_are_repeated() -> None:
    ramp = torch.arange(16.0)[:, None].expand(4, 3, 16, 24).contiguous()
    (moved,) = clips_of(augment_clips(batch(ramp), PROCESSOR, [(torch.Generator().manual_seed(1), 1)], shift_share=0.5))
    rows = moved[0, 0, :, 0]
    assert rows.min() >= 0 and rows.max() <= 15
    assert set(rows.diff().tolist()) <= {0.0, 1.0}
    assert torch.equal(moved, moved[:1, :1, :, :1].expand_as(moved))


def test_clips_of_different_sizes_are_moved_apart_and_the_same_seed_moves_them_the_same_way() -> None:
    inputs = batch(marked(8, 12), marked(4, 4, 8, 8))
    first, again = (
        augment_clips(inputs, PROCESSOR, [(torch.Generator().manual_seed(3), 2)], shift_share=0.2) for _ in range(2)
    )
    assert torch.equal(first.pixels, again.pixels) and not torch.equal(first.pixels, inputs.pixels)
    assert [tuple(clip.shape) for clip in clips_of(first)] == [(4, 3, 16, 24), (4, 3, 8, 8)]
    assert first.input_ids is inputs.input_ids


def numbered(num: int = 8) -> torch.Tensor:
    """Frames of one level each, 1 to num."""
    return torch.arange(1.0, num + 1)[:, None, None, None].expand(num, 3, 8, 16).contiguous()


def test_a_shuffled_clip_has_the_same_frames_in_another_order_within_and_across_patches() -> None:
    orders = Counter()
    for seed in range(200):
        generator = torch.Generator().manual_seed(seed)
        (clip,) = clips_of(augment_clips(batch(numbered(4)), PROCESSOR, [(generator, 1)], frame_shuffle=1.0))
        order = clip[:, 0, 0, 0]
        assert torch.equal(clip, order[:, None, None, None].expand_as(clip))  # whole frames
        orders[tuple(int(level) for level in order)] += 1
    assert set(map(frozenset, orders)) == {frozenset({1, 2, 3, 4})}
    assert len(orders) == 24  # every order, so also those that split the two frames of a patch
    assert max(orders.values()) < 25


def test_about_the_given_share_of_clips_is_shuffled() -> None:
    inputs = batch(*[numbered()] * 400)
    clips = clips_of(augment_clips(inputs, PROCESSOR, [(torch.Generator().manual_seed(0), 400)], frame_shuffle=0.25))
    changed = sum(not torch.equal(clip, numbered()) for clip in clips)
    assert 70 < changed < 130


def grey(level: float) -> torch.Tensor:
    mean, std = (torch.tensor(row)[:, None, None] for row in (PIXEL_MEAN, PIXEL_STD))
    return ((level - mean) / std).expand(4, 3, 8, 8)


def levels(frames: torch.Tensor) -> torch.Tensor:
    mean, std = (torch.tensor(row)[:, None, None] for row in (PIXEL_MEAN, PIXEL_STD))
    return frames * std + mean


def test_jitter_by_hand() -> None:
    """A plain grey clip has no contrast and no colour: only its brightness changes, by the first draw."""
    for seed in range(5):
        first = float(torch.rand(3, generator=fold_in(seed))[0])
        out = levels(jitter(grey(0.4), 0.5, fold_in(seed), PIXEL_MEAN, PIXEL_STD))
        torch.testing.assert_close(out, torch.full_like(out, 0.4 * (0.5 + first)), rtol=0, atol=1e-6)


@given(st.integers(0, 10_000), st.floats(0.01, 0.99))
def test_jittered_levels_stay_between_black_and_white_and_frames_change_alike(seed: int, most: float) -> None:
    still = torch.rand(1, 3, 8, 8, generator=fold_in(seed)).expand(4, 3, 8, 8)
    mean, std = (torch.tensor(row)[:, None, None] for row in (PIXEL_MEAN, PIXEL_STD))
    out = jitter((still - mean) / std, most, fold_in(seed, 1), PIXEL_MEAN, PIXEL_STD)
    assert out.shape == still.shape
    assert levels(out).min() > -1e-6 and levels(out).max() < 1 + 1e-6
    assert torch.equal(out, out[:1].expand_as(out))
    assert torch.equal(out, jitter((still - mean) / std, most, fold_in(seed, 1), PIXEL_MEAN, PIXEL_STD))


def test_draws_are_clip_by_clip_however_the_batch_is_cut() -> None:
    clips = [torch.rand(4, 3, 16, 16, generator=fold_in(k)) for k in range(4)]
    change = {"shift_share": 0.2, "colour_jitter": 0.3, "frame_shuffle": 0.7}
    together = augment_clips(batch(*clips), PROCESSOR, [(fold_in(9), 1), (fold_in(8), 3)], **change)
    cut = ((clips[:1], [(fold_in(9), 1)]), (clips[1:], [(fold_in(8), 3)]))
    parts = [augment_clips(batch(*part), PROCESSOR, generators, **change) for part, generators in cut]
    torch.testing.assert_close(together.pixels, torch.cat([part.pixels for part in parts]))
    assert not torch.equal(together.pixels, batch(*clips).pixels)
