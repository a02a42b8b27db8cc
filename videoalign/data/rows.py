"""One row of somebody's table, and its cells as text, numbers, lists or objects."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from videoalign.data.tables import to_float
from videoalign.errors import DataError

_MISSING_WORDS = "NaN nan -NaN -nan NULL null None NA N/A n/a <NA> #N/A #NA 1.#IND -1.#IND 1.#QNAN -1.#QNAN"

MISSING = frozenset([*_MISSING_WORDS.split(), "#N/A N/A"])
"""Texts that stand for a missing value, those of pandas."""

_WHOLE = re.compile(r"(?P<digits>[+-]?[0-9]{1,400})(\.0*|[eE]\+?(?P<power>[0-9]{1,2}))?")
_FLOATS_LOSE = 2**53
"""Whole numbers from here on may be others where they went through a floating-point number."""


def require_text(text: str) -> str:
    """The same text.

    Raises:
        DataError: it holds half a character or a zero byte, which no table or database keeps.
    """
    if re.search("[\0\ud800-\udfff]", text):
        raise DataError(f"{ascii(text)[:80]} holds a character that is no text; write it anew.")
    return text


@dataclass(frozen=True)
class Row:
    """One row, as it was written; or an object within one."""

    number: int
    """Line in a CSV or JSONL file, counted from 1 (a CSV's heading is line 1); in Parquet and JSON, the row counted
    from 1."""
    cells: Mapping[str, Any]
    line: int | None = None
    """Line that an item of a JSON array begins in; None where ``number`` is the line or there are none."""

    @property
    def place(self) -> str:
        """Where it stands in its file, as in ``12`` or ``3 (line 41)``."""
        return str(self.number) if self.line is None else f"{self.number} (line {self.line})"

    def text(self, column: str) -> str:
        """A cell that must hold something, without surrounding space.

        Raises:
            DataError: it is empty.
        """
        text = self.optional(column)
        if not text:
            written = str(self.cells.get(column) or "").strip()
            what = f"holds '{written}', which stands for a missing value" if written in MISSING else "is empty"
            raise DataError(f"column '{column}' {what}; every row needs it.")
        return text

    def optional(self, column: str | None) -> str:
        """A cell as text; empty where the column, or what it should hold, is missing or one of `MISSING`.

        Raises:
            DataError: it holds a list, an object or bytes.
        """
        value = self.cells.get(column) if column is not None else None
        if isinstance(value, str):
            text = value.strip()
            return "" if text in MISSING else text
        if isinstance(value, Mapping | list | bytes):
            raise DataError(f"column '{column}' must hold text or a number; got {type(value).__name__}.")
        return "" if value is None or value != value else str(value)

    def number_or_none(self, column: str) -> float | None:
        """A cell as a number; None where it is empty.

        Raises:
            DataError: it holds something else.
        """
        text = self.optional(column)
        try:
            return to_float(text.replace("_", "no digit")) if text else None
        except ValueError:
            raise DataError(f"column '{column}' must hold a number; got '{text}'.") from None

    def whole_or_none(self, column: str, allowed: range) -> int | None:
        """A cell as a whole number, to the last digit; None where it is empty.

        ``7``, ``7.0`` and ``7e3`` are whole; a number that lost digits on its way, as 1.8e19 in a spreadsheet, is none.

        Raises:
            DataError: it holds something else, or a number that is not allowed.
        """
        text = self.optional(column)
        if not text:
            return None
        found = _WHOLE.fullmatch(text)
        number = int(found["digits"]) * 10 ** int(found["power"] or 0) if found else None
        exact = found is not None and found["digits"] == text
        if number is None or not (exact or abs(number) < _FLOATS_LOSE):
            raise DataError(f"column '{column}' must hold a whole number with all its digits; got '{text}'.")
        if number not in allowed:
            raise DataError(
                f"column '{column}' must hold a whole number from {allowed[0]} to {allowed[-1]}; got '{text}'."
            )
        return number

    def fields(self, column: str) -> Row:
        """The object in a cell, or in the JSON that it holds; an empty cell is an empty object.

        Raises:
            DataError: it holds something else.
        """
        value = self._parsed(column)
        if not isinstance(value, Mapping | None):
            raise DataError(f"column '{column}' must hold an object; got {type(value).__name__}.")
        return Row(self.number, value or {}, self.line)

    def items(self, column: str) -> list[Any]:
        """The list in a cell, or in the JSON that it holds; an empty cell is an empty list.

        Raises:
            DataError: it holds something else.
        """
        value = self._parsed(column)
        if not isinstance(value, list | None):
            raise DataError(f"column '{column}' must hold a list; got {type(value).__name__}.")
        return value or []

    def objects(self, column: str) -> list[Row]:
        """The list of objects in a cell.

        Raises:
            DataError: it holds something else.
        """
        items = self.items(column)
        if not all(isinstance(item, Mapping) for item in items):
            raise DataError(f"column '{column}' must hold a list of objects.")
        return [Row(self.number, item, self.line) for item in items]

    def _parsed(self, column: str) -> Any:
        value = self.cells.get(column)
        if not isinstance(value, str):
            return value
        try:
            return json.loads(value) if value.strip() else None
        except (ValueError, RecursionError) as error:
            raise DataError(f"column '{column}' is not JSON ({error}).") from None


class ColumnWatch:
    """Sees which columns of a table somebody reads."""

    def __init__(self) -> None:
        self._read: set[str] = set()
        self._examples: dict[str, str] = {}

    def over(self, row: Row) -> Row:
        """The same row, watched."""
        for name, value in row.cells.items():
            if name not in self._examples and value not in (None, "", [], {}, *MISSING):
                text = f"a {type(value).__name__}" if isinstance(value, Mapping | list | bytes) else str(value)[:40]
                self._examples[name] = text.encode("utf-8", "backslashreplace").decode()
        return replace(row, cells=_Watched(row.cells, self._read))

    def unread(self) -> dict[str, str]:
        """A cell of each column that holds something and that nobody read."""
        return {name: text for name, text in self._examples.items() if name not in self._read}


class _Watched(dict[str, Any]):
    def __init__(self, cells: Mapping[str, Any], read: set[str]) -> None:
        super().__init__(cells)
        self._read = read

    def get(self, name: str, default: Any = None) -> Any:
        self._read.add(name)
        return super().get(name, default)
