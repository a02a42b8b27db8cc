"""Files of tables and of lines, row by row: CSV of any dialect, JSON, Parquet; text may be packed with gzip."""

from __future__ import annotations

import codecs
import csv
import gzip
import io
import json
import re
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from itertools import chain
from typing import Any, NamedTuple, TextIO

from videoalign.data.rows import Row
from videoalign.errors import DataError
from videoalign.video.addresses import open_bytes, path_of

DELIMITERS = ",;\t|"
"""What may stand between the cells of a CSV file."""

_LONGEST_CELL = 1 << 27
"""Characters in a CSV cell; the csv module's own limit is too short for the votes that some tables hold."""

_PARQUET_ROWS = 256
"""Rows of Parquet that are held at a time; few, since a cell may hold a video."""

_MARKS = {
    codecs.BOM_UTF32_LE: "utf-32",
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}
"""Encodings other than UTF-8, by the mark that a file in them begins with; the longer marks stand first."""


def kind_of(location: str) -> _Kind | None:
    """How the table at a path or address is read, by the ending of its name; None where it is no table."""
    name = path_of(location).name.lower()
    plain, packed = name.removesuffix(".gz"), name.endswith(".gz")
    ending = plain.rpartition(".")[2]
    return READERS.get(ending) if not (packed and ending == "parquet") else None


def read_lines(location: str) -> list[str]:
    """The lines of a text file. Only LF, CR and CR LF end a line; other signs, as U+2028, are part of it.

    Raises:
        DataError: missing, or of an encoding that is neither UTF-8 nor told by a mark at the beginning.
    """
    with _text(location) as text:
        return [line.rstrip("\r\n") for line in text]


@contextmanager
def _bytes(location: str) -> Iterator[Any]:
    """The file, unpacked; it can be peeked into."""
    try:
        with open_bytes(location) as file:
            if not path_of(location).name.lower().endswith(".gz"):
                yield file
                return
            with gzip.open(file) as unpacked:
                yield unpacked
    except FileNotFoundError:
        raise DataError(f"{location}: no such file.") from None
    except (IsADirectoryError, PermissionError) as error:
        raise DataError(f"{location}: cannot be read ({error.strerror or 'no permission'}).") from None
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise DataError(f"{location}: truncated or not packed with gzip ({error}).") from None


@contextmanager
def _text(location: str) -> Iterator[TextIO]:
    with _bytes(location) as file:
        start = file.peek(4)
        encoding = next((name for mark, name in _MARKS.items() if start.startswith(mark)), "utf-8-sig")
        try:
            yield io.TextIOWrapper(file, encoding, newline="")
        except UnicodeDecodeError as error:
            wanted = "UTF-8" if encoding == "utf-8-sig" else encoding.upper()
            line = f":{_line_of_wrong_bytes(location)}" if wanted == "UTF-8" else ""
            raise DataError(f"{location}{line}: is not {wanted} ({error.reason}); save it as UTF-8.") from None


def _line_of_wrong_bytes(location: str) -> int:
    """The line that is not UTF-8; the decoder reads ahead and cannot tell."""
    number = 0
    with _bytes(location) as file, suppress(UnicodeDecodeError):
        for line in file:
            number += 1
            line.decode("utf-8")
    return number


def _csv_rows(location: str, usual: str = "") -> Iterator[Row]:
    """Rows of a CSV file; ``usual`` stands between its cells where the heading does not say."""
    csv.field_size_limit(_LONGEST_CELL)
    with _text(location) as text:
        first, lines_before = text.readline(), 0
        told = re.fullmatch(r'"?sep=(.)"?[\r\n]*', first)
        while (told and not lines_before) or (first and not first.strip()):
            first, lines_before = text.readline(), lines_before + 1
        if "\0" in first:
            raise DataError(f"{location}:1: is not UTF-8 (it holds zero bytes); save it as UTF-8.")
        delimiter = told[1] if told else _delimiter(first, usual)
        reader = csv.reader(chain([first], text), delimiter=delimiter, skipinitialspace=True, strict=True)
        try:
            columns = tuple(name.strip() for name in next(reader, []))
            _require_different(f"{location}:{lines_before + reader.line_num}", columns)
            yield from _cells(location, reader, columns, lines_before)
        except csv.Error as error:
            raise DataError(f"{location}:{lines_before + reader.line_num}: is not CSV ({error}).") from None


