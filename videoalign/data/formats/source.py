"""Tables that somebody else wrote: CSV, JSONL, JSON or Parquet, row by row, each row knowing where it stood."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

from videoalign.data.tables import to_float
from videoalign.errors import DataError, did_you_mean
from videoalign.video.addresses import folder_of, is_address, opened, path_of, plain_place

_LONGEST_CELL = 1 << 27
"""Characters in a CSV cell; the csv module's own limit is too short for the votes that some tables hold."""

_PARQUET_ROWS = 256
"""Rows of Parquet that are held at a time; few, since a cell may hold a video."""


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
            raise DataError(f"column '{column}' is empty; every row needs it.")
        return text

    def optional(self, column: str | None) -> str:
        """A cell as text; empty where the column, or what it should hold, is missing.

        Raises:
            DataError: it holds a list, an object or bytes.
        """
        value = self.cells.get(column) if column is not None else None
        if isinstance(value, str):
            return value.strip()
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
            return to_float(text) if text else None
        except ValueError:
            raise DataError(f"column '{column}' must hold a number; got '{text}'.") from None

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


@dataclass(frozen=True)
class SourceTable:
    """A table; its rows are read from the file each time they are asked for, and not kept."""

    location: str
    """Path or address it is read from."""
    columns: tuple[str, ...]
    num_rows: int

    @classmethod
    def open(cls, location: str | Path) -> SourceTable:
        """Looks through a table once, for its columns and whether all of it can be read.

        An address such as s3://bucket/pairs.csv goes through fsspec. Of a folder, the one table in it is taken.

        Raises:
            DataError: missing, of an unknown kind, malformed or empty; or a folder with no table or several.
        """
        location = plain_place(location)
        if not is_address(location) and Path(location).is_dir():
            location = _only_table(Path(location))
        suffix = _suffix(location)
        if suffix not in READERS:
            raise DataError(f"{location}: a table must end in .{', .'.join(READERS)}; convert it or rename it.")
        columns, num_rows = READERS[suffix].scan(location)
        if not num_rows:
            raise DataError(f"{location}: the table has no rows.")
        return cls(location, columns, num_rows)

    @property
    def rows(self) -> Iterator[Row]:
        """The rows in order, from the start.

        Raises:
            DataError: the file can no longer be read.
        """
        return READERS[_suffix(self.location)].rows(self.location)

    @property
    def name(self) -> str:
        """Last part of the location."""
        return path_of(self.location).name

    @property
    def folder(self) -> str:
        """The folder or address that the table stands in."""
        return folder_of(self.location)

    def require(self, *columns: str) -> None:
        """Nothing when the table has these columns.

        Raises:
            DataError: one is missing.
        """
        for column in columns:
            if column not in self.columns:
                raise DataError(f"{self.location}: no column '{column}'.{did_you_mean(column, self.columns)}")


def _suffix(location: str) -> str:
    return path_of(location).suffix.lower().removeprefix(".")


def _only_table(folder: Path) -> str:
    tables = sorted(file.name for file in folder.iterdir() if file.suffix.lower().removeprefix(".") in READERS)
    if len(tables) != 1:
        what = f"holds {len(tables)} tables ({', '.join(tables[:4])})" if tables else "holds no table"
        raise DataError(f"{folder}: {what}; give the path of the one that is meant.")
    return str(folder / tables[0])


@contextmanager
def _opened(location: str) -> Iterator[BinaryIO]:
    try:
        with opened(location) as file:
            yield file
    except FileNotFoundError:
        raise DataError(f"{location}: no such file.") from None
    except (IsADirectoryError, PermissionError) as error:
        raise DataError(f"{location}: cannot be read ({error.strerror or 'no permission'}).") from None


def _csv_rows(location: str) -> Iterator[Row]:
    csv.field_size_limit(_LONGEST_CELL)
    with _opened(location) as file, io.TextIOWrapper(file, "utf-8-sig", newline="") as text:
        reader = csv.reader(text, strict=True)
        try:
            columns = tuple(name.strip() for name in next(reader, []))
            _require_different(f"{location}:1", columns)
            first_line = reader.line_num + 1
            for cells in reader:
                if cells:
                    if len(cells) != len(columns):
                        raise DataError(
                            f"{location}:{first_line}: has {len(cells)} cells; the heading has {len(columns)}."
                        )
                    yield Row(first_line, dict(zip(columns, cells, strict=True)))
                first_line = reader.line_num + 1
        except csv.Error as error:
            raise DataError(f"{location}:{reader.line_num}: is not CSV ({error}).") from None
        except UnicodeDecodeError as error:
            line = _line_of_wrong_bytes(location)
            raise DataError(f"{location}:{line}: is not UTF-8 ({error.reason}); save it as UTF-8.") from None


def _line_of_wrong_bytes(location: str) -> int:
    """The line that is not UTF-8; the decoder reads ahead and cannot tell."""
    number = 0
    with _opened(location) as file, suppress(UnicodeDecodeError):
        for line in file:
            number += 1
            line.decode("utf-8")
    return number


