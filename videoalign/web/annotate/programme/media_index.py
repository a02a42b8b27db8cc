"""The dataset as the server needs it: read once, kept in memory."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol, Self

from videoalign.contracts.digests import FileDigests
from videoalign.contracts.records import INFO_FILE, Clip, Dimension
from videoalign.data.clip_content import DIGESTS_FILE, input_key_at
from videoalign.data.dataset import Dataset
from videoalign.video.playable import media_type
from videoalign.web.annotate.programme.references import sort_references
from videoalign.web.annotate.programme.showing import sort_clips

Stamp = tuple[tuple[int, int], ...]
"""When ``dataset.json``, ``prompts.parquet`` and ``clips.parquet`` were last written, and their sizes."""


class AnyPair(Protocol):
    """A pair from wherever: the database, a table of judgements."""

    prompt_id: Any
    clip_a: Any
    clip_b: Any


class Library:
    """Prompts, dimensions and clips of one dataset, as they were when it was read."""

    def __init__(self, folder: str | Path) -> None:
        """
        Raises:
            DataError: no dataset there, or no two clips of a prompt that can be shown to anybody.
        """
        self.stamp = stamp(Path(folder))
        self.dataset = Dataset.open(folder)
        prompts = self.dataset.prompts()
        self.prompts = {row.prompt_id: row.text for row in prompts}
        self.splits = {row.prompt_id: row.split for row in prompts}
        self.references = sort_references(self.dataset, prompts)
        self.rows = {row.clip_id: row for row in self.dataset.clips()}
        self.sorted = sort_clips(self.dataset, self.rows.values())
        self.clips = self.sorted.shown
        """Those that can be shown."""
        self._digests = FileDigests(self.dataset.path / DIGESTS_FILE)

    def knows(self, pair: AnyPair) -> bool:
        """Whether both clips of a pair are in the dataset, as clips of its prompt: a database may hold others.

        Whatever comes from there passes here, or `shows`, before it is looked up.
        """
        return pair.prompt_id in self.prompts and _of_prompt(self.rows, pair)

    def shows(self, pair: AnyPair) -> bool:
        """Whether, besides, both clips can be shown."""
        return pair.prompt_id in self.prompts and _of_prompt(self.clips, pair)

    def asking(self, dimensions: tuple[Dimension, ...]) -> Self:
        """The same clips and prompts with other dimensions."""
        other = copy.copy(self)
        info = self.dataset.info.model_copy(update={"dimensions": dimensions})
        other.dataset = Dataset(self.dataset.path, info)
        return other

    def file(self, clip_id: str) -> tuple[Path, str]:
        """Path and media type of a clip."""
        path = self.dataset.clip_path(self.clips[clip_id])
        return path, media_type(path) or "application/octet-stream"

    def content(self, clip_id: str) -> str:
        """Stands for a clip and its prompt as they are now, see `Judgement.content_a`; empty where it is not there."""
        clip = self.rows[clip_id]
        return input_key_at(self.dataset.clip_source(clip), self.prompts.get(clip.prompt_id, ""), self._digests)

    def seconds(self, clip_id: str) -> float:
        """How long a clip plays."""
        clip = self.clips[clip_id]
        return clip.num_frames / clip.fps

    def card(self, clip_id: str, url: str, watch_seconds: float) -> dict[str, Any]:
        """What the player must know of a clip: the last is how many different seconds of it must be played."""
        clip = self.clips[clip_id]
        return {
            "url": url,
            "fps": clip.fps,
            "num_frames": clip.num_frames,
            "width": clip.width,
            "height": clip.height,
            "watch_seconds": watch_seconds,
        }


def _of_prompt(clips: Mapping[str, Clip], pair: AnyPair) -> bool:
    sides = clips.get(pair.clip_a), clips.get(pair.clip_b)
    return all(clip is not None and clip.prompt_id == pair.prompt_id for clip in sides)


def stamp(folder: Path) -> Stamp:
    """Changes whenever somebody writes one of the files that are read."""
    return tuple(file_stamp(folder / name) for name in (INFO_FILE, "prompts.parquet", "clips.parquet"))


def file_stamp(file: Path) -> tuple[int, int]:
    """Changes whenever somebody writes the file; -1 where there is none."""
    try:
        found = file.stat()
    except OSError:
        return -1, -1
    return found.st_mtime_ns, found.st_size
