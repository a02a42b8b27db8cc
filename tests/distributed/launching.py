"""Starts the processes of a test: forked off one that has read torch once, for that takes seconds."""

from __future__ import annotations

import multiprocessing
import runpy
import socket
from pathlib import Path
from typing import Any

CONTEXT = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload(
    [
        "videoalign.cli.main",
        "videoalign.models.small_wan",
        "videoalign.recipes.generator.align",
        "videoalign.recipes.generator.guide",
        "videoalign.recipes.reward.train",
    ]
)
LAUNCHED = str(Path(__file__).with_name("launched.py"))

Command = tuple[dict[str, str], list[str]]
"""Variables of the environment, and the words after ``videoalign``."""


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
        return port


def variables(rank: int, count: int, port: int) -> dict[str, str]:
    """What torchrun and ``accelerate launch`` tell one of so many processes."""
    told = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": count, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    return {name: str(value) for name, value in told.items()} | {"CUDA_VISIBLE_DEVICES": ""}


def start(script: str, told: dict[str, Any]) -> Any:
    """A process that runs a script, which finds ``told`` as its global ``TOLD``."""
    process = CONTEXT.Process(target=runpy.run_path, args=(script, {"TOLD": told}, "__main__"), daemon=True)
    process.start()
    return process


def launch(count: int, commands: list[Command], folder: Path) -> str:
    """Runs the commands one after another in the same processes; what these printed."""
    port, outs = free_port(), [folder / f"{rank}-of-{count}.out" for rank in range(count)]
    told = [
        {"variables": variables(rank, count, port), "commands": commands, "out": str(out)}
        for rank, out in enumerate(outs)
    ]
    started = [start(LAUNCHED, each) for each in told]
    for process in started:
        process.join(timeout=600)
    printed = "".join(out.read_text() for out in outs)
    assert [process.exitcode for process in started] == [0] * count, printed[-3000:]
    return printed
