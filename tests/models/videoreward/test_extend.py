from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from videoalign.contracts.records import DEFAULT_DIMENSIONS, Dimension
from videoalign.contracts.video import Video
from videoalign.errors import ConfigError
from videoalign.models.videoreward import VideoReward
from videoalign.models.videoreward.extend import extend_reward, extended_template
from videoalign.models.videoreward.official import read_official
from videoalign.models.videoreward.prompt import check_template, default_template, reward_token

PROMPTS = ["a red circle moves left", "one cross , blue , grows", "the yellow square moves up and stays there for long"]
STYLE = Dimension(name="Style", guideline="How well the style suits.", sees_prompt=True)
CAMERA = Dimension(name="Camera", guideline="How steady the camera is.")


@pytest.mark.parametrize("shared_head", [True, False])
def test_scores_whose_tokens_come_first_stay_what_they_were(
    tiny_base: Path, clips: list[Video], shared_head: bool
) -> None:
    parent = VideoReward.from_base(tiny_base, shared_head=shared_head).eval().double()  # no sum is rounded visibly
    before = parent.score_raw(clips, PROMPTS)
    more = extend_reward(parent, [STYLE]).eval()
    assert more.dimensions == ("VQ", "MQ", "TA", "Style")
    after = more.score_raw(clips, PROMPTS)
    assert np.abs(after[:, :3] - before).max() < 1e-12
    assert np.ptp(after[:, 3]) > 1e-4
    both = extend_reward(parent, [*DEFAULT_DIMENSIONS, CAMERA, STYLE]).eval()
    assert both.dimensions == ("VQ", "MQ", "TA", "Camera", "Style")
    after = both.score_raw(clips, PROMPTS)
    assert np.abs(after[:, :2] - before[:, :2]).max() < 1e-5
    assert np.abs(after[:, 2] - before[:, 2]).min() > 1e-5  # TA now reads more before its token
    assert both.score_raw(clips, PROMPTS[::-1])[0, 3] == pytest.approx(after[0, 3], abs=1e-5)  # the camera sees none


def test_without_new_dimensions_only_what_was_measured_on_other_clips_goes(
    reward: VideoReward, clips: list[Video]
) -> None:
    raw = reward.score_raw(clips, PROMPTS)
    reward.set_normalisation(raw)
    same = extend_reward(reward, DEFAULT_DIMENSIONS[::-1]).eval()
    assert np.abs(same.score_raw(clips, PROMPTS) - raw).max() < 1e-6
    assert same.settings == reward.settings.model_copy(update={"normalisation": None})


def test_new_weights_depend_on_the_seed_alone_and_only_they_are_new(tiny_base: Path) -> None:
    parent = VideoReward.from_base(tiny_base, shared_head=False)
    one, again, other = (extend_reward(parent, [STYLE, CAMERA], seed=seed) for seed in (1, 1, 2))
    for name in ("tokens", "head.weight"):
        a, b, c = (model.get_parameter(name) for model in (one, again, other))
        assert torch.equal(a, b) and torch.equal(a[:3], parent.get_parameter(name))
        assert (a[3:] != c[3:]).all()
    assert one.token_ids.tolist()[:3] == parent.token_ids.tolist()
    assert len(set(one.token_ids.tolist())) == 5


def test_an_extended_reward_is_saved_and_read(reward: VideoReward, clips: list[Video], tmp_path: Path) -> None:
    more = extend_reward(reward, [CAMERA]).eval()
    raw = more.score_raw(clips, PROMPTS)
    more.save_pretrained(tmp_path / "r")
    assert np.abs(VideoReward.from_pretrained(tmp_path / "r").score_raw(clips, PROMPTS) - raw).max() < 1e-6


def test_a_dimension_that_changed_sides_is_refused(reward: VideoReward) -> None:
    with pytest.raises(ConfigError, match="VQ has sees_prompt=True, reward 'videoreward' was trained with False"):
        extend_reward(reward, [Dimension(name="VQ", guideline="", sees_prompt=True)])


def test_sections_of_the_default_template_stand_where_it_would_have_put_them() -> None:
    for old, new in ((DEFAULT_DIMENSIONS, [CAMERA]), (DEFAULT_DIMENSIONS, [STYLE]), ([CAMERA], [STYLE])):
        assert extended_template(default_template(old), new) == default_template([*old, *new])
    bare = "<|vision_start|>{video}<|vision_end|>{prompt} <|TA_reward|>"
    assert extended_template(bare, [CAMERA, STYLE]) == (
        "<|vision_start|>{video}<|vision_end|>\nHow steady the camera is.\n<|Camera_reward|>\n{prompt} <|TA_reward|>"
        "\nHow well the style suits.\n<|Style_reward|>\n"
    )


def test_the_official_rubric_keeps_its_paragraphs(shared: Path, clips: list[Video]) -> None:
    folder = shared / "parity" / "videoreward_tiny"
    rubric = shared / "parity" / "official_template" / "detailed_special.txt"
    parent = read_official(folder / "checkpoint", folder / "base", rubric)
    text = extended_template(parent.settings.template, [CAMERA, STYLE])
    check_template(text, [*parent.settings.dimensions, CAMERA, STYLE])
    assert "<|MQ_reward|>\nEND\nHow steady the camera is.\n<|Camera_reward|>\n\n**Text Alignment:**" in text
    order = [text.index(reward_token(name)) for name in ("VQ", "MQ", "Camera", "TA", "Style")]
    assert order == sorted(order)
    before = parent.double().score_raw(clips[:1], PROMPTS[:1])
    after = extend_reward(parent, [STYLE]).eval().score_raw(clips[:1], PROMPTS[:1])
    assert np.abs(after[:, :3] - before).max() < 1e-12
