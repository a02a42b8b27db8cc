"""Which file is opened and which of its streams; what is no clip says what it is."""

from __future__ import annotations

import io
import os
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from videoalign.errors import VideoError
from videoalign.video.files import probe, read_video

from .clips import encoded, grey, several

NAMES = ("12:30.mp4", "http:x.mp4", "concat:a|b.mp4", "-i.mp4", "100%.mp4", "%03d.mp4", "a?b.mp4", "a*[1].mp4")


@pytest.mark.parametrize("name", NAMES)
def test_any_name_of_a_file_is_read_by_its_relative_and_its_absolute_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    (tmp_path / name).write_bytes(encoded(grey(6)))
    monkeypatch.chdir(tmp_path)
    whole = read_video(tmp_path / name)
    for path in (name, Path(name), f"./{name}", os.path.join(tmp_path, name)):
        assert probe(path).num_frames == 6
        assert np.array_equal(read_video(path, [5, 1]).frames, whole.frames[[5, 1]])


@pytest.mark.parametrize("container", ["mp4", "matroska", "mov", "avi"])
@pytest.mark.parametrize("place", [0, 1, 2])
def test_of_several_streams_the_largest_is_read(container: str, place: int) -> None:
    streams = [grey(5, 16, 16), grey(5, 32, 16) + 100]
    streams.insert(place, grey(5, 48, 64) + 50)
    clip = several(streams, container)
    info, video = probe(clip), read_video(clip)
    assert (info.height, info.width) == video.frames.shape[1:3] == (48, 64)
    assert video.frames[0].mean() == pytest.approx(70, abs=2)
    assert np.array_equal(read_video(clip, [4, 1]).frames, video.frames[[4, 1]])


def test_a_cover_picture_is_no_stream_however_large() -> None:
    file = io.BytesIO()
    with av.open(file, "w", format="mp4") as out:
        clip, cover = out.add_stream("libx264", rate=8), out.add_stream("mjpeg", rate=8)
        clip.height, clip.width, clip.pix_fmt = 32, 48, "yuv420p"
        cover.height, cover.width, cover.pix_fmt = 300, 400, "yuvj420p"
        cover.disposition = av.stream.Disposition.attached_pic
        for frame in grey(5, 32, 48):
            out.mux(clip.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        picture = av.VideoFrame.from_ndarray(grey(1, 300, 400)[0], format="rgb24")
        picture.pts = 0
        for stream, last in ((cover, picture), (cover, None), (clip, None)):
            out.mux(stream.encode(last))
    info = probe(file.getvalue())
    assert (info.height, info.width, info.num_frames, info.codec) == (32, 48, 5, "h264")


@pytest.mark.parametrize(("kind", "name", "moving"), [
    ("WEBP", "WEBP", False), ("WEBP", "WEBP", True), ("PNG", "PNG", False), ("PNG", "PNG", True),
    ("JPEG", "JPEG", False), ("BMP", "BMP", False), ("TIFF", "TIFF", False),
])  # fmt: skip
def test_a_picture_is_refused_by_what_it_is(tmp_path: Path, kind: str, name: str, moving: bool) -> None:
    pictures = [Image.new("RGB", (32, 32), (level, 0, 0)) for level in (0, 100, 200)]
    more = {"save_all": True, "append_images": pictures[1:], "duration": 100} if moving else {}
    path = tmp_path / "clip.mp4"
    pictures[0].save(path, kind, **more)
    for clip in (path, path.read_bytes()):
        with pytest.raises(VideoError, match=f"is a {'moving ' if moving else ''}{name} picture, not a video; convert"):
            probe(clip)


def test_a_gif_is_read(tmp_path: Path) -> None:
    pictures = [Image.new("RGB", (32, 32), (level, level, level)) for level in (0, 100, 200)]
    pictures[0].save(tmp_path / "a.gif", save_all=True, append_images=pictures[1:], duration=100)
    video = read_video(tmp_path / "a.gif")
    assert (video.fps, probe(tmp_path / "a.gif").codec) == (10.0, "gif")
    assert [round(float(frame.mean())) for frame in video.frames] == [0, 100, 200]
