"""One training loop for every method: rewards, noisy-latent rewards and generators alike."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal

import torch
from pydantic import Field
from torch import Tensor

from videoalign.config import Config
from videoalign.distributed import ALONE, Processes
from videoalign.distributed.memory import is_out_of_memory
from videoalign.distributed.sharding import whole
from videoalign.errors import ConfigError, DataError, OutputError
from videoalign.randomness import Draws, fold_in
from videoalign.training.batches import Part, parts_of_step, read_ahead
from videoalign.training.callbacks import Callback
from videoalign.training.checkpoint import Checkpoint, RunLog
from videoalign.training.objective import Objective, means
from videoalign.training.optimizers import OPTIMIZERS, OptimizerName
from videoalign.training.order import Order, example_order

Row = dict[str, float]
"""A line of the log: ``step``, ``loss``, ``learning_rate``, ``gradient_norm``, ``seconds`` and the objective's own."""


NAMED_EXAMPLES = 4
"""Most examples that an error names."""


Share = Annotated[float, Field(ge=0, lt=1)]


class FitConfig(Config):
    """How long, how large and how fast; the same for every method."""

    num_steps: int = Field(default=200, gt=0)
    """Optimiser steps of the whole run."""
    batch_size: int = Field(default=16, gt=0)
    """Examples of one forward pass, in each process."""
    accumulate_steps: int = Field(default=1, gt=0)
    """Batches, in each process, whose gradients are averaged into one optimiser step."""
    learning_rate: float = Field(default=1e-4, gt=0, le=1e6)
    """Peak rate of AdamW, for the groups that bring none of their own."""
    warmup_steps: int = Field(default=10, ge=0)
    """Steps over which the rate rises linearly to its peak."""
    schedule: Literal["constant", "cosine", "linear"] = "constant"
    """What the rate does after the warm-up: stay, or fall to `final_rate_share` along a half cosine or a line."""
    final_rate_share: float = Field(default=0.05, ge=0, le=1)
    """Share of the peak that the rate falls to."""
    optimizer: OptimizerName = "adamw"
    """``adamw``, or ``adamw8bit``, whose two moments take a quarter of the memory (package bitsandbytes)."""
    weight_decay: float = Field(default=0.0, ge=0)
    """Decoupled weight decay."""
    betas: tuple[Share, Share] = (0.9, 0.999)
    """Decay rates of AdamW's two moments."""
    max_grad_norm: float = Field(default=1.0, gt=0)
    """Gradients are scaled down to this norm when they exceed it."""
    seed: int = 0
    """Decides the order of the examples and every draw of the objective."""
    save_every_steps: int = Field(default=100, gt=0)
    """Steps between checkpoints; one is always written at the end."""
    log_every_steps: int = Field(default=1, gt=0)
    """Steps that one log row averages over."""
    validate_every_steps: int = Field(default=0, ge=0)
    """Steps between validations; 0 validates once, at the end."""
    dtype: Literal["float32", "bfloat16"] = "float32"
    """Precision of the forward pass; weights and optimiser state stay as they are."""

    def identity(self, processes: Processes = ALONE) -> dict[str, Any]:
        """What decides the run and must not change when it goes on.

        Its length, rate and what it writes when may change, and so may the batches and processes that its steps are
        cut into.
        """
        settings = self.model_dump(mode="json", exclude=FREE)
        return {**settings, "examples_per_step": self.batch_size * self.accumulate_steps * processes.count}


FREE = {
    "num_steps",
    "learning_rate",
    "save_every_steps",
    "log_every_steps",
    "validate_every_steps",
    "batch_size",
    "accumulate_steps",
}
"""Settings that a run which goes on may be given another value of."""


def rate_factor(step: int, config: FitConfig) -> float:
    """Share of the peak learning rate that step ``step`` (from 0) uses, in (0, 1]."""
    if step < config.warmup_steps:
        return (step + 1) / config.warmup_steps
    if config.schedule == "constant":
        return 1.0
    done = (step - config.warmup_steps) / max(1, config.num_steps - config.warmup_steps)
    left = 1 - min(1.0, done)
    falling = left if config.schedule == "linear" else 0.5 * (1 + math.cos(math.pi * (1 - left)))
    return config.final_rate_share + (1 - config.final_rate_share) * falling


