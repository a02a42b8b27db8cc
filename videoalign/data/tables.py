"""Records on disk: one Parquet file a table, written whole or not at all."""

from __future__ import annotations

import dataclasses
import sys
from array import array
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from operator import attrgetter
from pathlib import Path
from typing import Any, Generic, TypeVar, get_type_hints

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from videoalign.contracts.output import whole_file
from videoalign.contracts.records import Seed
from videoalign.errors import DataError, did_you_mean

Record = TypeVar("Record")

_ROWS_OF_A_GROUP = 65_536

SEED_TYPE = pa.decimal128(20, 0)
"""Has room for every `Seed`; the integers of older tables are read as well."""

_ARROW = {str: pa.string(), int: pa.int64(), float: pa.float64(), Seed: SEED_TYPE}


def schema_of(record: type) -> pa.Schema:
    """Columns of a record class: its fields, in order, none of them nullable."""
    hints = get_type_hints(record, include_extras=True)
    return pa.schema([pa.field(f.name, _ARROW[hints[f.name]], nullable=False) for f in dataclasses.fields(record)])


class RecordWriter(Generic[Record]):
    """Appends records to a Parquet file, a row group at a time, so that any number fits in memory."""

    def __init__(self, path: Path, record: type[Record]) -> None:
        self._schema = schema_of(record)
        self._rows: list[Record] = []
        self._file = pq.ParquetWriter(path, self._schema)

    def add(self, row: Record) -> None:
        """Takes in one record; it is on disk after `close`."""
        self._rows.append(row)
        if len(self._rows) == _ROWS_OF_A_GROUP:
            self._flush()

    def close(self) -> None:
        """Writes what is left and the end of the file."""
        if self._rows:
            self._flush()
        self._file.close()

    def _flush(self) -> None:
        columns = zip(*map(attrgetter(*self._schema.names), self._rows), strict=True)
        values = [
            list(map(int, column) if kind == SEED_TYPE else column)
            for kind, column in zip(self._schema.types, columns, strict=True)
        ]
        self._file.write_table(pa.table(values, schema=self._schema))
        self._rows.clear()


def write_records(path: Path, record: type[Record], rows: Iterable[Record]) -> None:
    """The whole table, replacing what was there.

    Raises:
        OutputError: the disk is full or the place cannot be written.
    """
    with whole_file(path) as aside:
        writer = RecordWriter(aside, record)
        for row in rows:
            writer.add(row)
        writer.close()


def read_records(path: Path, record: type[Record]) -> list[Record]:
    """The whole table in its order; an absent file is an empty table, an absent column holds its default if it has one.

    Raises:
        DataError: not Parquet, a column is missing, unknown, of another type or has gaps.
    """
    return list(stream_records(path, record))


def stream_records(path: Path, record: type[Record]) -> Iterator[Record]:
    """As `read_records`, one after the other; those before are not held."""
    for part in read_columns(path, record, schema_of(record).names):
        yield from records_of(part, record)


def records_of(table: pa.Table, record: type[Record]) -> Iterator[Record]:
    """The rows of a table with the columns of `schema_of`; equal texts are one object, however many rows hold them."""
    names = table.column_names
    for row in zip(*(_values(table[name].combine_chunks()) for name in names), strict=True):
        yield record(**dict(zip(names, row, strict=True)))


def _values(column: pa.Array) -> Iterable[Any]:
    if column.type == SEED_TYPE:
        try:
            column = column.cast(pa.int64())
        except pa.ArrowInvalid:  # some need 64 bits without a sign
            return map(int, column.to_pylist())
    if not pa.types.is_string(column.type):
        return list(column.to_pylist())
    coded = column.dictionary_encode()
    return map(list(map(sys.intern, coded.dictionary.to_pylist())).__getitem__, coded.indices.to_pylist())


def read_columns(path: Path, record: type, names: Sequence[str]) -> Iterator[pa.Table]:
    """Some columns of a table, a part of its rows at a time; see `read_records` for what is absent and the errors."""
    if not path.exists():
        return
    with _of_parquet(path), pq.ParquetFile(path) as file:
        _checked(path, file.schema_arrow.empty_table(), record, names)
        present = [name for name in names if name in file.schema_arrow.names]
        for batch in file.iter_batches(batch_size=_ROWS_OF_A_GROUP, columns=present):
            yield _checked(path, pa.Table.from_batches([batch]), record, names)


