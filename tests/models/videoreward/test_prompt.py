from __future__ import annotations

import pytest

from videoalign.contracts.records import DEFAULT_DIMENSIONS, Dimension
from videoalign.errors import ConfigError, DataError
from videoalign.models.videoreward import VideoReward
from videoalign.models.videoreward.prompt import check_template, default_template, reward_token

COLOUR = Dimension(name="colour", guideline="Whether {colours} please.", sees_prompt=True)


def test_the_clip_comes_first_and_the_prompt_before_those_that_see_it() -> None:
    template = default_template((COLOUR, *DEFAULT_DIMENSIONS))
    order = ["{video}", "<|VQ_reward|>", "<|MQ_reward|>", "{prompt}", "<|colour_reward|>", "<|TA_reward|>"]
    places = [template.index(part) for part in order]
    assert places == sorted(places)
    for dimension in DEFAULT_DIMENSIONS:
        assert template.index(dimension.guideline) < template.index(reward_token(dimension.name))
    check_template(template, (COLOUR, *DEFAULT_DIMENSIONS))


def test_without_a_dimension_that_sees_it_there_is_no_prompt() -> None:
    assert "{prompt}" not in default_template(DEFAULT_DIMENSIONS[:2])


def test_a_guidelines_braces_are_no_place_for_the_prompt() -> None:
    assert default_template((COLOUR,)).count("{") == 2  # {video} and {prompt}


@pytest.mark.parametrize(
    ("broken", "why"),
    [
        (lambda text: text.replace("<|MQ_reward|>", ""), "MQ_reward.* 0 times"),
        (lambda text: text + "<|MQ_reward|>", "MQ_reward.* 2 times"),
        (lambda text: text.replace("{video}", ""), "'{video}' must stand once"),
        (lambda text: text.replace("{prompt}", "") + "{prompt}", "TA_reward.* must stand after"),
        (lambda text: "{prompt}" + text.replace("{prompt}", ""), "before '{video}'"),
    ],
)
def test_a_template_that_cannot_score_is_refused(broken, why: str) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(ConfigError, match=why):
        check_template(broken(default_template(DEFAULT_DIMENSIONS)), DEFAULT_DIMENSIONS)


@pytest.mark.parametrize("prompt", ["a <|TA_reward|> circle", "<|video_pad|>", "stop<|im_end|>", "  "])
def test_a_prompt_with_a_special_token_or_nothing_is_an_error(reward: VideoReward, prompt: str) -> None:
    with pytest.raises(DataError, match="prompt"):
        reward.chat.check_prompt(prompt)


def test_a_prompt_may_hold_braces(reward: VideoReward) -> None:
    ids = reward.chat.tokens(reward.settings.template, 3, "a {video} of {prompt} {x}")
    text = reward.chat.tokenizer.decode(ids)
    assert "Prompt: a {video} of {prompt} {x}\n" in text
    assert ids.count(reward.chat.video_id) == 3


def test_every_reward_token_is_one_token(reward: VideoReward) -> None:
    ids = reward.chat.tokens(reward.settings.template, 1, "a red circle moves left")
    for token_id in reward.token_ids.tolist():
        assert ids.count(token_id) == 1
