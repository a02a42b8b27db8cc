"""Rows of any table become the records of a dataset; nothing goes in twice, no clip goes in unseen."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable
from functools import lru_cache
from itertools import combinations
from typing import Any

from videoalign.contracts.output import fingerprint
from videoalign.contracts.records import Clip, Judgement, Label, Prompt, Rating, Role
from videoalign.data.dataset import Dataset, flip, prompt_id_of, prompt_id_with
from videoalign.data.formats.clips import Clips
from videoalign.data.formats.common import ClipEntry, Entry, ImportOptions, PairEntry, RatingEntry, SourceClip
from videoalign.data.rows import require_text
from videoalign.data.tables import RecordWriter
from videoalign.errors import DataError

REPEATED = "says the same as row"
"""How the reason of a `DuplicateRow` begins."""


@lru_cache(maxsize=4096)
def _prompt_id_of(text: str) -> str:
    return prompt_id_of(require_text(text))


class DuplicateRow(DataError):
    """The row says what an earlier one said; it is left out and listed, whatever the settings."""


class Builder:
    """Writes the rows of one table into an empty dataset as they come; of the rows themselves nothing is kept.

    Args:
        dataset: without tables.
        clips: folder or address that paths in the table start from; absolute paths stand for themselves.
        source: name of the table, for ``source_row``.
        options: of the import.
    """

    def __init__(self, dataset: Dataset, clips: str, source: str, options: ImportOptions) -> None:
        self.dataset, self.source = dataset, source
        self._clips = Clips(dataset.path, clips, copy=options.copy_clips)
        self._writers: dict[type, RecordWriter[Any]] = {}
        self._prompts: dict[str, str] = {}  # text by id
        self._said: dict[int, int] = {}  # row by what it says
        self._scores: dict[tuple[str, str, str], tuple[float, int]] = {}
        self._answers: dict[tuple[str, str, str], tuple[Label, int]] = {}

    @property
    def num_clips(self) -> int:
        """Clips that are in."""
        return len(self._clips.known)

    def add(self, number: int, entry: Entry) -> None:
        """Takes in what one row says, wholly or not at all.

        Raises:
            DuplicateRow: an earlier row said the same.
            DataError: it contradicts itself or an earlier row.
            VideoError: a clip is missing or damaged.
        """
        if isinstance(entry, PairEntry):
            self._add_pair(number, entry)
        elif isinstance(entry, RatingEntry):
            self._add_rating(number, entry)
        else:
            self._add_clip(number, entry)

    def _add_pair(self, number: int, entry: PairEntry) -> None:
        require_text(entry.rater)
        prompt_id = self._prompt_id(entry)
        clip_a, clip_b = self._clips.id_of(entry.clip_a, prompt_id), self._clips.id_of(entry.clip_b, prompt_id)
        if clip_a == clip_b:
            raise DataError(f"both sides are the same clip, {entry.clip_a.path}; a pair needs two.")
        if not entry.labels:
            raise DataError("no dimension is judged; fill in one at least.")
        if entry.role == Role.GOLD:
            self._require_one_answer(number, entry, clip_a, clip_b)
        self._say(number, _verdict_key(entry, clip_a, clip_b))
        self._keep(entry, prompt_id, {clip_a: entry.clip_a, clip_b: entry.clip_b})
        where = f"{self.source}:{number}"
        for name, label in entry.labels.items():
            self._write(
                Judgement(
                    prompt_id=prompt_id,
                    clip_a=clip_a,
                    clip_b=clip_b,
                    rater=entry.rater,
                    dimension=name,
                    label=label,
                    source_row=where,
                    role=entry.role,
                    left=entry.left,
                    seconds=entry.seconds,
                    guideline=entry.guidelines.get(name, 0),
                    content_a=self._clips.known[clip_a].content,
                    content_b=self._clips.known[clip_b].content,
                )
            )
        for (side, name), score in entry.ratings.items():
            self._rate(number, clip_a if side == "a" else clip_b, entry.rater, name, score)

    def _require_one_answer(self, number: int, entry: PairEntry, clip_a: str, clip_b: str) -> None:
        """Of two known answers of a pair one is wrong, and the label would be that of the row that stands last."""
        answers = {
            (min(clip_a, clip_b), max(clip_a, clip_b), name): label if clip_a < clip_b else flip(label)
            for name, label in entry.labels.items()
        }
        for key, answer in answers.items():
            first, row = self._answers.get(key, (answer, number))
            if first != answer:
                raise DataError(f"its known answer for {key[2]} contradicts row {row}; keep one.")
        for key, answer in answers.items():
            self._answers.setdefault(key, (answer, number))

    def _add_rating(self, number: int, entry: RatingEntry) -> None:
        require_text(entry.rater)
        prompt_id = self._prompt_id(entry)
        clip_id = self._clips.id_of(entry.clip, prompt_id)
        if not entry.scores:
            raise DataError("no dimension is rated; fill in one at least.")
        known = {name: self._scores.get((clip_id, entry.rater, name)) for name in entry.scores}
        earlier = {name: old for name, old in known.items() if old is not None}
        for name, (score, first) in earlier.items():
            if score != entry.scores[name]:
                raise DataError(
                    f"rater '{entry.rater}' gave {entry.clip.path} {score:g} for {name} in row {first}, "
                    f"here {entry.scores[name]:g}; keep one."
                )
        if len(earlier) == len(known):
            raise DuplicateRow(f"{REPEATED} {next(iter(earlier.values()))[1]}.")
        self._keep(entry, prompt_id, {clip_id: entry.clip})
        for name, score in entry.scores.items():
            self._rate(number, clip_id, entry.rater, name, score)

    def _add_clip(self, number: int, entry: ClipEntry) -> None:
        prompt_id = self._prompt_id(entry)
        clip_id = self._clips.id_of(entry.clip, prompt_id)
        self._say(number, ("clip", clip_id))
        self._keep(entry, prompt_id, {clip_id: entry.clip})

    def _say(self, number: int, what: tuple[str, ...]) -> None:
        """Remembers by 16 bytes what a row says, since a million of them must fit in memory."""
        key = int.from_bytes(hashlib.blake2b("\0".join(what).encode(), digest_size=16).digest(), "big")
        first = self._said.setdefault(key, number)
        if first != number:
            raise DuplicateRow(f"{REPEATED} {first}.")

    def _rate(self, number: int, clip_id: str, rater: str, dimension: str, score: float) -> None:
        """Keeps a score; the one that stands beside each pair of a clip is kept once, another value beside it too."""
        key = (clip_id, rater, dimension)
        if self._scores.get(key, (None, 0))[0] == score:
            return
        self._scores.setdefault(key, (score, number))
        where = f"{self.source}:{number}"
        self._write(Rating(clip_id=clip_id, rater=rater, dimension=dimension, score=score, source_row=where))

    def _prompt_id(self, entry: Entry) -> str:
        """The id of what was asked: of the text, and of the picture or clip beside it where there is one."""
        if entry.media is None:
            return _prompt_id_of(entry.prompt)
        return prompt_id_with(require_text(entry.prompt), self._clips.reference(entry.media).key)

    def _keep(self, entry: Entry, prompt_id: str, clips: dict[str, SourceClip]) -> None:
        """Writes the prompt and those of its clips, by id, that are not in yet."""
        text = entry.prompt
        if prompt_id not in self._prompts:
            self._prompts[prompt_id] = text
            media = self._clips.stored_reference(entry.media, prompt_id) if entry.media is not None else ""
            self._write(Prompt(prompt_id=prompt_id, text=text, media=media))
        elif self._prompts[prompt_id] != text:
            raise DataError(f"'{text}' and '{self._prompts[prompt_id]}' get the same prompt id; change one of the two.")
        for clip_id, clip in clips.items():
            if clip_id not in self._clips.known:
                self._write(self._clips.record(clip_id, prompt_id, clip, text))

    def _write(self, record: Prompt | Clip | Judgement | Rating) -> None:
        writer = self._writers.get(type(record))
        if writer is None:
            path = self.dataset.table_path(type(record))
            writer = self._writers[type(record)] = RecordWriter(path, type(record))
        writer.add(record)

    def derive_judgements(self, tie_band: float) -> None:
        """Judgements from ratings: each rater compares each two clips of a prompt that he or she rated.

        The higher score wins; a difference of ``tie_band`` or less is a tie. Which clip stands as A is decided by
        a hash of the two, so that no generator stands always on one side.
        """
        by_rater: dict[tuple[str, str, str], list[tuple[str, float, int]]] = {}
        for (clip_id, rater, dimension), (score, number) in self._scores.items():
            by_rater.setdefault((self._clips.known[clip_id].prompt_id, rater, dimension), []).append(
                (clip_id, score, number)
            )
        for (prompt_id, rater, dimension), ratings in by_rater.items():
            for pair in combinations(ratings, 2):
                ids = sorted(clip_id for clip_id, _, _ in pair)
                (clip_a, score_a, row_a), (clip_b, score_b, row_b) = sorted(
                    pair, key=lambda rating: fingerprint([rating[0], ids])
                )
                tie, better = _is_tie(score_a, score_b, tie_band), Label.A if score_a > score_b else Label.B
                self._write(
                    Judgement(
                        prompt_id=prompt_id,
                        clip_a=clip_a,
                        clip_b=clip_b,
                        rater=rater,
                        dimension=dimension,
                        label=Label.TIE if tie else better,
                        source_row=f"{self.source}:{row_a}+{row_b}",
                        content_a=self._clips.known[clip_a].content,
                        content_b=self._clips.known[clip_b].content,
                    )
                )

    def finish(self, on_note: Callable[[str], None]) -> None:
        """Closes the tables and copies the clips that are to be copied; ``on_note`` is told what `Clips.note` says.

        Raises:
            OutputError: the disk is full or the place cannot be written.
        """
        for writer in self._writers.values():
            writer.close()
        self._clips.copy()
        if (note := self._clips.note()) is not None:
            on_note(note)


def _is_tie(score_a: float, score_b: float, tie_band: float) -> bool:
    """Whether scores are apart by the band or less; 0.8 and 0.6 are by a band of 0.2, as they are written."""
    apart = abs(score_a - score_b)
    return apart <= tie_band or (tie_band > 0 and math.isclose(apart, tie_band, rel_tol=1e-9))


def _verdict_key(entry: PairEntry, clip_a: str, clip_b: str) -> tuple[str, ...]:
    """The same for two rows that say the same, whichever clip stands first."""
    names = sorted(entry.labels)
    if clip_a < clip_b:
        return (entry.rater, entry.role, clip_a, clip_b, *(f"{name}={entry.labels[name]}" for name in names))
    return (entry.rater, entry.role, clip_b, clip_a, *(f"{name}={flip(entry.labels[name])}" for name in names))
