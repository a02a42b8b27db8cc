"""Frames are the ones that the file holds; a file that cannot be trusted is refused."""

from __future__ import annotations

import io
import os
import subprocess
import sys
import wave
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from videoalign.contracts.video import Video
from videoalign.errors import VideoError
from videoalign.video.files import probe, read_video, write_video


def encode(path: Path, times: list[int], time_base: Fraction, movflags: str = "", size: int = 32) -> Path:
    """An H.264 clip with the given timestamps; frame k is grey of level 20 + 4 k."""
    with av.open(str(path), "w", options={"movflags": movflags} if movflags else {}) as container:
        stream = container.add_stream("libx264", rate=24, options={"crf": "12", "g": "4"})
        stream.width = stream.height = size
        stream.pix_fmt = "yuv420p"
        stream.codec_context.time_base = time_base
        for index, time in enumerate(times):
            frame = av.VideoFrame.from_ndarray(np.full((size, size, 3), 20 + 4 * index, np.uint8), format="rgb24")
            frame.pts, frame.time_base = time, time_base
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def levels(video: Video) -> list[int]:
    """Which frame of `encode` or `make_clip` each frame is, by its grey level."""
    return [round((frame.mean() - 20) / 4) for frame in video.frames]


def test_frames_are_those_that_the_official_decoder_gives_to_the_bit(shared: Path) -> None:
    expected = np.load(shared / "parity" / "example_3_B_frames.npz")
    video = read_video(shared / "data" / "videoalign_pairs" / "example_3_B.mp4", expected["indices"].tolist())
    assert video.fps == 16.0
    assert np.array_equal(video.frames, expected["frames"])


@pytest.mark.parametrize(("name", "fps", "num_frames", "height", "width"), [
    ("example_1_A.mp4", 24.0, 126, 752, 1360),
    ("example_1_B.mp4", 30.0, 152, 720, 1280),
    ("example_2_A.mp4", 24.0, 144, 384, 672),
    ("example_3_B.mp4", 16.0, 60, 384, 688),
])  # fmt: skip
def test_probe_agrees_with_the_table_that_came_with_the_clips(
    shared: Path, name: str, fps: float, num_frames: int, height: int, width: int
) -> None:
    info = probe(shared / "data" / "videoalign_pairs" / name)
    assert (info.fps, info.num_frames, info.height, info.width) == (fps, num_frames, height, width)
    assert info.duration_seconds == pytest.approx(num_frames / fps)


def test_chosen_frames_are_those_of_the_whole_clip_in_the_order_asked_for(shared: Path) -> None:
    path = shared / "data" / "fetv" / "clips" / "001_cogvideo.mp4"
    whole = read_video(path).frames
    indices = [len(whole) - 1, 0, 7, 7, 3]
    assert np.array_equal(read_video(path, indices).frames, whole[indices])


def test_seeking_between_key_frames_gives_the_frames_of_the_whole_clip(tmp_path: Path) -> None:
    path = encode(tmp_path / "g4.mp4", list(range(40)), Fraction(1, 24))
    assert levels(read_video(path)) == list(range(40))
    assert levels(read_video(path, [37, 2, 21, 20])) == [37, 2, 21, 20]


def test_only_what_is_needed_is_decoded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = encode(tmp_path / "g4.mp4", list(range(40)), Fraction(1, 24))
    decoded = []
    original = av.container.InputContainer.decode

    class Counting:
        def __init__(self, container: av.container.InputContainer) -> None:
            self.container = container

        def __getattr__(self, name: str) -> object:
            return getattr(self.container, name)

        def decode(self, stream: object) -> object:
            for frame in original(self.container, stream):
                decoded.append(frame.pts)
                yield frame

        def __enter__(self) -> Counting:
            return self

        def __exit__(self, *_: object) -> None:
            self.container.close()

    real_open = av.open
    monkeypatch.setattr(av, "open", lambda *args, **kwargs: Counting(real_open(*args, **kwargs)))
    assert levels(read_video(path, [2, 37])) == [2, 37]
    assert len(decoded) <= 8  # two groups of four frames, not forty frames


