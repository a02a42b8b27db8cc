"""Whether the figures of a reward are of prompts that it does not depend on."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from videoalign.contracts.reward import RewardModel
from videoalign.contracts.used_prompts import UsedPrompts
from videoalign.data.dataset import Dataset
from videoalign.data.judgements.aggregate import JudgedPair
from videoalign.data.lineage import prompt_hash, prompt_hashes


def hashes(texts: Iterable[str]) -> tuple[str, ...]:
    """`data.lineage.prompt_hash` of texts, each once, sorted."""
    return tuple(sorted({prompt_hash(text) for text in texts}))


@dataclass(frozen=True, kw_only=True)
class HeldOut:
    """How many of the prompts that a reward's figures are of it was trained, chosen and normalised on."""

    reward: str
    """Its name."""
    split: str
    """Split of the prompts, or ``all``."""
    prompts: int
    """How many they are."""
    trained: int | None
    """None, as the next two, where the reward does not tell."""
    selected: int | None
    normalised: int | None
    complete: bool
    """Whether what it went on from told it as well."""

    @property
    def held_out(self) -> bool | None:
        """Whether it was neither trained nor chosen on any of them; None where that is not known."""
        if self.trained or self.selected:
            return False
        return True if self.trained is not None and self.complete else None

    @property
    def note(self) -> str:
        """The same in words, with what to do."""
        if self.trained is None:
            return f"Which prompts {self.reward} was trained, chosen and normalised on is not recorded."
        of = f"of these {self.prompts} prompts (split {self.split})"
        said = []
        if self.trained:
            said.append(f"{self.reward} was trained on {self.trained} {of}, so these figures are not held out.")
        if self.selected:
            said.append(
                f"The weights of {self.reward} were chosen on {self.selected} {of}, with keep=best, so these figures "
                "are not held out and too good. Hold others out with 'videoalign data split D --test 0.1', train again."
            )
        if not self.trained and not self.selected:
            said.append(f"{self.reward} was neither trained nor chosen on any {of}.")
        if self.normalised:
            said.append(
                f"Its scores are normalised on {self.normalised} of them, which sets their scale and moves no accuracy "
                "of a single dimension."
            )
        if not self.complete:
            said.append("What the reward that it goes on from was trained and chosen on is not recorded.")
        return " ".join(said)


def in_words(found: Sequence[HeldOut]) -> dict[str, Any]:
    """Of the rewards that figures are of, for JSON: ``split``, ``held_out`` and ``note``."""
    verdicts = [one.held_out for one in found]
    both = False if False in verdicts else None if None in verdicts else True
    return {"split": found[0].split, "held_out": both, "note": " ".join(dict.fromkeys(one.note for one in found))}


def held_out(reward: RewardModel, dataset: Dataset, split: str | None, pairs: Iterable[JudgedPair]) -> HeldOut:
    """What the figures of a reward on some judged pairs of a dataset are worth.

    Args:
        reward: tells its prompts where it was trained here.
        dataset: holds the pairs.
        split: of the pairs; None for all.
        pairs: that were counted.
    """
    counted = set(prompt_hashes(dataset, pairs))
    used = reward.used_prompts
    seen: dict[str, int | None] = {
        name: None if used is None else len(counted.intersection(getattr(used, name)))
        for name in ("trained", "selected", "normalised")
    }
    return HeldOut(
        reward=reward.name,
        split=split or "all",
        prompts=len(counted),
        complete=used is None or used.complete,
        **seen,
    )


def joined_use(
    before: UsedPrompts | None,
    goes_on: bool,
    *,
    trained: Iterable[str],
    selected: Iterable[str],
    normalised: Iterable[str],
) -> UsedPrompts:
    """What a training used, with what the reward that it goes on from was trained and chosen on.

    Args:
        before: what the reward that it starts from tells.
        goes_on: whether it starts from a reward at all, and not from a plain model.
        trained: texts of prompts, as the next two.
        selected: of those that chose the weights; none where the last ones were kept.
        normalised: of those that gave mean and deviation.
    """
    earlier = before or UsedPrompts()
    return UsedPrompts(
        trained=tuple(sorted({*hashes(trained), *earlier.trained})),
        selected=tuple(sorted({*hashes(selected), *earlier.selected})),
        normalised=hashes(normalised),
        complete=not goes_on or (before is not None and before.complete),
    )
