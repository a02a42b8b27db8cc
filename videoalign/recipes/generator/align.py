"""Win-lose pairs to an adapter or a model: SFT, Flow-RWR or Flow-DPO on one loop."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from videoalign.contracts.generator import Generator
from videoalign.contracts.holding import held
from videoalign.contracts.output import fingerprint
from videoalign.contracts.progress import Progress, silent
from videoalign.contracts.records import HELD_OUT, WinLosePair
from videoalign.data.dataset import Dataset
from videoalign.data.latents import LatentCache
from videoalign.data.lineage import (
    Lineage,
    Teacher,
    joined_lineage,
    prompt_hashes,
    read_lineage,
    teachers_of,
    write_lineage,
)
from videoalign.distributed import Processes, join
from videoalign.distributed.claim import claim_together
from videoalign.distributed.sharding import shard, whole_state
from videoalign.distributed.trackers import tracking
from videoalign.errors import ConfigError, DataError
from videoalign.models.adapter_files import adapter_file_digest
from videoalign.models.generators.settings import ModelSettings
from videoalign.recipes.generator.align_methods import (
    METHODS,
    AlignConfig,
    Method,
    TrainingSet,
    keeps_start,
    memory_advice,
    method_config,
    pair_weights,
    pairs_that_teach,
    require_frames,
)
from videoalign.recipes.generator.encode import clips_of_pairs, encode, encode_reference, require_whole_layers
from videoalign.recipes.generator.pictures import asked_of
from videoalign.recipes.generator.tuning import Tuning, by_transformer, parameters_of, ready_to_train, tuning_of
from videoalign.recipes.generator.watch import BEST, MEASURE, SampleClips, watched_prompts
from videoalign.training.alarms import Alarms
from videoalign.training.averaging import Averaged
from videoalign.training.callbacks import Callback, KeepBest
from videoalign.training.loop import Row, count_steps, fit, precision
from videoalign.training.objectives.dpo import DpoObjective
from videoalign.training.objectives.flow import FlowObjective
from videoalign.training.optimizers import require_optimizer
from videoalign.training.order import by_shape
from videoalign.training.validation import measure

FREE = {"fit", "encode", "start", "watch", "gradient_checkpointing", "one_by_one", "compile"}
"""Settings that are told otherwise in the identity of a run, or may change when it goes on."""

MOST_DRIFT = 0.01
"""Most that stored reference errors may change a margin, in nats, against those computed now."""


@dataclass(frozen=True)
class AlignResult:
    """What an alignment leaves."""

    adapter: Path
    """Folder for `models.lora.load_adapter` and ``videoalign sample --adapter``; of a full fine-tuning, for
    `load_generator` and ``videoalign sample --model``."""
    history: list[Row]
    """Rows of ``log.jsonl``."""
    num_pairs: int
    """Pairs it was trained on."""
    teachers: tuple[Teacher, ...]
    """What labelled them; with the hashes of their prompts it also stands in ``lineage.json`` beside what was made."""


@held
def align(
    method: str,
    dataset: Dataset,
    generator: Generator,
    pairs: str,
    out: str | Path,
    config: AlignConfig | None = None,
    *,
    fresh: bool = False,
    progress: Progress = silent,
    on_step: Callable[[Row], None] | None = None,
    callbacks: Sequence[Callback] = (),
    say: Callable[[str], None] = lambda text: None,
) -> AlignResult:
    """Trains an adapter, or all weights, on the pairs of that name and writes what it made into ``out``.

    The generator is given back as it was, but for a full fine-tuning of one that was not opened from files. Latents
    that are missing are encoded first. A run that stopped goes on from its last checkpoint and ends with the weights of
    the unbroken run, bit for bit; a finished one goes on where more steps are asked for. Processes that
    ``accelerate launch`` or ``torchrun`` started train together, each on a GPU of its own where there is one; with FSDP
    each holds a part of the weights.

    Args:
        method: ``sft``, ``rwr`` or ``dpo``.
        dataset: holds the pairs with their clips and prompts.
        generator: the base; carries no adapter.
        pairs: name of a table of pairs.
        out: folder of what is made, its checkpoint and its log.
        config: of the class that `METHODS` names for the method; its defaults when absent.
        fresh: start over where ``out`` holds a run of ours.
        progress: counts clips while encoding, then steps.
        on_step: called with the row of each step.
        callbacks: see `training.loop.fit`.
        say: takes what goes wrong and what to change, see `training.alarms`.

    Raises:
        ConfigError: an unknown method, a config of another method, settings that cannot take effect, or a loss that
            stopped being finite.
        DataError: no pairs, clips that do not fit, or stored reference errors that are not the reference's.
        ModelError: an adapter to start from that is none, or of another base.
        OutputError: ``out`` belongs to another run, or cannot be written.
    """
    config, processes = checked(method, config), join(may_share_weights=True)
    require_shareable(config, processes)
    require_whole_layers(generator)
    config = config.model_copy(update={"times": config.times.of_model(lambda: generator.sampler.time_shift)})
    progress = progress if processes.is_first else silent
    generator, rows = generator.changed(config.of_model()), pairs_that_teach(method, dataset.pairs(pairs))
    require_frames(generator, config)
    train, held_out = _split(dataset, pairs, rows, config)
    pair_weights(rows, config)
    tuning = tuning_of(generator, config)
    if processes.count > 1 and generator.device.type != "cpu":
        generator.to(processes.device)
    cache = processes.first_then_all(lambda: _encode(dataset, generator, rows, config, progress))
    tuning.require_trainable()
    identity, base = (
        _identity(method, config, generator, train, held_out, cache, processes),
        {**generator.identity(), **generator.origin},
    )
    folder = claim_together(out, identity, processes, fresh=fresh)
    run = _Run(method, METHODS[method], generator, config, cache, processes, tuning)
    with (
        ready_to_train(tuning, generator, config) as parameters,
        tracking(config.watch.tracker if processes.is_first else "none", folder, identity) as trackers,
    ):
        hooks = {"on_step": on_step, "callbacks": [*callbacks, *trackers, Alarms(say)]}
        together = _samples(dataset, generator, config, folder, processes)
        history, state = run.fit(parameters, train, held_out, folder, progress, together, hooks)
        lineage = method, dataset, generator, train, config, processes
        teachers = processes.first_then_all(lambda: _write_lineage(folder, *lineage))
        if processes.is_first:
            tuning.save(folder, by_transformer(generator, state), base)
        processes.wait()
    if processes.shares_weights:
        generator.free("network", changed=True)
    return AlignResult(adapter=folder, history=history, num_pairs=len(train), teachers=teachers)


def _encode(
    dataset: Dataset, generator: Generator, rows: list[WinLosePair], config: AlignConfig, progress: Progress
) -> LatentCache:
    """Latents and conditions of the pairs."""
    together = [(pair.clip_win, pair.clip_lose) for pair in rows]
    how: dict[str, Any] = {"together": together, "group": "encode.", "progress": progress}
    return encode(dataset, generator, clips_of_pairs(dataset, rows), config.encode, **how)


def _samples(
    dataset: Dataset, generator: Generator, config: AlignConfig, folder: Path, processes: Processes
) -> list[Callback]:
    """What makes clips along the way, where the settings ask for that."""
    every = config.watch.sample_every_steps
    prompts = asked_of(generator, dataset, watched_prompts(dataset.prompts(), config.watch.sample_prompts))
    return [SampleClips(generator, prompts, folder / "samples", every, processes)] if every else []


def _write_lineage(
    folder: Path,
    method: str,
    dataset: Dataset,
    generator: Generator,
    rows: list[WinLosePair],
    config: AlignConfig,
    processes: Processes,
) -> tuple[Teacher, ...]:
    """Everything that taught what was made, what taught that which it started from included; written down."""
    own = Lineage(method=f"align {method}", teachers=teachers_of(rows), prompts=prompt_hashes(dataset, rows))
    before = [None if start is None else read_lineage(start) for start in (config.start, generator.folder)]
    taught = joined_lineage(own, *before) or own
    if processes.is_first:
        write_lineage(folder, taught.method, taught.teachers, taught.prompts)
    return taught.teachers


@dataclass(frozen=True)
class _Run:
    """What an alignment works with."""

    name: str
    method: Method
    generator: Generator
    config: Any
    cache: LatentCache
    processes: Processes
    tuning: Tuning

    def fit(
        self,
        parameters: dict[str, nn.Parameter],
        train: list[WinLosePair],
        held_out: list[WinLosePair],
        folder: Path,
        progress: Progress,
        together: Sequence[Callback],
        hooks: Mapping[str, Any],
    ) -> tuple[list[Row], dict[str, Tensor]]:
        """Trains on some pairs and measures on others, where there are any.

        Returns:
            The rows of the log; and, in the first process, the values of what was trained, by name.
        """
        config, processes = self.config, self.processes
        objective = self.method.objective(self.generator, parameters, config)
        training = self.training_set(train, objective, progress)
        validation = self.held_out_set(held_out, objective, progress) if held_out else None
        shard(self.generator.network.transformers.values(), processes)
        objective = self.method.objective(self.generator, parameters_of(self.generator, parameters), config)
        averaged = Averaged(objective, config.ema) if config.ema else None
        best = KeepBest(_Kept(objective, averaged), folder / BEST, MEASURE, higher=False, processes=processes)
        with progress(f"align {self.name}", config.fit.num_steps) as advance:
            rows = fit(
                averaged or objective,
                training.examples,
                training.collate,
                config.fit,
                folder,
                on_step=count_steps(advance, hooks["on_step"]),
                callbacks=hooks["callbacks"],
                together=[*together, best] if config.watch.keep == "best" else together,
                after_update=(averaged or objective).after_update,
                validate=None if validation is None else partial(self.measure, objective, averaged, validation),
                stop=config.watch.stop(folder),
                memory_advice=memory_advice(config),
                name_of=training.names.__getitem__,
                shape_of=training.shapes.__getitem__,
                processes=processes,
            )
        if averaged is not None:
            objective.load_state_dict(averaged.mean)
        if config.watch.keep == "best":
            best.restore()
        return rows, whole_state(objective.state_dict(), processes)

    def training_set(self, rows: list[WinLosePair], objective: FlowObjective, progress: Progress) -> TrainingSet:
        """The pairs, with the reference's errors on fixed draws where the settings ask for them.

        Raises:
            DataError: stored errors are not those that the reference has here and now, as one batch shows.
        """
        num_draws = getattr(self.config, "reference_draws", 0)
        if not num_draws or not isinstance(objective, DpoObjective):
            return self.method.training_set(self.cache, rows, self.config, None)
        fitting = self.config.fit
        with self.tuning.reference():
            references = encode_reference(
                self.generator,
                self.cache,
                rows,
                num_draws=num_draws,
                times=self.config.times,
                dtype=fitting.dtype,
                start=_start_digest(self.config) if keeps_start(self.config) else "",
                batch_size=fitting.batch_size,
                processes=self.processes,
                progress=progress,
            )
            training = self.method.training_set(self.cache, rows, self.config, references)
            some = by_shape(range(len(rows)), training.shapes)[0][: fitting.batch_size]
            with precision(fitting.dtype, self.generator.network.device):
                drift = objective.reference_drift(training.collate([training.examples[index] for index in some]))
        if drift > MOST_DRIFT:
            raise DataError(
                f"reference errors in {self.cache.folder} are not those of this model here: they change margins by up "
                f"to {drift:.3g}, wanted at most {MOST_DRIFT}. Delete its reference-*.safetensors, or set "
                "reference_draws=0."
            )
        return training

    def held_out_set(self, rows: list[WinLosePair], objective: FlowObjective, progress: Progress) -> TrainingSet:
        """The pairs that are measured, at the reference's own draws only where it cannot run beside the policy."""
        if getattr(objective, "reference", None) is None:
            return self.training_set(rows, objective, progress)
        return self.method.training_set(self.cache, rows, self.config, None)

    def measure(self, objective: FlowObjective, averaged: Averaged | None, validation: TrainingSet) -> dict[str, float]:
        """The numbers of pairs that are not trained on, without dropout, at the weights' mean where there is one."""
        network = self.generator.network
        was_training = network.training
        try:
            network.train(False)
            sets = validation.examples, validation.collate
            shape_of = validation.shapes.__getitem__
            with nullcontext() if averaged is None else averaged.at_mean():
                return measure(objective, *sets, self.config.fit, shape_of=shape_of, processes=self.processes)
        finally:
            network.train(was_training)