def test_index_outside_the_clip_is_refused(tmp_path: Path, make_clip: Callable[..., Path]) -> None:
    path = make_clip(tmp_path / "clip.mp4", num_frames=5)
    for indices in ([5], [-1], []):
        with pytest.raises(ValueError, match=r"0\.\.4"):
            read_video(path, indices)


@pytest.mark.parametrize(("height", "width"), [(64, 64), (16, 30), (17, 33), (16, 21), (2, 2)])
@pytest.mark.parametrize("fps", [8.0, 23.976, 30.0])
def test_written_clip_reads_back_with_its_size_rate_and_look(
    tmp_path: Path, height: int, width: int, fps: float
) -> None:
    ramp = np.linspace(0, 200, height)[:, None, None] + np.linspace(0, 50, width)[None, :, None] + np.zeros(3)
    frames = np.stack([np.clip(ramp + step, 0, 255) for step in range(4)]).astype(np.uint8)
    write_video(tmp_path / "clip.mp4", Video(frames, fps))
    video = read_video(tmp_path / "clip.mp4")
    assert video.frames.shape == frames.shape
    assert video.fps == pytest.approx(fps, rel=1e-9)
    assert np.abs(video.frames.astype(int) - frames).mean() < 4.0


@pytest.mark.parametrize(("size", "codec"), [((16, 18), "h264"), ((15, 18), "vp9"), ((16, 17), "vp9"), ((5, 3), "vp9")])
def test_every_size_is_written_in_a_pixel_format_that_browsers_play(
    tmp_path: Path, size: tuple[int, int], codec: str
) -> None:
    frames = np.full((3, *size, 3), (200, 100, 30), np.uint8)
    write_video(tmp_path / "clip.mp4", Video(frames, 8.0))
    info = probe(tmp_path / "clip.mp4")
    assert (info.codec, info.height, info.width, info.num_frames, info.fps) == (codec, *size, 3, 8.0)
    with av.open(str(tmp_path / "clip.mp4")) as container:
        assert container.streams.video[0].codec_context.pix_fmt == "yuv420p"
    assert np.abs(read_video(tmp_path / "clip.mp4").frames.astype(int) - frames).max() < 6


WRITE_SOME = """
import hashlib, sys
import numpy as np
from videoalign.contracts.video import Video
from videoalign.video.files import write_video

rng, path = np.random.default_rng(0), sys.argv[1]
for size in ((64, 64), (40, 72), (50, 62), (33, 47), (16, 16), (90, 160)):
    y, x = np.mgrid[: size[0], : size[1]]
    disc = [np.hypot(y - size[0] / 2, x - size[1] * (0.2 + 0.03 * t)) < min(size) / 5 for t in range(17)]
    clean = np.where(np.stack(disc)[..., None], [200, 60, 40], [40, 90, 120])
    frames = np.clip(clean + rng.normal(0, 4, clean.shape), 0, 255).astype(np.uint8)
    for _ in range(2):
        write_video(path, Video(frames, 8.0))
        print(size, hashlib.sha256(open(path, "rb").read()).hexdigest())
"""


def test_same_frames_give_the_same_bytes_in_every_process_whatever_memory_holds(tmp_path: Path) -> None:
    printed = []
    for filling in ("0", "1", "85", "170", "255"):  # what glibc writes into memory that it hands out
        command = [sys.executable, "-c", WRITE_SOME, str(tmp_path / "clip.mp4")]
        environment = {**os.environ, "MALLOC_PERTURB_": filling}
        run = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
        printed.append(run.stdout.splitlines())
    assert printed[0][::2] == printed[0][1::2]
    assert len(printed[0]) == 12
    assert printed == printed[:1] * 5