def _cells(location: str, reader: Any, columns: Sequence[str], lines_before: int) -> Iterator[Row]:
    """Rows without the cells of columns that have no name; lines that are empty, or hold delimiters alone, are none."""
    named, all_named = [bool(name) for name in columns], all(columns)
    first_line = lines_before + reader.line_num + 1
    for cells in reader:
        if any(cells):
            if len(cells) != len(columns):
                raise DataError(f"{location}:{first_line}: has {len(cells)} cells; the heading has {len(columns)}.")
            pairs = zip(columns, cells, strict=True)
            kept = pairs if all_named else (pair for pair, keep in zip(pairs, named, strict=True) if keep)
            yield Row(first_line, dict(kept))
        first_line = lines_before + reader.line_num + 1


def _delimiter(heading: str, usual: str) -> str:
    """The one that parts a heading into most columns; of several, ``usual`` or the first of `DELIMITERS`."""

    def num_columns(delimiter: str) -> int:
        with suppress(csv.Error):
            return len(next(csv.reader([heading], delimiter=delimiter, skipinitialspace=True), []))
        return 0

    return max(usual + DELIMITERS, key=num_columns)


def _require_different(where: str, columns: Sequence[str]) -> None:
    named = [name for name in columns if name]
    if len(set(named)) < len(named):
        twice = next(name for name in named if named.count(name) > 1)
        raise DataError(f"{where}: a column name stands twice, '{twice}', in {', '.join(named)}.")


def _jsonl_rows(location: str) -> Iterator[Row]:
    with _text(location) as text:
        for number, line in enumerate(text, start=1):
            if line.strip():
                yield Row(number, _object(f"{location}:{number}", _parsed(f"{location}:{number}", line)))


def _json_rows(location: str) -> Iterator[Row]:
    with _text(location) as file:
        text = file.read()
    if not text.lstrip().startswith("["):
        for number, item in enumerate(_items_of(location, _parsed(location, text)), start=1):
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
        raise DataError(f"{location}: must hold a list of objects, or an object with one such list; correct it.")
    return list(lists[0])


def _array_items(location: str, text: str) -> Iterator[tuple[int, Any]]:
    """Line and value of each item."""
    decoder, position, line = json.JSONDecoder(object_pairs_hook=_once_each), text.index("[") + 1, 1
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


def _once_each(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object whose names stand once."""
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(f"'{next(name for name in names if names.count(name) > 1)}' stands twice in an object")
    return found


def _parsed(where: str, content: str) -> Any:
    try:
        return json.loads(content, object_pairs_hook=_once_each)
    except json.JSONDecodeError as error:
        line = f":{error.lineno}" if error.lineno > 1 else ""
        raise DataError(f"{where}{line}: is not JSON ({error.msg}).") from None
    except (ValueError, RecursionError) as error:
        raise DataError(f"{where}: is not JSON ({error}); correct it.") from None


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

    with _bytes(location) as file:
        try:
            yield pq.ParquetFile(file)
        except (pa.ArrowInvalid, OSError) as error:
            raise DataError(f"{location}: truncated or not Parquet ({error}).") from None
        except (OverflowError, ValueError, pa.ArrowException) as error:
            raise DataError(f"{location}: a cell cannot be read ({error}); write its column as text.") from None


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


_tsv_rows, _JSONL = partial(_csv_rows, usual="\t"), _Kind(_scan(_jsonl_rows), _jsonl_rows)

READERS = {
    "csv": _Kind(_scan(_csv_rows), _csv_rows),
    "tsv": _Kind(_scan(_tsv_rows), _tsv_rows),
    "jsonl": _JSONL,
    "ndjson": _JSONL,
    "json": _Kind(_scan(_json_rows), _json_rows),
    "parquet": _Kind(_parquet_scan, _parquet_rows),
}
"""How each kind of table is read, by the ending of its name; ``.gz`` may follow those of text."""
