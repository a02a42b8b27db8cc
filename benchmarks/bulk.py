"""Clips made, scored and encoded by one process and by Ray in turn: rates, memory, and whether files are equal.

    pip install "videoalign[bench,cluster]"
    python benchmarks/bulk.py --clips 2000 --rounds 4 --kill

Each node is a Ray node of this machine with processes and an address of its own. In each round some of the clips go
through both, so that other work on the machine weighs on both alike; the one process is another than the one that
drives Ray, so that memory is told of each alone. ``steady`` leaves out what stands before the first
part is done, as the start of processes and models; ``processor`` is the time of all processes on processors. Files are
compared by content, all but what is remembered of files' times. With ``--kill`` a worker and then a node are killed
in the middle of the last round's clips.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager, suppress
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import psutil
import torch

from videoalign.contracts.digests import file_digest
from videoalign.contracts.engine import IN_PROCESS, Engine
from videoalign.distributed.engines import RayOptions, open_engine
from videoalign.recipes.generator.clip_fit import ClipSettings
from videoalign.recipes.generator.encode import encode
from videoalign.recipes.generator.generate import GenerateConfig, generate, open_generator
from videoalign.recipes.judges import open_judge
from videoalign.recipes.score import score_dataset
from videoalign.worlds.sprites.prompts import ALL_SENTENCES, TEMPLATES

PER_PROMPT = 4
STAGES = ("generate", "score", "encode")


class Watch:
    """A `Progress` that remembers when parts came, of the last work."""

    @contextmanager
    def __call__(self, name: str, total: int) -> Iterator[Callable[..., None]]:
        self.came: list[tuple[float, int]] = []

        def advance(count: int = 1, **_: Any) -> None:
            if count:
                self.came.append((time.perf_counter(), count))

        yield advance

    def steady(self, parts: int) -> tuple[int, float]:
        """Clips after the first parts, and their seconds."""
        start = self.came[parts - 1][0]
        return sum(count for _, count in self.came[parts:]), self.came[-1][0] - start


def processor_seconds() -> float:
    """Of this process and all that it started and that run."""
    total = 0.0
    for one in [psutil.Process(), *psutil.Process().children(recursive=True)]:
        with suppress(psutil.Error):
            times = one.cpu_times()
            total += times.user + times.system
    return total


def walk(out: Path, engine: Engine, texts: Sequence[str], steps: int, workers: int) -> list[dict[str, Any]]:
    """A row for each stage."""
    config = GenerateConfig(per_prompt=PER_PROMPT, num_steps=steps, check_steps=False)
    rows, watch, dataset = [], Watch(), None
    for stage in STAGES:
        started, used = time.perf_counter(), processor_seconds()
        if dataset is None:
            dataset = generate(open_generator("sprites"), texts, out, config, engine=engine, progress=watch)
        elif stage == "score":
            score_dataset(open_judge("oracle"), dataset, engine=engine, progress=watch)
        else:
            asked, settings = [clip.clip_id for clip in dataset.clips()], ClipSettings(sampler_latents=False)
            encode(dataset, open_generator("sprites"), asked, settings, engine=engine, progress=watch)
        row = {"stage": stage, "seconds": time.perf_counter() - started, "processor": processor_seconds() - used}
        row["steady_clips"], row["steady_seconds"] = watch.steady(workers)
        held = psutil.Process().memory_full_info()
        row |= {"rss_mib": held.rss / 2**20, "own_mib": held.uss / 2**20, "load": os.getloadavg()[0]}
        rows.append(row)
        print(out.name, json.dumps({k: v if isinstance(v, str) else round(v, 2) for k, v in row.items()}), flush=True)
    return rows


def contents(folder: Path) -> dict[str, str]:
    files = (file for file in folder.rglob("*") if file.is_file() and file.name != "digests.json")
    return {str(file.relative_to(folder)): file_digest(file) for file in files}


def kill_in_the_middle(out: Path, clips: int, cluster: Any, node: Any) -> threading.Thread:
    """Kills a worker after a third of the clips, and a node after two thirds."""

    def kill() -> None:
        for number, action in ((clips // 3, kill_worker), (2 * clips // 3, lambda: cluster.remove_node(node, False))):
            while len(list(out.glob("clips/*.mp4"))) < number:
                time.sleep(0.1)
            action()
            print(f"killed at {number} clips", flush=True)

    def kill_worker() -> None:
        running = psutil.Process().children(recursive=True)
        next(one for one in running if "ray::_Worker" in " ".join(one.cmdline())).send_signal(signal.SIGKILL)

    thread = threading.Thread(target=kill)
    thread.start()
    return thread


def told(rounds: Sequence[Sequence[dict[str, Any]]], clips: int) -> dict[str, Any]:
    """Figures of one engine over rounds, by stage."""
    found: dict[str, Any] = {}
    for number, stage in enumerate(STAGES):
        rows = [rows[number] for rows in rounds]
        found[stage] = {
            "clips_per_second": clips * len(rounds) / sum(row["seconds"] for row in rows),
            "steady_clips_per_second": sum(row["steady_clips"] for row in rows)
            / sum(row["steady_seconds"] for row in rows),
            "processor_seconds_per_clip": sum(row["processor"] for row in rows) / clips / len(rounds),
        }
    found["seconds"] = sum(row["seconds"] for rows in rounds for row in rows)
    for kind in ("rss_mib", "own_mib"):
        found[kind] = [round(max(row[kind] for row in rows)) for rows in rounds]
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--clips", type=int, default=2000)
    parser.add_argument("--rounds", type=int, default=4, help="In which the clips are cut.")
    parser.add_argument("--steps", type=int, default=12, help="Sampling steps of a clip.")
    parser.add_argument("--nodes", type=int, default=2)
    parser.add_argument("--cpus", type=int, default=1, help="Of a node.")
    parser.add_argument("--actors", type=int, default=2, help="Workers, of one thread each.")
    parser.add_argument("--threads", type=int, default=1, help="Of the one process; files are equal for 1.")
    parser.add_argument("--kill", action="store_true", help="A worker and a node, in the last round.")
    options = parser.parse_args()
    os.environ |= {"OMP_NUM_THREADS": "1", "RAY_worker_niceness": "0"}  # Ray's own 15 starves on a busy machine
    from ray.cluster_utils import Cluster

    node = {"num_cpus": options.cpus, "object_store_memory": 256 * 2**20}
    cluster = Cluster(initialize_head=True, head_node_args={**node, "include_dashboard": False})
    others = [cluster.add_node(**node) for _ in range(options.nodes - 1)]
    ray_engine = open_engine("ray", address=cluster.address, options=RayOptions(actors=options.actors))
    texts = [one.text(template) for template in range(len(TEMPLATES)) for one in ALL_SENTENCES]
    share = options.clips // PER_PROMPT // options.rounds
    one: list[list[dict[str, Any]]] = []
    many: list[list[dict[str, Any]]] = []
    equal = []
    alone = ProcessPoolExecutor(1, get_context("spawn"), torch.set_num_threads, (options.threads,))
    with tempfile.TemporaryDirectory() as place, alone:
        for number in range(options.rounds):
            asked = texts[number * share : (number + 1) * share]
            folders = Path(place) / f"one-{number}", Path(place) / f"ray-{number}"
            one.append(alone.submit(walk, folders[0], IN_PROCESS, asked, options.steps, 1).result())
            last = options.kill and number == options.rounds - 1
            killing = kill_in_the_middle(folders[1], share * PER_PROMPT, cluster, others[-1]) if last else None
            many.append(walk(folders[1], ray_engine, asked, options.steps, options.actors))
            if killing:
                killing.join()
            found, wanted = contents(folders[1]), contents(folders[0])
            equal.append(found == wanted)
            clips = sum(name.startswith("clips/") for name in found)
            print(json.dumps({"round": number, "files": len(wanted), "clips": clips, "equal": equal[-1]}), flush=True)
    figures = {"one process": told(one, share * PER_PROMPT), "ray": told(many, share * PER_PROMPT)}
    if options.kill and options.rounds > 1:
        figures["ray, nothing killed"] = told(many[:-1], share * PER_PROMPT)
        figures["one process, the same rounds"] = told(one[:-1], share * PER_PROMPT)
    print(json.dumps({**figures, "files equal": equal}, indent=2))


if __name__ == "__main__":
    main()
