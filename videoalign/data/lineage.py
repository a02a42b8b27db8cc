"""What taught a model: who labelled the pairs that it was trained on, and their prompts, kept beside its weights."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from videoalign.contracts.output import write_json
from videoalign.contracts.records import WinLosePair
from videoalign.data.dataset import Dataset, JudgedPair
from videoalign.data.prompts_file import near_text
from videoalign.errors import ModelError

LINEAGE_FILE = "lineage.json"
RATERS = "raters"
"""Name of the teacher where people's verdicts are the labels."""


@dataclass(frozen=True, kw_only=True)
class Teacher:
    """What labelled training data."""

    name: str
    """Of the reward, or `RATERS`; empty where it is not recorded."""
    digest: str = ""
    """`RewardModel.digest` of the reward; empty where it is not recorded."""
    weights: str = ""
    """Weights of its dimensions, as in ``VQ=1,MQ=1,TA=1``."""

    def __str__(self) -> str:
        return self.name or "not recorded"


@dataclass(frozen=True, kw_only=True)
class Lineage:
    """What a model was trained on."""

    method: str
    """As in ``align dpo``."""
    teachers: tuple[Teacher, ...]
    """Everything that labelled its data."""
    prompts: tuple[str, ...]
    """`prompt_hash` of its training prompts, sorted."""


def prompt_hash(text: str) -> str:
    """The same for prompts that differ in capitals, spacing and punctuation alone; does not tell the text."""
    return hashlib.sha256(near_text(text).encode()).hexdigest()[:16]


def teachers_of(pairs: Iterable[WinLosePair]) -> tuple[Teacher, ...]:
    """What labelled the pairs, each once, in order."""
    found = (Teacher(name=pair.reward, digest=pair.reward_digest, weights=pair.weights) for pair in pairs)
    return tuple(dict.fromkeys(found))


def prompt_hashes(dataset: Dataset, pairs: Iterable[WinLosePair | JudgedPair]) -> tuple[str, ...]:
    """`prompt_hash` of the prompts of some of a dataset's pairs, sorted."""
    texts = {prompt.prompt_id: prompt.text for prompt in dataset.prompts()}
    return tuple(sorted({prompt_hash(texts[pair.prompt_id]) for pair in pairs}))


def write_lineage(folder: str | Path, method: str, teachers: Sequence[Teacher], prompts: Sequence[str]) -> None:
    """Writes ``lineage.json`` into the folder of a model.

    Raises:
        OutputError: the place cannot be written.
    """
    write_json(
        Path(folder) / LINEAGE_FILE, asdict(Lineage(method=method, teachers=tuple(teachers), prompts=tuple(prompts)))
    )


def joined_lineage(*lineages: Lineage | None) -> Lineage | None:
    """All that taught a model of several parts, by the method of the first that is recorded; None where none is."""
    known = [one for one in lineages if one is not None]
    if not known:
        return None
    teachers = tuple(dict.fromkeys(teacher for one in known for teacher in one.teachers))
    prompts = tuple(sorted({prompt for one in known for prompt in one.prompts}))
    return Lineage(method=known[0].method, teachers=teachers, prompts=prompts)


def read_lineage(place: str | Path) -> Lineage | None:
    """What taught the model in a folder, or in a file of that folder; None where that is not recorded.

    Raises:
        ModelError: ``lineage.json`` is damaged.
    """
    place = Path(place)
    file = (place.parent if place.is_file() else place) / LINEAGE_FILE
    if not file.is_file():
        return None
    try:
        told = json.loads(file.read_text(encoding="utf-8"))
        teachers = tuple(Teacher(**teacher) for teacher in told["teachers"])
        return Lineage(method=str(told["method"]), teachers=teachers, prompts=tuple(map(str, told["prompts"])))
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise ModelError(f"{file}: is damaged ({error}); train the model again, or restore the file.") from None
