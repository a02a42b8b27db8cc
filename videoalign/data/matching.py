"""Which prompt and clip of a dataset each one of another dataset is, and which are new to it."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

from videoalign.contracts.digests import file_digest
from videoalign.contracts.output import fingerprint
from videoalign.contracts.records import Clip, Prompt
from videoalign.data.additions import Splits
from videoalign.data.dataset import CLIP_FOLDER, Dataset
from videoalign.errors import DataError
from videoalign.video.addresses import is_address, unsigned


@dataclass(frozen=True)
class Terms:
    """How two datasets come together."""

    into: Dataset
    other: Dataset
    name: str
    """Of the other one, in messages."""
    new_ids: bool
    """An id that stands for something else is no error: what is new gets one of its own."""

    def refusal(self, what: str, why: str, *, renames: bool) -> DataError:
        """Says what is wrong with something of the other dataset; ``renames``: an id of its own would help."""
        way_out = (
            "Give it another id, or take it in under one of its own with --new-ids." if renames else "Correct one."
        )
        return DataError(f"{self.name}: {what} {why}. {way_out}")


class Place(NamedTuple):
    """Where a file is."""

    path: str
    """Absolute, or an address."""
    is_inside: bool
    """In the folder of its dataset, with which it may move away."""

    @classmethod
    def of(cls, dataset: Dataset, path: str) -> Place:
        """What a table of the dataset calls ``path``."""
        if is_address(path):
            return cls(path, is_inside=False)
        whole = os.path.abspath(dataset.path / path)
        real = Path(whole).resolve()
        return cls(whole, is_inside=not os.path.isabs(path) and real.is_relative_to(dataset.path.resolve()))

    @property
    def plain(self) -> str:
        """The same for each way to write it; a link of the file itself is a place of its own."""
        if is_address(self.path):
            return unsigned(self.path)
        folder, base = os.path.split(self.path)
        return os.path.join(os.path.realpath(folder), base)

    def content(self) -> str:
        """Stands for what the file holds; its place does where it is far away or missing."""
        return file_digest(self.path) if os.path.isfile(self.path) else self.plain


class Files:
    """Files of the other dataset's folder, and what they will be called in the folder of the one that grows."""

    def __init__(self, terms: Terms) -> None:
        self.terms = terms
        self.targets: dict[str, Path] = {}
        """By where they are."""
        self._taken = {clip.path for clip in terms.into.clips()} | {row.media for row in terms.into.prompts()}

    def kept(self, path: str, owner: str) -> str:
        """What the tables of the grown dataset call a file, ``path`` in the other one; ``owner`` is its new id."""
        place, ending = Place.of(self.terms.other, path), Path(path).suffix
        if not place.is_inside:
            return place.path
        name = next(
            name
            for name in (path, f"{CLIP_FOLDER}/{owner}{ending}", f"{CLIP_FOLDER}/{owner}-{place.content()[:8]}{ending}")
            if name not in self._taken
        )
        self._taken.add(name)
        self.targets[place.path] = self.terms.into.path / name
        return name


class Prompts:
    """The prompts of both: the same text, with the same picture or clip beside it, is one."""

    def __init__(self, terms: Terms, files: Files) -> None:
        self.terms, self.files = terms, files
        self.new: list[Prompt] = []
        self._have = {row.prompt_id: self._asked(terms.into, row) for row in terms.into.prompts()}
        self._splits = Splits(terms.into.prompts())
        self._by_what = {what: prompt_id for prompt_id, what in reversed(self._have.items())}
        self.ids = {row.prompt_id: self._id_of(row) for row in terms.other.prompts()}
        """Of the grown dataset, by that of the other."""

    def _asked(self, dataset: Dataset, row: Prompt) -> tuple[str, str]:
        return row.text, Place.of(dataset, row.media).content() if row.media else ""

    def _id_of(self, row: Prompt) -> str:
        what, have = self._asked(self.terms.other, row), self._have.get(row.prompt_id)
        if have == what:
            return row.prompt_id
        if what in self._by_what:
            return self._by_what[what]
        prompt_id = row.prompt_id
        if have is not None:
            if not self.terms.new_ids:
                beside = " with another picture or clip" if have[0] == row.text else ""
                why = f"is '{have[0]}'{beside} there, '{row.text}' here"
                raise self.terms.refusal(f"prompt '{prompt_id}'", why, renames=True)
            prompt_id = f"{prompt_id}-{fingerprint(what)[:8]}"
        self._have[prompt_id] = what
        self._by_what[what] = prompt_id
        media = self.files.kept(row.media, prompt_id) if row.media else ""
        self.new.append(self._splits.joined(replace(row, prompt_id=prompt_id, media=media)))
        return prompt_id


