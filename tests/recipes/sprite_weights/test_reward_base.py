from __future__ import annotations

import math
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import AutoTokenizer, Qwen2VLForConditionalGeneration

from videoalign.models.videoreward.backbone import use_frame_attention
from videoalign.models.videoreward.prompt import Chat
from videoalign.recipes.generator.generate import open_generator
from videoalign.recipes.reward.base import SPRITES_BASE
from videoalign.recipes.sprite_weights.lessons import (
    NUM_PAIRS,
    WORDS,
    Clips,
    LessonCollate,
    Lessons,
    check,
    compare,
    describe,
    trace,
)
from videoalign.recipes.sprite_weights.look import UNITS, detail, place_targets
from videoalign.recipes.sprite_weights.reward_base import (
    RewardBaseConfig,
    autoencoded,
    clip_features,
    new_base,
    train_reward_base,
    word_accuracy,
)
from videoalign.training.loop import FitConfig
from videoalign.worlds.sprites.prompts import SHAPES, Sentence, parse
from videoalign.worlds.sprites.renderer import NUM_FRAMES, TRAVEL_PX, Flaws, Scene, render, trajectory

QUALITY_WORDS = {"sharp", "blurry", "blur", "grain", "grainy", "noisy", "clean", "steady", "shaky", "jitter", "frozen"}


def scene(flaws: Flaws | None = None) -> Scene:
    return Scene(Sentence("red", "cross", "moves right"), (32.0, 24.0), 10.0, (40, 40, 40), flaws or Flaws())


def test_places_tell_where_the_shape_is_and_how_it_moves() -> None:
    targets = place_targets(scene(), pair=1)
    assert targets.shape == (16, 9)
    x, y, move_x, move_y, growth, size = (targets[:, 3:] / UNITS).T
    assert move_x == pytest.approx(np.full(16, TRAVEL_PX / (NUM_FRAMES - 1)), abs=1e-4)  # one frame on
    assert [np.ptp(v) for v in (move_y, growth, size)] == pytest.approx([0, 0, 0], abs=1e-6)
    middles = np.stack([np.tile([8, 24, 40, 56], 4), np.repeat([8, 24, 40, 56], 4)])
    assert y + middles[1] == pytest.approx(np.full(16, 24.0), abs=1e-3)
    assert np.ptp(x + middles[0]) == pytest.approx(0, abs=1e-3)
    assert set(targets[:, 1]) == {SHAPES.index("cross")}
    assert targets[:, 0].sum() == np.sum(np.hypot(x, y) < 18)


def test_a_frozen_clip_does_not_move() -> None:
    moves = place_targets(scene(Flaws(frozen_share=1.0)), pair=2)[:, 5:8]
    assert np.abs(moves).max() == 0


def test_answers_are_true_whatever_the_caption_said() -> None:
    clips = Clips(40, 0)
    rng = np.random.default_rng(0)
    named: Counter[str] = Counter()
    for _, drawn in clips:
        _, ((told, _),) = describe(drawn, rng)
        assert parse(told) == drawn.sentence
        _, checked = check(drawn, rng)
        for (word, _), (verdict, counts) in zip(checked[::3], checked[1::3], strict=True):
            assert (verdict == " yes") == (word.strip() in vars(drawn.sentence).values())
            assert counts
        question, ((answer, _),) = compare(drawn, rng)
        claimed = parse(question.split("\n")[0].removeprefix("Prompt: "))
        differing = [kind for kind in WORDS if getattr(claimed, kind) != getattr(drawn.sentence, kind)]
        assert answer.strip() == (differing[0] if differing else "nothing")
        named[answer.strip()] += 1
        everything = " ".join([told, question, *(word for word, _ in checked)]).lower().split()
        assert not QUALITY_WORDS & set(everything)
    assert 10 < named["nothing"] < 30


def test_a_trace_follows_the_shape_in_whole_pixels() -> None:
    _, parts = trace(scene(), first_pair=1, num_pairs=3)
    x, y, _ = trajectory(scene())
    words = [word for word, counts in parts if counts]
    assert words[::2] == [f" {round((x[k] + x[k + 1]) / 2)}" for k in (2, 4, 6)]
    assert words[1::2] == [f" {round(y[0])}"] * 3
    assert [word for word, counts in parts if not counts] == [" ,"] * 3


