"""Scores by a reward: of a dataset's clips, stored there, or of clips in files as a table; a stopped run goes on."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from videoalign.contracts.digests import FileDigests
from videoalign.contracts.engine import IN_PROCESS, Engine, cut
from videoalign.contracts.holding import hold_folder
from videoalign.contracts.output import fingerprint
from videoalign.contracts.people import require_no_own_table
from videoalign.contracts.progress import Progress, silent
from videoalign.contracts.records import Clip
from videoalign.contracts.reward import RewardModel
from videoalign.data.clip_content import DIGESTS_FILE, input_key_at, input_keys
from videoalign.data.dataset import Dataset
from videoalign.data.on_demand import OnDemand
from videoalign.data.rejected import Rejections, write_rejected
from videoalign.data.scores import FileScores, ScoreTable
from videoalign.data.source_table import SourceTable
from videoalign.data.tables import GrowingTable, write_table
from videoalign.errors import DataError, VideoAlignError, VideoError, first_few
from videoalign.models.videoreward.scoring import BATCH_SIZE
from videoalign.video.addresses import is_address, located, path_of, plain_place

CHUNK = 32 * BATCH_SIZE
"""Clips whose scores are written at a time."""

NamedClip = tuple[str | Path, str]
"""Path or address of a clip, and its prompt."""


def clips_in(dataset: Dataset, clips: Sequence[Clip]) -> Sequence[NamedClip]:
    """Clips of a dataset as they are scored."""
    texts = {prompt.prompt_id: prompt.text for prompt in dataset.prompts()}
    return OnDemand(len(clips), lambda index: (dataset.clip_source(clips[index]), texts[clips[index].prompt_id]))


@dataclass(frozen=True)
class Scored:
    """What a reward says of N clips."""

    raw: np.ndarray
    """Scores of the head, float64 (N, D); NaN of a clip that has none."""
    normalised: np.ndarray
    """The same, normalised."""
    errors: dict[int, VideoAlignError]
    """By the place of a clip that has none, what is wrong with it."""


def score_clips(reward: RewardModel, clips: Sequence[NamedClip], **how: Any) -> Scored:
    """Normalised and raw scores of clips; arguments and errors as of `score_rows`.

    Raises:
        ModelError: the reward stores no normalisation.
    """
    reward.normalise(np.zeros((0, len(reward.dimensions))))  # what it lacks is found before any work
    raw, errors = score_rows(reward, clips, **how)
    return Scored(raw, reward.normalise(raw), errors)


def score_rows(
    reward: RewardModel,
    clips: Sequence[NamedClip],
    *,
    max_rejected: float,
    contents: Sequence[str] | None = None,
    keep: Path | None = None,
    engine: Engine = IN_PROCESS,
    progress: Progress = silent,
) -> tuple[np.ndarray, dict[int, VideoAlignError]]:
    """Raw scores of clips, float64 (N, D), and by its place what is wrong with a clip, whose row is NaN.

    Clips that go through the model together do so again in a run that goes on after a stop, so that it ends with the
    very scores of an unbroken one.

    Args:
        reward: scores the clips.
        clips: to be scored, in this order; one that stands twice is scored once.
        max_rejected: largest share of clips that may be reported as what cannot be scored.
        contents: `input_keys` of the clips, where somebody looked already.
        keep: folder where scores of each reward are written as they come, and taken from if they are there, by the
            content of clip and prompt. None keeps nothing.
        engine: runs the model.
        progress: counts clips.

    Raises:
        ConfigError: a share out of range.
        VideoError: none may be rejected, and some cannot be scored: how many, and their names. Missing ones are found
            before any work.
        DataError: more cannot be scored than may be; those that were scored are kept.
        ModelError: the reward cannot score any clip.
    """
    rejections = Rejections("scored", len(clips), max_rejected)
    if not max_rejected:
        _refuse([(video, f"{video}: no such file.") for video, _ in clips if _is_missing(video)])
    if contents is None:
        digests = FileDigests(keep / DIGESTS_FILE if keep is not None else None)
        contents = [input_key_at(video, prompt, digests) for video, prompt in clips]
        digests.save()
    keys = [key or _place_key(*clips[index]) for index, key in enumerate(contents)]
    place = dict(zip(keys, range(len(keys)), strict=True))
    folder = keep / fingerprint(reward.about()) if keep is not None else None
    kept = GrowingTable(folder, reward.dimensions, part=CHUNK)
    parts = cut(list(place), BATCH_SIZE, kept.__contains__)
    given = ([clips[place[key]] for key in part] for part in parts)
    with progress("score clips", sum(map(len, parts))) as advance:
        try:
            for part, done in zip(parts, engine.stream(given, reward.score_read, reward.reader), strict=True):
                batch = dict(zip(part, done.made, strict=True))
                wrong = {key: row for key, row in batch.items() if isinstance(row, VideoAlignError)}
                kept.add({key: row for key, row in batch.items() if not isinstance(row, VideoAlignError)})
                times = {"read_seconds": done.read_seconds, "work_seconds": done.work_seconds}
                advance(len(part), rejected=len(wrong), **times)
                rejections.add(wrong)
        finally:
            kept.close()
    broken = rejections.reasons
    errors = {index: broken[key] for index, key in enumerate(keys) if key in broken} if broken else {}
    if not max_rejected:
        _refuse([(clips[index][0], str(error)) for index, error in errors.items()])
    return kept.rows(keys), errors


def score_dataset(
    reward: RewardModel,
    dataset: Dataset,
    *,
    name: str | None = None,
    max_rejected: float = 0.0,
    engine: Engine = IN_PROCESS,
    progress: Progress = silent,
) -> ScoreTable:
    """Scores every clip of a dataset and stores them under the reward's name (or ``name``).

    Until all have one, scores stand in ``scores/<name>.part``; a run that stopped goes on from there. Clips that cannot
    be scored, where up to ``max_rejected`` of them may be, have no scores and stand in ``rejected.parquet``.

    Returns:
        What `Dataset.scores` gives: ``{clip_id, raw: {dim}, normalised: {dim}, content}`` a clip.

    Raises:
        ConfigError: a share out of range.
        DataError: the name cannot be one of a file, or more clips cannot be scored than may be; see `score_rows`.
        VideoError: likewise, where none may; no scores are stored under the name then.
        ModelError: the reward stores no normalisation.
    """
    name, clips = name or reward.name, dataset.clips()
    keep, contents = dataset.named_path("scores", name).with_suffix(".part"), input_keys(dataset, clips)
    how: dict[str, Any] = {"max_rejected": max_rejected, "keep": keep, "engine": engine, "progress": progress}
    with hold_folder(keep):
        scored = score_clips(reward, clips_in(dataset, clips), contents=contents, **how)
    whole = [index for index in range(len(clips)) if index not in scored.errors]
    ids, told = [clips[index].clip_id for index in whole], [contents[index] for index in whole]
    scores = ScoreTable.of_arrays(ids, told, reward.dimensions, scored.raw[whole], scored.normalised[whole])
    rejected = {clips[index].clip_id: str(error) for index, error in scored.errors.items()}
    write_rejected(dataset.path, f"score {name}", rejected)
    dataset.write_scores(name, scores, digest=reward.digest)
    shutil.rmtree(keep, ignore_errors=True)
    return scores


def score_dataset_rows(
    reward: RewardModel, dataset: Dataset, *, name: str | None = None, out: Path | None = None, **how: Any
) -> FileScores:
    """`score_dataset`, with rows as `score_files` gives them; ``out`` likewise."""
    if out is not None:
        require_no_own_table(out)
    rows = FileScores.of_dataset(dataset, score_dataset(reward, dataset, name=name, **how))
    if out is not None:
        write_table(out, rows.table)
    return rows


def read_clip_table(location: str | Path) -> list[NamedClip]:
    """(video, prompt) of each row of a table with these two columns; a relative path starts at the table's folder.

    A prompt that is missing is empty, so that its clip is reported at its index and the others are scored.

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
    reward: RewardModel,
    clips: Sequence[NamedClip],
    *,
    out: Path | None = None,
    engine: Engine = IN_PROCESS,
    progress: Progress = silent,
) -> FileScores:
    """Scores clips in files; a broken one is reported at its index.

    Args:
        reward: with its normalisation.
        clips: (video, prompt) each.
        out: Parquet file for their `FileScores.table`; until all clips have scores, those stand in ``<out>.part``
            beside it, and a run that stopped, or whose broken clips were mended, goes on from there.
        engine: runs the model.
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
    with nullcontext() if keep is None else hold_folder(keep):
        scored = score_clips(reward, clips, max_rejected=1.0, keep=keep, engine=engine, progress=progress)
    rows = FileScores.of_arrays(clips, reward.dimensions, scored.raw, scored.normalised, scored.errors)
    if out is not None and keep is not None:
        write_table(out, rows.table)
        if not scored.errors:
            shutil.rmtree(keep, ignore_errors=True)
    return rows


def _place_key(video: str | Path, prompt: str) -> str:
    """Stands for a clip that cannot be read."""
    return fingerprint([os.path.abspath(video), prompt])


def _is_missing(video: str | Path) -> bool:
    place = plain_place(video)
    return not is_address(place) and not os.path.exists(place)


def _refuse(broken: Sequence[tuple[str | Path, str]]) -> None:
    if not broken:
        return
    names = first_few([path_of(video).name for video, _ in broken])
    raise VideoError(
        f"{len(broken)} clips cannot be scored ({names}); the first: {broken[0][1]} Mend them, or leave them out; "
        "'videoalign reward eval' does so with --skip-broken."
    )
