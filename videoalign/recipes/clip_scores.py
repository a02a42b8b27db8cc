"""Scores of many clips, kept as they come: a run that stopped goes on, a broken clip is told in its place."""

from __future__ import annotations

import os
from collections.abc import Container, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from videoalign.contracts.digests import FileDigests
from videoalign.contracts.output import fingerprint
from videoalign.contracts.progress import Progress, silent
from videoalign.contracts.protocols import RewardModel
from videoalign.contracts.records import Clip
from videoalign.contracts.scores import ClipScore
from videoalign.data.clip_content import DIGESTS_FILE, content_key, input_key
from videoalign.data.dataset import Dataset
from videoalign.data.tables import read_table, write_columns
from videoalign.errors import DataError, VideoAlignError, VideoError
from videoalign.models.digest import weights_digest
from videoalign.models.videoreward import VideoReward
from videoalign.models.videoreward.scoring import BATCH_SIZE, stream_raw
from videoalign.video.addresses import is_address, path_of, plain_place
from videoalign.video.files import read_video

CHUNK = 32 * BATCH_SIZE
"""Clips whose scores are written at a time."""

NamedClip = tuple[str | Path, str]
"""Path or address of a clip, and its prompt."""


def clips_in(dataset: Dataset, clips: Sequence[Clip]) -> list[NamedClip]:
    """Clips of a dataset as they are scored."""
    texts = {prompt.prompt_id: prompt.text for prompt in dataset.prompts()}
    return [(dataset.clip_source(clip), texts[clip.prompt_id]) for clip in clips]


def score_clips(
    reward: RewardModel,
    clips: Sequence[NamedClip],
    *,
    skip_broken: bool,
    keep: Path | None = None,
    progress: Progress = silent,
) -> list[ClipScore]:
    """Normalised and raw scores of clips, which are the same of a reward that is no `VideoReward`; arguments and errors
    as of `score_rows`.

    Raises:
        ModelError: the reward stores no normalisation.
    """
    if isinstance(reward, VideoReward):
        reward.normalisation()
    scored = []
    for row in score_rows(reward, clips, skip_broken=skip_broken, keep=keep, progress=progress):
        if isinstance(reward, VideoReward):
            scored.append(reward.clip_score(row))
        elif isinstance(row, VideoAlignError):
            scored.append(ClipScore(None, None, str(row)))
        else:
            named = dict(zip(reward.dimensions, row.tolist(), strict=True))
            scored.append(ClipScore(named, named))
    return scored


def score_rows(
    reward: RewardModel,
    clips: Sequence[NamedClip],
    *,
    skip_broken: bool,
    keep: Path | None = None,
    progress: Progress = silent,
) -> list[np.ndarray | VideoAlignError]:
    """For each clip its scores, float64 (D,), raw ones of a `VideoReward`, or what is wrong with it.

    Clips that go through the model together do so again in a run that goes on after a stop, so that it ends with the
    very scores of an unbroken one.

    Args:
        reward: scores the clips.
        clips: to be scored, in this order; one that stands twice is scored once.
        skip_broken: tell what cannot be scored in its place; else it is an error.
        keep: folder where scores are written as they come and taken from if they are there, by the content of clip and
            prompt, for this reward alone. None keeps nothing.
        progress: counts clips.

    Raises:
        VideoError: clips that cannot be scored: how many, and their names. Missing ones are found before any work.
        ModelError: the reward cannot score any clip.
    """
    if not skip_broken:
        _refuse([(video, f"{video}: no such file.") for video, _ in clips if _is_missing(video)])
    digests = FileDigests(keep / DIGESTS_FILE if keep is not None else None)
    keys = [_key(video, prompt, digests) for video, prompt in clips]
    digests.save()
    by_key, kept = dict(zip(keys, clips, strict=True)), _Kept(keep, reward.dimensions)
    broken: dict[str, VideoAlignError] = {}
    todo = _todo(list(by_key), kept.scores)
    with progress("score clips", len(todo)) as advance:
        results = zip(todo, _rows(reward, [by_key[key] for key in todo]), strict=True)
        try:
            while batch := list(islice(results, BATCH_SIZE)):
                broken |= {key: row for key, row in batch if isinstance(row, VideoAlignError)}
                kept.add({key: row for key, row in batch if not isinstance(row, VideoAlignError)})
                for _ in batch:
                    advance()
        finally:
            kept.write()
    if not skip_broken:
        _refuse([(video, str(broken[key])) for key, (video, _) in zip(keys, clips, strict=True) if key in broken])
    return [broken[key] if key in broken else kept.scores[key] for key in keys]


