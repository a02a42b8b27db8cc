"""What may happen after a step; the loop knows none of it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

from safetensors.torch import load_file, save_file
from torch import Tensor

from videoalign.contracts.output import whole_file
from videoalign.distributed import ALONE, Processes
from videoalign.distributed.sharding import whole_state


class Callback(Protocol):
    """Called after every optimiser step."""

    def after_step(self, step: int, row: Mapping[str, float]) -> None:
        """``step`` steps are done; ``row`` holds the numbers of the last one."""
        ...


class _Trained(Protocol):
    def state_dict(self) -> Mapping[str, Tensor]: ...

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None: ...


class KeepBest:
    """Keeps on disk the trained weights of the step where a logged number was best; survives a resume.

    Args:
        objective: whose weights are kept.
        file: a ``.safetensors`` file; its header holds the step and the number.
        metric: name in the row, as in ``val/accuracy``; steps without it are passed over.
        higher: True when a higher number is better.
        processes: that train together; where they share weights, all call it.
    """

    def __init__(
        self,
        objective: _Trained,
        file: str | Path,
        metric: str,
        *,
        higher: bool = True,
        processes: Processes = ALONE,
    ) -> None:
        self.objective, self.file, self.metric, self.sign = objective, Path(file), metric, 1 if higher else -1
        self.processes = processes

    def after_step(self, step: int, row: Mapping[str, float]) -> None:
        if self.metric not in row:
            return
        best = self.best() if self.processes.is_first else None
        is_better = best is None or step <= best["step"] or self.sign * (row[self.metric] - best["value"]) > 0
        if not self.processes.gather(is_better)[0]:
            return
        state = whole_state(self.objective.state_dict(), self.processes)
        if self.processes.is_first:
            header = {"best": json.dumps({"step": step, "value": row[self.metric]})}
            with whole_file(self.file) as aside:
                save_file({name: value.contiguous() for name, value in state.items()}, aside, metadata=header)

    def best(self) -> dict[str, float] | None:
        """``{"step", "value"}`` of the weights on disk; None before the first."""
        if not self.file.is_file():
            return None
        with self.file.open("rb") as stream:
            length = int.from_bytes(stream.read(8), "little")
            header = json.loads(stream.read(length))
        return dict(json.loads(header["__metadata__"]["best"]))

    def restore(self) -> None:
        """Puts the best weights back into the objective; nothing happens before the first were kept."""
        if self.file.is_file():
            self.objective.load_state_dict(load_file(self.file))
