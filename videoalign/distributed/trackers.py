"""The numbers of a run in TensorBoard, Weights & Biases or trackio, through accelerate's trackers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

from accelerate.tracking import LOGGER_TYPE_TO_CLASS
from accelerate.utils import is_tensorboard_available, is_trackio_available, is_wandb_available

from videoalign.errors import ConfigError

TrackerName = Literal["auto", "tensorboard", "wandb", "trackio", "none"]

INSTALLED = {
    "tensorboard": is_tensorboard_available,
    "wandb": is_wandb_available,
    "trackio": is_trackio_available,
}
"""Name -> whether its package is there."""

PROJECT = "videoalign"
"""What runs are filed under where a tracker keeps those of many."""


class Tracker:
    """A callback that hands rows on."""

    def __init__(self, kind: str, folder: Path, settings: Mapping[str, Any]) -> None:
        make = LOGGER_TYPE_TO_CLASS[kind]
        if kind == "tensorboard":
            self.tracker = make(kind, logging_dir=folder)
        else:
            self.tracker = make(PROJECT, name=folder.name, config=dict(settings), resume="allow")
        if hasattr(self.tracker, "start"):  # earlier releases of accelerate start at once
            self.tracker.start()

    def after_step(self, step: int, row: Mapping[str, float]) -> None:
        """Logs a step's numbers."""
        self.tracker.log({name: value for name, value in row.items() if name != "step"}, step=step)


@contextmanager
def tracking(kind: TrackerName, folder: Path, settings: Mapping[str, Any]) -> Iterator[list[Tracker]]:
    """The tracker of that name while the block runs; none for ``none``, and for ``auto`` without TensorBoard.

    Args:
        kind: ``auto`` is TensorBoard where that is installed.
        folder: of the run; TensorBoard's files go into ``tensorboard`` in it.
        settings: of the run, for people to look at.

    Raises:
        ConfigError: the tracker's package is not installed.
    """
    if kind == "none" or (kind == "auto" and not INSTALLED["tensorboard"]()):
        yield []
        return
    name = "tensorboard" if kind == "auto" else kind
    if not INSTALLED[name]():
        raise ConfigError(f"watch.tracker: {name} is not installed; pip install {name}, or set watch.tracker=none.")
    tracker = Tracker(name, folder, settings)
    try:
        yield [tracker]
    finally:
        tracker.tracker.finish()
