"""What of its judgements and ratings a dataset can place: tables may hold others, as of clips that were taken out."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

from videoalign.contracts.records import Clip, Judgement, Label, Prompt, Rating, Role
from videoalign.data.tables import read_columns, records_of, schema_of
from videoalign.errors import DataError

_SIDES = (Label.A, Label.B, "")
_WORDS = {"label": frozenset(Label), "role": frozenset(Role), "left": frozenset(_SIDES)}


class Known:
    """The prompts and clips of a dataset by id; whatever comes from elsewhere passes here before it is looked up."""

    def __init__(self, prompts: Iterable[str], clips: Iterable[str]) -> None:
        self.prompts, self.clips = frozenset(prompts), frozenset(clips)

    @classmethod
    def read(cls, folder: Path) -> Known:
        """Those of the tables in a dataset's folder."""
        return cls(_ids(folder / "prompts.parquet", Prompt), _ids(folder / "clips.parquet", Clip))

    def judgement(self, row: Judgement) -> bool:
        """Whether both clips of a judgement and its prompt are in the dataset.

        Raises:
            DataError: see `require_words`.
        """
        require_words(row)
        return row.clip_a in self.clips and row.clip_b in self.clips and row.prompt_id in self.prompts

    def rating(self, row: Rating) -> bool:
        """Whether the clip of a rating is in the dataset."""
        return row.clip_id in self.clips


def wrong_word(row: Judgement) -> str:
    """What is wrong with a label, a role or a side that is none; empty where nothing is."""
    for name, word, known in (("label", row.label, Label), ("role", row.role, Role), ("left", row.left, _SIDES)):
        if word not in _WORDS[name]:
            return f"{name} '{word}' is not one of {', '.join(one or 'nothing' for one in known)}."
    return ""


def require_words(row: Judgement) -> None:
    """Checks what stands in columns that hold one of a few words.

    Raises:
        DataError: another label, role or side.
    """
    if wrong := wrong_word(row):
        raise DataError(f"{row.source_row or f'{row.clip_a} / {row.clip_b}'}: {wrong} Correct the judgement.")


def count_strangers(folder: Path) -> int:
    """How many judgements and ratings in a dataset's folder are of prompts or clips that are not in it."""
    known = Known.read(folder)
    names = ("prompt_id", "clip_a", "clip_b")
    judged = read_columns(folder / "judgements.parquet", Judgement, names)
    rated = read_columns(folder / "ratings.parquet", Rating, schema_of(Rating).names)
    pairs = (row for part in judged for row in zip(*(part[name].to_pylist() for name in names), strict=True))
    strange = sum(not (a in known.clips and b in known.clips and prompt in known.prompts) for prompt, a, b in pairs)
    return strange + sum(not known.rating(row) for part in rated for row in records_of(part, Rating))


def _ids(path: Path, record: type) -> Iterator[str]:
    name = f"{record.__name__.lower()}_id"
    for part in read_columns(path, record, [name]):
        yield from part[name].to_pylist()