@pytest.mark.parametrize("size", [(16, 16), (40, 72)])
def test_the_encoder_is_told_to_leave_out_what_depends_on_memory_or_on_timing(
    tmp_path: Path, size: tuple[int, int]
) -> None:
    write_video(tmp_path / "clip.mp4", Video(np.zeros((3, *size, 3), np.uint8), 8.0))
    content = (tmp_path / "clip.mp4").read_bytes()
    settings = content[content.index(b" - options: ") :].split(b"\0")[0].decode().split()  # x264 writes them down
    assert {"mbtree=0", "threads=1", "lookahead_threads=1", "crf=14.0"} <= set(settings)


def test_variable_frame_rate_gives_the_mean_rate_and_every_frame(tmp_path: Path) -> None:
    times = [0, 100, 200, 300, 400, 900, 1400, 1900, 2400]  # 10 fps, then 2 fps: 8 steps in 2.4 seconds
    for name in ("variable.mp4", "variable.mkv"):
        path = encode(tmp_path / name, times, Fraction(1, 1000))
        assert probe(path).fps == pytest.approx(8 / 2.4, rel=0.2)
        assert levels(read_video(path)) == list(range(9))
        assert levels(read_video(path, [8, 5, 6])) == [8, 5, 6]


def test_cut_off_matroska_is_refused_wherever_it_is_cut_and_a_live_one_is_not(tmp_path: Path) -> None:
    whole = encode(tmp_path / "clip.mkv", list(range(30)), Fraction(1, 24), size=64).read_bytes()
    assert probe(whole).num_frames == 30
    for kept in (*range(0, len(whole), len(whole) // 9), len(whole) - 1):
        with pytest.raises(VideoError, match="truncated"):
            probe(whole[:kept])
    segment = whole.index(bytes.fromhex("18538067")) + 4  # its size follows its name
    assert whole[segment] == 1, "eight bytes, the first of them a one"
    live = whole[:segment] + b"\x01" + b"\xff" * 7 + whole[segment + 8 :]
    assert probe(live).num_frames == 30


@pytest.mark.parametrize("movflags", ["", "faststart"])
@pytest.mark.parametrize("kept", [0.0, 0.3, 0.6, 0.9, 0.99])
def test_cut_off_file_is_refused_wherever_it_is_cut(tmp_path: Path, movflags: str, kept: float) -> None:
    path = encode(tmp_path / "clip.mp4", list(range(30)), Fraction(1, 24), movflags, size=64)
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * kept)])
    with pytest.raises(VideoError, match=r"clip\.mp4: .*truncated"):
        probe(path)
    with pytest.raises(VideoError, match=r"clip\.mp4: .*truncated"):
        read_video(path)


def test_what_is_no_clip_is_refused_by_its_name(tmp_path: Path) -> None:
    (tmp_path / "text.mp4").write_text("no video at all\n" * 50)
    (tmp_path / "folder.mp4").mkdir()
    with wave.open(str(tmp_path / "sound.wav"), "wb") as sound:
        sound.setnchannels(1)
        sound.setsampwidth(2)
        sound.setframerate(8000)
        sound.writeframes(bytes(16000))
    for name, reason in {
        "absent.mp4": "no such file",
        "text.mp4": "truncated or not a video",
        "folder.mp4": "is a folder",
        "sound.wav": "has no video stream",
    }.items():
        with pytest.raises(VideoError, match=rf"{name}: {reason}"):
            probe(tmp_path / name)


def test_sound_with_a_picture_stream_of_no_frames_is_refused(tmp_path: Path) -> None:
    with av.open(str(tmp_path / "empty.mkv"), "w") as container:
        picture = container.add_stream("libx264", rate=8)
        picture.width = picture.height = 16
        picture.pix_fmt = "yuv420p"
        sound = container.add_stream("pcm_s16le", rate=8000)
        sound.layout = "mono"
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 800), np.int16), format="s16", layout="mono")
        frame.sample_rate = 8000
        container.mux(sound.encode(frame))
        container.mux(sound.encode(None))
    with pytest.raises(VideoError, match="has no frames"):
        probe(tmp_path / "empty.mkv")