def count_steps(advance: Callable[[], object], on_step: Callable[[Row], None] | None = None) -> Callable[[Row], None]:
    """For `fit`'s ``on_step``: advances a bar once a step, those before a resume included, then calls ``on_step``."""
    shown = 0

    def after(row: Row) -> None:
        nonlocal shown
        while shown < row["step"]:
            advance()
            shown += 1
        if on_step is not None:
            on_step(row)

    return after


def fit(
    objective: Objective,
    examples: Sequence[Any],
    collate: Callable[[list[Any]], Any],
    config: FitConfig,
    out: str | Path,
    *,
    on_step: Callable[[Row], None] | None = None,
    callbacks: Sequence[Callback] = (),
    together: Sequence[Callback] = (),
    after_update: Callable[[Row], None] = lambda row: None,
    validate: Callable[[], Mapping[str, float]] | None = None,
    stop: Callable[[Sequence[Row]], bool] | None = None,
    memory_advice: str = "wanted a device with more memory",
    order: Order | None = None,
    name_of: Callable[[int], str] = "example {}".format,
    shape_of: Callable[[int], Any] = lambda _: 0,
    processes: Processes = ALONE,
) -> list[Row]:
    """Trains ``objective`` and leaves its weights in place; picks up where a run in ``out`` stopped, bit for bit.

    A run may go on for more steps than before and at another rate, see `FitConfig.identity`. N processes with batches
    of B, or N accumulated batches, take the steps of one process with batches of N B, up to rounding: the examples,
    their draws and what each counts are the same. Only layers that draw for themselves, as dropout does, draw anew for
    each batch. Process 0 alone writes and calls ``on_step`` and ``callbacks``.

    Args:
        objective: what is trained; see `training.objective.Objective`.
        examples: the training set, of any type, the same in every process. Those of the next batch are read, and
            collated, on a thread.
        collate: makes a batch of a list of examples.
        config: length, batch, rates.
        out: holds ``checkpoint/`` (trained weights, optimiser, step) and ``log.jsonl``.
        on_step: called with the row of every step done in this call, as for a progress bar.
        callbacks: see `training.callbacks`; called before the step's checkpoint, so that a run cut short between the
            two calls them again.
        together: the same, but called in all processes, for what needs weights of which each may hold a part.
        after_update: called with the row of every step in all processes, before anything else; for what an objective
            changes of itself, which belongs into its state.
        validate: called every ``validate_every_steps`` and at the end, in all processes; its numbers join the row as
            ``val/<name>``.
        stop: whether to end before ``num_steps``, by the rows of the log; asked at the start and after validations.
        memory_advice: what to do where a batch of one example does not fit, for the error.
        order: see `training.order.Order`; by default `example_order`.
        name_of: what to call an example in an error, by its index.
        shape_of: what examples must have in common to be collated, by the index of one; it can be sorted. A batch that
            holds several shapes is taken in as many parts, which leaves the step what it was.
        processes: those that train together.

    Returns:
        The rows of ``log.jsonl``, those from before a resume included.

    Raises:
        DataError: there are no examples.
        OutputError: ``out`` holds the checkpoint of a run with other settings, or of one that is longer.
        ConfigError: validations without anything to validate on, a loss that stopped being a finite number, or no
            memory left; the last checkpoint stays then.
    """
    _require_something(examples, config, validate)
    order = order or partial(example_order, len(examples), seed=config.seed)
    trainer = _Trainer(objective, config, name_of, processes)
    run = _Run(trainer, Path(out), len(examples))
    steps, size = range(run.first, config.num_steps), config.batch_size * config.accumulate_steps * processes.count
    cut = partial(parts_of_step, batch_size=config.batch_size, processes=processes)
    parts = (part for step in steps for part in cut(step, order(step * size, size), shape_of=shape_of))
    ended = run.ends(stop)
    with read_ahead(lambda part: collate([examples[index] for index in part.indices]), parts) as batches:
        for step in steps:
            if ended:
                break
            with _memory_told(config, step, memory_advice):
                row = trainer.step(step, batches)
            after_update(row)
            if validate is not None and _due(step + 1, config.validate_every_steps, config.num_steps):
                row |= _finite({f"val/{name}": float(value) for name, value in validate().items()})
            run.add(row, on_step, callbacks, together)
            if any(name.startswith("val/") for name in row) and (ended := run.ends(stop)):
                run.save(step + 1)
    processes.wait()
    return run.log.rows()


