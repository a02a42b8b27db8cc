"""Encoded clips: what they are, their frames, and writing them; a clip that cannot be trusted is an error."""

from __future__ import annotations

import errno
import io
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import IO

import av
import av.container
import av.stream
import av.video.frame
import numpy as np

from videoalign.contracts.output import whole_file
from videoalign.contracts.video import Video
from videoalign.errors import DataError, VideoError
from videoalign.video.addresses import local_copy
from videoalign.video.limits import UNLIMITED, ClipLimits, Guard

Encoded = str | Path | bytes
"""A path, an address that fsspec reads, or the bytes of a file."""
Choose = Callable[[int, float], Sequence[int]]
"""From the number of frames and the frames per second to the indices of those wanted."""

CONTAINERS = (
    "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,mpegts,mpeg,mpegvideo,flv,gif,ogg,asf,h264,hevc,ivf,m4v,wav,mp3,flac,aac"
)
"""Kinds of files that are read, by FFmpeg's names. Playlists are not: FFmpeg would open the files that they name."""

_RATE_TOLERANCE = 0.005
"""Up to this relative difference the container's stated rate is taken for exact and the timestamps for rounded."""


@dataclass(frozen=True, kw_only=True)
class VideoInfo:
    """A clip without its frames."""

    fps: float
    """Frames per second, above 0; of a clip of variable rate, the mean."""
    num_frames: int
    """Frames that are shown, at least 1."""
    height: int
    """Pixels, as shown: after a rotation that the file asks for."""
    width: int
    duration_seconds: float
    """num_frames / fps."""
    codec: str
    """By FFmpeg's name, as in ``h264`` or ``hevc``."""
    constant_rate: bool
    """False when some frames are shown clearly longer than others."""


@dataclass(frozen=True)
class _Scan:
    """A pass over the packets, without decoding them."""

    times: list[int] | None
    """Timestamps in the order of showing; None when some packet has none, or two have the same."""
    keys: list[int]
    """Timestamps of the frames that decoding can start from, sorted."""
    num_frames: int
    fps: float


def probe(clip: Encoded) -> VideoInfo:
    """What a clip is. Every packet is read and the first frame decoded, so that a cut-off file does not pass.

    Raises:
        VideoError: missing, truncated, not a video, no frames, or of unknown rate.
    """
    with _opened(clip, UNLIMITED) as (guard, container, stream):
        name, scan = guard.name, _scan(guard, container, stream)
        codec = stream.codec_context.codec.canonical_name
        container.seek(0, stream=stream)
        frame = next(iter(container.decode(stream)), None)
        if frame is None:
            raise VideoError(f"{name}: no frame can be decoded; give a file that plays.")
        height, width = (frame.height, frame.width) if _turns(name, frame) % 2 == 0 else (frame.width, frame.height)
    return VideoInfo(
        fps=scan.fps,
        num_frames=scan.num_frames,
        height=height,
        width=width,
        duration_seconds=scan.num_frames / scan.fps,
        codec=codec,
        constant_rate=_is_constant(scan.times),
    )