class _Kept:
    """What `KeepBest` keeps: the weights that are measured."""

    def __init__(self, objective: FlowObjective, averaged: Averaged | None) -> None:
        self.objective, self.averaged = objective, averaged
        self.load_state_dict = objective.load_state_dict

    def state_dict(self) -> Mapping[str, Tensor]:
        return self.objective.state_dict() if self.averaged is None else self.averaged.mean


def _split(
    dataset: Dataset, name: str, rows: list[WinLosePair], config: AlignConfig
) -> tuple[list[WinLosePair], list[WinLosePair]]:
    """Pairs to train on, and those of the ``val`` prompts to measure on where the settings ask for that."""
    if not config.fit.validate_every_steps:
        return rows, []
    splits = {prompt.prompt_id: prompt.split for prompt in dataset.prompts()}
    train = [row for row in rows if splits.get(row.prompt_id) not in HELD_OUT]
    held_out = [row for row in rows if splits.get(row.prompt_id) == "val"]
    if not train or not held_out:
        raise ConfigError(
            f"fit.validate_every_steps: pairs '{name}' hold {len(train)} pairs to train on and {len(held_out)} of "
            "'val' prompts to measure on; wanted some of each. Make them with: videoalign pairs ... split=all"
        )
    return train, held_out


def checked(method: str, config: AlignConfig | None) -> AlignConfig:
    """The settings, or the method's defaults.

    Raises:
        ConfigError: an unknown method, settings of another one, or some that cannot take effect.
    """
    wanted = method_config(method)
    if config is not None and not isinstance(config, wanted):
        raise ConfigError(f"config: got {type(config).__name__}; method '{method}' wants {wanted.__name__}.")
    config = config or wanted()
    config.watch.check(config.fit)
    require_optimizer(config.fit.optimizer)
    return config


