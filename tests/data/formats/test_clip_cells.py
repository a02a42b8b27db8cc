"""Wherever a clip stands in a table, it may be a path, an address, the bytes of a file, or bytes with their path."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.data import tables as like
from tests.data.tables import SETTINGS, clip
from videoalign.data.dataset import Dataset
from videoalign.data.formats import import_data
from videoalign.errors import DataError

from .test_broken_rows import GOOD_ROWS

BENCH = {"path_A": clip(0), "path_B": clip(1), "prompt": "p", "VQ": "A", "MQ": "B", "TA": "same"}
ROWS: dict[str, dict[str, Any]] = {
    **{name: row for name, row in GOOD_ROWS.items() if name not in ("folder", "videofeedback2")},
    "videoalign": BENCH,
    "rewardbench": {**BENCH, "Overall": "A", "A_model": "m", "B_model": "n"},
    "genai-bench": {"prompt": "p", "left_video": clip(0), "right_video": clip(1), "left_model": "m", "right_model": "n",
                    "vote_type": "leftvote"},
    "folder": {"clip": clip(0), "prompt": "p"},
    "videofeedback2": {**like.feedback2(2, 1, 2, 3), "video_name": clip(2)},
    "uve-bench": {**like.uve(), "video_a": clip(0), "video_b": clip(1), "dataset": ""},
}  # fmt: skip


def filled(value: Any, folder: Path, whole: bool) -> Any:
    """The same with the bytes of each clip in the place of its path."""
    if isinstance(value, str) and value.startswith("videos/"):
        content = (folder / value).read_bytes()
        return {"bytes": content, "path": Path(value).name} if whole else content
    if isinstance(value, dict):
        return {name: filled(one, folder, whole) for name, one in value.items()}
    return [filled(one, folder, whole) for one in value] if isinstance(value, list) else value


@pytest.mark.parametrize("whole", [True, False])
@pytest.mark.parametrize("format", sorted(ROWS))
def test_bytes_in_a_cell_are_a_clip(tmp_path: Path, six_clips: Path, format: str, whole: bool) -> None:
    for name, rows in (("t", filled([ROWS[format]], tmp_path, whole)), ("paths", [ROWS[format]])):
        pq.write_table(pa.Table.from_pylist(rows), tmp_path / f"{name}.parquet")
    options = {**SETTINGS.get(format, {}), **({"dimensions": ("look",)} if format in ("ratings", "pairs") else {})}
    options |= {"need_all": False} if format == "folder" else {}
    counts = import_data(format, tmp_path / "t.parquet", tmp_path / "d", options=options)
    dataset = Dataset.open(tmp_path / "d")
    assert counts.clips == import_data(format, tmp_path / "paths.parquet", tmp_path / "e", options=options).clips
    for one in dataset.clips():
        stored = dataset.clip_path(one)
        assert stored.parent == tmp_path / "d" / "clips" and stored.suffix == ".mp4"
        assert stored.read_bytes() in [(six_clips / f"c{k}.mp4").read_bytes() for k in range(6)]


@pytest.mark.parametrize(("cell", "says"), [
    ({"bytes": None, "path": None}, "column 'clip_a' holds no video; wanted a path, an address or {path, bytes}"),
    ({"bytes": "", "path": "a.mp4"}, "column 'clip_a': its bytes are str"),
    ({"src": "a.mp4"}, "column 'clip_a' holds no video"),
    (None, "column 'clip_a' holds no video"),
    (7, "column 'clip_a': its bytes are int"),
    (["a.mp4"], "column 'clip_a': its bytes are list"),
])  # fmt: skip
def test_a_cell_without_a_video_is_told_with_its_row(tmp_path: Path, six_clips: Path, cell: Any, says: str) -> None:
    row = {"clip_a": cell, "clip_b": clip(1), "prompt": "p", "VQ": "A"}
    like.write_table(tmp_path / "t.jsonl", [{**row, "clip_a": clip(0)}, row])
    with pytest.raises(DataError) as caught:
        import_data("pairs", tmp_path / "t.jsonl", tmp_path / "d")
    assert str(caught.value).startswith(f"t.jsonl:2: {says}")
