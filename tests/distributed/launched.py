"""One of several processes of a test, which `launching.launch` forks off; runs the commands that it is told."""

from __future__ import annotations

import os
import sys
from contextlib import redirect_stderr, redirect_stdout
from typing import Any

import torch

from videoalign.cli.main import main


def work(variables: dict[str, str], commands: list[tuple[dict[str, str], list[str]]], out: str) -> int:
    """Runs the commands one after another."""
    os.environ.update(variables)
    torch.set_num_threads(1)
    with open(out, "w") as stream, redirect_stdout(stream), redirect_stderr(stream):
        for more, words in commands:
            before = dict(os.environ)
            os.environ.update(more)
            if main(words):
                return 1
            os.environ.clear()
            os.environ.update(before)
    return 0


if __name__ == "__main__":
    told: Any = globals()["TOLD"]
    sys.exit(work(**told))
