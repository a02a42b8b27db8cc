"""What exporters share: rows go to a file as they are made, whole or not at all, and clips are named from there."""

from __future__ import annotations

import csv
import json
import math
import os
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from itertools import chain, islice
from pathlib import Path
from typing import Any

from videoalign.contracts.output import whole_file
from videoalign.contracts.people import require_no_own_table
from videoalign.contracts.records import Clip, Judgement
from videoalign.data.dataset import Dataset
from videoalign.data.tables import SEED_TYPE
from videoalign.errors import ConfigError, DataError

_ROWS_OF_A_GROUP = 8192

_SEED_COLUMNS = ("seed_a", "seed_b")


class Contents:
    """The clips and prompts of a dataset, as a table in ``out`` names them."""

    def __init__(self, dataset: Dataset, out: Path) -> None:
        self.root, self.folder = dataset.path.resolve(), out.resolve().parent
        self.path = lru_cache(maxsize=65_536)(self._path)
        self.clips = {clip.clip_id: clip for clip in dataset.clips()}
        prompts = dataset.prompts()
        self.texts = {prompt.prompt_id: prompt.text for prompt in prompts}
        self.media = {prompt.prompt_id: self._from_table(prompt.media) for prompt in prompts if prompt.media}

    def _path(self, clip_id: str) -> str:
        return self._from_table(self.clips[clip_id].path)

    def _from_table(self, path: str) -> str:
        """Where a file is, from the folder of the table; an address stays one."""
        return path if "://" in path else os.path.relpath((self.root / path).resolve(), self.folder)

    def prompt(self, clip_id: str) -> str:
        """What a clip was to show."""
        return self.texts[self.clips[clip_id].prompt_id]

    def sides(self, clip_a: str, clip_b: str) -> dict[str, Clip]:
        """The clips as A and B."""
        return {"A": self.clips[clip_a], "B": self.clips[clip_b]}

    def pair(self, clip_a: str, clip_b: str) -> dict[str, Any]:
        """A pair in the columns of our plain table."""
        one, other = self.clips[clip_a], self.clips[clip_b]
        return {
            "prompt": self.prompt(clip_a),
            "clip_a": self.path(clip_a),
            "clip_b": self.path(clip_b),
            "model_a": one.generator,
            "model_b": other.generator,
            "seed_a": one.seed,
            "seed_b": other.seed,
            **({"media": self.media.get(one.prompt_id, "")} if self.media else {}),
        }


def judged_together(judgements: Iterable[Judgement]) -> Iterator[list[Judgement]]:
    """Judgements that stand in one row: by one rater, of one pair, of each dimension at most one."""
    group: list[Judgement] = []
    for row in judgements:
        if group and (_occasion(row) != _occasion(group[0]) or row.dimension in {one.dimension for one in group}):
            yield group
            group = []
        group.append(row)
    if group:
        yield group


def _occasion(row: Judgement) -> tuple[Any, ...]:
    return (row.clip_a, row.clip_b, row.rater, row.role, row.left, row.seconds, row.source_row)


def write_rows(out: Path, rows: Iterable[dict[str, Any]], nothing: str, *, endings: Sequence[str] | None = None) -> int:
    """Writes rows in the layout that the ending of the name says, and returns how many.

    Args:
        out: ends in one of `WRITERS`.
        rows: all with the same keys where the layout is CSV or Parquet.
        nothing: what to say where there is none.
        endings: those of `WRITERS` whose layout can hold the rows; default: all.

    Raises:
        ConfigError: another ending.
        DataError: there is no row.
        OutputError: a table of a dataset, the disk is full or the place cannot be written.
    """
    require_no_own_table(out)
    if out.suffix not in (endings or WRITERS):
        raise ConfigError(f"--out: {out} must end in {', '.join(endings or WRITERS)}; rename it.")
    iterator = iter(rows)
    first = next(iterator, None)
    if first is None:
        raise DataError(nothing)
    with whole_file(out) as aside:
        return WRITERS[out.suffix](aside, chain([first], iterator))


def _write_jsonl(path: Path, rows: Iterable[dict[str, Any]]) -> int:
    with path.open("w", encoding="utf-8") as file:
        return sum(bool(file.write(_json(row) + "\n")) for row in rows)


def _json(row: dict[str, Any]) -> str:
    try:
        return json.dumps(row, ensure_ascii=False, allow_nan=False)
    except ValueError:
        names = [name for name, value in row.items() if isinstance(value, float) and not math.isfinite(value)]
        raise DataError(
            f"column '{', '.join(names)}' of a row holds a number that is not finite, which JSON has not; correct it "
            "in the dataset, or write .csv or .parquet."
        ) from None


def _write_json(path: Path, rows: Iterable[dict[str, Any]]) -> int:
    number = 0
    with path.open("w", encoding="utf-8") as file:
        for number, row in enumerate(rows, start=1):
            file.write(("[\n" if number == 1 else ",\n") + _json(row))
        file.write("\n]\n")
    return number


def _write_csv(path: Path, rows: Iterable[dict[str, Any]]) -> int:
    number = 0
    with path.open("w", encoding="utf-8", newline="") as file:
        for number, row in enumerate(rows, start=1):
            if number == 1:
                writer = csv.DictWriter(file, list(row))
                writer.writeheader()
            writer.writerow(row)
    return number


def _write_parquet(path: Path, rows: Iterable[dict[str, Any]]) -> int:
    """A column without a value in the first rows is one of numbers: texts are empty where there is nothing to say."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    rows, number = iter(rows), 0
    held = list(islice(rows, _ROWS_OF_A_GROUP))
    others = [{name: value for name, value in row.items() if name not in _SEED_COLUMNS} for row in held]
    types = {one.name: one.type for one in pa.Table.from_pylist(others).schema} | dict.fromkeys(
        _SEED_COLUMNS, SEED_TYPE
    )
    schema = pa.schema(
        [(name, pa.float64() if pa.types.is_null(types[name]) else types[name]) for name in next(iter(held), {})]
    )
    with pq.ParquetWriter(path, schema) as file:
        while held:
            file.write_table(pa.Table.from_pylist(held, schema=schema))
            number += len(held)
            held = list(islice(rows, _ROWS_OF_A_GROUP))
    return number


WRITERS = {".jsonl": _write_jsonl, ".json": _write_json, ".csv": _write_csv, ".parquet": _write_parquet}
"""How rows are written, by the ending of the name."""