def read_video(
    clip: Encoded,
    indices: Sequence[int] | Choose | None = None,
    *,
    threads: int = 0,
    limits: ClipLimits = UNLIMITED,
) -> Video:
    """The frames of a clip, uint8 (F, H, W, 3), or those with the given indices, in the order given.

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
    with _opened(clip, limits) as (guard, container, stream):
        stream.thread_type, stream.codec_context.thread_count = "AUTO", threads
        scan = _scan(guard, container, stream)
        chosen = indices(scan.num_frames, scan.fps) if callable(indices) else indices
        wanted = list(range(scan.num_frames)) if chosen is None else [int(index) for index in chosen]
        if not wanted or min(wanted) < 0 or max(wanted) >= scan.num_frames:
            raise ValueError(f"{guard.name}: indices must be in 0..{scan.num_frames - 1} and not empty; got {wanted}")
        unique = sorted(set(wanted))
        guard.reading(len(unique), stream.codec_context.height, stream.codec_context.width)
        frames = _decode_near(guard, container, stream, scan, unique) if len(unique) < scan.num_frames else None
        if frames is None:
            frames = _decode_in_order(guard, container, stream, unique)
        return Video(np.stack([frames[index] for index in wanted]), scan.fps)


def write_video(path: str | Path, video: Video, *, crf: int = 14) -> None:
    """Writes a clip in mp4 that browsers play, whole or not at all; the same frames always give the same bytes.

    Colour is stored at half resolution (yuv420p), since few browsers show another. H.264 knows even sizes only in that
    format, so a clip with an odd side is written as VP9, which keeps its size; nothing is padded or cropped.

    Args:
        path: ends in ``.mp4``.
        video: frames and rate.
        crf: 0 (lossless within the pixel format) to 51 (worst).

    Raises:
        OutputError: the disk is full or the place cannot be written.
    """
    height, width = video.frames.shape[1:3]
    even = height % 2 == 0 and width % 2 == 0
    codec, options = ("libx264", _X264) if even else ("libvpx-vp9", _VP9)
    buffer = io.BytesIO()
    with av.open(buffer, mode="w", format="mp4") as container:
        rate = Fraction(video.fps).limit_denominator(1001)
        stream = container.add_stream(codec, rate=rate, options={"crf": str(crf), **options})
        assert isinstance(stream, av.video.stream.VideoStream)
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        for frame in video.frames:
            picture = av.VideoFrame.from_ndarray(np.ascontiguousarray(frame), format="rgb24")
            container.mux(stream.encode(picture.reformat(format="yuv420p")))
        container.mux(stream.encode(None))
    with whole_file(path) as aside:
        aside.write_bytes(buffer.getvalue())


_X264 = {"threads": "1", "x264-params": "mbtree=0"}
"""The macroblock tree reads memory that was never written on processors with AVX-512, and with several threads the
result depends on their timing."""
_VP9 = {"threads": "1", "b": "0"}
"""Bit rate 0 lets crf alone decide."""


@contextmanager
def _opened(
    clip: Encoded, limits: ClipLimits
) -> Iterator[tuple[Guard, av.container.InputContainer, av.video.stream.VideoStream]]:
    """The clip's guard, file and video stream; what FFmpeg says about a bad file becomes a `VideoError`."""
    name = f"clip of {len(clip)} bytes" if isinstance(clip, bytes) else str(clip)
    try:
        source: str | _InMemory = _InMemory(clip) if isinstance(clip, bytes) else _local(clip)
        options = {"format_whitelist": CONTAINERS}
        with av.open(source, mode="r", options=options, metadata_errors="replace") as container:
            if "mp4" in container.format.name:
                with open(source, "rb") if isinstance(source, str) else io.BytesIO(source.getvalue()) as file:
                    _require_whole_boxes(name, file)
            streams = [s for s in container.streams.video if not s.disposition & av.stream.Disposition.attached_pic]
            if not streams:
                raise VideoError(f"{name}: has no video stream; give a file with pictures.")
            guard, codec = Guard(name, limits), streams[0].codec_context
            if codec is None:
                raise VideoError(f"{name}: is in a codec that cannot be decoded here; convert it to mp4.")
            guard.size(codec.height, codec.width)
            guard.length(streams[0].frames, (container.duration or 0) / av.time_base)
            codec.options = {"max_pixels": str(limits.most_decoded_pixels)}
            yield guard, container, streams[0]
    except FileNotFoundError:
        raise VideoError(f"{name}: no such file.") from None
    except IsADirectoryError:
        raise VideoError(f"{name}: is a folder, not a clip.") from None
    except PermissionError:
        raise VideoError(f"{name}: may not be read (permission denied).") from None
    except (av.error.FFmpegError, OSError) as error:
        raise VideoError(f"{name}: truncated or not a video ({error.strerror}).") from None


class _InMemory(io.BytesIO):
    """Bytes as a file whose refusals FFmpeg understands."""

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        try:
            return super().seek(offset, whence)
        except ValueError:
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL)) from None


def _local(place: str | Path) -> str:
    """The path of a clip, or for an address that of a copy on this machine."""
    try:
        path = local_copy(place)
    except DataError as error:
        raise VideoError(str(error)) from None
    if Path(path).is_dir():
        raise IsADirectoryError(path)
    return path


def _require_whole_boxes(name: str, file: IO[bytes]) -> None:
    """Refuses an mp4 that ends inside one of its outer boxes (ISO/IEC 14496-12, 4.2), even where FFmpeg copes."""
    end = file.seek(0, io.SEEK_END)
    start = 0
    while end - start >= 8:
        file.seek(start)
        header = file.read(16)
        size = int.from_bytes(header[:4], "big")
        size = int.from_bytes(header[8:], "big") if size == 1 else size or end - start
        start += max(size, 8)
    if start > end:
        raise VideoError(f"{name}: truncated, {start - end} bytes are missing at the end; fetch the file again.")


