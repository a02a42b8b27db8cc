"""Named stages of a long run: each leaves a record when it is whole, and a second run goes on behind the last one."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from videoalign.contracts.output import write_json


class Stages:
    """Runs stages in order and keeps ``stages/<name>.json``: the result and the seconds it took.

    Args:
        folder: the run's folder.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "stages"
        self.seconds: dict[str, float] = {}
        """Seconds of each stage, those of an earlier run included, in order."""

    def run(self, name: str, work: Callable[[], Any]) -> Any:
        """The result of ``work``, or the one that an earlier run left.

        Args:
            name: of the stage, unique in the run.
            work: returns what JSON can hold; resumes what it had begun where that is long.
        """
        file = self.folder / f"{name}.json"
        if file.is_file():
            record = json.loads(file.read_text(encoding="utf-8"))
        else:
            started = time.perf_counter()
            result = work()
            record = {"seconds": round(time.perf_counter() - started, 1), "result": result}
            write_json(file, record)
            record = json.loads(file.read_text(encoding="utf-8"))
        self.seconds[name] = record["seconds"]
        return record["result"]