def test_stream_without_timestamps_has_no_rate_and_none_is_guessed(tmp_path: Path) -> None:
    source = encode(tmp_path / "clip.mp4", list(range(10)), Fraction(1, 24))
    raw = io.BytesIO()
    with av.open(str(source)) as container, av.open(raw, "w", format="h264") as out:
        stream = out.add_stream_from_template(container.streams.video[0])
        for packet in container.demux(video=0):
            if packet.size:
                packet.stream = stream
                out.mux(packet)
    (tmp_path / "raw.h264").write_bytes(raw.getvalue())
    with pytest.raises(VideoError, match=r"raw\.h264: its frame rate is unknown"):
        probe(tmp_path / "raw.h264")


def test_quarter_turn_that_the_file_asks_for_is_made(tmp_path: Path) -> None:
    frames = np.zeros((3, 16, 32, 3), np.uint8)
    frames[:, :8, :16] = 255  # white in the upper left corner
    write_video(tmp_path / "clip.mp4", Video(frames, 8.0))
    content = bytearray((tmp_path / "clip.mp4").read_bytes())
    matrix = content.index(b"tkhd") + 4 + 40
    one, w = (1 << 16).to_bytes(4, "big"), (1 << 30).to_bytes(4, "big")
    minus, zero = (-(1 << 16)).to_bytes(4, "big", signed=True), bytes(4)
    content[matrix : matrix + 36] = b"".join([zero, one, zero, minus, zero, zero, zero, zero, w])
    (tmp_path / "turned.mp4").write_bytes(content)
    info, video = probe(tmp_path / "turned.mp4"), read_video(tmp_path / "turned.mp4")
    assert (info.height, info.width) == video.frames.shape[1:3] == (32, 16)
    corners = {"upper right": video.frames[0, 2, 13, 0], "lower left": video.frames[0, 29, 2, 0]}
    assert corners["upper right"] > 200 > 50 > corners["lower left"]  # a clockwise turn takes upper left to upper right
    assert np.array_equal(read_video(tmp_path / "turned.mp4", [1]).frames[0], video.frames[1])


def test_frames_passed_over_do_not_change_those_that_are_wanted(shared: Path) -> None:
    for file in sorted((shared / "data" / "videoalign_pairs").glob("*.mp4"))[::2]:
        whole = read_video(file).frames
        wanted = [1, len(whole) // 3, len(whole) // 2, len(whole) - 2]
        assert np.array_equal(read_video(file, wanted, threads=1).frames, whole[wanted])
        assert np.array_equal(read_video(file, lambda count, fps, wanted=wanted: wanted).frames, whole[wanted])


def test_bytes_of_a_file_are_read_and_refused_like_the_file(tmp_path: Path, make_clip: Callable[..., Path]) -> None:
    file = make_clip(tmp_path / "c.mp4", num_frames=9)
    content = file.read_bytes()
    assert probe(content) == probe(file)
    assert np.array_equal(read_video(content).frames, read_video(file).frames)
    for kept in (0, 20, len(content) // 2, len(content) - 1):
        with pytest.raises(VideoError, match=f"clip of {kept} bytes: truncated"):
            read_video(content[:kept])


def test_a_playlist_opens_nothing(tmp_path: Path, make_clip: Callable[..., Path]) -> None:
    file = make_clip(tmp_path / "c.mp4", num_frames=9)
    lists = {
        "c.ffconcat": f"ffconcat version 1.0\nfile {file}\n",
        "c.m3u8": f"#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXTINF:2,\nfile://{file}\n#EXT-X-ENDLIST\n",
    }
    for name, text in lists.items():
        (tmp_path / name).write_text(text)
        for source in (tmp_path / name, text.encode()):
            with pytest.raises(VideoError, match="not a video"):
                probe(source)