def _scan(guard: Guard, container: av.container.InputContainer, stream: av.video.stream.VideoStream) -> _Scan:
    name = guard.name
    times: list[int | None] = []
    keys: list[int] = []
    seen = 0
    for packet in guard.in_time(container.demux(stream)):
        if packet.size == 0:
            continue
        if packet.is_corrupt:
            raise VideoError(f"{name}: truncated or damaged at frame {seen}; fetch the file again.")
        seen += 1
        if packet.is_discard:
            continue
        times.append(packet.pts)
        guard.length(len(times), 0.0)
        if packet.is_keyframe and packet.pts is not None:
            keys.append(packet.pts)
    if seen < stream.frames:
        raise VideoError(f"{name}: truncated, {seen} of {stream.frames} frames are there; fetch the file again.")
    if not times:
        raise VideoError(f"{name}: has no frames; give a file that plays.")
    known = sorted(time for time in times if time is not None)
    ordered = known if len(set(known)) == len(times) else None
    fps = _rate(name, container, stream, ordered)
    guard.length(len(times), len(times) / fps)
    return _Scan(ordered, sorted(keys), len(times), fps)


def _rate(
    name: str,
    container: av.container.InputContainer,
    stream: av.video.stream.VideoStream,
    times: list[int] | None,
) -> float:
    """Frames per second by the timestamps; the stated rate serves where it agrees or where timestamps say nothing."""
    stated = float(stream.average_rate or 0)
    untimed = container.format.flags & av.format.Flags.no_timestamps.value  # type: ignore[operator]
    if untimed or (times is None and not stated):
        raise VideoError(f"{name}: its frame rate is unknown; convert it to mp4 with the rate that it was made at.")
    if times is None or len(times) == 1:
        measured = stated
    else:
        measured = float((len(times) - 1) / ((times[-1] - times[0]) * (stream.time_base or Fraction(1))))
    if not measured:
        raise VideoError(f"{name}: its frame rate is unknown; convert it to mp4 with the rate that it was made at.")
    return stated if abs(stated - measured) <= _RATE_TOLERANCE * measured else measured


def _is_constant(times: list[int] | None) -> bool:
    """Whether frames follow each other evenly, but for the rounding of timestamps (a tick at each end) and a tenth."""
    steps = np.diff(times or [])
    return len(steps) == 0 or bool(np.ptp(steps) <= max(2.0, 0.1 * float(np.median(steps))))


def _decode_near(
    guard: Guard,
    container: av.container.InputContainer,
    stream: av.video.stream.VideoStream,
    scan: _Scan,
    wanted: list[int],
) -> dict[int, np.ndarray] | None:
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
            container.seek(start, stream=stream)
            decoding = _decode_lightly(guard, container, stream, wanted_times)
        for frame in decoding:
            position = frame.pts
            if position is None or position >= target:
                break
        if position != target:
            return None
        found[index] = _pixels(guard, frame)
    return found


def _decode_lightly(
    guard: Guard,
    container: av.container.InputContainer,
    stream: av.video.stream.VideoStream,
    wanted_times: set[int],
) -> Iterator[av.video.frame.VideoFrame]:
    """The frames from here on, but those that are neither wanted nor needed to decode another may be left out."""
    for packet in guard.in_time(container.demux(stream)):
        stream.codec_context.skip_frame = "DEFAULT" if packet.pts is None or packet.pts in wanted_times else "NONREF"
        yield from packet.decode()


def _decode_in_order(
    guard: Guard,
    container: av.container.InputContainer,
    stream: av.video.stream.VideoStream,
    wanted: list[int],
) -> dict[int, np.ndarray]:
    container.seek(0, stream=stream)
    stream.codec_context.skip_frame = "DEFAULT"
    keep = set(wanted)
    found: dict[int, np.ndarray] = {}
    for index, frame in enumerate(guard.in_time(container.decode(stream))):
        if index in keep:
            found[index] = _pixels(guard, frame)
        if index == wanted[-1]:
            break
    if len(found) < len(wanted):
        raise VideoError(f"{guard.name}: truncated or damaged, frame {wanted[len(found)]} cannot be decoded.")
    return found


def _pixels(guard: Guard, frame: av.video.frame.VideoFrame) -> np.ndarray:
    if frame.is_corrupt:
        raise VideoError(f"{guard.name}: truncated or damaged at {frame.time} seconds; fetch the file again.")
    guard.frame(frame.height, frame.width)
    return np.rot90(frame.to_ndarray(format="rgb24"), _turns(guard.name, frame))


def _turns(name: str, frame: av.video.frame.VideoFrame) -> int:
    """Quarter turns, counter-clockwise, by which the file asks to show its frames."""
    if frame.rotation % 90:
        raise VideoError(
            f"{name}: asks to be shown turned by {frame.rotation} degrees; only quarter turns can be read."
        )
    return int(frame.rotation // 90) % 4
