"""Prompts from a file that somebody wrote."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from videoalign.contracts.records import Asked, Prompt, text_of
from videoalign.data.additions import plain_text
from videoalign.data.dataset import prompt_id_with
from videoalign.data.formats.references import reference_at
from videoalign.data.readers import read_lines
from videoalign.data.rows import require_text
from videoalign.data.source_table import SourceTable
from videoalign.errors import DataError
from videoalign.video.addresses import located

MEDIA = "media"
"""Column of the pictures that prompts are asked with."""


@dataclass(frozen=True, kw_only=True)
class PromptFile:
    """The prompts of a file, and what was left out of it."""

    prompts: list[Asked]
    """Each once, in order, as it was written first; texts, and prompts where a picture stands beside the text."""
    num_empty: int
    """Lines or cells that hold nothing."""
    num_repeated: int
    """Prompts that say what an earlier one says, see `near_text`, with the same picture or none."""

    @property
    def texts(self) -> list[str]:
        """Of the prompts."""
        return list(map(text_of, self.prompts))

    def __str__(self) -> str:
        left_out = [f"{number} {what}" for number, what in self._left_out() if number]
        return f"{len(self.prompts)} prompts" + (f", left out: {' and '.join(left_out)}" if left_out else "")

    def _left_out(self) -> list[tuple[int, str]]:
        return [(self.num_empty, "empty"), (self.num_repeated, "repeated or nearly so")]


def near_text(text: str) -> str:
    """A prompt without capitals, spacing, punctuation and forms of letters; near-duplicates share it."""
    plain = plain_text(unicodedata.normalize("NFKC", text))
    return plain_text(re.sub(r"[^\w\s]+", " ", plain)) or plain


def beside_picture(text: str, place: str) -> Prompt:
    """A prompt that is asked with the picture or clip at a place; the id is that of an imported one.

    Raises:
        VideoError: it is missing, damaged, or neither picture nor clip.
    """
    return Prompt(prompt_id=prompt_id_with(text, reference_at(place).key), text=text, media=place)


def read_prompt_file(path: str | Path, column: str = "prompt") -> PromptFile:
    """The prompts of a TXT file (one a line) or of a column of a table, at a path or an address.

    A table may have a column ``media``: the picture that a prompt is asked with, a path from the table or an address.

    Empty ones and near-duplicates of an earlier one are left out and counted.

    Raises:
        DataError: missing, of another kind, without that column, with a prompt that is no text, or with none at all.
        VideoError: a picture that is not there or cannot be read.
    """
    location = str(path)
    prompts = _select(_lines(location) if re.search(r"\.txt(\.gz)?$", location, re.I) else _cells(location, column))
    if not prompts.prompts:
        raise DataError(f"--prompts: {path} holds no prompt; write one a line, or a column '{column}'.")
    return prompts


def read_prompts(path: str | Path, column: str = "prompt") -> list[str]:
    """The texts of `read_prompt_file` alone."""
    return read_prompt_file(path, column).texts


def _lines(location: str) -> Iterator[tuple[str, str]]:
    for number, line in enumerate(read_lines(location), start=1):
        yield _text(f"{location}:{number}", line), ""


def _cells(location: str, column: str) -> Iterator[tuple[str, str]]:
    """Text and place of the picture of each row."""
    table = SourceTable.open(location)
    table.require(column)
    for row in table.rows:
        try:
            text, media = row.optional(column), row.optional(MEDIA)
        except DataError as error:
            raise DataError(f"{table.location}:{row.place}: {error}") from None
        yield _text(f"{table.location}:{row.place}", text), located(media, table.folder) if media else ""


def _text(where: str, text: str) -> str:
    try:
        return require_text(text)
    except DataError as error:
        raise DataError(f"{where}: {error}") from None


def _select(rows: Iterable[tuple[str, str]]) -> PromptFile:
    given = [(text.strip(), media) for text, media in rows]
    written = [(text, media) for text, media in given if text]
    kept: dict[tuple[str, str], str] = {}
    for text, media in written:
        kept.setdefault((near_text(text), media), text)
    prompts: list[Asked] = [beside_picture(text, media) if media else text for (_, media), text in kept.items()]
    return PromptFile(prompts=prompts, num_empty=len(given) - len(written), num_repeated=len(written) - len(kept))