class _Differs(Exception):
    """Two rows of one id that are not the same."""

    def __init__(self, why: str, *, renames: bool = False) -> None:
        super().__init__(why)
        self.renames = renames


class Clips:
    """The clips of both: the same id is the same file, of the same prompt and generator."""

    def __init__(self, terms: Terms, prompts: Prompts, files: Files) -> None:
        self.terms, self.files = terms, files
        self.new: list[Clip] = []
        self._have = {clip.clip_id: clip for clip in terms.into.clips()}
        self._outside: dict[tuple[str, str], str] = {}
        for clip in self._have.values():
            place = Place.of(terms.into, clip.path)
            if not place.is_inside:
                self._outside.setdefault((place.plain, clip.prompt_id), clip.clip_id)
        self.ids = {
            clip.clip_id: self._id_of(replace(clip, prompt_id=prompts.ids[clip.prompt_id]))
            for clip in terms.other.clips()
            if clip.prompt_id in prompts.ids
        }
        """Of the grown dataset, by that of the other."""

    def _id_of(self, clip: Clip) -> str:
        place = Place.of(self.terms.other, clip.path)
        under_another = None if place.is_inside else self._outside.get((place.plain, clip.prompt_id))
        have = self._have.get(clip.clip_id) or self._have.get(under_another or "")
        if have is None:
            return self._add(clip, clip.clip_id)
        try:
            self._require_same(have, clip, place)
        except _Differs as found:
            if not (found.renames and self.terms.new_ids):
                raise self.terms.refusal(f"clip '{clip.clip_id}'", str(found), renames=found.renames) from None
            own = f"{clip.clip_id}-{fingerprint([place.content(), clip.prompt_id])[:8]}"
            return own if own in self._have else self._add(clip, own)
        return have.clip_id

    def _add(self, clip: Clip, clip_id: str) -> str:
        self._have[clip_id] = replace(clip, clip_id=clip_id, path=self.files.kept(clip.path, clip_id))
        self.new.append(self._have[clip_id])
        return clip_id

    def _require_same(self, have: Clip, clip: Clip, place: Place) -> None:
        there = Place.of(self.terms.into, have.path)
        if have.prompt_id != clip.prompt_id:
            raise _Differs(f"is of prompt '{have.prompt_id}' there and of '{clip.prompt_id}' here", renames=True)
        if not _same_file(there, place):
            raise _Differs(f"is another file there, {there.path}", renames=True)
        for column in ("num_frames", "height", "width", "fps", "generator", "seed"):
            was, now = getattr(have, column), getattr(clip, column)
            if was != now and not (column == "seed" and -1 in (was, now)):
                raise _Differs(f"has {column} '{was}' there and '{now}' here, although it is the same file")


def _same_file(there: Place, here: Place) -> bool:
    if there.plain == here.plain:
        return True
    if is_address(there.path) or is_address(here.path):
        return False
    for file in (there.path, here.path):
        if not os.path.isfile(file):
            raise _Differs(f"cannot be compared with the one that is there, since {file} is missing")
    return os.path.getsize(there.path) == os.path.getsize(here.path) and there.content() == here.content()
