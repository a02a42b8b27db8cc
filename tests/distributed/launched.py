"""One of several processes of a test, which `launching.launch` forks off; runs the commands that it is told."""

from __future__ import annotations

import os
import sys
from contextlib import redirect_stderr, redirect_stdout
from typing import Any

import torch

from videoalign.cli.main import main


def work(rank: int, count: int, port: int, commands: list[tuple[dict[str, str], list[str]]], out: str) -> int:
    """Sets what torchrun and ``accelerate launch`` set, and runs the commands one after another."""
    told = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": count, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    os.environ.update({name: str(value) for name, value in told.items()} | {"CUDA_VISIBLE_DEVICES": ""})
    torch.set_num_threads(1)
    with open(out, "w") as stream, redirect_stdout(stream), redirect_stderr(stream):
        for variables, words in commands:
            before = dict(os.environ)
            os.environ.update(variables)
            if main(words):
                return 1
            os.environ.clear()
            os.environ.update(before)
    return 0


if __name__ == "__main__":
    told: Any = globals()["TOLD"]
    sys.exit(work(**told))
