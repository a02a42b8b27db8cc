"""Labelled pairs to a noisy-latent reward, which steers sampling."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

from videoalign.contracts.generator import Generator
from videoalign.contracts.holding import held
from videoalign.contracts.output import fingerprint
from videoalign.contracts.progress import Progress, silent
from videoalign.data.dataset import Dataset, JudgedPair
from videoalign.data.latents import LatentCache
from videoalign.data.lineage import RATERS, Teacher, prompt_hashes, write_lineage
from videoalign.distributed import Processes, join
from videoalign.distributed.claim import claim_together
from videoalign.errors import ModelError
from videoalign.models.generators.settings import ModelSettings
from videoalign.models.latent_reward import LatentRewardModel
from videoalign.models.lora import add_lora, merge_adapter
from videoalign.models.running import running_as
from videoalign.recipes.generator.encode import encode, require_whole_layers
from videoalign.recipes.generator.guide_pairs import labelled_pairs, latent_groups, split_pairs
from videoalign.recipes.generator.guide_report import write_guide_page
from videoalign.recipes.generator.guide_settings import GuideTrainConfig
from videoalign.recipes.generator.model_card import require_own_page
from videoalign.recipes.generator.steering import untiled
from videoalign.training.callbacks import Callback
from videoalign.training.loop import Row, count_steps, fit
from videoalign.training.objectives.latent_reward import (
    LatentGroup,
    LatentRewardObjective,
    collate_latent_groups,
    measure_by_noise,
)
from videoalign.training.objectives.reward import VerdictCriterion
from videoalign.training.optimizers import require_optimizer
from videoalign.training.order import by_shape

FREE = {"fit", "encode", "learning_rate_head", "gradient_checkpointing"}
"""Settings that are told otherwise in the identity of a run, or may change when it goes on."""


@dataclass(frozen=True)
class GuideTrainResult:
    """What the training leaves."""

    reward: LatentRewardModel
    """Ready to score; also in the output folder."""
    history: list[Row]
    """Rows of ``log.jsonl``."""
    num_pairs: int
    """Pairs it was trained on."""
    accuracy: dict[str, float]
    """On pairs of the ``val`` prompts: ``accuracy``, its interval and ``decided``, keys as in
    `training.objectives.latent_reward.by_band`; empty where there are none."""
    calibration: dict[str, float]
    """Likewise how well it knows what it does not know: ``calibration_error`` and ``log_loss``."""


@held
def train_guide(
    dataset: Dataset,
    generator: Generator,
    out: str | Path,
    config: GuideTrainConfig | None = None,
    *,
    scores: str | None = None,
    pairs: str | None = None,
    fresh: bool = False,
    progress: Progress = silent,
    on_step: Callable[[Row], None] | None = None,
    callbacks: Sequence[Callback] = (),
) -> GuideTrainResult:
    """Trains a noisy-latent reward for a generator; a run that stopped goes on from its last checkpoint.

    Prompts of the ``val`` split are kept for the accuracy, those of ``test`` left alone. The folder gets a page,
    ``README.md``, with accuracy and calibration by dimension and time.

    Args:
        dataset: clips, prompts and what labels them.
        generator: whose first blocks, autoencoder and text encoder are used; it is left as it is.
        out: output folder; a run with the same settings and data resumes there.
        config: see `GuideTrainConfig`.
        scores: name of the scores whose differences label the pairs; None takes the verdicts of the raters.
        pairs: name of the pairs to train on; None takes every two clips of a prompt that have labels.
        fresh: start over where ``out`` holds another run of ours.
        progress: counts clips while encoding, then steps.
        on_step: called with the row of each step.
        callbacks: see `training.loop.fit`.

    Raises:
        ConfigError: settings that contradict each other.
        DataError: no such scores or pairs, no pair with a label that teaches, or clips that do not fit the generator.
        ModelError: more blocks than the generator has.
        OutputError: ``out`` belongs to another run, or cannot be written.
    """
    config, processes = config or GuideTrainConfig(), join()
    config.check()
    require_optimizer(config.fit.optimizer)
    require_whole_layers(generator)
    config = config.model_copy(update={"times": config.times.of_model(lambda: generator.sampler.time_shift)})
    generator = generator.changed(config.of_model())
    progress = progress if processes.is_first else silent
    train, held_out = split_pairs(labelled_pairs(dataset, config, scores=scores, pairs=pairs), config)
    if processes.count > 1 and generator.device.type != "cpu":
        generator.to(processes.device)
    reward = _fresh_reward(dataset, generator, config)
    generator.free("network")
    together = [(pair.clip_a, pair.clip_b) for pair in train + held_out]
    how: dict[str, Any] = {"together": together, "group": "encode.", "progress": progress}
    cache = processes.first_then_all(lambda: encode(dataset, generator, chain(*together), config.encode, **how))
    require_own_page(Path(out))
    identity = _identity(config, generator, train, held_out, cache, processes)
    folder = claim_together(out, identity, processes, fresh=fresh)
    examples, unseen = (latent_groups(dataset, cache, part, config) for part in (train, held_out))
    alike = by_shape(unseen, [group.shape for group in unseen])
    batches = [collate_latent_groups(part[i : i + 8]) for part in alike for i in range(0, len(part), 8)]
    objective = _objective(reward, dataset, config)

    def measure() -> dict[str, float]:
        _tell_widths(reward, objective)
        return measure_by_noise(reward, batches, seed=config.fit.seed)

    hooks: dict[str, Any] = {"callbacks": callbacks, "validate": measure if batches else None}
    with progress("train guide", config.fit.num_steps) as advance, _ready_to_train(reward, config):
        hooks["on_step"] = count_steps(advance, on_step)
        history = _fit(objective, examples, config, folder, processes, **hooks)
    _tell_widths(reward, objective)
    measured = _validated(history)
    if processes.is_first:
        reward.save_pretrained(folder)
        write_lineage(folder, "guide train", [_teacher(dataset, scores)], prompt_hashes(dataset, train))
        write_guide_page(folder, reward, measured)
    processes.wait()
    accuracy = {name: value for name, value in measured.items() if name.startswith(("accuracy", "decided"))}
    calibration = {name: value for name, value in measured.items() if name not in accuracy}
    return GuideTrainResult(reward, history, len(train), accuracy, calibration)


@contextmanager
def _ready_to_train(reward: LatentRewardModel, config: GuideTrainConfig) -> Iterator[None]:
    """While the block runs the blocks are trained as the settings say; then adapters are added to the weights."""
    with running_as([reward.transformer], checkpointing=config.gradient_checkpointing):
        yield
    if config.train == "lora":
        merge_adapter(reward.transformer)
    reward.eval()


def _tell_widths(reward: LatentRewardModel, objective: LatentRewardObjective) -> None:
    widths = objective.criterion.widths()
    reward.width = None if widths is None else tuple(widths)


def _fit(
    objective: LatentRewardObjective,
    examples: Sequence[LatentGroup],
    config: GuideTrainConfig,
    folder: Path,
    processes: Processes,
    **hooks: Any,
) -> list[Row]:
    return fit(
        objective,
        examples,
        collate_latent_groups,
        config.fit,
        folder,
        name_of=lambda index: f"clips {', '.join(examples[index].clip_ids)}",
        shape_of=lambda index: examples[index].shape,
        processes=processes,
        **hooks,
    )


def _validated(history: Sequence[Row]) -> dict[str, float]:
    """What the validation at the end of the training measured."""
    return {name.removeprefix("val/"): value for name, value in history[-1].items() if name.startswith("val/")}


def _teacher(dataset: Dataset, scores: str | None) -> Teacher:
    return Teacher(name=RATERS) if scores is None else Teacher(name=scores, digest=dataset.scores_digest(scores))


def _fresh_reward(dataset: Dataset, generator: Generator, config: GuideTrainConfig) -> LatentRewardModel:
    """The generator's first blocks with an untrained head."""
    first, *more = generator.network.transformers.values()
    if more:
        raise ModelError(
            f"guide: '{generator.name}' has {1 + len(more)} transformers, each for some of the times; a noisy-latent "
            "reward starts from one that serves all of them."
        )
    reward = LatentRewardModel.from_transformer(
        first,
        dataset.dimensions,
        num_blocks=config.num_blocks,
        base=generator.name,
        constants=generator.network.constants,
        law=config.loss,
        seed=config.fit.seed,
    )
    reward.autoencoder = untiled(generator)
    if config.train == "frozen":
        reward.transformer.requires_grad_(False)
    if config.train == "lora":
        add_lora(reward.transformer, config.lora, seed=config.fit.seed)
    return reward.to(generator.network.device)


