"""How long an import of many rows takes, and how much memory: rows about few clips, so that reading them is measured.

Run as ``python benchmarks/import_rows.py [ROWS ...]``; without numbers, VideoGen-RewardBench's 26,457 and a million.
Each import runs in its own process; the peak is that process's own.
"""

from __future__ import annotations

import csv
import multiprocessing
import resource
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from videoalign.contracts.video import Video
from videoalign.data.formats import import_data
from videoalign.video.files import write_video

NUM_CLIPS = 40
VERDICTS = ("A", "B", "same")


def write_table(folder: Path, num_rows: int) -> Path:
    """A table in VideoGen-RewardBench's columns, no row of which repeats another."""
    for k in range(NUM_CLIPS):
        frames = np.full((4, 16, 16, 3), 6 * k, dtype=np.uint8)
        write_video(folder / "videos" / f"c{k}.mp4", Video(frames, 8.0))
    columns = [
        "path_A",
        "path_B",
        "A_model",
        "B_model",
        "prompt",
        "VQ",
        "MQ",
        "TA",
        "Overall",
        "fps_A",
        "num_frames_A",
        "fps_B",
        "num_frames_B",
    ]
    pairs = [(a, b) for a in range(NUM_CLIPS) for b in range(a)]
    with (folder / "t.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(columns)
        for row in range(num_rows):
            a, b = pairs[row % len(pairs)]
            labels = [VERDICTS[(row // 3**k) % 3] for k in range(4)]
            prompt = f"prompt number {row // len(pairs)}"
            paths = [f"videos/c{k}.mp4" for k in (a, b)]
            writer.writerow([*paths, f"m{a}", f"m{b}", prompt, *labels, 8.0, 4.0, 8.0, 4.0])
    return folder / "t.csv"


def measure(table: str, num_rows: int) -> dict[str, float]:
    """Seconds and peak MB of one import."""
    start = time.perf_counter()
    counts = import_data("rewardbench", table, Path(table).parent / "d")
    seconds = time.perf_counter() - start
    if counts.judgements != 4 * num_rows:
        raise AssertionError(f"{counts.judgements} judgements of {num_rows} rows")
    return {"seconds": seconds, "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024}


def main() -> None:
    for num_rows in [int(text) for text in sys.argv[1:]] or [26_457, 1_000_000]:
        with tempfile.TemporaryDirectory() as folder, multiprocessing.get_context("spawn").Pool(1) as pool:
            result = pool.apply(measure, (str(write_table(Path(folder), num_rows)), num_rows))
            print(f"{num_rows} rows: {result['seconds']:.1f} s, peak {result['peak_mb']:.0f} MB")


if __name__ == "__main__":
    main()
