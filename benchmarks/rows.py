"""Scores many rows of few distinct clips with a model that takes no time: seconds, memory, and what a kill -9 costs.

    python benchmarks/rows.py --rows 1000000

The scoring runs in a process of its own, is killed with -9 half way through its rows, and is run again to its end. With
``--kept`` the scores of all rows lie there from an earlier run, and what is left is to bring them together: as much
memory, in less time.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import resource
import signal
import tempfile
import time
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from videoalign.contracts.output import fingerprint
from videoalign.contracts.records import Clip, DatasetInfo, Prompt
from videoalign.contracts.video import Video
from videoalign.data.clip_content import input_keys
from videoalign.data.dataset import Dataset
from videoalign.data.tables import GrowingTable
from videoalign.recipes.score import CHUNK, score_dataset
from videoalign.video.files import write_video

FILES = 8
"""Distinct clips."""


def read(given: tuple[Any, str]) -> float:
    return float(len(given[1]) % 7)


@dataclass(frozen=True)
class Stub:
    """A reward that knows nothing of clips."""

    name: str = "stub"
    dimensions: tuple[str, ...] = ("VQ", "MQ", "TA")
    digest: str = "stub"
    reader: Any = read

    def about(self) -> dict[str, Any]:
        return {"name": self.name}

    def score_read(self, values: list[float]) -> list[np.ndarray]:
        return [np.array([value, value + 1, value + 2]) for value in values]

    def normalise(self, raw: np.ndarray) -> np.ndarray:
        return raw / 7


def build(folder: Path, rows: int) -> None:
    frames = np.zeros((4, 16, 16, 3), np.uint8)
    for number in range(FILES):
        write_video(folder / "clips" / f"{number}.mp4", Video(frames + 10 * number, 8.0))
    dataset = Dataset.create(folder, DatasetInfo())
    dataset.write_prompts(Prompt(prompt_id=f"p{n}", text=f"prompt number {n}") for n in range(rows // FILES))
    about = {"fps": 8.0, "num_frames": 4, "height": 16, "width": 16}
    dataset.write_clips(
        Clip(clip_id=f"c{n}", prompt_id=f"p{n // FILES}", path=f"clips/{n % FILES}.mp4", **about)
        for n in range(rows // FILES * FILES)
    )


def keep(folder: Path) -> None:
    """Writes what a run leaves that stopped before its last step."""
    dataset = Dataset.open(folder)
    at = folder / "scores" / f"{Stub.name}.part" / fingerprint(Stub().about())
    kept = GrowingTable(at, Stub.dimensions, part=CHUNK)
    for key in input_keys(dataset, dataset.clips()):
        kept.add({key: np.arange(3.0)})
    kept.close()


def score(folder: Path, told: Path) -> None:
    """Writes how many rows are done into ``told`` on the way, and prints a row at the end."""
    started, done, last = time.perf_counter(), 0, 0.0

    def advance(count: int = 1, **_: Any) -> None:
        nonlocal done, last
        done += count
        if time.monotonic() - last > 0.1:
            last = time.monotonic()
            told.write_text(str(done))

    scores = score_dataset(Stub(), Dataset.open(folder), progress=lambda *_: nullcontext(advance))  # type: ignore
    seconds, peak = time.perf_counter() - started, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10
    print(json.dumps({"rows": len(scores), "made": done, "seconds": round(seconds, 1), "peak_mib": round(peak)}))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--kept", action="store_true", help="All rows were scored before.")
    options = parser.parse_args()
    rows = options.rows // FILES * FILES
    spawned = multiprocessing.get_context("spawn")
    with tempfile.TemporaryDirectory() as place:
        folder, told = Path(place) / "d", Path(place) / "done"
        build(folder, rows)
        if options.kept:
            keep(folder)
            only = spawned.Process(target=score, args=(folder, told))
            only.start()
            only.join()
            return
        killed = spawned.Process(target=score, args=(folder, told))
        killed.start()
        while not told.is_file() or int(told.read_text() or 0) < rows // 2:
            time.sleep(0.05)
        os.kill(killed.pid or 0, signal.SIGKILL)
        killed.join()
        before = int(told.read_text())
        again = spawned.Process(target=score, args=(folder, told))
        again.start()
        again.join()
        print(json.dumps({"done when killed": before}))
        if again.exitcode:
            raise SystemExit("the second run failed")


if __name__ == "__main__":
    main()
