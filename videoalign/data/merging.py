"""What another dataset holds comes into one that is there, in which nothing changes but that it grows."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import chain
from typing import Generic, TypeVar

from videoalign.contracts.output import whole_file, write_json
from videoalign.contracts.records import ADDED, INFO_FILE, PROGRAMME_SOURCE, Judgement, Label, Rating, Role
from videoalign.data.additions import alone
from videoalign.data.dataset import Dataset
from videoalign.data.known import require_words
from videoalign.data.matching import Clips, Files, Prompts, Terms
from videoalign.data.tables import stream_records, write_records
from videoalign.errors import ConfigError, DataError, did_you_mean

Said = TypeVar("Said", Judgement, Rating)

_KEY_DIGITS = 8


@dataclass(frozen=True)
class Added:
    """How many rows came in."""

    prompts: int
    clips: int
    judgements: int
    ratings: int
    repeated: int
    """Judgements and ratings that were there already."""


def merge_dataset(
    into: Dataset, other: Dataset, *, name: str = "", source: str = "", new_ids: bool = False, move: bool = False
) -> Added:
    """Adds another dataset's prompts, clips, judgements and ratings; also while ``into`` is being judged.

    Nothing that is there changes. A prompt whose text (and picture) is there is that prompt, with its id and split; one
    that differs in capitals and spacing alone joins its split. A verdict that is there counts once, whatever row it
    came from. Raters of another programme of ``annotate serve`` get its key behind their number, since numbers begin
    anew in each. Clips in the folder of the other dataset are copied; others stay where they are. Scores and pairs are
    not taken over: they can be made again.

    Args:
        into: grows.
        other: is only read.
        name: of the other one in messages; default: its folder.
        source: what to write down as where the rows come from; default: the folder.
        new_ids: a prompt or clip whose id stands for another one gets one of its own, the same in a second call.
        move: the other dataset is not needed any more; its files are moved.

    Raises:
        ConfigError: a dataset into itself.
        DataError: an id that stands for another prompt or clip, a clip that was changed or is said to be by another
            generator, a dimension that is not judged; nothing is written then.
        OutputError: the disk is full or the place cannot be written.
    """
    if other.path.resolve() == into.path.resolve():
        raise ConfigError(f"{other.path}: is the dataset that it is to be added to; give another one.")
    name = name or str(other.path)
    with alone(into.path):
        into = Dataset.open(into.path)
        terms = Terms(into, other, name, new_ids)
        files = Files(terms)
        prompts = Prompts(terms, files)
        clips = Clips(terms, prompts, files)
        judgements, ratings = _Judgements(terms, prompts, clips), _Ratings(terms, prompts, clips)
        num_judgements, num_ratings = (sum(1 for _ in one.new()) for one in (judgements, ratings))
        if prompts.new or clips.new or num_judgements or num_ratings:
            _note_source(into, source or str(other.path.resolve()))
            for file, target in files.targets.items():
                with whole_file(target) as aside:
                    (os.replace if move else shutil.copyfile)(file, aside)
            into.write_prompts([*into.prompts(), *prompts.new])
            into.write_clips([*into.clips(), *clips.new])
            judgements.write(num_judgements)
            ratings.write(num_ratings)
    repeated = judgements.repeated + ratings.repeated
    return Added(len(prompts.new), len(clips.new), num_judgements, num_ratings, repeated)


def _note_source(dataset: Dataset, source: str) -> None:
    provenance = dataset.info.provenance
    sources = dict.fromkeys([*json.loads(provenance.get(ADDED, "[]")), source])
    added = json.dumps([*sources], ensure_ascii=False)
    info = dataset.info.model_copy(update={"provenance": provenance | {ADDED: added}})
    write_json(dataset.path / INFO_FILE, info.model_dump(mode="json"))


class _Rows(Generic[Said]):
    """What people said in the other dataset, under the ids of the one that grows."""

    record: type[Said]

    def __init__(self, terms: Terms, prompts: Prompts, clips: Clips) -> None:
        self.terms, self.prompts, self.clips = terms, prompts.ids, clips.ids
        self.repeated = 0
        """Of the rows that `new` went through, those that were there already."""
        self._own: set[str] = set()
        """Programmes whose raters have here the numbers that they have there."""
        self._have: set[bytes] = set()
        for row in self._stored():
            self._have.add(_digest(self.key(row)))
            if row.rater != self.rater(row):
                self._own.add(_programme(row))

    def _stored(self) -> Iterator[Said]:
        return stream_records(self.terms.into.table_path(self.record), self.record)

    def rows(self) -> Iterator[Said]:
        """Those of the other dataset whose prompts and clips it has."""
        raise NotImplementedError

    def key(self, row: Said) -> tuple[str, ...]:
        """The same for two rows that say the same."""
        raise NotImplementedError

    def new(self) -> Iterator[Said]:
        """Those that are not there yet.

        Raises:
            DataError: one is of a dimension that is not judged.
        """
        self.repeated = 0
        for row in self.rows():
            if row.dimension not in self.terms.into.dimensions:
                hint = did_you_mean(row.dimension, self.terms.into.dimensions)
                raise DataError(
                    f"{self.terms.name}: '{row.dimension}' is judged there and not in {self.terms.into.path}.{hint} "
                    "Rename it in one of them, or add it to dataset.json."
                )
            if _digest(self.key(row)) in self._have:
                self.repeated += 1
            else:
                yield row

    def rater(self, row: Said) -> str:
        """Numbers of another programme's raters stand for other people."""
        programme = _programme(row)
        mark = f".{programme[:_KEY_DIGITS]}"
        is_gold = isinstance(row, Judgement) and row.role == Role.GOLD
        if not programme or programme in self._own or is_gold or row.rater.endswith(mark):
            return row.rater
        return row.rater + mark

    def write(self, number: int) -> None:
        """Writes the table anew, what is new behind what is there; nothing where there are 0 of them."""
        if number:
            write_records(self.terms.into.table_path(self.record), self.record, chain(self._stored(), self.new()))


