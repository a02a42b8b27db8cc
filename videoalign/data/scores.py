"""Scores of a dataset's clips in columns, so that millions of rows fit in memory."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Self, overload

import numpy as np
import pyarrow as pa

from videoalign.data.tables import to_float
from videoalign.errors import DataError

_ROWS_AT_ONCE = 4096


class ScoreTable(Sequence[dict[str, Any]]):
    """Rows ``{clip_id, raw: {dim: number}, normalised: {dim: number}, content}``, each made when it is asked for.

    ``content`` is absent where the scores do not tell what they were given on.

    Args:
        table: columns ``clip_id``, ``content`` where it is known, ``raw_<dim>`` and ``normalised_<dim>``.
    """

    def __init__(self, table: pa.Table) -> None:
        self.table = table

    @classmethod
    def of_arrays(
        cls,
        clip_ids: Sequence[str],
        contents: Sequence[str],
        dimensions: Sequence[str],
        raw: np.ndarray,
        normalised: np.ndarray,
    ) -> Self:
        """Scores (N, D) of N clips."""
        columns: dict[str, Any] = {"clip_id": pa.array(clip_ids, pa.string())}
        columns["content"] = pa.array(contents, pa.string())
        for kind, numbers in (("raw", raw), ("normalised", normalised)):
            columns |= {f"{kind}_{name}": numbers[:, place] for place, name in enumerate(dimensions)}
        return cls(pa.table(columns))

    @classmethod
    def of_rows(cls, rows: Sequence[Mapping[str, Any]]) -> Self:
        """The same of rows that are there.

        Raises:
            DataError: a score that is not a finite number.
        """
        columns: dict[str, list[Any]] = {"clip_id": [row["clip_id"] for row in rows]}
        if any("content" in row for row in rows):
            columns["content"] = [row.get("content", "") for row in rows]
        for kind in ("raw", "normalised"):
            for dimension in rows[0][kind] if rows else ():
                try:
                    columns[f"{kind}_{dimension}"] = [to_float(row[kind][dimension]) for row in rows]
                except ValueError as error:
                    raise DataError(f"{kind} {dimension}: {error}.") from None
        return cls(pa.table(columns))

    def require_finite(self) -> None:
        """Raises `DataError` for a score that is not a finite number."""
        for name in self.table.column_names:
            if pa.types.is_floating(self.table[name].type):
                numbers = self.table[name].to_numpy()
                wrong = numbers[~np.isfinite(numbers)]
                if len(wrong):
                    raise DataError(f"{name.replace('_', ' ', 1)}: {wrong[0]} is not a finite number.")

    def __len__(self) -> int:
        return int(self.table.num_rows)

    def __iter__(self) -> Iterator[dict[str, Any]]:
        for start in range(0, len(self), _ROWS_AT_ONCE):
            yield from map(_row, self.table.slice(start, _ROWS_AT_ONCE).to_pylist())

    @overload
    def __getitem__(self, index: int) -> dict[str, Any]: ...
    @overload
    def __getitem__(self, index: slice) -> list[dict[str, Any]]: ...
    def __getitem__(self, index: int | slice) -> dict[str, Any] | list[dict[str, Any]]:
        places = range(len(self))[index]
        return (
            _row(self.table.slice(places, 1).to_pylist()[0]) if isinstance(places, int) else [self[n] for n in places]
        )

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Sequence):
            return NotImplemented
        return len(self) == len(other) and all(mine == its for mine, its in zip(self, other, strict=True))

    __hash__ = None  # type: ignore[assignment]


def _row(flat: dict[str, Any]) -> dict[str, Any]:
    row: dict[str, Any] = {"clip_id": flat.pop("clip_id"), "raw": {}, "normalised": {}}
    if content := flat.pop("content", None):
        row["content"] = content
    for column, value in flat.items():
        kind, _, dimension = column.partition("_")
        row[kind][dimension] = value
    return row
