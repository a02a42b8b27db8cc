"""Prompts from a file that somebody wrote."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from videoalign.data.additions import plain_text
from videoalign.data.readers import read_lines
from videoalign.data.rows import require_text
from videoalign.data.source_table import SourceTable
from videoalign.errors import DataError


@dataclass(frozen=True, kw_only=True)
class PromptFile:
    """The prompts of a file, and what was left out of it."""

    texts: list[str]
    """Each once, in order, as it was written first."""
    num_empty: int
    """Lines or cells that hold nothing."""
    num_repeated: int
    """Prompts that say what an earlier one says, see `near_text`."""

    def __str__(self) -> str:
        left_out = [f"{number} {what}" for number, what in self._left_out() if number]
        return f"{len(self.texts)} prompts" + (f", left out: {' and '.join(left_out)}" if left_out else "")

    def _left_out(self) -> list[tuple[int, str]]:
        return [(self.num_empty, "empty"), (self.num_repeated, "repeated or nearly so")]


def near_text(text: str) -> str:
    """A prompt without capitals, spacing, punctuation and forms of letters; near-duplicates share it."""
    plain = plain_text(unicodedata.normalize("NFKC", text))
    return plain_text(re.sub(r"[^\w\s]+", " ", plain)) or plain


def read_prompt_file(path: str | Path, column: str = "prompt") -> PromptFile:
    """The prompts of a TXT file (one a line) or of a column of a table, at a path or an address.

    Empty ones and near-duplicates of an earlier one are left out and counted.

    Raises:
        DataError: missing, of another kind, without that column, with a prompt that is no text, or with none at all.
    """
    location = str(path)
    prompts = _select(_lines(location) if re.search(r"\.txt(\.gz)?$", location, re.I) else _cells(location, column))
    if not prompts.texts:
        raise DataError(f"--prompts: {path} holds no prompt; write one a line, or a column '{column}'.")
    return prompts


def read_prompts(path: str | Path, column: str = "prompt") -> list[str]:
    """The texts of `read_prompt_file` alone."""
    return read_prompt_file(path, column).texts


def _lines(location: str) -> Iterator[str]:
    for number, line in enumerate(read_lines(location), start=1):
        yield _text(f"{location}:{number}", line)


def _cells(location: str, column: str) -> Iterator[str]:
    table = SourceTable.open(location)
    table.require(column)
    for row in table.rows:
        try:
            text = row.optional(column)
        except DataError as error:
            raise DataError(f"{table.location}:{row.place}: {error}") from None
        yield _text(f"{table.location}:{row.place}", text)


def _text(where: str, text: str) -> str:
    try:
        return require_text(text)
    except DataError as error:
        raise DataError(f"{where}: {error}") from None


def _select(texts: Iterable[str]) -> PromptFile:
    given = [text.strip() for text in texts]
    written = [text for text in given if text]
    kept: dict[str, str] = {}
    for text in written:
        kept.setdefault(near_text(text), text)
    return PromptFile(
        texts=list(kept.values()), num_empty=len(given) - len(written), num_repeated=len(written) - len(kept)
    )
