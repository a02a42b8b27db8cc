"""Tables that somebody else wrote: CSV, JSONL or Parquet, row by row, each row knowing where it stood."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from videoalign.data.tables import to_float
from videoalign.errors import DataError, did_you_mean


@dataclass(frozen=True)
class Row:
    """One row, as it was written."""

    number: int
    """Line in a CSV or JSONL file, counted from 1 (a CSV's heading is line 1); in Parquet, the row counted from 1."""
    cells: Mapping[str, Any]

    def text(self, column: str) -> str:
        """A cell that must hold something, without surrounding space.

        Raises:
            DataError: it is empty.
        """
        text = self.optional(column)
        if not text:
            raise DataError(f"column '{column}' is empty; every row needs it.")
        return text

    def optional(self, column: str | None) -> str:
        """A cell as text; empty where the column, or what it should hold, is missing."""
        value = self.cells.get(column) if column is not None else None
        return "" if value is None or value != value else str(value).strip()

    def number_or_none(self, column: str) -> float | None:
        """A cell as a number; None where it is empty.

        Raises:
            DataError: it holds something else.
        """
        text = self.optional(column)
        try:
            return to_float(text) if text else None
        except ValueError:
            raise DataError(f"column '{column}' must hold a number; got '{text}'.") from None


@dataclass(frozen=True)
class SourceTable:
    """A whole table."""

    location: str
    """Path or address it was read from."""
    columns: tuple[str, ...]
    rows: tuple[Row, ...]

    @classmethod
    def open(cls, location: str | Path) -> SourceTable:
        """Reads a table; an address such as s3://bucket/pairs.csv goes through fsspec.

        Raises:
            DataError: missing, of an unknown kind, malformed or empty.
        """
        location = str(location)
        suffix = location.rpartition(".")[2].lower()
        if suffix not in READERS:
            raise DataError(f"{location}: a table must end in .{', .'.join(READERS)}; convert it or rename it.")
        columns, rows = READERS[suffix](location, _read(location))
        if not rows:
            raise DataError(f"{location}: the table has no rows.")
        return cls(location, columns, tuple(rows))

    @property
    def name(self) -> str:
        """Last part of the location."""
        return self.location.rpartition("/")[2]

    @property
    def folder(self) -> str:
        """The folder or address that the table stands in."""
        head, slash, _ = self.location.rpartition("/")
        return head if slash else "."

    def require(self, *columns: str) -> None:
        """Nothing when the table has these columns.

        Raises:
            DataError: one is missing.
        """
        for column in columns:
            if column not in self.columns:
                raise DataError(f"{self.location}: no column '{column}'.{did_you_mean(column, self.columns)}")


def _read(location: str) -> bytes:
    try:
        if "://" in location:
            import fsspec

            with fsspec.open(location, "rb") as file:
                content: bytes = file.read()
            return content
        return Path(location).read_bytes()
    except FileNotFoundError:
        raise DataError(f"{location}: no such file.") from None
    except (IsADirectoryError, PermissionError) as error:
        raise DataError(f"{location}: cannot be read ({error.strerror}).") from None
    except (ImportError, ValueError) as error:
        raise DataError(f"{location}: cannot be fetched from here ({error}).") from None


def _text(location: str, content: bytes) -> str:
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(f"{location}: is not UTF-8 ({error.reason} at byte {error.start}); save it as UTF-8.") from None


def _read_csv(location: str, content: bytes) -> tuple[tuple[str, ...], list[Row]]:
    reader = csv.reader(io.StringIO(_text(location, content), newline=""), strict=True)
    rows: list[Row] = []
    try:
        columns = tuple(name.strip() for name in next(reader, []))
        if len(set(columns)) < len(columns):
            raise DataError(f"{location}:1: a column name stands twice in {', '.join(columns)}.")
        first_line = reader.line_num + 1
        for cells in reader:
            if cells:
                if len(cells) != len(columns):
                    raise DataError(f"{location}:{first_line}: has {len(cells)} cells; the heading has {len(columns)}.")
                rows.append(Row(first_line, dict(zip(columns, cells, strict=True))))
            first_line = reader.line_num + 1
    except csv.Error as error:
        raise DataError(f"{location}:{reader.line_num}: is not CSV ({error}).") from None
    return columns, rows


def _read_jsonl(location: str, content: bytes) -> tuple[tuple[str, ...], list[Row]]:
    rows: list[Row] = []
    columns: dict[str, None] = {}
    for number, line in enumerate(_text(location, content).split("\n"), start=1):
        if not line.strip():
            continue
        try:
            cells = json.loads(line)
        except json.JSONDecodeError as error:
            raise DataError(f"{location}:{number}: is not JSON ({error.msg}).") from None
        if not isinstance(cells, dict):
            raise DataError(
                f"{location}:{number}: must be an object with a value per column; got {type(cells).__name__}."
            )
        columns.update(dict.fromkeys(cells))
        rows.append(Row(number, cells))
    return tuple(columns), rows


def _read_parquet(location: str, content: bytes) -> tuple[tuple[str, ...], list[Row]]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        table = pq.read_table(io.BytesIO(content))
    except pa.ArrowInvalid as error:
        raise DataError(f"{location}: truncated or not Parquet ({error}).") from None
    return tuple(table.column_names), [Row(number, cells) for number, cells in enumerate(table.to_pylist(), start=1)]


READERS = {"csv": _read_csv, "jsonl": _read_jsonl, "parquet": _read_parquet}
"""How each kind of table is read, by the ending of its name."""