def _objective(reward: LatentRewardModel, dataset: Dataset, config: GuideTrainConfig) -> LatentRewardObjective:
    law = VerdictCriterion(config.loss, len(reward.dimensions), width=config.tie_width, learn=config.learn_ties)
    return LatentRewardObjective(
        reward,
        config.times,
        criterion=law.to(reward.head_bias.device),
        clean=config.clean,
        learning_rate_head=config.learning_rate_head,
        contrast_dimensions=[dimension.name for dimension in dataset.info.dimensions if dimension.sees_prompt],
        contrast_weight=config.contrast_weight,
    )


def _identity(
    config: GuideTrainConfig,
    generator: Generator,
    train: Sequence[JudgedPair],
    held_out: Sequence[JudgedPair],
    cache: LatentCache,
    processes: Processes,
) -> dict[str, Any]:
    parts = {"pairs": train, **({"held_out": held_out} if held_out else {})}
    labels = {name: [[p.prompt_id, p.clip_a, p.clip_b, p.labels] for p in part] for name, part in parts.items()}
    return {
        "command": "guide train",
        **config.model_dump(mode="json", exclude={*FREE, *ModelSettings.model_fields}),
        "fit": config.fit.identity(processes),
        "model": generator.identity(),
        **{name: fingerprint(rows) for name, rows in labels.items()},
        "latents": cache.identity(),
    }
