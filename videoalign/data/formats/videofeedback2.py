"""VideoFeedback2: scores of single clips for look, text and physics, from 1 to 5; pairs are made within a prompt.

Columns ``video_name, prompt, visual_score, t2v_score, phy_score``; ``video_name`` is a file below ``--clips`` (after
unpacking the archives), ``clip=video_url`` takes the addresses instead. The thinking texts are not read.

The annotators' own export is read as well, JSON with ``info`` and ``labels``: the English prompt, the video's address
and the answers to the three questions for a score, as ``3`` or ``3-Medium``. The folder before the file names the
generator. Comments are not read.
"""

from __future__ import annotations

import re

from videoalign.data.formats.common import Importer, RatingEntry, SourceClip, name_dimensions
from videoalign.data.formats.ratings import RatingsImporter, RatingsOptions
from videoalign.data.source_table import Row, SourceTable
from videoalign.errors import DataError
from videoalign.video.addresses import path_of

QUESTIONS = {
    "\u89c6\u89c9\u8d28\u91cf\u8bc4\u5206": "visual_score",
    "\u6587\u672c\u7b26\u5408\u5ea6\u8bc4\u5206": "t2v_score",
    "\u7269\u7406\u7b26\u5408\u5ea6\u8bc4\u5206": "phy_score",
}
"""What the export calls each score, with a number before it."""

WORDS = ("very poor", "relatively poor", "medium", "relatively good", "very good")
"""Answers from 1 to 5."""

_ENGLISH, _CHINESE = "English Prompt", "\u7ffb\u8bd1\u4e3a\u4e2d\u6587"


class VideoFeedback2Options(RatingsOptions):
    """Settings of ``data import videofeedback2``."""

    clip: str = "video_name"
    """Column with the path or address of the clip; of the annotators' export ``video_name`` or ``video_url``."""
    dimensions: tuple[str, ...] | None = tuple(QUESTIONS.values())
    """Columns that are judged."""
    unnamed_rater: str = "videofeedback2"
    """Name under which the scores are kept; the table does not say who gave them."""


def VideoFeedback2Importer(table: SourceTable, options: VideoFeedback2Options) -> Importer:  # noqa: N802
    """Reads the published table, or the annotators' export."""
    raw = {"info", "labels"} <= set(table.columns)
    return _ExportImporter(options) if raw else RatingsImporter(table, options)


class _ExportImporter:
    """Reads the items of the export."""

    def __init__(self, options: VideoFeedback2Options) -> None:
        if options.clip not in ("video_name", "video_url"):
            raise DataError(f"clip: got '{options.clip}'; of this export wanted video_name or video_url.")
        columns = options.dimensions or tuple(QUESTIONS.values())
        for column in columns:
            if column not in QUESTIONS.values():
                raise DataError(f"dimensions: this export holds {', '.join(QUESTIONS.values())}; got '{column}'.")
        self.dimensions = name_dimensions(columns, options)
        self.by_address, self.rater = options.clip == "video_url", options.unnamed_rater

    def entries(self, row: Row) -> list[RatingEntry]:
        """See `Importer.entries`."""
        given = _answers(row)
        scores = {name: given[column] for name, column in self.dimensions.items() if column in given}
        return [RatingEntry(prompt=_prompt(row), clip=self._clip(row), rater=self.rater, scores=scores)]

    def _clip(self, row: Row) -> SourceClip:
        address = _content(row, "VIDEO", "")
        place = path_of(address)
        if self.by_address:
            return SourceClip(path=address, generator=place.parent.name)
        also = ("/".join(place.parts[-2:]), "/".join(place.parts[-3:]))
        return SourceClip(path=place.name, generator=place.parent.name, also=also)


def _prompt(row: Row) -> str:
    text = _content(row, "TEXT", _ENGLISH).partition(_ENGLISH)[2].partition(_CHINESE)[0].lstrip(": \n").rstrip()
    if not text:
        raise DataError(f"column 'info': nothing stands behind '{_ENGLISH}'; every item needs its prompt.")
    return text


def _content(row: Row, kind: str, holds: str) -> str:
    """The one part of an item that is of this kind and holds this text."""
    parts = [part.optional("content") for part in row.fields("info").objects("data") if part.optional("type") == kind]
    found = [part for part in parts if part and holds in part]
    if len(found) != 1:
        what = f"{kind} with '{holds}'" if holds else kind
        raise DataError(f"column 'info': holds {len(found)} parts of type {what}; wanted one.")
    return found[0]


def _answers(row: Row) -> dict[str, float]:
    """Scores that were given, by column."""
    found: dict[str, float] = {}
    for label in row.objects("labels"):
        answer = label.fields("data")
        question = re.sub(r"^\d+_", "", answer.optional("label"))
        if question not in QUESTIONS:
            continue
        score = _score(question, answer.optional("value"))
        if found.setdefault(QUESTIONS[question], score) != score:
            raise DataError(f"column 'labels': '{question}' is answered twice, with different scores; keep one.")
    return found


def _score(question: str, value: str) -> float:
    """``3``, ``3-Medium`` or ``Medium`` as 3."""
    told = re.fullmatch(r"([1-5])(?:\.0+)?(?:\s*-.*)?", value)
    if told:
        return float(told[1])
    if value.strip().lower() in WORDS:
        return float(WORDS.index(value.strip().lower()) + 1)
    raise DataError(
        f"column 'labels': '{question}' must be answered by 1 to 5, as in 3 or 3-Medium, or by a word of "
        f"{', '.join(WORDS)}; got '{value}'."
    )