class _Judgements(_Rows[Judgement]):
    record = Judgement

    def rows(self) -> Iterator[Judgement]:
        for row in self.terms.other.stream_judgements():
            if row.clip_a in self.clips and row.clip_b in self.clips:
                require_words(row)
                rater = self.rater(row)
                yield replace(
                    row,
                    prompt_id=self.prompts[row.prompt_id],
                    clip_a=self.clips[row.clip_a],
                    clip_b=self.clips[row.clip_b],
                    rater=rater,
                    guideline=row.guideline if rater == row.rater else 0,
                )

    def key(self, row: Judgement) -> tuple[str, ...]:
        turned = row.clip_a > row.clip_b
        pair = (row.clip_b, row.clip_a) if turned else (row.clip_a, row.clip_b)
        other_side = {str(Label.A): str(Label.B), str(Label.B): str(Label.A)} if turned else {}
        return (row.rater, row.role, row.dimension, *pair, other_side.get(row.label, row.label))


class _Ratings(_Rows[Rating]):
    record = Rating

    def rows(self) -> Iterator[Rating]:
        for row in self.terms.other.stream_ratings():
            if row.clip_id in self.clips:
                yield replace(row, clip_id=self.clips[row.clip_id], rater=self.rater(row))

    def key(self, row: Rating) -> tuple[str, ...]:
        return (row.rater, row.dimension, row.clip_id, str(row.score))


def _programme(row: Judgement | Rating) -> str:
    """The key of the programme in which this was said; empty where it was not in one."""
    source, _, _ = row.source_row.partition(":")
    return source.removeprefix(PROGRAMME_SOURCE) if source.startswith(PROGRAMME_SOURCE) else ""


def _digest(key: tuple[str, ...]) -> bytes:
    """16 bytes, since a million of them must fit in memory."""
    return hashlib.blake2b("\0".join(key).encode("utf-8", "surrogatepass"), digest_size=16).digest()
