"""Scores of clips in columns, so that millions of rows fit in memory."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Self, overload

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from videoalign.contracts.records import Clip, Prompt
from videoalign.data.tables import read_columns, texts, to_float
from videoalign.errors import DataError

if TYPE_CHECKING:
    from videoalign.data.dataset import Dataset

_ROWS_AT_ONCE = 4096


class _Rows(Sequence[dict[str, Any]]):
    """Rows of a table, each made when it is asked for."""

    def __init__(self, table: pa.Table) -> None:
        self.table = table

    def row(self, flat: dict[str, Any]) -> dict[str, Any]:
        """A row as it is given, from its cells by column."""
        raise NotImplementedError

    def __len__(self) -> int:
        return int(self.table.num_rows)

    def __iter__(self) -> Iterator[dict[str, Any]]:
        for start in range(0, len(self), _ROWS_AT_ONCE):
            yield from map(self.row, self.table.slice(start, _ROWS_AT_ONCE).to_pylist())

    @overload
    def __getitem__(self, index: int) -> dict[str, Any]: ...
    @overload
    def __getitem__(self, index: slice) -> list[dict[str, Any]]: ...
    def __getitem__(self, index: int | slice) -> dict[str, Any] | list[dict[str, Any]]:
        places = range(len(self))[index]
        if isinstance(places, int):
            return self.row(self.table.slice(places, 1).to_pylist()[0])
        return [self[place] for place in places]

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Sequence):
            return NotImplemented
        return len(self) == len(other) and all(mine == its for mine, its in zip(self, other, strict=True))

    __hash__ = None  # type: ignore[assignment]


class ScoreTable(_Rows):
    """Rows ``{clip_id, raw: {dim: number}, normalised: {dim: number}, content}``, each made when it is asked for.

    ``content`` is absent where the scores do not tell what they were given on.

    Args:
        table: columns ``clip_id``, ``content`` where it is known, ``raw_<dim>`` and ``normalised_<dim>``.
    """

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

    def row(self, flat: dict[str, Any]) -> dict[str, Any]:
        """See the class."""
        row: dict[str, Any] = {"clip_id": flat.pop("clip_id"), "raw": {}, "normalised": {}}
        if content := flat.pop("content", None):
            row["content"] = content
        for column, value in flat.items():
            kind, _, dimension = column.partition("_")
            row[kind][dimension] = value
        return row


class FileScores(_Rows):
    """Rows ``{video, prompt, scores: {dim: normalised}, raw: {dim: raw}}``, each made when it is asked for; with
    ``error``, and None for both, of a clip that cannot be scored.

    Args:
        table: columns ``video``, ``prompt``, ``<dim>``, ``raw_<dim>`` and ``error``.
    """

    @classmethod
    def of_arrays(
        cls,
        clips: Sequence[tuple[Any, str]],
        dimensions: Sequence[str],
        raw: np.ndarray,
        normalised: np.ndarray,
        errors: Mapping[int, Exception],
    ) -> Self:
        """Scores (N, D) of N clips, each a file and its prompt, and by their places what was wrong with some."""
        broken = np.zeros(len(clips), bool)
        broken[list(errors)] = True
        columns = {name: texts(clip[place] for clip in clips) for place, name in enumerate(("video", "prompt"))}
        for prefix, numbers in (("", normalised), ("raw_", raw)):
            for place, name in enumerate(dimensions):
                columns[prefix + name] = pa.array(numbers[:, place], mask=broken)
        columns["error"] = texts(errors.get(place) for place in range(len(clips)))
        return cls(pa.table(columns))

    @classmethod
    def of_dataset(cls, dataset: Dataset, scores: ScoreTable) -> Self:
        """Scores of clips of a dataset, with their paths there."""
        names = {Clip: ["clip_id", "prompt_id", "path"], Prompt: ["prompt_id", "text"]}
        read = {kind: pa.concat_tables(read_columns(dataset.table_path(kind), kind, n)) for kind, n in names.items()}
        clips = read[Clip].take(pc.index_in(scores.table["clip_id"], read[Clip]["clip_id"]))
        prompts = read[Prompt].take(pc.index_in(clips["prompt_id"], read[Prompt]["prompt_id"]))
        columns = {"video": clips["path"], "prompt": prompts["text"]}
        for prefix, kind in (("", "normalised_"), ("raw_", "raw_")):
            for name in scores.table.column_names:
                if name.startswith(kind):
                    columns[prefix + name.removeprefix(kind)] = scores.table[name]
        return cls(pa.table({**columns, "error": pa.nulls(len(scores), pa.string())}))

    @property
    def errors(self) -> list[str]:
        """What is wrong with those that cannot be scored."""
        return list(self.table["error"].drop_null().to_pylist())

    def row(self, flat: dict[str, Any]) -> dict[str, Any]:
        """See the class."""
        row: dict[str, Any] = {"video": flat.pop("video"), "prompt": flat.pop("prompt"), "scores": None, "raw": None}
        if error := flat.pop("error"):
            return {**row, "error": error}
        names = list(flat)[: len(flat) // 2]
        return row | {"scores": {n: flat[n] for n in names}, "raw": {n: flat[f"raw_{n}"] for n in names}}
