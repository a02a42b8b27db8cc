"""Judgements sorted so that all of what was said of a pair stands together, however many there are."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa

from videoalign.contracts.records import Judgement
from videoalign.data.tables import read_columns, records_of, schema_of

_ROWS_OF_A_PART = 32_768


def whole_pairs(path: Path) -> Iterator[list[Judgement]]:
    """The judgements in parts of some ten thousand, each with everything that was said of its pairs.

    Pairs come in the order of their first judgement, whichever clip stood first, and the judgements of a pair in the
    order of the file. The table is held as columns of numbers, about 40 bytes a judgement.

    Args:
        path: of the table; where there is none, there are no parts.

    Raises:
        DataError: see `videoalign.data.tables.read_records`.
    """
    schema = schema_of(Judgement)
    parts = [_coded(part) for part in read_columns(path, Judgement, schema.names)]
    if not parts:
        return
    table = pa.concat_tables(parts).unify_dictionaries().combine_chunks()
    first = _first_of_pair(table)
    order = np.argsort(first, kind="stable")
    starts = np.flatnonzero(np.diff(first[order], prepend=-1))  # where pairs begin in the new order
    begin = 0
    while begin < len(order):
        index = np.searchsorted(starts, begin + _ROWS_OF_A_PART)
        end = int(starts[index]) if index < len(starts) else len(order)
        yield list(records_of(table.take(order[begin:end]).cast(schema), Judgement))
        begin = end


def _coded(part: pa.Table) -> pa.Table:
    """The same rows with a number for each text."""
    columns = [
        column.dictionary_encode() if pa.types.is_string(column.type) else column for column in part.itercolumns()
    ]
    return pa.table(columns, names=part.column_names)


def _first_of_pair(table: pa.Table) -> np.ndarray:
    """For each row, the first row about the same two clips."""
    sides = pa.chunked_array([*table["clip_a"].chunks, *table["clip_b"].chunks]).unify_dictionaries()
    codes = np.concatenate([chunk.indices.to_numpy() for chunk in sides.chunks]).astype(np.uint64)
    one, other = codes[: len(table)], codes[len(table) :]
    _, first, number = np.unique(
        np.minimum(one, other) << np.uint64(32) | np.maximum(one, other), return_index=True, return_inverse=True
    )
    return np.asarray(first[number])
