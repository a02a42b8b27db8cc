"""No judge that taught, no prompt that was trained on, unless asked for, and then said."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from videoalign.data.lineage import Lineage, Teacher, prompt_hash
from videoalign.errors import ConfigError
from videoalign.recipes.generator.independence import require_independence
from videoalign.worlds.sprites.oracle import Oracle

PROMPTS = ["a red circle", "a blue square"]


def judge(name: str = "judge", digest: str = "d1") -> SimpleNamespace:
    return SimpleNamespace(name=name, dimensions=("VQ",), digest=digest)


def taught(*teachers: Teacher, prompts: tuple[str, ...] = ("a green star",)) -> Lineage:
    return Lineage(method="align dpo", teachers=teachers, prompts=tuple(map(prompt_hash, prompts)))


OTHER = Teacher(name="other", digest="d2")


def test_the_teacher_is_refused_whatever_it_is_called_now() -> None:
    lineages = {"runs/dpo": taught(Teacher(name="once", digest="d1"))}
    with pytest.raises(ConfigError, match=r"labelled the data that runs/dpo was trained on.*--allow-teacher-judge"):
        require_independence(judge(), PROMPTS, lineages)
    found = require_independence(judge(), PROMPTS, lineages, allow_teacher=True)
    assert found.warnings == [
        "The judge 'judge' labelled the data that runs/dpo was trained on, so it is no independent judge."
    ]
    assert found.judge_note == ""
    one_of_two = {"runs/dpo": taught(OTHER, Teacher(name="once", digest="d1"))}
    with pytest.raises(ConfigError):
        require_independence(judge(), PROMPTS, one_of_two)


def test_another_reward_of_the_same_name_may_judge_but_not_where_the_digest_is_unknown() -> None:
    require_independence(judge(), PROMPTS, {"a": taught(Teacher(name="judge", digest="d2"))})
    with pytest.raises(ConfigError):
        require_independence(judge(), PROMPTS, {"a": taught(Teacher(name="judge"))})


def test_trained_prompts_are_refused_and_counted() -> None:
    lineages = {"runs/dpo": taught(OTHER, prompts=("A BLUE square.", "a green star"))}
    with pytest.raises(ConfigError, match="runs/dpo was trained on 1 of the 2 prompts, first 'a blue square'"):
        require_independence(judge(), PROMPTS, lineages)
    found = require_independence(judge(), PROMPTS, lineages, allow_trained_prompts=True)
    assert found.warnings == ["runs/dpo was trained on 1 of the 2 prompts."]
    assert found.prompts_note == ""


def test_what_is_known_and_what_is_not_is_said() -> None:
    known = require_independence(judge(), PROMPTS, {"runs/dpo": taught(OTHER)})
    assert known.warnings == []
    assert known.judge_note == "It labelled nothing that runs/dpo was trained on; the labels are by other."
    assert known.prompts_note == "runs/dpo was trained on none of these prompts."
    unknown = require_independence(judge(), PROMPTS, {"old": None})
    assert unknown.judge_note == "What labelled the data that old was trained on is not recorded."
    assert unknown.prompts_note == "Whether old was trained on these prompts is not recorded."
    imported = require_independence(judge(), PROMPTS, {"new": taught(Teacher(name=""))})
    assert imported.judge_note == "What labelled the data that new was trained on is not recorded."
    assert require_independence(judge(), PROMPTS, {}).judge_note == ""


def test_a_judge_that_learnt_nothing_is_known_by_kind_name_and_dimensions() -> None:
    other = Oracle()
    other.name = "else"
    assert Oracle().digest == Oracle().digest != other.digest
    with pytest.raises(ConfigError):
        teacher = Teacher(name="oracle", digest=Oracle().digest)
        require_independence(Oracle(), PROMPTS, {"a": taught(teacher)})