def _require_different(where: str, columns: Sequence[str]) -> None:
    if len(set(columns)) < len(columns):
        raise DataError(f"{where}: a column name stands twice in {', '.join(columns)}.")


def _jsonl_rows(location: str) -> Iterator[Row]:
    with _opened(location) as file:
        for number, line in enumerate(file, start=1):
            if line.strip():
                yield Row(number, _object(f"{location}:{number}", _parsed(f"{location}:{number}", line)))


def _json_rows(location: str) -> Iterator[Row]:
    with _opened(location) as file:
        content = file.read()
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise DataError(f"{location}:{line}: is not UTF-8 ({error.reason}); save it as UTF-8.") from None
    if not text.lstrip().startswith("["):
        for number, item in enumerate(_items_of(location, _parsed(location, content)), start=1):
            yield Row(number, _object(f"{location}:{number}", item))
        return
    for number, (line, item) in enumerate(_array_items(location, text), start=1):
        yield Row(number, _object(f"{location}:{number} (line {line})", item), line)


def _items_of(location: str, whole: Any) -> list[Any]:
    """What is listed in a JSON file that is not itself a list: the objects by name, or the only list of objects."""
    values = list(whole.values()) if isinstance(whole, dict) else []
    if values and all(isinstance(value, dict) for value in values):
        return values
    lists = [value for value in values if isinstance(value, list)]
    if len(lists) != 1:
        raise DataError(f"{location}: must hold a list of objects, or an object with one such list; mend it.")
    return list(lists[0])


def _array_items(location: str, text: str) -> Iterator[tuple[int, Any]]:
    """Line and value of each item."""
    decoder, position, line = json.JSONDecoder(), text.index("[") + 1, 1
    counted = 0
    while True:
        position = _after_space(text, position)
        line, counted = line + text.count("\n", counted, position), position
        if text[position : position + 1] == "]":
            break
        try:
            item, position = decoder.raw_decode(text, position)
        except (ValueError, RecursionError) as error:
            where = getattr(error, "lineno", line)
            raise DataError(f"{location}:{where}: is not JSON ({getattr(error, 'msg', error)}).") from None
        yield line, item
        position = _after_space(text, position)
        if text[position : position + 1] not in (",", "]"):
            raise DataError(
                f"{location}:{line + text.count(chr(10), counted, position)}: is not JSON (a list cut off)."
            )
        position += text[position] == ","
    if text[position + 1 :].strip():
        raise DataError(f"{location}:{line}: is not JSON (more after the list).")


def _after_space(text: str, position: int) -> int:
    while text[position : position + 1] in (" ", "\t", "\n", "\r"):
        position += 1
    return position


def _parsed(where: str, content: bytes) -> Any:
    try:
        return json.loads(content)
    except json.JSONDecodeError as error:
        line = f":{error.lineno}" if error.lineno > 1 else ""
        raise DataError(f"{where}{line}: is not JSON ({error.msg}).") from None
    except (ValueError, RecursionError) as error:
        reason = f"UTF-8 ({error.reason})" if isinstance(error, UnicodeDecodeError) else f"JSON ({error})"
        raise DataError(f"{where}: is not {reason}; mend it.") from None


def _object(where: str, value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise DataError(f"{where}: must be an object with a value per column; got {type(value).__name__}.")
    return value


def _parquet_rows(location: str) -> Iterator[Row]:
    number = 0
    with _parquet(location) as file:
        for batch in file.iter_batches(batch_size=_PARQUET_ROWS):
            for cells in batch.to_pylist():
                number += 1
                yield Row(number, cells)


def _parquet_scan(location: str) -> tuple[tuple[str, ...], int]:
    with _parquet(location) as file:
        columns = tuple(file.schema_arrow.names)
        _require_different(location, columns)
        return columns, file.metadata.num_rows


@contextmanager
def _parquet(location: str) -> Iterator[Any]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    with _opened(location) as file:
        try:
            yield pq.ParquetFile(file)
        except (pa.ArrowInvalid, OSError) as error:
            raise DataError(f"{location}: truncated or not Parquet ({error}).") from None


def _scan(rows: Callable[[str], Iterator[Row]]) -> Callable[[str], tuple[tuple[str, ...], int]]:
    """Columns, in the order in which they first appear, and number of rows, by reading them all."""

    def scan(location: str) -> tuple[tuple[str, ...], int]:
        columns: dict[str, None] = {}
        number = 0
        for row in rows(location):
            number += 1
            if not columns.keys() >= row.cells.keys():
                columns.update(dict.fromkeys(row.cells))
        return tuple(columns), number

    return scan


class _Kind(NamedTuple):
    scan: Callable[[str], tuple[tuple[str, ...], int]]
    rows: Callable[[str], Iterator[Row]]


READERS = {
    "csv": _Kind(_scan(_csv_rows), _csv_rows),
    "jsonl": _Kind(_scan(_jsonl_rows), _jsonl_rows),
    "parquet": _Kind(_parquet_scan, _parquet_rows),
    "json": _Kind(_scan(_json_rows), _json_rows),
}
"""How each kind of table is read, by the ending of its name."""
