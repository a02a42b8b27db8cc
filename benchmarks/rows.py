"""Scores many rows of few distinct clips with a model that takes no time: seconds, memory, and what a kill -9 costs.

    python benchmarks/rows.py --rows 1000000

The scoring runs in a process of its own, is killed with -9 half way through its rows, and is run again to its end. With
``--at s3`` the dataset is on an S3 server of this machine, in another process than what is measured, and what is scored
is published on the way as by a command (``pip install "videoalign[stores,dev]"``). With ``--kept`` the scores of all
rows lie there from an earlier run, and what is left is to bring them together: as much memory, in less time.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import resource
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import fsspec
import numpy as np

from videoalign.contracts.output import fingerprint
from videoalign.contracts.records import Clip, DatasetInfo, Prompt
from videoalign.contracts.video import Video
from videoalign.data.clip_content import input_keys
from videoalign.data.dataset import Dataset
from videoalign.data.tables import GrowingTable
from videoalign.recipes.score import CHUNK, score_dataset
from videoalign.stores.opening import Request, opened, publish_due
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


@contextmanager
def folder_at(place: str, server: str) -> Iterator[Path]:
    """A folder that is written, here or at an address of that server."""
    if not server:
        yield Path(place)
        return
    fsspec.config.conf["s3"] = {"endpoint_url": server}
    request = Request(place, writes=True, without=("clips", "latents"))
    with opened([request]):
        yield request.path


def score(place: str, server: str, told: Path) -> None:
    """Writes how many rows are done into ``told`` on the way, and prints a row at the end."""
    started = time.perf_counter()
    with folder_at(place, server) as folder:
        rows, made = score_folder(folder, told)
    seconds, peak = time.perf_counter() - started, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10
    print(json.dumps({"rows": rows, "made": made, "seconds": round(seconds, 1), "peak_mib": round(peak)}), flush=True)


def score_folder(folder: Path, told: Path) -> tuple[int, int]:
    """How many rows there are, and how many were made now."""
    done, last = 0, 0.0

    def advance(count: int = 1, **_: Any) -> None:
        nonlocal done, last
        done += count
        if time.monotonic() - last > 0.1:
            last = time.monotonic()
            told.write_text(str(done))
            publish_due()

    scores = score_dataset(Stub(), Dataset.open(folder), progress=lambda *_: nullcontext(advance))  # type: ignore
    return len(scores), done


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--kept", action="store_true", help="All rows were scored before.")
    parser.add_argument("--at", choices=("disk", "s3"), default="disk", help="Where the dataset is.")
    options = parser.parse_args()
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
    from tests.stores.s3_server import BUCKET, KEYS, s3_server  # not in the processes that are measured

    rows = options.rows // FILES * FILES
    spawned = multiprocessing.get_context("spawn")
    with TemporaryDirectory() as here, s3_server() if options.at == "s3" else nullcontext(("", None)) as (server, _):
        os.environ |= {**KEYS, "VIDEOALIGN_CACHE": f"{here}/cache"}
        place, told = f"s3://{BUCKET}/d" if server else f"{here}/d", Path(here) / "done"
        with folder_at(place, server) as folder:
            build(folder, rows)
            if options.kept:
                keep(folder)
        run = spawned.Process(target=score, args=(place, server, told))
        run.start()
        if not options.kept:
            while not told.is_file() or int(told.read_text() or 0) < rows // 2:
                time.sleep(0.05)
            os.kill(run.pid or 0, signal.SIGKILL)
            run.join()
            print(json.dumps({"done when killed": int(told.read_text())}), flush=True)
            run = spawned.Process(target=score, args=(place, server, told))
            run.start()
        run.join()
        if run.exitcode:
            raise SystemExit("the run failed")


if __name__ == "__main__":
    main()
