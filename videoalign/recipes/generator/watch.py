"""What is looked at while an alignment runs: held-out pairs, alarms, trackers and clips along the way."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Literal

from pydantic import Field

from videoalign.config import Config
from videoalign.contracts.generator import Generator
from videoalign.contracts.output import plain_errors
from videoalign.contracts.records import Asked, Prompt
from videoalign.distributed import ALONE, Processes
from videoalign.distributed.trackers import TrackerName
from videoalign.errors import ConfigError
from videoalign.training.alarms import out_of_patience
from videoalign.training.loop import FitConfig, Row
from videoalign.video.files import write_video

BEST = "best.safetensors"
"""The trained weights of the best validation, in the run's folder."""

MEASURE = "val/loss"
"""What the best validation has least of."""


class WatchConfig(Config):
    """What is looked at during a training; none of it changes a step."""

    tracker: TrackerName = "auto"
    """Where numbers go besides ``log.jsonl``: ``tensorboard``, ``wandb``, ``trackio`` or ``none``. ``auto`` is
    TensorBoard, in the run's folder, where it is installed."""
    keep: Literal["last", "best"] = "last"
    """Which weights the adapter ends with: the last, or those of the least loss on held-out pairs."""
    patience: int = Field(default=0, ge=0)
    """Stops after so many validations in a row that were no better than the best before; 0 never stops."""
    sample_every_steps: int = Field(default=0, ge=0)
    """Steps between clips of the model as it is then, in ``samples`` of the run's folder; 0 makes none."""
    sample_prompts: int = Field(default=2, gt=0)
    """Prompts of which a clip is made, held-out ones first, always with the same noise."""

    def check(self, fitting: FitConfig) -> None:
        """Refuses what needs validations where there are none.

        Raises:
            ConfigError: see above.
        """
        for name, given, off in (("keep", self.keep, "last"), ("patience", self.patience, 0)):
            if given != off and not fitting.validate_every_steps:
                raise ConfigError(f"watch.{name}: got {given}, which needs validations; set fit.validate_every_steps.")

    def stop(self, out: Path) -> Callable[[Sequence[Row]], bool] | None:
        """For `training.loop.fit` of a run in ``out``.

        It raises `ConfigError` where the best weights are asked for of a run that kept none in earlier validations.
        """

        def ends(rows: Sequence[Row]) -> bool:
            validations = sum(MEASURE in row for row in rows)
            if self.keep == "best" and validations and not (out / BEST).is_file():
                raise ConfigError(
                    f"watch.keep: got best, but {out} was begun with last and has kept no weights of its {validations} "
                    "validations; leave it out, or give another folder or --fresh."
                )
            return self.patience > 0 and out_of_patience(rows, MEASURE, self.patience)

        return ends if self.patience or self.keep == "best" else None


class SampleClips:
    """A callback that writes a clip of each of some prompts now and then: ``step-00000050/<n>.mp4``.

    Processes that share weights all make them, and the first writes.
    """

    def __init__(
        self, generator: Generator, prompts: Sequence[Asked], folder: Path, every: int, processes: Processes = ALONE
    ) -> None:
        self.generator, self.folder, self.every, self.processes = generator, folder, every, processes
        self.prompts = list(prompts)

    def after_step(self, step: int, row: Mapping[str, float]) -> None:
        """Samples where it is time; the network trains on as it was."""
        if step % self.every or not (self.processes.is_first or self.processes.shares_weights):
            return
        network = self.generator.network
        was_training = network.training
        try:
            network.train(False)
            latents = self.generator.sampler.latents(self.prompts, range(len(self.prompts)))
            videos = self.generator.codec.decode(latents)
        finally:
            network.train(was_training)
        if not self.processes.is_first:
            return
        place = self.folder / f"step-{step:08d}"
        with plain_errors(place):
            place.mkdir(parents=True, exist_ok=True)
        for number, video in enumerate(videos):
            write_video(place / f"{number}.mp4", video)


def watched_prompts(prompts: Sequence[Prompt], num: int) -> list[Prompt]:
    """The first few prompts, held-out ones first."""
    return sorted(prompts, key=lambda prompt: prompt.split != "val")[:num]
