"""Scores by a reward: of a dataset's clips, stored there, or of clips in files, as a table."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from videoalign.contracts.progress import Progress, silent
from videoalign.contracts.records import Clip
from videoalign.data.dataset import Dataset
from videoalign.data.formats.source import SourceTable
from videoalign.data.tables import write_columns
from videoalign.errors import DataError, VideoAlignError
from videoalign.models.videoreward import VideoReward
from videoalign.models.videoreward.scoring import stream_raw


def score_dataset(
    reward: VideoReward, dataset: Dataset, *, name: str | None = None, progress: Progress = silent
) -> list[dict[str, Any]]:
    """Scores every clip of a dataset and stores them under the reward's name (or ``name``).

    Returns:
        What `Dataset.scores` gives: ``{clip_id, raw: {dim}, normalised: {dim}}`` a clip.

    Raises:
        DataError: an unreadable clip; nothing is stored then.
        ModelError: the reward stores no normalisation.
    """
    clips = dataset.clips()
    reward.normalisation()
    raw = raw_scores(reward, dataset, clips, progress)
    rows = [
        {"clip_id": clip.clip_id, "raw": dict(zip(reward.dimensions, a, strict=True)), "normalised": b}
        for clip, a, b in zip(clips, raw.tolist(), _named(reward, reward.normalise(raw)), strict=True)
    ]
    dataset.write_scores(name or reward.name, rows)
    return rows


def score_dataset_rows(
    reward: VideoReward, dataset: Dataset, *, name: str | None = None, progress: Progress = silent
) -> list[dict[str, Any]]:
    """`score_dataset`, with rows as `score_files` gives them."""
    texts = {row.prompt_id: row.text for row in dataset.prompts()}
    about = {row.clip_id: {"video": row.path, "prompt": texts[row.prompt_id]} for row in dataset.clips()}
    scored = score_dataset(reward, dataset, name=name, progress=progress)
    return [{**about[row["clip_id"]], "scores": row["normalised"], "raw": row["raw"]} for row in scored]


def raw_scores(reward: VideoReward, dataset: Dataset, clips: Sequence[Clip], progress: Progress) -> np.ndarray:
    """Raw scores of a dataset's clips, float64 (N, D), in their order.

    Raises:
        VideoError: an unreadable clip.
        DataError: a prompt that cannot be read.
    """
    texts = {prompt.prompt_id: prompt.text for prompt in dataset.prompts()}
    sources = ((dataset.clip_source(clip), texts[clip.prompt_id]) for clip in clips)
    rows = []
    with progress("score clips", len(clips)) as advance:
        for row in stream_raw(reward, sources):
            if isinstance(row, VideoAlignError):
                raise row
            rows.append(row)
            advance()
    return np.array(rows).reshape(len(rows), len(reward.dimensions))


def read_clip_table(location: str | Path) -> list[tuple[str, str]]:
    """(video, prompt) of each row of a CSV, JSONL or Parquet table with these two columns; a relative path starts at
    the table's folder.

    Raises:
        DataError: the table cannot be read, lacks a column or has an empty cell.
    """
    table = SourceTable.open(location)
    table.require("video", "prompt")
    pairs = []
    for row in table.rows:
        try:
            video, prompt = row.text("video"), row.text("prompt")
        except DataError as error:
            raise DataError(f"{table.location}:{row.number}: {error}") from None
        pairs.append((video if "://" in video else str(Path(table.folder) / video), prompt))
    return pairs


def score_files(
    reward: VideoReward, clips: Sequence[tuple[str | Path, str]], *, progress: Progress = silent
) -> list[dict[str, Any]]:
    """Scores clips in files; a broken one keeps its place.

    Args:
        reward: with its normalisation.
        clips: (video, prompt) each.
        progress: counts clips.

    Returns:
        ``{video, prompt, scores: {dim: normalised}, raw: {dim: raw}}`` a clip, in the order given; with ``error``, and
        None for both, where one cannot be scored.

    Raises:
        ModelError: the reward stores no normalisation.
    """
    rows = []
    with progress("score clips", len(clips)) as advance:
        for (video, prompt), result in zip(clips, reward.score_stream(clips), strict=True):
            told = {"error": result.error} if result.error is not None else {}
            rows.append({"video": str(video), "prompt": prompt, "scores": result.scores, "raw": result.raw, **told})
            advance()
    return rows


def write_score_table(out: str | Path, dimensions: Sequence[str], rows: Sequence[dict[str, Any]]) -> None:
    """Rows of `score_files` as Parquet: ``video``, ``prompt``, a column per dimension, ``raw_<dim>`` and ``error``.

    Raises:
        OutputError: the disk is full or the place cannot be written.
    """
    columns: dict[str, tuple[type, list[Any]]] = {
        name: (str, [row[name] for row in rows]) for name in ("video", "prompt")
    }
    for prefix, kind in (("", "scores"), ("raw_", "raw")):
        for name in dimensions:
            columns[prefix + name] = float, [None if row[kind] is None else row[kind][name] for row in rows]
    columns["error"] = str, [row.get("error") for row in rows]
    write_columns(Path(out), columns)


def _named(reward: VideoReward, scores: np.ndarray) -> list[dict[str, float]]:
    return [dict(zip(reward.dimensions, row, strict=True)) for row in scores.tolist()]
