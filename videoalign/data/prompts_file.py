"""Prompts from a file that somebody wrote."""

from __future__ import annotations

from pathlib import Path

from videoalign.data.formats.source import SourceTable
from videoalign.errors import DataError


def read_prompts(path: str | Path, column: str = "prompt") -> list[str]:
    """The prompts of a TXT file (one a line) or of a column of a CSV, JSONL or Parquet table, each once, in order.

    Raises:
        DataError: missing, of another kind, without that column, an empty cell, or no prompt at all.
    """
    if str(path).endswith(".txt"):
        try:
            lines = Path(path).read_text(encoding="utf-8").splitlines()
        except FileNotFoundError:
            raise DataError(f"--prompts: {path}: no such file.") from None
        texts = [line.strip() for line in lines if line.strip()]
    else:
        table = SourceTable.open(path)
        table.require(column)
        texts = [row.optional(column) for row in table.rows]
        if "" in texts:
            line = table.rows[texts.index("")].number
            raise DataError(f"--prompts: {path}:{line}: column '{column}' is empty; every row needs a prompt.")
    if not texts:
        raise DataError(f"--prompts: {path} holds no prompt; write one a line, or a column '{column}'.")
    return list(dict.fromkeys(texts))
