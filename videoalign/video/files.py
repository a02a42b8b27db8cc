"""Encoded clips: what they are, their frames, and writing them; a clip that cannot be trusted is an error."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import av.video.frame
import av.video.stream
import numpy as np

from videoalign.contracts.output import whole_file
from videoalign.contracts.video import Video
from videoalign.errors import VideoError
from videoalign.video.limits import UNLIMITED, ClipLimits
from videoalign.video.opening import Encoded, OpenClip, opened
from videoalign.video.shown import frame_size, shown_pixels, shown_size
from videoalign.video.timing import Scan, is_constant, scan_packets

Choose = Callable[[int, float], Sequence[int]]
"""From the number of frames and the frames per second to the indices of those wanted."""


@dataclass(frozen=True, kw_only=True)
class VideoInfo:
    """A clip without its frames."""

    fps: float
    """Frames per second, above 0. One gap, as a cut leaves, does not count; of a clip of variable rate, the mean."""
    num_frames: int
    """Frames that are shown, at least 1."""
    height: int
    """Pixels, as shown: in square pixels, after a turn that the file asks for. The frames that are read have it too."""
    width: int
    duration_seconds: float
    """num_frames / fps."""
    container: str
    """By FFmpeg's name, as in ``mov,mp4,m4a,3gp,3g2,mj2`` or ``matroska,webm``."""
    codec: str
    """By FFmpeg's name, as in ``h264`` or ``hevc``."""
    pixel_format: str
    """By FFmpeg's name, as in ``yuv420p``."""
    pixel_aspect: float
    """Width of a stored pixel over its height; 1 where showing stretches nothing."""
    constant_rate: bool
    """False when some frames are shown clearly longer than others."""


def probe(clip: Encoded, *, every_frame: bool = False) -> VideoInfo:
    """What a clip is. Every packet is read and the first frame decoded, so that a cut-off file does not pass.

    Args:
        clip: a path, an address that fsspec reads, or the bytes of a file.
        every_frame: decode the others too, so that a file that is damaged in the middle does not pass.

    Raises:
        VideoError: missing, truncated, damaged, not a video, no frames, of unknown rate, or to be shown askew.
    """
    with opened(clip, UNLIMITED) as file:
        if every_frame:
            file.stream.thread_type = "AUTO"
        scan = scan_packets(file)
        frames = _decode_in_order(file)
        first = next(frames, None)
        num_decoded = 1 + sum(1 for _ in frames) if every_frame else scan.num_frames
        if first is None or num_decoded < scan.num_frames:
            raise _undecoded(file, num_decoded if first else 0)
        height, width = frame_size(file.guard.name, first, file.pixel_aspect)
        return VideoInfo(
            fps=scan.fps,
            num_frames=scan.num_frames,
            height=height,
            width=width,
            duration_seconds=scan.num_frames / scan.fps,
            container=file.container.format.name,
            codec=file.stream.codec_context.codec.canonical_name,
            pixel_format=first.format.name,
            pixel_aspect=float(file.pixel_aspect),
            constant_rate=is_constant(scan.times),
        )


def read_video(
    clip: Encoded,
    indices: Sequence[int] | Choose | None = None,
    *,
    threads: int = 0,
    limits: ClipLimits = UNLIMITED,
) -> Video:
    """The frames of a clip as they are shown, uint8 (F, H, W, 3), or those with the given indices, in the order given.

    With indices, decoding starts at the nearest key frame before each, passes over frames that no wanted one depends
    on, and stops after the last. ``fps`` is the rate of the file, whatever the indices are.

    Args:
        clip: a path, an address that fsspec reads, or the bytes of a file.
        indices: which frames; or a function that says so from the number of frames and the rate.
        threads: for decoding; 0 lets FFmpeg choose.
        limits: how large the clip may be.

    Raises:
        VideoError: see `probe`; also a damaged frame on the way, or frames of several sizes.
        LimitError: the clip is over the limits.
        ValueError: an index outside the clip.
    """
    with opened(clip, limits) as file:
        file.stream.thread_type, file.stream.codec_context.thread_count = "AUTO", threads
        scan = scan_packets(file)
        chosen = indices(scan.num_frames, scan.fps) if callable(indices) else indices
        wanted = list(range(scan.num_frames)) if chosen is None else [int(index) for index in chosen]
        if not wanted or min(wanted) < 0 or max(wanted) >= scan.num_frames:
            last = scan.num_frames - 1
            raise ValueError(f"{file.guard.name}: indices must be in 0..{last} and not empty; got {wanted}")
        unique = sorted(set(wanted))
        codec = file.stream.codec_context
        file.guard.reading(len(unique), *shown_size(codec.height, codec.width, file.pixel_aspect))
        frames = _read_near(file, scan, unique) if len(unique) < scan.num_frames else None
        if frames is None:
            frames = _read_in_order(file, unique)
        return Video(np.stack([frames[index] for index in wanted]), scan.fps)


def write_video(path: str | Path, video: Video, *, crf: int = 14, note: str = "") -> None:
    """Writes a clip in mp4 that browsers play, whole or not at all; see `encode_video`.

    Args:
        path: ends in ``.mp4``.
        video: frames and rate.
        crf: see `encode_video`.
        note: see `encode_video`.

    Raises:
        OutputError: the disk is full or the place cannot be written.
    """
    content = encode_video(video, crf=crf, note=note)
    with whole_file(path) as aside:
        aside.write_bytes(content)


