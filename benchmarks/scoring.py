"""Rates of scoring real clips in files, beside a plain pipeline and beside FFmpeg decoding the same files.

The reward is the tiny official checkpoint of the reference data, converted; the clips are its six, repeated.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import av
import numpy as np
import psutil
import torch
import torch.nn.functional as F

from videoalign.models.videoreward import VideoReward
from videoalign.models.videoreward.official import read_official
from videoalign.models.videoreward.processing import Patches, patchify, smart_size

SHARED = Path(os.environ.get("VIDEOALIGN_SHARED", "../shared"))
NUM_CLIPS = 120
NUM_STREAMED = 10_000
PROMPT = "a girl in a red dress walks along the beach at sunset"


def scoring_rates() -> dict[str, tuple[Callable[[], object], Callable[[], object], str]]:
    """By name: the baseline, scoring, and what their ratio means; empty without the reference data."""
    if not SHARED.is_dir():
        print(f"scoring: left out, no reference data in {SHARED}; set VIDEOALIGN_SHARED")
        return {}
    reward = tiny_reward()
    six = sorted((SHARED / "data" / "videoalign_pairs").glob("*.mp4"))
    files = six * (NUM_CLIPS // len(six))

    def score() -> None:
        assert all(result.error is None for result in reward.score(files, PROMPT))

    def plain() -> None:
        for file in files:
            reward.score_patches([plain_patches(reward, file)], [PROMPT])

    def ffmpeg() -> None:
        for file in files:
            command = ["ffmpeg", "-v", "error", "-threads", "2", "-i", str(file), "-f", "null", "-"]
            subprocess.run(command, check=True)

    clips = f"{NUM_CLIPS} real clips in files, tiny checkpoint, {os.cpu_count()} cores"
    rates = {
        "score_over_plain_pipeline": (
            plain,
            score,
            f"clips scored a second, over a pipeline that decodes every frame with PyAV as it comes, resizes, and "
            f"scores clip by clip; {clips}",
        )
    }
    if shutil.which("ffmpeg"):
        what = f"clips scored a second, over those that ffmpeg -threads 2 alone decodes; {clips}"
        rates["score_over_ffmpeg_decode"] = (ffmpeg, score, what)
    else:
        print("score_over_ffmpeg_decode: left out, ffmpeg is not installed")
    return rates


def memory_growth() -> dict[str, float | int | str]:
    """Resident memory at the end of a long stream of clips over that after its first thousand, as one entry."""
    reward = tiny_reward()
    small = reward.processor.limits.model_copy(update={"min_frame_pixels": 56 * 56, "max_frame_pixels": 56 * 56})
    reward.processor.limits = small
    files = sorted((SHARED / "data" / "fetv" / "clips").glob("*.mp4"))
    clips = ((files[k % len(files)], f"{PROMPT}, take {k}") for k in range(NUM_STREAMED))
    resident = []
    for number, result in enumerate(reward.score_stream(clips), start=1):
        assert result.error is None
        if number % 1000 == 0:
            resident.append(psutil.Process().memory_info().rss)
    growth = [value / resident[0] for value in resident]
    what = (
        f"resident memory after {NUM_STREAMED} clips of 128 x 128 pixels scored in one stream, over that after the "
        f"first 1000 ({resident[0] / 2**20:.0f} MiB); low and high are the least and most on the way"
    )
    return {"value": growth[-1], "low": min(growth), "high": max(growth), "n": NUM_STREAMED, "what": what}


def tiny_reward() -> VideoReward:
    folder = SHARED / "parity"
    template = folder / "official_template" / "detailed_special.txt"
    return read_official(folder / "videoreward_tiny" / "checkpoint", folder / "videoreward_tiny" / "base", template)


def plain_patches(reward: VideoReward, file: Path) -> Patches:
    """A clip as the official code reads it, step after step."""
    with av.open(str(file)) as container:
        stream = container.streams.video[0]
        count, fps = stream.frames, float(stream.average_rate)
        indices = reward.processor.indices(count, fps)
        frames = [frame for k, frame in enumerate(container.decode(stream)) if k in indices]
        pixels = np.stack([frame.to_ndarray(format="rgb24") for frame in frames])
    read, limits = reward.processor, reward.processor.limits
    tensor = torch.from_numpy(pixels).permute(0, 3, 1, 2).float()
    size = smart_size(*tensor.shape[-2:], read.patch * read.merge, limits.min_frame_pixels, limits.max_frame_pixels)
    resized = F.interpolate(tensor, size, mode="bicubic", antialias=True, align_corners=False)
    values, grid = patchify(resized.round().clamp(0, 255).to(torch.uint8), read.patch, read.merge, read.temporal)
    return Patches(values.contiguous(), grid)
