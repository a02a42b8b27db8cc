"""What a run leaves on disk so that it can go on as if it had never stopped."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from videoalign.contracts.output import plain_errors, whole_file, write_json
from videoalign.distributed import ALONE, Processes
from videoalign.distributed.sharding import whole_state
from videoalign.errors import OutputError
from videoalign.training.optimizers import flat_state, restore_state

STATE = "state.json"
"""Names the step; the tensors of that step stand beside it, so that a save cut short leaves the one before."""


class _Trained(Protocol):
    def state_dict(self) -> Mapping[str, Tensor]: ...

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None: ...


class Checkpoint:
    """A folder with the trained weights, what the optimiser keeps, the step and the settings that must not change.

    Nothing random is stored: every draw of the loop follows from the seed and the step.

    Args:
        folder: holds one checkpoint; each save replaces the one before when it is complete.
        identity: a run with another one is refused.
        processes: of the run. All save, and the first writes; the files are the same however many share the weights.
    """

    def __init__(self, folder: str | Path, identity: Mapping[str, Any], processes: Processes = ALONE) -> None:
        self.folder, self.processes = Path(folder), processes
        self.identity = json.loads(json.dumps(identity))

    def save(
        self, objective: _Trained, optimizer: torch.optim.Optimizer, step: int, pending: list[dict[str, float]]
    ) -> None:
        """Writes the state after ``step`` steps; ``pending`` are rows that wait for their log line.

        Raises:
            OutputError: the disk is full or the folder cannot be written; the checkpoint before stays.
        """
        files = self._files(step)
        for file, state in zip(files, (objective.state_dict(), flat_state(optimizer)), strict=True):
            tensors = whole_state(state, self.processes)
            if self.processes.is_first:
                _save_tensors(tensors, file)
        if not self.processes.is_first:
            return
        write_json(self.folder / STATE, {"step": step, "pending": pending, "identity": self.identity})
        for old in set(self.folder.glob("*.safetensors")) - set(files):
            old.unlink()

    def restore(self, objective: _Trained, optimizer: torch.optim.Optimizer) -> tuple[int, list[dict[str, float]]]:
        """Puts the saved state back; the steps done and the pending rows, or (0, []) where nothing was saved.

        Raises:
            OutputError: the checkpoint belongs to a run with other settings, or is damaged.
        """
        if not (self.folder / STATE).is_file():
            return 0, []
        try:
            state = json.loads((self.folder / STATE).read_text(encoding="utf-8"))
            weights, moments = (load_file(file) for file in self._files(int(state["step"])))
        except (OSError, ValueError, KeyError, SafetensorError) as error:
            raise OutputError(
                f"{self.folder}: the checkpoint is damaged ({' '.join(str(error).split())}). Delete it to start over."
            ) from None
        have = state["identity"]
        changed = sorted(key for key in {*have, *self.identity} if have.get(key) != self.identity.get(key))
        if changed:
            told = ", ".join(f"{key} was {have.get(key)}, now {self.identity.get(key)}" for key in changed)
            raise OutputError(f"{self.folder} belongs to another run ({told}); give another folder.")
        try:
            objective.load_state_dict(weights)
            restore_state(optimizer, moments)
        except (ValueError, RuntimeError, KeyError) as error:
            told = " ".join(str(error).split())[:160]
            raise OutputError(
                f"{self.folder} holds the weights of another model ({told}); give another folder."
            ) from None
        return int(state["step"]), list(state["pending"])

    def _files(self, step: int) -> tuple[Path, Path]:
        return self.folder / f"weights-{step:08d}.safetensors", self.folder / f"optimizer-{step:08d}.safetensors"


class RunLog:
    """``log.jsonl``: one row a line, in step order."""

    def __init__(self, file: str | Path) -> None:
        self.file = Path(file)

    def append(self, row: Mapping[str, float]) -> None:
        """Adds a row of finite numbers.

        Raises:
            OutputError: the disk is full or the file cannot be written.
        """
        with plain_errors(self.file):
            self.file.parent.mkdir(parents=True, exist_ok=True)
            with self.file.open("a", encoding="utf-8") as stream:
                stream.write(json.dumps(row, allow_nan=False) + "\n")

    def rows(self) -> list[dict[str, float]]:
        """All rows; a half-written last line is dropped."""
        if not self.file.is_file():
            return []
        rows = []
        for line in self.file.read_text(encoding="utf-8").splitlines():
            try:
                rows.append(json.loads(line))
            except ValueError:
                break
        return rows

    def keep_until(self, step: int) -> None:
        """Drops the rows after ``step``, which a resumed run writes again."""
        if self.file.is_file():
            kept = [json.dumps(row) + "\n" for row in self.rows() if row["step"] <= step]
            with whole_file(self.file) as aside:
                aside.write_text("".join(kept), encoding="utf-8")


def _save_tensors(tensors: Mapping[str, Tensor], file: Path) -> None:
    with whole_file(file) as aside:
        save_file({name: value.detach().cpu().contiguous() for name, value in tensors.items()}, aside)