def encode_video(video: Video, *, crf: int = 14, note: str = "") -> bytes:
    """A clip as an mp4 file that browsers play; the same frames always give the same bytes.

    Colour is stored at half resolution (yuv420p), since few browsers show another. H.264 knows even sizes only in that
    format, so a clip with an odd side is written as VP9, which keeps its size; nothing is padded or cropped.

    Args:
        video: frames and rate.
        crf: 0 (lossless within the pixel format) to 51 (worst).
        note: a text that the file carries in its metadata, as ``comment``; see `read_note`.
    """
    height, width = video.frames.shape[1:3]
    even = height % 2 == 0 and width % 2 == 0
    codec, options = ("libx264", _X264) if even else ("libvpx-vp9", _VP9)
    buffer = io.BytesIO()
    with av.open(buffer, mode="w", format="mp4") as container:
        if note:
            container.metadata["comment"] = note
        rate = Fraction(video.fps).limit_denominator(1001)
        stream = container.add_stream(codec, rate=rate, options={"crf": str(crf), **options})
        assert isinstance(stream, av.video.stream.VideoStream)
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        for frame in video.frames:
            picture = av.VideoFrame.from_ndarray(np.ascontiguousarray(frame), format="rgb24")
            container.mux(stream.encode(picture.reformat(format="yuv420p", threads=1)))
        container.mux(stream.encode(None))
    return buffer.getvalue()


def read_note(clip: Encoded, *, limits: ClipLimits = UNLIMITED) -> str:
    """The text that a clip carries in its metadata as ``comment``; empty where it carries none.

    Args:
        clip: a path, an address that fsspec reads, or the bytes of a file.
        limits: how large the clip may be.

    Raises:
        VideoError: missing, truncated or not a video.
        LimitError: the clip is over the limits.
    """
    with opened(clip, limits) as file:
        return file.container.metadata.get("comment", "")


_X264 = {"threads": "1", "x264-params": "mbtree=0"}
"""The macroblock tree reads memory that was never written on processors with AVX-512, and with several threads the
result depends on their timing."""
_VP9 = {"threads": "1", "b": "0"}
"""Bit rate 0 lets crf alone decide."""


def _read_near(file: OpenClip, scan: Scan, wanted: list[int]) -> dict[int, np.ndarray] | None:
    """Frames by index, seeking over what is not wanted; None where the timestamps do not allow it."""
    if scan.times is None or not scan.keys:
        return None
    wanted_times = {scan.times[index] for index in wanted}
    found: dict[int, np.ndarray] = {}
    position = None
    decoding: Iterator[av.video.frame.VideoFrame] = iter(())
    for index in wanted:
        target = scan.times[index]
        start = max((key for key in scan.keys if key <= target), default=None)
        if start is None:
            return None
        if position is None or start > position:
            file.container.seek(start, stream=file.stream)
            decoding = _decode_lightly(file, wanted_times)
        for frame in decoding:
            position = frame.pts
            if position is None or position >= target:
                break
        if position != target:
            return None
        found[index] = _pixels(file, frame)
    return found


def _decode_lightly(file: OpenClip, wanted_times: set[int]) -> Iterator[av.video.frame.VideoFrame]:
    """The frames from here on, but those that are neither wanted nor needed to decode another may be left out."""
    for packet in file.guard.in_time(file.container.demux(file.stream)):
        skipped = packet.pts is not None and packet.pts not in wanted_times
        file.stream.codec_context.skip_frame = "NONREF" if skipped else "DEFAULT"
        yield from packet.decode()


def _read_in_order(file: OpenClip, wanted: list[int]) -> dict[int, np.ndarray]:
    keep = set(wanted)
    found: dict[int, np.ndarray] = {}
    for index, frame in enumerate(_decode_in_order(file)):
        if index in keep:
            found[index] = shown_pixels(file.guard.name, frame, file.pixel_aspect)
        if index == wanted[-1]:
            break
    if len(found) < len(wanted):
        raise _undecoded(file, wanted[len(found)])
    return found


def _decode_in_order(file: OpenClip) -> Iterator[av.video.frame.VideoFrame]:
    """Every frame from the first on, none damaged and all of one size."""
    file.container.seek(0, stream=file.stream)
    file.stream.codec_context.skip_frame = "DEFAULT"
    for frame in file.guard.in_time(file.container.decode(file.stream)):
        _require_sound(file, frame)
        yield frame


def _pixels(file: OpenClip, frame: av.video.frame.VideoFrame) -> np.ndarray:
    _require_sound(file, frame)
    return shown_pixels(file.guard.name, frame, file.pixel_aspect)


def _require_sound(file: OpenClip, frame: av.video.frame.VideoFrame) -> None:
    if frame.is_corrupt:
        raise VideoError(f"{file.guard.name}: truncated or damaged at {frame.time} seconds; fetch the file again.")
    file.guard.frame(*frame_size(file.guard.name, frame, file.pixel_aspect))


def _undecoded(file: OpenClip, index: int) -> VideoError:
    return VideoError(f"{file.guard.name}: truncated or damaged, frame {index} cannot be decoded.")
