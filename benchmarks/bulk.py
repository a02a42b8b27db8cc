"""Clips made, scored and encoded by one process and by Ray: seconds, the command's memory, and whether files are equal.

    pip install "videoalign[bench,cluster]"
    python benchmarks/bulk.py --clips 2000 --nodes 2 --cpus 2

Each node is a Ray node of this machine with processes and an address of its own. With --address a cluster that is there
is used. Files are compared by content, all but what is remembered of files' times.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from pathlib import Path
from typing import Any

import psutil

from videoalign.contracts.digests import file_digest
from videoalign.contracts.engine import IN_PROCESS, Engine
from videoalign.distributed.engines import RayOptions, open_engine
from videoalign.recipes.generator.encode import encode
from videoalign.recipes.generator.generate import GenerateConfig, generate, open_generator
from videoalign.recipes.judges import open_judge
from videoalign.recipes.score import score_dataset
from videoalign.worlds.sprites.prompts import ALL_SENTENCES, TEMPLATES

PER_PROMPT = 4


def walk(out: Path, engine: Engine, clips: int, steps: int) -> list[dict[str, Any]]:
    """A row for each stage: seconds, and the command's memory at its end."""
    texts = [one.text(template) for template in range(len(TEMPLATES)) for one in ALL_SENTENCES][: clips // PER_PROMPT]
    config = GenerateConfig(per_prompt=PER_PROMPT, num_steps=steps, check_steps=False)
    rows, process = [], psutil.Process()

    def told(stage: str, started: float) -> None:
        memory = process.memory_info().rss / 2**20
        rows.append({"stage": stage, "seconds": time.perf_counter() - started, "memory_mib": memory})
        print(json.dumps(rows[-1]), flush=True)

    started = time.perf_counter()
    dataset = generate(open_generator("sprites"), texts, out, config, engine=engine)
    told("generate", started)
    started = time.perf_counter()
    score_dataset(open_judge("oracle"), dataset, engine=engine)
    told("score", started)
    started = time.perf_counter()
    encode(dataset, open_generator("sprites"), [clip.clip_id for clip in dataset.clips()], engine=engine)
    told("encode", started)
    return rows


def contents(folder: Path) -> dict[str, str]:
    files = (file for file in folder.rglob("*") if file.is_file() and file.name != "digests.json")
    return {str(file.relative_to(folder)): file_digest(file) for file in files}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--clips", type=int, default=2000)
    parser.add_argument("--steps", type=int, default=12, help="Sampling steps of a clip.")
    parser.add_argument("--nodes", type=int, default=2)
    parser.add_argument("--cpus", type=int, default=2, help="Of a node.")
    parser.add_argument("--actors", type=int, default=2)
    parser.add_argument("--address", help="Of a cluster that is there.")
    options = parser.parse_args()
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    os.environ.setdefault("RAY_worker_niceness", "0")  # as the one process; Ray's own 15 starves on a busy machine
    address = options.address
    if address is None:
        from ray.cluster_utils import Cluster

        node = {"num_cpus": options.cpus, "object_store_memory": 256 * 2**20}
        cluster = Cluster(initialize_head=True, head_node_args={**node, "include_dashboard": False})
        for _ in range(options.nodes - 1):
            cluster.add_node(**node)
        address = cluster.address
    engine = open_engine("ray", address=address, options=RayOptions(actors=options.actors))
    with tempfile.TemporaryDirectory() as place:
        one = walk(Path(place) / "one", IN_PROCESS, options.clips, options.steps)
        many = walk(Path(place) / "many", engine, options.clips, options.steps)
        equal = contents(Path(place) / "one") == contents(Path(place) / "many")
    print(json.dumps({"one process": one, "ray": many, "files equal": equal}, indent=2))


if __name__ == "__main__":
    main()
