"""Scores of many clips, kept as they come: a run that stopped goes on, a broken clip is told in its place."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from videoalign.contracts.output import fingerprint
from videoalign.contracts.progress import Progress
from videoalign.contracts.protocols import RewardModel
from videoalign.contracts.records import Clip
from videoalign.data.dataset import Dataset
from videoalign.data.tables import read_table, write_columns
from videoalign.errors import DataError, VideoAlignError, VideoError
from videoalign.models.videoreward import VideoReward
from videoalign.models.videoreward.scoring import stream_raw

CHUNK = 128
"""Clips whose scores are written at a time."""


@dataclass(frozen=True)
class ClipScores:
    """Normalised scores by clip id, (D,), and what is wrong with each clip that has none."""

    scores: Mapping[str, np.ndarray]
    broken: Mapping[str, str]


def score_clips(
    reward: RewardModel,
    dataset: Dataset,
    clips: Sequence[Clip],
    *,
    skip_broken: bool,
    keep: Path | None,
    progress: Progress,
) -> ClipScores:
    """Scores the clips of a dataset.

    Args:
        reward: scores the clips.
        dataset: that they belong to.
        clips: to be scored.
        skip_broken: leave out clips that cannot be scored; default: they are an error.
        keep: folder where scores are written as they come and taken from if they are there, for this reward alone; None
            keeps nothing.
        progress: counts clips.

    Raises:
        VideoError: clips that cannot be scored: how many, and their names. Missing ones are found before any work.
        ModelError: the reward cannot score any clip.
    """
    broken = {clip.clip_id: f"{clip.path}: no such file." for clip in clips if _is_missing(dataset, clip)}
    if not skip_broken:
        _refuse(broken)
    texts = {prompt.prompt_id: prompt.text for prompt in dataset.prompts()}
    keys = {clip.clip_id: clip_key(clip, texts[clip.prompt_id]) for clip in clips}
    kept = _Kept(keep, reward.dimensions)
    todo = [clip for clip in clips if keys[clip.clip_id] not in kept.scores and clip.clip_id not in broken]
    with progress("score clips", len(todo)) as advance:
        try:
            for clip, row in zip(todo, _scored(reward, dataset, todo, texts), strict=True):
                if isinstance(row, VideoAlignError):
                    broken[clip.clip_id] = str(row)
                else:
                    kept.add(keys[clip.clip_id], row)
                advance()
        finally:
            kept.write()
    if not skip_broken:
        _refuse(broken)
    return ClipScores({name: kept.scores[key] for name, key in keys.items() if name not in broken}, broken)


def clip_key(clip: Clip, prompt: str) -> str:
    """A clip's id with a short hash of the clip and its prompt, wherever the file is."""
    about = [clip.clip_id, prompt, clip.fps, clip.num_frames, clip.height, clip.width]
    return f"{clip.clip_id}:{fingerprint(about)}"


def _scored(
    reward: RewardModel, dataset: Dataset, clips: Sequence[Clip], texts: Mapping[str, str]
) -> Iterator[np.ndarray | VideoAlignError]:
    """Normalised scores (D,) of each clip, or what is wrong with it."""
    if isinstance(reward, VideoReward):
        reward.normalisation()
        sources = ((dataset.clip_source(clip), texts[clip.prompt_id]) for clip in clips)
        for row in stream_raw(reward, sources):
            yield row if isinstance(row, VideoAlignError) else reward.normalise(row)
        return
    for clip in clips:
        try:
            yield reward.score_videos([dataset.load(clip)], [texts[clip.prompt_id]])[0]
        except DataError as error:
            yield error


def _is_missing(dataset: Dataset, clip: Clip) -> bool:
    return "://" not in clip.path and not dataset.clip_path(clip).is_file()


def _refuse(broken: Mapping[str, str]) -> None:
    if not broken:
        return
    first, *_ = broken.values()
    names = ", ".join([*list(broken)[:5], *(["..."] if len(broken) > 5 else [])])
    raise VideoError(
        f"{len(broken)} clips cannot be scored ({names}); the first: {first} Mend them, or leave their pairs out with "
        "--skip-broken."
    )


class _Kept:
    """Scores by `clip_key`, written to a folder in files of `CHUNK` clips, and those that are there already."""

    def __init__(self, folder: Path | None, dimensions: Sequence[str]) -> None:
        self.folder, self.dimensions = folder, dimensions
        self.scores: dict[str, np.ndarray] = {}
        self.waiting: dict[str, np.ndarray] = {}
        self.files = sorted(folder.glob("*.parquet")) if folder is not None else []
        for file in self.files:
            table = read_table(file)
            rows = np.stack([table[name].to_numpy() for name in dimensions], axis=1)
            self.scores |= dict(zip(table["clip"].to_pylist(), rows, strict=True))

    def add(self, key: str, row: np.ndarray) -> None:
        self.scores[key] = self.waiting[key] = row
        if len(self.waiting) == CHUNK:
            self.write()

    def write(self) -> None:
        if self.folder is None or not self.waiting:
            return
        columns: dict[str, tuple[type, Sequence[object]]] = {"clip": (str, list(self.waiting))}
        for number, name in enumerate(self.dimensions):
            columns[name] = float, [float(row[number]) for row in self.waiting.values()]
        self.files.append(self.folder / f"{len(self.files):05d}.parquet")
        write_columns(self.files[-1], columns)
        self.waiting = {}
