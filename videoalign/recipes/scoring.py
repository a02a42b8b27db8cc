"""Scores by a reward: of a dataset's clips, stored there, or of clips in files, as a table."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from videoalign.contracts.people import require_no_own_table
from videoalign.contracts.progress import Progress, silent
from videoalign.contracts.protocols import RewardModel
from videoalign.data.clip_content import input_keys
from videoalign.data.dataset import Dataset
from videoalign.data.formats.source import SourceTable
from videoalign.data.tables import write_columns
from videoalign.errors import DataError
from videoalign.recipes.clip_scores import NamedClip, clips_in, score_clips
from videoalign.video.addresses import located


def score_dataset(
    reward: RewardModel, dataset: Dataset, *, name: str | None = None, progress: Progress = silent
) -> list[dict[str, Any]]:
    """Scores every clip of a dataset and stores them under the reward's name (or ``name``).

    Until all have one, scores stand in ``scores/<name>.part``; a run that stopped goes on from there.

    Returns:
        What `Dataset.scores` gives: ``{clip_id, raw: {dim}, normalised: {dim}, content}`` a clip.

    Raises:
        DataError: the name cannot be one of a file.
        VideoError: clips that cannot be scored; no scores are stored under the name then.
        ModelError: the reward stores no normalisation.
    """
    name, clips = name or reward.name, dataset.clips()
    keep, contents = dataset.named_path("scores", name).with_suffix(".part"), input_keys(dataset, clips)
    scored = score_clips(reward, clips_in(dataset, clips), skip_broken=False, keep=keep, progress=progress)
    rows = [
        {"clip_id": clip.clip_id, "raw": row.raw, "normalised": row.scores, "content": content}
        for clip, row, content in zip(clips, scored, contents, strict=True)
    ]
    dataset.write_scores(name, rows, digest=reward.digest)
    shutil.rmtree(keep, ignore_errors=True)
    return rows


def score_dataset_rows(
    reward: RewardModel,
    dataset: Dataset,
    *,
    name: str | None = None,
    out: Path | None = None,
    progress: Progress = silent,
) -> list[dict[str, Any]]:
    """`score_dataset`, with rows as `score_files` gives them; ``out`` is for `write_score_table`."""
    if out is not None:
        require_no_own_table(out)
    texts = {row.prompt_id: row.text for row in dataset.prompts()}
    about = {row.clip_id: {"video": row.path, "prompt": texts[row.prompt_id]} for row in dataset.clips()}
    scored = score_dataset(reward, dataset, name=name, progress=progress)
    rows = [{**about[row["clip_id"]], "scores": row["normalised"], "raw": row["raw"]} for row in scored]
    if out is not None:
        write_score_table(out, reward.dimensions, rows)
    return rows


def read_clip_table(location: str | Path) -> list[NamedClip]:
    """(video, prompt) of each row of a table with these two columns; a relative path starts at the table's folder.

    A prompt that is missing is empty, so that its clip is told of in its place and the others are scored.

    Raises:
        DataError: the table cannot be read, lacks a column, or does not name a clip in some row.
    """
    table = SourceTable.open(location)
    table.require("video", "prompt")
    pairs: list[NamedClip] = []
    for row in table.rows:
        try:
            pairs.append((located(row.text("video"), table.folder), row.optional("prompt")))
        except DataError as error:
            raise DataError(f"{table.location}:{row.place}: {error}") from None
    return pairs


def score_files(
    reward: RewardModel, clips: Sequence[NamedClip], *, out: Path | None = None, progress: Progress = silent
) -> list[dict[str, Any]]:
    """Scores clips in files; a broken one keeps its place.

    Args:
        reward: with its normalisation.
        clips: (video, prompt) each.
        out: file for `write_score_table`; until all clips have scores, those stand in ``<out>.part`` beside it, and a
            run that stopped, or whose broken clips were mended, goes on from there.
        progress: counts clips.

    Returns:
        ``{video, prompt, scores: {dim: normalised}, raw: {dim: raw}}`` a clip, in the order given; with ``error``, and
        None for both, where one cannot be scored.

    Raises:
        ModelError: the reward stores no normalisation.
        OutputError: a table of a dataset, the disk is full or the place cannot be written.
    """
    if out is not None:
        require_no_own_table(out)
    keep = None if out is None else out.with_name(f"{out.name}.part")
    scored = score_clips(reward, clips, skip_broken=True, keep=keep, progress=progress)
    rows = []
    for (video, prompt), result in zip(clips, scored, strict=True):
        told = {"error": result.error} if result.error is not None else {}
        rows.append({"video": str(video), "prompt": prompt, "scores": result.scores, "raw": result.raw, **told})
    if out is not None and keep is not None:
        write_score_table(out, reward.dimensions, rows)
        if not any("error" in row for row in rows):
            shutil.rmtree(keep, ignore_errors=True)
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
