"""Checks that the judge is no teacher and that no prompt was trained on; what is allowed all the same is said."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from videoalign.contracts.reward import RewardModel
from videoalign.data.lineage import Lineage, Teacher, prompt_hash
from videoalign.errors import ConfigError


@dataclass(frozen=True, kw_only=True)
class Independence:
    """What stands beside every figure of a comparison."""

    judge_note: str
    """Whether the judge taught an arm, in a sentence; empty where no arm has an adapter."""
    prompts_note: str
    """Whether an arm was trained on the prompts, likewise."""
    warnings: list[str]
    """What was asked for and makes the figures say less than they seem to."""


def require_independence(
    judge: RewardModel,
    prompts: Sequence[str],
    lineages: Mapping[str, Lineage | None],
    *,
    allow_teacher: bool = False,
    allow_trained_prompts: bool = False,
) -> Independence:
    """Checks that the judge labelled no training data of an arm and that no arm was trained on the prompts.

    Args:
        judge: scores the clips.
        prompts: texts that the clips are made of.
        lineages: by adapter, what taught it; None where that is not recorded.
        allow_teacher: let the judge be a teacher, with a warning.
        allow_trained_prompts: let prompts be trained on, with a warning.

    Raises:
        ConfigError: the judge taught an arm, or an arm was trained on a prompt, and that is not allowed.
    """
    checks = [_Check(judge, prompts, name, lineage) for name, lineage in lineages.items()]
    warnings = []
    for check in checks:
        if check.taught:
            what = f"judge '{judge.name}' labelled the data that {check.arm} was trained on"
            if not allow_teacher:
                raise ConfigError(f"--judge: {what}; take another, or --allow-teacher-judge, which every table says.")
            warnings.append(f"The {what}, so it is no independent judge.")
        if check.seen:
            what = f"{check.arm} was trained on {len(check.seen)} of the {len(prompts)} prompts"
            if not allow_trained_prompts:
                raise ConfigError(
                    f"--prompts: {what}, first '{check.seen[0]}'; give others, or --allow-trained-prompts, which every "
                    "table says."
                )
            warnings.append(f"{what}.")
    judge_notes = [check.judge_note for check in checks if not check.taught]
    prompts_notes = [check.prompts_note for check in checks if not check.seen]
    return Independence(judge_note=" ".join(judge_notes), prompts_note=" ".join(prompts_notes), warnings=warnings)


class _Check:
    """One arm with an adapter: whether the judge taught it, and on which of the prompts it was trained."""

    def __init__(self, judge: RewardModel, prompts: Sequence[str], arm: str, lineage: Lineage | None) -> None:
        self.arm, self.lineage = arm, lineage
        self.taught = lineage is not None and any(_is_same(judge, teacher) for teacher in lineage.teachers)
        known = set(lineage.prompts) if lineage is not None else set()
        self.seen = [text for text in prompts if prompt_hash(text) in known]

    @property
    def judge_note(self) -> str:
        if self.lineage is None or not all(teacher.name for teacher in self.lineage.teachers):
            return f"What labelled the data that {self.arm} was trained on is not recorded."
        names = " and ".join(dict.fromkeys(map(str, self.lineage.teachers)))
        return f"It labelled nothing that {self.arm} was trained on; the labels are by {names}."

    @property
    def prompts_note(self) -> str:
        if self.lineage is None:
            return f"Whether {self.arm} was trained on these prompts is not recorded."
        return f"{self.arm} was trained on none of these prompts."


def _is_same(judge: RewardModel, teacher: Teacher) -> bool:
    """By the digest; where the teacher's is not recorded, by the name."""
    return teacher.digest == judge.digest if teacher.digest else teacher.name == judge.name
