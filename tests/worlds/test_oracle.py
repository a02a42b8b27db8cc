"""The oracle sees what is wrong with a clip, and only that."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from videoalign.contracts.reward import RewardModel
from videoalign.contracts.video import Video
from videoalign.errors import DataError
from videoalign.worlds.sprites.oracle import Oracle
from videoalign.worlds.sprites.prompts import ALL_SENTENCES, COLOURS, MOTIONS, SHAPES, Sentence
from videoalign.worlds.sprites.renderer import FPS, Flaws, Scene, render, sample_scene
from videoalign.worlds.sprites.web import sample_flaws

VQ, MQ, TA = range(3)
HARMS = {"blur_px": VQ, "grain": VQ, "jitter_px": MQ, "frozen_share": MQ}
"""Each flaw, and the dimension that it harms."""
NAMES = {"colour": tuple(COLOURS), "shape": SHAPES, "motion": tuple(MOTIONS)}


def scores(scenes: list[Scene], prompts: list[str] | None = None) -> np.ndarray:
    prompts = prompts or [scene.sentence.text() for scene in scenes]
    return Oracle().score_videos([Video(render(scene), FPS) for scene in scenes], prompts)


def flawed(scenes: list[Scene], **flaws: float) -> list[Scene]:
    return [replace(scene, flaws=Flaws(**flaws)) for scene in scenes]


@pytest.fixture(scope="module")
def scenes() -> list[Scene]:
    """A clean scene of every fourth sentence: all colours, shapes and motions."""
    rng = np.random.default_rng(0)
    chosen = [sentence for i, sentence in enumerate(ALL_SENTENCES) if i % 4 == i // 6 % 4]
    return [sample_scene(sentence, rng) for sentence in chosen]


@pytest.fixture(scope="module")
def clean(scenes: list[Scene]) -> np.ndarray:
    return scores(scenes)


def test_the_sample_holds_every_attribute(scenes: list[Scene]) -> None:
    for attribute, values in NAMES.items():
        assert {getattr(scene.sentence, attribute) for scene in scenes} == set(values)


def test_a_clean_clip_of_its_sentence_scores_near_one_whatever_it_shows(clean: np.ndarray) -> None:
    assert isinstance(Oracle(), RewardModel)
    assert clean.shape == (36, 3)
    assert (clean.min(0) > (0.95, 0.9, 0.95)).all()
    assert (clean.max(0) <= 1.0).all()


@pytest.mark.parametrize("flaw", HARMS)
def test_a_clean_clip_beats_its_flawed_version_on_the_right_dimension(
    flaw: str, scenes: list[Scene], clean: np.ndarray
) -> None:
    """Flaws as strong as the base models were pretrained on; the other dimension of look and motion hardly moves."""
    rng = np.random.default_rng(1)
    strengths: list[float] = []
    while len(strengths) < len(scenes):
        strengths += [value] if (value := getattr(sample_flaws(rng), flaw)) > 0 else []
    bad = scores([replace(s, flaws=Flaws(**{flaw: v})) for s, v in zip(scenes, strengths, strict=True)])
    harmed, spared = HARMS[flaw], VQ if HARMS[flaw] == MQ else MQ
    assert (bad[:, harmed] < clean[:, harmed]).mean() > 0.95
    assert (clean - bad)[:, harmed].mean() > 0.2
    assert abs((clean - bad)[:, spared]).mean() < 0.05


@pytest.mark.parametrize(
    ("flaw", "levels"),
    [
        ("blur_px", (0.0, 1.0, 2.0, 4.0)),
        ("grain", (0.0, 4.0, 9.0, 18.0)),
        ("jitter_px", (0.0, 0.5, 1.2, 3.0)),
        ("frozen_share", (0.0, 0.3, 0.6, 1.0)),
    ],
)
def test_more_of_a_flaw_scores_lower_on_average(flaw: str, levels: tuple[float, ...], scenes: list[Scene]) -> None:
    some = scenes[::3]
    means = [scores(flawed(some, **{flaw: level}))[:, HARMS[flaw]].mean() for level in levels]
    assert all(less < more - 0.03 for more, less in zip(means, means[1:], strict=False))


def test_a_frozen_clip_has_no_motion_quality(scenes: list[Scene]) -> None:
    frozen = scores(flawed(scenes[::3], frozen_share=1.0))
    assert frozen[:, MQ].max() < 0.02
    assert frozen[:, VQ].min() > 0.95


@pytest.mark.parametrize("attribute", NAMES)
def test_a_wrong_attribute_in_the_clip_lowers_ta_and_only_ta(
    attribute: str, scenes: list[Scene], clean: np.ndarray
) -> None:
    rng = np.random.default_rng(2)
    wrong = []
    for scene in scenes:
        others = [name for name in NAMES[attribute] if name != getattr(scene.sentence, attribute)]
        told = Sentence(**{**vars(scene.sentence), attribute: str(rng.choice(others))})
        # another motion needs another path, to stay inside the frame
        wrong.append(sample_scene(told, rng) if attribute == "motion" else replace(scene, sentence=told))
    seen = scores(wrong, [scene.sentence.text() for scene in scenes])
    assert (clean - seen)[:, TA].min() > 0.25
    assert (clean - seen)[:, TA].max() < 0.4  # one attribute of three
    assert abs(clean - seen)[:, VQ].mean() < 0.02
    assert abs(clean - seen)[:, MQ].mean() < 0.05


def test_each_wrong_attribute_costs_more_of_ta(scenes: list[Scene]) -> None:
    some = scenes[::4]
    means = []
    for wrong in ((), ("colour",), ("colour", "shape"), ("colour", "shape", "motion")):
        prompts = []
        for scene in some:
            changes = {a: NAMES[a][(NAMES[a].index(getattr(scene.sentence, a)) + 1) % len(NAMES[a])] for a in wrong}
            prompts.append(Sentence(**{**vars(scene.sentence), **changes}).text())
        means.append(scores(some, prompts)[:, TA].mean())
    np.testing.assert_allclose(means, (1, 2 / 3, 1 / 3, 0), atol=0.03)


def test_the_prompt_moves_ta_alone(scenes: list[Scene], clean: np.ndarray) -> None:
    shuffled = [scene.sentence.text() for scene in scenes[7:] + scenes[:7]]
    seen = scores(scenes, shuffled)
    np.testing.assert_array_equal(seen[:, [VQ, MQ]], clean[:, [VQ, MQ]])
    assert (seen[:, TA] < clean[:, TA]).all()


def test_every_wording_of_a_sentence_scores_the_same(scenes: list[Scene]) -> None:
    scene = scenes[3]
    rows = scores([scene] * 4, [scene.sentence.text(template) for template in range(4)])
    assert (rows == rows[0]).all()


def test_faint_colour_noise_of_a_decoder_leaves_the_verdicts_as_they_are(
    scenes: list[Scene], clean: np.ndarray
) -> None:
    """What comes out of an autoencoder is never quite flat: coloured noise of 3 grey levels."""
    rng = np.random.default_rng(4)
    videos = []
    for scene in scenes[::3]:
        noise = gaussian_filter(rng.normal(size=(17, 64, 64, 3)), (0.5, 1, 1, 0))
        clip = render(scene) + 3 * noise / noise.std()
        videos.append(Video(np.clip(np.rint(clip), 0, 255).astype(np.uint8), FPS))
    seen = Oracle().score_videos(videos, [scene.sentence.text() for scene in scenes[::3]])
    assert abs(seen - clean[::3])[:, [MQ, TA]].max() < 0.08
    assert (clean[::3] - seen)[:, VQ].max() < 0.2


@pytest.mark.parametrize("kind", ["black", "white", "grey", "noise", "colour", "stripes", "half"])
def test_anything_gets_scores_between_zero_and_one(kind: str) -> None:
    rng = np.random.default_rng(5)
    frames = np.zeros((17, 64, 64, 3), np.uint8)
    if kind in ("white", "grey"):
        frames[:] = 255 if kind == "white" else 128
    if kind == "noise":
        frames = rng.integers(0, 256, frames.shape, dtype=np.uint8)
    if kind == "colour":
        frames[..., 0] = 220
    if kind == "stripes":
        frames[:, :, ::4] = (230, 40, 40)
    if kind == "half":  # a shape that is there in half of the frames
        frames[:9] = render(sample_scene(ALL_SENTENCES[0], rng))[:9]
    row = Oracle().score_videos([Video(frames, FPS)], ["a red circle moves left"])[0]
    assert np.isfinite(row).all()
    assert (row >= 0).all()
    assert (row <= 1).all()
    if kind == "half":  # half of a move to the left, of the right shape and colour
        assert 0.8 < row[TA] < 1.0
    if kind in ("black", "white", "grey"):
        assert (row == 0).all()  # nothing to see


def test_what_is_no_clip_or_sentence_of_this_world_is_an_error(scenes: list[Scene]) -> None:
    video = Video(render(scenes[0]), FPS)
    with pytest.raises(DataError, match="clip is 32x32; wanted 64x64"):
        Oracle().score_videos([Video(np.zeros((17, 32, 32, 3), np.uint8), FPS)], ["a red circle moves left"])
    with pytest.raises(DataError, match="not a sentence of this world: 'a cat'"):
        Oracle().score_videos([video], ["a cat"])
    with pytest.raises(DataError, match="2 prompts"):
        Oracle().score_videos([video], ["a red circle moves left"] * 2)
    assert Oracle().score_videos([], []).shape == (0, 3)


def test_noise_that_covers_every_pixel_never_counts_as_clean(scenes: list[Scene]) -> None:
    frames = render(scenes[0]).astype(np.float64)
    noise = np.random.default_rng(0).normal(size=frames.shape)
    text = [scenes[0].sentence.text()]
    quality = [
        Oracle().score_videos([Video(np.clip(frames + level * noise, 0, 255).astype(np.uint8), FPS)], text)[0, 0]
        for level in (0, 8, 25, 60, 120)
    ]
    assert quality == sorted(quality, reverse=True)
    assert quality[-1] < 0.1


def test_a_clip_of_one_frame_is_refused_as_by_every_reward() -> None:
    one = Video(np.full((1, 64, 64, 3), 200, np.uint8), FPS)
    (found,) = Oracle().score_read([(one, str(ALL_SENTENCES[0]))])
    assert isinstance(found, DataError)
    assert str(found) == "oracle: it has 1 frame(s), a reward needs at least 2; give a longer clip."