def _require_something(examples: Sequence[Any], config: FitConfig, validate: Callable[..., Any] | None) -> None:
    """Checks that there is something to train on, and something to validate on where that is asked for."""
    if not len(examples):
        raise DataError("training set: got 0 examples; wanted at least 1. Check the pairs or labels that were given.")
    if config.validate_every_steps and validate is None:
        raise ConfigError("fit.validate_every_steps: there is nothing held out to validate on; set it to 0.")


def mean_row(rows: Sequence[Row]) -> Row:
    """The mean of every number over the rows that hold it, at the step of the last; ``seconds`` are summed."""
    by_name: dict[str, list[float]] = {}
    for row in rows:
        for name, value in row.items():
            by_name.setdefault(name, []).append(value)
    means = {name: sum(values) / len(values) for name, values in by_name.items()}
    whole = {name: sum(by_name[name]) for name in ("seconds",) if name in by_name}
    return means | whole | {"step": rows[-1]["step"]}


class _Run:
    """What is on disk: the checkpoint to go on from, and the log."""

    def __init__(self, trainer: _Trainer, out: Path, num_examples: int) -> None:
        self.trainer, self.config = trainer, trainer.config
        identity = {**self.config.identity(trainer.processes), "num_examples": num_examples}
        self.checkpoint = Checkpoint(out / "checkpoint", identity=identity, processes=trainer.processes)
        self.log = RunLog(out / "log.jsonl")
        self.first, self.pending = self.checkpoint.restore(trainer.objective, trainer.optimizer)
        if self.first > self.config.num_steps:
            told = f"num_steps: got {self.config.num_steps}, but {out} holds a run of {self.first} steps"
            raise OutputError(f"{told}; wanted at least that, or another folder.")
        if trainer.processes.is_first:
            self.log.keep_until(self.first - len(self.pending))

    def add(
        self,
        row: Row,
        on_step: Callable[[Row], None] | None,
        callbacks: Sequence[Callback],
        together: Sequence[Callback],
    ) -> None:
        """Takes the row of the step just done; called in all processes."""
        config, done, is_first = self.config, int(row["step"]), self.trainer.processes.is_first
        self.pending.append(row)
        validated = any(name.startswith("val/") for name in row)
        if validated or _due(done, config.log_every_steps, config.num_steps):
            if is_first:
                self.log.append(mean_row(self.pending))
            self.pending = []
        if on_step is not None and is_first:
            on_step(row)
        for callback in [*callbacks, *together] if is_first else together:
            callback.after_step(done, row)
        if _due(done, config.save_every_steps, config.num_steps):
            self.save(done)

    def ends(self, stop: Callable[[Sequence[Row]], bool] | None) -> bool:
        """Whether the run is to end here, by the log that the first process has; called in all processes."""
        processes = self.trainer.processes
        return stop is not None and processes.gather(processes.is_first and stop(self.log.rows()))[0]

    def save(self, done: int) -> None:
        """Writes the checkpoint after so many steps; called in all processes."""
        self.checkpoint.save(self.trainer.objective, self.trainer.optimizer, done, self.pending)


