"""Bulk work on two Ray nodes leaves the files of one process, also where a worker and a node are lost on the way.

Skipped where Ray is not installed: ``pip install "videoalign[cluster]"`` brings it.
"""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import psutil
import pytest

from videoalign.contracts.digests import file_digest
from videoalign.contracts.engine import IN_PROCESS, Engine
from videoalign.contracts.records import WinLosePair
from videoalign.data.check import check_dataset
from videoalign.data.dataset import Dataset
from videoalign.distributed.engines import RayOptions, open_engine
from videoalign.errors import ConfigError, ModelError, ServerError
from videoalign.recipes.generator.encode import encode, encode_reference
from videoalign.recipes.generator.generate import GenerateConfig, generate, open_generator
from videoalign.recipes.judges import open_judge
from videoalign.recipes.score import score_dataset
from videoalign.training.objectives.flow import TimeSettings

ray = pytest.importorskip("ray", reason="needs Ray: pip install 'videoalign[cluster]'")
ray_flow = pytest.importorskip("videoalign.distributed.ray_flow")

PROMPTS = ["a red circle moves left", "a blue square moves right", "a green triangle moves up"]
QUICK = GenerateConfig(per_prompt=4, num_steps=3, batch_size=2)


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    """Two nodes, each with processes and an address of its own."""
    from ray.cluster_utils import Cluster

    os.environ |= {"OMP_NUM_THREADS": "1", "RAY_worker_niceness": "0"}  # Ray's own 15 starves on a busy machine
    small = {"num_cpus": 2, "object_store_memory": 128 * 2**20}
    made = Cluster(initialize_head=True, head_node_args={**small, "include_dashboard": False})
    made.second = made.add_node(**small)
    yield made
    ray.shutdown()
    made.shutdown()


@pytest.fixture(scope="module")
def engine(cluster: Any) -> Engine:
    return open_engine("ray", address=cluster.address, options=RayOptions(actors=2))


def walk(out: Path, engine: Engine) -> Dataset:
    """Clips, scores, latents and reference errors."""
    notes: list[str] = []
    dataset = generate(open_generator("sprites"), PROMPTS, out, QUICK, engine=engine, on_note=notes.append)
    assert len(notes) == 1 and "num_steps=3" in notes[0], "the check of steps is done where the model is"
    score_dataset(open_judge("oracle"), dataset, engine=engine)
    ids: dict[str, list[str]] = {}
    for clip in dataset.clips():
        ids.setdefault(clip.prompt_id, []).append(clip.clip_id)
    told = {"reward_win": 1.0, "reward_lose": 0.0}
    pairs = [WinLosePair(prompt_id=key, clip_win=some[0], clip_lose=some[1], **told) for key, some in ids.items()]
    generator = open_generator("sprites")
    cache = encode(dataset, generator, [key for some in ids.values() for key in some], engine=engine)
    encode_reference(generator, cache, pairs, num_draws=2, times=TimeSettings(), batch_size=2, engine=engine)
    assert check_dataset(dataset, engine=engine) == []
    return dataset


def contents(folder: Path) -> dict[str, str]:
    """Every artefact by its name; what is remembered of files' times is none."""
    files = (file for file in folder.rglob("*") if file.is_file() and file.name != "digests.json")
    return {str(file.relative_to(folder)): file_digest(file) for file in files}


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    return contents(walk(tmp_path_factory.mktemp("alone") / "d", IN_PROCESS).path)


def test_two_nodes_leave_the_files_of_one_process(engine: Engine, alone: dict[str, str], tmp_path: Path) -> None:
    assert contents(walk(tmp_path / "d", engine).path) == alone


def process_of(part: Sequence[int]) -> tuple[int, list[int]]:
    return os.getpid(), [2 * one for one in part]


def slow(part: Sequence[int]) -> tuple[int, list[int]]:
    time.sleep(0.05)
    return process_of(part)


def test_workers_are_kept_from_one_stream_to_the_next(engine: Engine) -> None:
    seen: list[set[int]] = []
    for _ in range(2):
        made = [done.made for done in engine.stream([[n, n + 1] for n in range(100)], slow)]
        assert [values for _, values in made] == [[2 * n, 2 * n + 2] for n in range(100)]
        seen.append({process for process, _ in made})
    assert seen[0] == seen[1] and len(seen[0]) == 2
    assert list(engine.stream([], process_of)) == []


def workers() -> list[psutil.Process]:
    """Processes that hold a model."""
    running = psutil.process_iter(["cmdline"])
    return [one for one in running if "ray::_Worker" in " ".join(one.info["cmdline"] or [])]


def test_workers_are_let_go_of_where_no_stream_comes(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ray_flow, "IDLE_SECONDS", 0.1)
    for numbers in ([1, 2], [3]):
        assert [done.made[1] for done in engine.stream([[n] for n in numbers], process_of)] == [
            [2 * n] for n in numbers
        ]
        end = time.monotonic() + 30
        while workers() and time.monotonic() < end:
            time.sleep(0.1)
        assert not workers(), "others may have their cores"


def when(is_time: Callable[[], bool], action: Callable[[], object]) -> threading.Thread:
    def wait() -> None:
        end = time.monotonic() + 120
        while not is_time() and time.monotonic() < end:
            time.sleep(0.05)
        action()

    thread = threading.Thread(target=wait)
    thread.start()
    return thread


def test_a_worker_and_then_a_node_that_are_killed_lose_nothing_and_repeat_nothing(
    cluster: Any, engine: Engine, alone: dict[str, str], tmp_path: Path
) -> None:
    out = tmp_path / "d"

    def clips(number: int) -> Callable[[], bool]:
        return lambda: len(list(out.glob("clips/*.mp4"))) >= number

    killed: list[int] = []

    def kill_worker() -> None:
        victim = workers()[0]
        victim.send_signal(signal.SIGKILL)
        killed.append(victim.pid)

    threads = [
        when(clips(2), kill_worker),
        when(clips(6), lambda: (cluster.remove_node(cluster.second, allow_graceful=False), killed.append(0))),
    ]
    dataset = generate(open_generator("sprites"), PROMPTS, out, QUICK, engine=engine)
    for thread in threads:
        thread.join()
    assert len(killed) == 2
    made = contents(dataset.path)
    made.pop("latents/latents.json")  # tells of all latents, and here are those of the sampler alone
    assert made == {name: digest for name, digest in alone.items() if name in made}
    assert sum(name.startswith("clips/") for name in made) == len(dataset.clips()) == 12


def test_what_is_wrong_where_the_model_is_ends_as_an_error_of_ours(
    engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    generator = open_generator("sprites")
    monkeypatch.setattr(type(generator), "sent", lambda self: {**self.identity(), "transformer": "another"})
    with pytest.raises(ModelError, match="another one here than was sent"):
        generate(generator, PROMPTS[:1], tmp_path / "d", QUICK, engine=engine)


@pytest.mark.parametrize("address", ["127.0.0.1:1", "ray://127.0.0.1:1", "auto"])
def test_an_address_where_nothing_answers_is_told_at_once(
    cluster: Any, address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    ray.shutdown()
    monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:1")  # what auto finds
    started = time.monotonic()
    with pytest.raises(ServerError, match=f"no Ray cluster answers at {address} .*refused.*; start one, correct it"):
        open_engine("ray", address=address)
    assert time.monotonic() - started < 10


def test_fewer_workers_at_most_than_at_least_are_refused(cluster: Any) -> None:
    with pytest.raises(ConfigError, match="lower actors"):
        open_engine("ray", options=RayOptions(actors=3, max_actors=2))
