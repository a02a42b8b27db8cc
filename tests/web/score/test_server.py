"""The real process, started by the real command: under load, and told to stop under load."""

from __future__ import annotations

import asyncio
import http.client
import importlib.util
import json
import math
import signal
import socket
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest

from videoalign.cli.main import main

REPOSITORY = Path(__file__).resolve().parents[3]


@pytest.fixture(scope="module")
def bench() -> ModuleType:
    """``benchmarks/serve_load.py``."""
    spec = importlib.util.spec_from_file_location("serve_load", REPOSITORY / "benchmarks" / "serve_load.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def questions(bench: ModuleType, reward_folder: Path, files: list[Path]) -> list:
    return bench.ask_library(reward_folder, [file.read_bytes() for file in files])


async def states_until_nobody_listens(url: str) -> list[str]:
    """What /health says, asked again and again over new connections."""
    states: list[str] = []
    while True:
        try:
            async with httpx.AsyncClient(timeout=60, verify=False) as client:
                states.append((await client.get(f"{url}/health")).json()["status"])
        except httpx.ConnectError:
            return states


def test_under_load_and_told_to_stop_it_answers_every_request_with_the_librarys_scores(
    bench: ModuleType, reward_folder: Path, questions: list
) -> None:
    async def load_then_stop(process: subprocess.Popen[str], url: str) -> tuple[list[str], Any]:
        tally = bench.Tally()
        asking = asyncio.create_task(bench.load(url, questions, clients=32, seconds=math.inf, tally=tally))
        while tally.scored + tally.busy < 64:
            await asyncio.sleep(0.01)
        process.send_signal(signal.SIGTERM)
        states = await states_until_nobody_listens(url)
        await asking
        return states, tally

    with bench.server(reward_folder, "drain_seconds=1", "max_queue=64") as (process, url):
        idle = http.client.HTTPConnection(urlsplit(url).netloc)
        idle.request("GET", "/health")
        assert json.load(idle.getresponse())["status"] == "ready"
        states, tally = asyncio.run(load_then_stop(process, url))
        assert process.wait(60) == 0
    assert (tally.lost, tally.wrong, tally.not_connected) == ([], [], 32)
    assert tally.scored > 0 and tally.scored + tally.busy == tally.sent >= 64
    assert set(states) <= {"ready", "draining"} and states == sorted(states, reverse=True)


def test_an_address_that_others_can_reach_needs_a_token(
    reward_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("VIDEOALIGN_TOKEN", raising=False)
    for host in ("0.0.0.0", "::", "example.org", "10.0.0.7"):
        assert main(["reward", "serve", str(reward_folder), "--host", host]) == 2
        assert "--token-file" in capsys.readouterr().err
    (tmp_path / "empty").write_text("\n")
    assert main(["reward", "serve", str(reward_folder), "--token-file", str(tmp_path / "empty")]) == 2
    assert "holds no token" in capsys.readouterr().err


def test_what_cannot_be_served_is_one_line(
    reward_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        assert main(["reward", "serve", str(reward_folder), "--port", port]) == 2
    assert f"--port {port}: cannot be listened on" in capsys.readouterr().err
    for words, reason in {
        (str(tmp_path),): "reward.json",
        (str(reward_folder), "--load", "device=tpu"): "device: cannot use 'tpu'",
        (str(reward_folder), "max_batchs=2"): "Did you mean 'max_batch'?",
        (str(reward_folder), "max_queue=2"): "max_queue: got 2; wanted at least max_clips, ",
    }.items():
        assert main(["reward", "serve", *words]) == 2
        assert reason in capsys.readouterr().err