def test_what_is_painted_forgets_the_level_of_a_place_and_magnifies_faint_detail() -> None:
    pixels = torch.zeros(8, 3, 2 * 8 * 8)  # two places of four patches
    pixels[:, 0, ::2], pixels[:, 0, 1::2] = 0.01, -0.01
    faint = detail(pixels.flatten(1))
    assert faint.shape == (2, 4 * 384)
    assert faint.abs().max() == pytest.approx(math.asinh(8 * 0.01), rel=1e-5)
    level = torch.tensor([0.3, -2.0]).repeat_interleave(4)[:, None, None]
    torch.testing.assert_close(detail((pixels + level).flatten(1)), faint, rtol=0, atol=1e-5)
    edge = detail((200 * pixels).flatten(1)).abs().max()
    assert float(edge / faint.abs().max()) < 50  # 200 times the pixels


def test_every_second_clip_goes_through_the_codec_and_keeps_its_scene() -> None:
    plain, coded = Clips(4, 0), Clips(4, 0, codec=lambda frames: 255 - frames)
    for index, ((frames, drawn), (coded_frames, coded_scene)) in enumerate(zip(plain, coded, strict=True)):
        assert coded_scene == drawn
        assert (coded_frames == (255 - frames if index % 2 else frames)).all()


def test_the_autoencoder_gives_nearly_the_same_frames_back() -> None:
    frames = render(scene())
    returned = autoencoded(open_generator("sprites"))(frames)
    assert returned.shape == frames.shape and returned.dtype == np.uint8
    assert 0 < np.abs(returned.astype(int) - frames).mean() < 8


def test_lessons_depend_on_the_seed_and_the_index_alone() -> None:
    one, same, other = (
        Lessons(Clips(5, 0), seed, visits=3, num_pairs=2, shares=(0.3, 0.2, 0.2, 0.3)) for seed in (0, 0, 1)
    )
    assert [one[k] for k in (7, 3)] != [other[k] for k in (7, 3)]
    for k in (14, 0, 7):
        assert vars(one[k]) == vars(same[k])
    assert len(one) == 15


def test_a_batch_weighs_each_lesson_the_same() -> None:
    model, tokenizer = new_base()
    clips = Clips(4, 0)
    lessons = Lessons(clips, 0, visits=2, num_pairs=NUM_PAIRS, shares=(0.3, 0.2, 0.2, 0.3))
    batch = LessonCollate(Chat(tokenizer), clip_features(model, clips))([lessons[k] for k in range(8)])
    assert batch.weights.sum(1).tolist() == pytest.approx([1.0] * 8)
    assert (batch.input_ids == model.config.video_token_id).sum() == len(batch.features) == 8 * 128


def test_the_script_trains_every_stage_and_resumes_to_the_same_weights(tmp_path: Path) -> None:
    short = {"look": FitConfig(num_steps=2, batch_size=4), "describe": FitConfig(num_steps=2, batch_size=4)}
    config = RewardBaseConfig(
        out=str(tmp_path / "b"), num_clips=4, **short, converse=FitConfig(num_steps=2, batch_size=4), num_test_clips=4
    )
    accuracy = train_reward_base(config)
    assert set(accuracy) == {"colour", "shape", "motion", "check", "compare"}
    before = (tmp_path / "b" / "base" / "model.safetensors").read_bytes()
    assert train_reward_base(config) == accuracy
    assert (tmp_path / "b" / "base" / "model.safetensors").read_bytes() == before


def test_the_shipped_base_says_what_it_sees() -> None:
    assert sum(file.stat().st_size for file in SPRITES_BASE.iterdir()) < 3 * 1024**2
    model = Qwen2VLForConditionalGeneration.from_pretrained(SPRITES_BASE, dtype=torch.float32).eval()
    use_frame_attention(model.model)
    accuracy = word_accuracy(model, Chat(AutoTokenizer.from_pretrained(SPRITES_BASE)), num_clips=100)
    assert accuracy["colour"] > 0.97
    assert accuracy["shape"] > 0.94
    assert accuracy["motion"] > 0.82  # a clip may be frozen for its whole length
    assert accuracy["check"] > 0.93
    assert accuracy["compare"] > 0.8