class _Trainer:
    """Takes the steps of `fit`."""

    def __init__(
        self, objective: Objective, config: FitConfig, name_of: Callable[[int], str], processes: Processes
    ) -> None:
        self.objective, self.config, self.name_of, self.processes = objective, config, name_of, processes
        self.losses: list[tuple[Sequence[int], Tensor]] = []
        """Of the batches of the step, this process's, the examples and their losses."""
        self.parameters, self.optimizer = _optimizer(objective, config)

    def step(self, step: int, batches: Iterator[tuple[Part, Any]]) -> Row:
        """Step number ``step``, from 0, whose batches are the next."""
        started = time.perf_counter()
        config, factor = self.config, rate_factor(step, self.config)
        for group in self.optimizer.param_groups:
            group["lr"] = group["peak_lr"] * factor
        self.optimizer.zero_grad(set_to_none=True)
        parts = [part for each in self.processes.gather(self._gradients(batches)) for part in each]
        self.processes.sum_gradients(self.parameters)
        weight = sum(table[0][1] for _, table in parts)
        if weight:
            for gradient in (parameter.grad for parameter in self.parameters if parameter.grad is not None):
                gradient.div_(weight)
        norm = float(whole(torch.nn.utils.clip_grad_norm_(self.parameters, config.max_grad_norm)))
        row = {"loss": 0.0, **means(parts), "step": step + 1}
        if not (math.isfinite(row["loss"]) and math.isfinite(norm)):
            raise self._not_finite(step, row["loss"], norm)
        self.optimizer.step()
        shared = {"learning_rate": config.learning_rate * factor, "gradient_norm": norm}
        return {**_finite(row), **shared, "seconds": time.perf_counter() - started}

    def _gradients(self, batches: Iterator[tuple[Part, Any]]) -> list[tuple[list[str], list[list[float]]]]:
        """Leaves the gradients of weight * value summed over this process's batches; the numbers to log of each."""
        config, device = self.config, self.parameters[0].device
        per_step = config.batch_size * config.accumulate_steps * self.processes.count
        sums, self.losses = [], []
        for part, batch in batches:
            draws = Draws(config.seed, part.step, part.places, per_step)
            own_randomness = _own_randomness(config.seed, part.step, part.places[0], device)
            with own_randomness, precision(config.dtype, device):
                loss = self.objective.loss(batch, draws)
            (part.weight * loss.weight * loss.value).sum().backward()
            if part.weight:
                sums.append(loss.sums())
                self.losses.append((part.indices, loss.value.detach()))
            if part.is_last:
                break
        return [(names, table.tolist()) for names, table in sums]

    def _not_finite(self, step: int, loss: float, norm: float) -> ConfigError:
        """What to say of a step whose loss or gradient is no finite number; called in all processes."""
        own = [
            (index, math.isfinite(value))
            for indices, losses in self.losses
            for index, value in zip(indices, losses.tolist(), strict=True)
        ]
        every = [row for part in self.processes.gather(own) for row in part]
        bad = [index for index, is_finite in every if not is_finite] or [index for index, _ in every]
        names = [self.name_of(index) for index in dict.fromkeys(bad)]
        more = len(names) - NAMED_EXAMPLES
        shown = ", ".join(names[:NAMED_EXAMPLES]) + (f" and {more} more" if more > 0 else "")
        return ConfigError(
            f"learning_rate: at step {step + 1} the loss is {loss} and the gradient norm {norm}, with {shown}; wanted "
            f"finite numbers. Look at these, or lower learning_rate (now {self.config.learning_rate}) and run the same "
            "command again: it goes on from its last checkpoint, or with --fresh from the start where that is spoilt."
        )


def _optimizer(objective: Objective, config: FitConfig) -> tuple[list[Tensor], torch.optim.Optimizer]:
    groups = [{"lr": config.learning_rate, **group} for group in objective.parameter_groups()]
    groups = [{**group, "params": list(group["params"]), "peak_lr": group["lr"]} for group in groups]
    parameters = [parameter for group in groups for parameter in group["params"]]
    if not parameters:
        raise ConfigError("nothing to train: the objective has no trainable parameters; wanted at least one.")
    options = {"lr": config.learning_rate, "betas": config.betas, "weight_decay": config.weight_decay}
    return parameters, OPTIMIZERS[config.optimizer](groups, **options)


@contextmanager
def _memory_told(config: FitConfig, step: int, advice: str) -> Iterator[None]:
    """Turns memory that ran out in the block into an error that says which setting to lower, and by how much."""
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        size, accumulate = config.batch_size, config.accumulate_steps
        if size > 1:
            less = size // 2 if size % 2 == 0 else 1
            more = accumulate * size // less
            advice = f"set fit.batch_size={less} fit.accumulate_steps={more}; the run goes on then, with the same steps"
        told = f"fit.batch_size: memory ran out at step {step + 1} with batches of {size}"
        raise ConfigError(f"{told}; {advice}.") from None


@contextmanager
def _own_randomness(seed: int, step: int, begin: int, device: torch.device) -> Iterator[None]:
    """Layers that draw from the global generator, as dropout does, draw from (seed, step); it is put back after."""
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(fold_in(seed, "layers", step, begin).initial_seed())
        yield


def _finite(numbers: Mapping[str, float]) -> Row:
    return {name: value for name, value in numbers.items() if math.isfinite(value)}


def precision(dtype: str, device: torch.device) -> AbstractContextManager[Any]:
    """A block whose forward passes run as `FitConfig.dtype` says."""
    return nullcontext() if dtype == "float32" else torch.autocast(device.type, dtype=torch.bfloat16)


def _due(done: int, every: int, num_steps: int) -> bool:
    return done == num_steps or (every > 0 and done % every == 0)