def _checked(path: Path, table: pa.Table, record: type, names: Sequence[str]) -> pa.Table:
    schema = schema_of(record)
    for name in table.column_names:
        if name not in schema.names:
            raise DataError(f"{path}: unknown column '{name}'.{did_you_mean(name, schema.names)}")
    defaults = {field.name: field.default for field in dataclasses.fields(record)}
    for name in names:
        if name not in table.column_names:
            if defaults[name] is dataclasses.MISSING:
                raise DataError(f"{path}: column '{name}' is missing; the table needs {', '.join(schema.names)}.")
            table = table.append_column(name, pa.array([defaults[name]] * len(table), schema.field(name).type))
        if schema.field(name).type == SEED_TYPE and pa.types.is_floating(table[name].type):
            raise DataError(f"{path}: a column has another type than it needs: '{name}' must hold whole numbers.")
        if table[name].null_count:
            raise DataError(f"{path}: column '{name}' has empty cells; every row needs a value.")
    try:
        return table.select(names).cast(pa.schema([schema.field(name) for name in names]))
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError, ValueError) as error:
        raise DataError(f"{path}: a column has another type than it needs: {error}") from None


def write_table(path: Path, table: pa.Table) -> None:
    """An Arrow table as a Parquet file."""
    with whole_file(path) as aside:
        pq.write_table(table, aside)


def write_columns(path: Path, columns: Mapping[str, tuple[type, Sequence[Any]]]) -> None:
    """A table of named columns, each with the type of its values; None stands where there is none.

    Half a character in a text, which no table holds, is written as in ``\\ud83d``.
    """
    arrays = {
        name: texts(values) if kind is str else pa.array(values, _ARROW[kind])
        for name, (kind, values) in columns.items()
    }
    write_table(path, pa.table(arrays))


def texts(values: Iterable[Any]) -> pa.Array:
    """A column of texts; see `write_columns`."""
    plain = (None if one is None else str(one).encode("utf-8", "backslashreplace").decode() for one in values)
    return pa.array(plain, pa.string())


@contextmanager
def _of_parquet(path: Path) -> Iterator[None]:
    try:
        yield
    except pa.ArrowInvalid as error:
        raise DataError(f"{path}: truncated or not Parquet ({error}).") from None
    except FileNotFoundError:
        raise
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror or error}).") from None


def read_table(path: Path) -> pa.Table:
    """A Parquet file as an Arrow table.

    Raises:
        DataError: not Parquet.
    """
    with _of_parquet(path):
        return pq.read_table(path)


def read_schema(path: Path) -> pa.Schema:
    """Columns and metadata of a Parquet file.

    Raises:
        DataError: not Parquet.
    """
    with _of_parquet(path):
        return pq.read_schema(path)


class GrowingTable:
    """Rows of numbers by a key, written to numbered Parquet files of one folder as they come, and those that are there
    already."""

    def __init__(self, folder: Path | None, names: Sequence[str], *, part: int) -> None:
        """Reads what is there.

        Args:
            folder: holds the files; None keeps rows in memory alone.
            names: of the numbers in a row, the columns beside ``clip``, the key.
            part: rows of a file, at least; `close` writes the rest.
        """
        self.folder, self.names, self.part = folder, names, part
        self.places: dict[str, int] = {}
        self.numbers = array("d")
        self.waiting: list[str] = []
        self.files = sorted(folder.glob("*.parquet")) if folder is not None else []
        for file in self.files:
            table = read_table(file)
            numbers = np.stack([table[name].to_numpy() for name in names], axis=1)
            self._take(table["clip"].to_pylist(), numbers)

    def __contains__(self, key: str) -> bool:
        return key in self.places

    def rows(self, keys: Sequence[str]) -> np.ndarray:
        """The numbers of rows, float64 (N, D); NaN of a key that is not there."""
        places = np.fromiter((self.places.get(key, -1) for key in keys), np.int64, len(keys))
        found = np.full((len(keys), len(self.names)), np.nan)
        found[places >= 0] = np.asarray(self.numbers).reshape(-1, len(self.names))[places[places >= 0]]
        return found

    def _take(self, keys: Sequence[str], rows: np.ndarray | Sequence[np.ndarray]) -> None:
        for key, row in zip(keys, rows, strict=True):
            self.places[key] = len(self.numbers) // len(self.names)
            self.numbers.extend(row.tolist())

    def add(self, rows: Mapping[str, np.ndarray]) -> None:
        """Takes in rows by their keys."""
        self._take(list(rows), list(rows.values()))
        self.waiting += rows
        if len(self.waiting) >= self.part:
            self.close()

    def close(self) -> None:
        """Writes what is not yet written."""
        if self.folder is None or not self.waiting:
            return
        columns: dict[str, tuple[type, Any]] = {"clip": (str, self.waiting)}
        columns |= {name: (float, row) for name, row in zip(self.names, self.rows(self.waiting).T, strict=True)}
        self.files.append(self.folder / f"{len(self.files):05d}.parquet")
        write_columns(self.files[-1], columns)
        self.waiting = []


def to_float(value: Any) -> float:
    """A finite number from a cell.

    Raises:
        ValueError: not a finite number.
    """
    number = float(value)
    if number != number or number in (float("inf"), float("-inf")):
        raise ValueError(f"{value} is not a finite number")
    return number
