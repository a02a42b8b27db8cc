"""Clips that no browser shows are left out and told; one of them keeps nobody from the others."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import av
import numpy as np
import pytest

from videoalign.contracts.records import Clip
from videoalign.data.dataset import Dataset
from videoalign.errors import DataError
from videoalign.web.annotate.programme.media_index import Library
from videoalign.web.annotate.programme.pairs import require_pairs
from videoalign.web.annotate.programme.showing import MOST_NAMED
from videoalign.web.annotate.settings import AnnotateSettings


@pytest.fixture
def folder(make_dataset: Callable[..., Path]) -> Path:
    """Four prompts of two clips that every browser plays."""
    return make_dataset(files=True)


def change(folder: Path, clip_id: str, **values: str) -> Path:
    """Another row for a clip; returns where its file is to be."""
    dataset = Dataset.open(folder)
    clips = [replace(clip, **values) if clip.clip_id == clip_id else clip for clip in dataset.clips()]
    dataset.write_clips(clips)
    return dataset.clip_path(next(clip for clip in clips if clip.clip_id == clip_id))


def write(path: Path, codec: str, pixel_format: str) -> None:
    picture = av.VideoFrame.from_ndarray(np.zeros((32, 32, 3), np.uint8), format="rgb24")
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=8)
        stream.height, stream.width, stream.pix_fmt = 32, 32, pixel_format
        for frame in (*[picture] * 5, None):
            container.mux(stream.encode(frame))


def test_sound_clips_are_shown_without_a_word(folder: Path) -> None:
    library = Library(folder)
    assert len(library.clips) == 8
    assert library.sorted.notes() == []


@pytest.mark.parametrize(("name", "codec", "pixel_format", "says"), [
    ("x.avi", "libx264", "yuv420p", "wanted a file ending in"),
    ("x.gif", "gif", "rgb8", "wanted a file ending in"),
    ("x.mov", "prores_ks", "yuv422p10le", "is prores in yuv422p10le"),
    ("x.mp4", "mpeg4", "yuv420p", "is mpeg4 in yuv420p"),
])  # fmt: skip
def test_a_clip_that_no_browser_plays_is_left_out_and_told(
    folder: Path, name: str, codec: str, pixel_format: str, says: str
) -> None:
    write(change(folder, "c001-0", path=f"clips/{name}"), codec, pixel_format)
    library = Library(folder)
    (note,) = library.sorted.notes()
    assert note.startswith("left out: clip 'c001-0': ")
    assert says in note
    pairs, _ = require_pairs(library, AnnotateSettings())
    assert sorted(pairs) == [("c000-0", "c000-1"), ("c002-0", "c002-1"), ("c003-0", "c003-1")]


@pytest.mark.parametrize(("name", "codec", "pixel_format"), [
    ("x.mp4", "libx265", "yuv420p"),
    ("x.mp4", "libx264", "yuv420p10le"),
    ("x.mp4", "libx264", "yuv444p"),
    ("x.mkv", "libx264", "yuv420p"),
])  # fmt: skip
def test_a_clip_that_some_browsers_play_is_shown_and_told(
    folder: Path, name: str, codec: str, pixel_format: str
) -> None:
    write(change(folder, "c001-0", path=f"clips/{name}"), codec, pixel_format)
    library = Library(folder)
    (note,) = library.sorted.notes()
    assert note.startswith("shown, but: clip 'c001-0': is ")
    assert note.endswith("which not every browser plays.")
    assert len(library.clips) == 8


def test_files_that_are_damaged_far_away_or_outside_are_left_out(folder: Path, tmp_path: Path) -> None:
    broken = change(folder, "c000-0", path="clips/broken.mp4")
    broken.write_bytes((folder / "clips" / "c000-0.mp4").read_bytes()[:-100])
    change(folder, "c001-0", path="https://host/a.mp4")
    change(folder, "c002-0", path="../a.mp4")
    (folder / "clips" / "c003-0.mp4").unlink()
    library = Library(folder)
    assert library.sorted.left_out.keys() == {"c000-0", "c001-0", "c002-0"}
    assert "truncated" in library.sorted.left_out["c000-0"]
    assert library.sorted.doubtful == {"c003-0": f"{folder / 'clips' / 'c003-0.mp4'} is not there."}


def test_of_many_clips_some_are_told_and_the_others_counted(folder: Path) -> None:
    dataset = Dataset.open(folder)
    first = dataset.clips()[0]
    more: list[Clip] = [replace(first, clip_id=f"x{number}", path=f"x{number}.avi") for number in range(50)]
    dataset.write_clips([*dataset.clips(), *more])
    notes = Library(folder).sorted.notes()
    assert len(notes) == MOST_NAMED + 1
    assert notes[-1].startswith(f"{50 - MOST_NAMED} more clips like these")


def test_without_a_pair_to_show_the_first_reason_is_told(folder: Path) -> None:
    dataset = Dataset.open(folder)
    dataset.write_clips([replace(clip, path=clip.path.replace(".mp4", ".avi")) for clip in dataset.clips()])
    with pytest.raises(
        DataError, match=r"no prompt has two clips that can be shown; left out: clip 'c000-0': got clips/c"
    ):
        Library(folder)