def about_reward(reward: RewardModel) -> dict[str, Any]:
    """Name and dimensions of a reward; of a VideoReward also a hash of its weights and how it reads a clip."""
    about: dict[str, Any] = {"name": reward.name, "dimensions": list(reward.dimensions)}
    if not isinstance(reward, VideoReward):
        return about
    settings = reward.settings.model_dump(mode="json", exclude={"used_prompts"})
    read = {name: settings[name] for name in ("limits", "positions", "normalisation", "ties", "provenance")}
    kind = str(next(reward.backbone.parameters()).dtype).removeprefix("torch.")
    return {**about, **read, "dtype": kind, "weights": weights_digest(reward), "settings": fingerprint(settings)}


def _rows(reward: RewardModel, clips: Sequence[NamedClip]) -> Iterator[np.ndarray | VideoAlignError]:
    if isinstance(reward, VideoReward):
        yield from stream_raw(reward, clips, batch_size=BATCH_SIZE)
        return
    for video, prompt in clips:
        try:
            yield reward.score_videos([read_video(video)], [prompt])[0]
        except DataError as error:
            yield error


def _todo(keys: Sequence[str], kept: Container[str]) -> list[str]:
    """What has no score: first whole batches of an unbroken run, then what is left of the others."""
    batches = [keys[start : start + BATCH_SIZE] for start in range(0, len(keys), BATCH_SIZE)]
    batches.sort(key=lambda batch: any(key in kept for key in batch))
    return [key for batch in batches for key in batch if key not in kept]


def _key(video: str | Path, prompt: str, digests: FileDigests) -> str:
    """The same for the same content and prompt; of a clip that cannot be read, for the same path."""
    try:
        return input_key(content_key(video, digests), prompt)
    except VideoError:
        return fingerprint([os.path.abspath(video), prompt])


def _is_missing(video: str | Path) -> bool:
    place = plain_place(video)
    return not is_address(place) and not os.path.exists(place)


def _refuse(broken: Sequence[tuple[str | Path, str]]) -> None:
    if not broken:
        return
    names = ", ".join([*[path_of(video).name for video, _ in broken[:5]], *(["..."] if len(broken) > 5 else [])])
    raise VideoError(
        f"{len(broken)} clips cannot be scored ({names}); the first: {broken[0][1]} Mend them, or leave them out; "
        "'videoalign reward eval' does so with --skip-broken."
    )


class _Kept:
    """Scores by `_key`, written to a folder in files of at least `CHUNK` clips, and those that are there already."""

    def __init__(self, folder: Path | None, dimensions: Sequence[str]) -> None:
        self.folder, self.dimensions = folder, dimensions
        self.scores: dict[str, np.ndarray] = {}
        self.waiting: dict[str, np.ndarray] = {}
        self.files = sorted(folder.glob("*.parquet")) if folder is not None else []
        for file in self.files:
            table = read_table(file)
            rows = np.stack([table[name].to_numpy() for name in dimensions], axis=1)
            self.scores |= dict(zip(table["clip"].to_pylist(), rows, strict=True))

    def add(self, rows: Mapping[str, np.ndarray]) -> None:
        """Takes in a batch."""
        self.scores |= rows
        self.waiting |= rows
        if len(self.waiting) >= CHUNK:
            self.write()

    def write(self) -> None:
        """Writes what is not yet written."""
        if self.folder is None or not self.waiting:
            return
        columns: dict[str, tuple[type, Sequence[object]]] = {"clip": (str, list(self.waiting))}
        for number, name in enumerate(self.dimensions):
            columns[name] = float, [float(row[number]) for row in self.waiting.values()]
        self.files.append(self.folder / f"{len(self.files):05d}.parquet")
        write_columns(self.files[-1], columns)
        self.waiting = {}