def require_shareable(config: AlignConfig, processes: Processes) -> None:
    """Checks that a network of which each process holds a part can be trained so.

    Raises:
        ConfigError: a setting for which it cannot.
    """
    chosen = {"compile": config.compile, "fit.optimizer": config.fit.optimizer == "adamw8bit"}
    found = [name for name, is_chosen in chosen.items() if is_chosen and processes.shares_weights]
    if found:
        raise ConfigError(f"{found[0]}: cannot be had together with FSDP; leave it out, or start with MULTI_GPU.")


def _start_digest(config: AlignConfig) -> str:
    return "" if config.start is None else adapter_file_digest(config.start)


def _identity(
    method: str,
    config: AlignConfig,
    generator: Generator,
    train: Sequence[WinLosePair],
    held_out: Sequence[WinLosePair],
    cache: LatentCache,
    processes: Processes,
) -> dict[str, Any]:
    measured = {"held_out": fingerprint([list(vars(pair).values()) for pair in held_out])} if held_out else {}
    return {
        "command": f"align {method}",
        **config.model_dump(mode="json", exclude={*FREE, *ModelSettings.model_fields}),
        "fit": config.fit.identity(processes),
        "start": _start_digest(config),
        "model": generator.identity(),
        "pairs": fingerprint([list(vars(pair).values()) for pair in train]),
        **measured,
        "latents": cache.identity(),
    }
