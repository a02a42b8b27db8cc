"""How long an import of many rows takes, and how much memory: rows about few clips, so that reading them is measured.

Run as ``python benchmarks/import_rows.py [ROWS ...]``; without numbers, VideoGen-RewardBench's 26,457 and a million.
One line of JSON each; run the fewer rows first, since the peak is that of the process so far.
"""

from __future__ import annotations

import csv
import json
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
    sides = [f"{name}_{side}" for side in "AB" for name in ("fps", "num_frames")]
    columns = ["path_A", "path_B", "A_model", "B_model", "prompt", "VQ", "MQ", "TA", "Overall", *sides]
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


def peak_mb() -> int:
    """Most memory of this process; unlike getrusage's figure it does not count whoever started it."""
    (line,) = [line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM")]
    return int(line.split()[1]) // 1024


def measure(num_rows: int) -> dict[str, float]:
    """Wall and processor seconds of one import, and the peak MB of this process so far."""
    with tempfile.TemporaryDirectory() as folder:
        table = write_table(Path(folder), num_rows)
        start, cpu_start = time.perf_counter(), time.process_time()
        counts = import_data("rewardbench", table, Path(folder) / "d")
        seconds, cpu = time.perf_counter() - start, time.process_time() - cpu_start
    if counts.judgements != 4 * num_rows:
        raise AssertionError(f"{counts.judgements} judgements of {num_rows} rows")
    return {"rows": num_rows, "seconds": round(seconds, 2), "cpu_seconds": round(cpu, 2), "peak_mb": peak_mb()}


def main() -> None:
    for num_rows in sorted(int(text) for text in sys.argv[1:]) or [26_457, 1_000_000]:
        print(json.dumps(measure(num_rows)), flush=True)


if __name__ == "__main__":
    main()
