"""Prompts from a file that somebody wrote."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from videoalign.data.formats.source import SourceTable
from videoalign.data.split import plain_text
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
    """The prompts of a TXT file (one a line) or of a column of a CSV, JSONL, JSON or Parquet table.

    Empty ones and near-duplicates of an earlier one are left out and counted.

    Raises:
        DataError: missing, of another kind, without that column, or no prompt at all.
    """
    if str(path).endswith(".txt"):
        prompts = _select(_lines(Path(path)))
    else:
        table = SourceTable.open(path)
        table.require(column)
        prompts = _select(row.optional(column) for row in table.rows)
    if not prompts.texts:
        raise DataError(f"--prompts: {path} holds no prompt; write one a line, or a column '{column}'.")
    return prompts


def read_prompts(path: str | Path, column: str = "prompt") -> list[str]:
    """The texts of `read_prompt_file` alone."""
    return read_prompt_file(path, column).texts


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="utf-8-sig").splitlines()
    except FileNotFoundError:
        raise DataError(f"--prompts: {path}: no such file.") from None
    except UnicodeDecodeError as error:
        raise DataError(f"--prompts: {path}: is not UTF-8 ({error.reason}); save it as UTF-8.") from None


def _select(texts: Iterable[str]) -> PromptFile:
    given = [text.strip() for text in texts]
    written = [text for text in given if text]
    kept: dict[str, str] = {}
    for text in written:
        kept.setdefault(near_text(text), text)
    return PromptFile(
        texts=list(kept.values()), num_empty=len(given) - len(written), num_repeated=len(written) - len(kept)
    )
