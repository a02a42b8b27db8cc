"""A reward from a dataset of judgements."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from videoalign.contracts.holding import held
from videoalign.contracts.output import fingerprint
from videoalign.contracts.progress import Progress, silent
from videoalign.data.clip_content import clip_keys
from videoalign.data.dataset import Dataset
from videoalign.distributed import Processes, join
from videoalign.distributed.claim import claim_together
from videoalign.errors import DataError
from videoalign.models.digest import weights_digest
from videoalign.models.videoreward import VideoReward
from videoalign.models.videoreward.augment import augment_clips
from videoalign.models.videoreward.checkpoint import MODEL_FOLDER
from videoalign.models.videoreward.settings import Ties
from videoalign.models.videoreward.tuning import gradient_checkpointing, merge_lora, part_of, prepare_tuning
from videoalign.recipes.reward.data import Lessons, read_lessons
from videoalign.recipes.reward.held_out import joined_use
from videoalign.recipes.reward.settings import RewardTrainConfig, check_settings
from videoalign.recipes.reward.start import is_reward, start_reward
from videoalign.recipes.score import clips_in, score_rows
from videoalign.stores.opening import as_given
from videoalign.training.callbacks import KeepBest
from videoalign.training.loop import Row, count_steps, fit
from videoalign.training.objectives.reward import RewardObjective, VerdictCriterion, find_criterion

BEST_FILE = "best.safetensors"
"""The trained weights of the best validation, in the output folder."""


@dataclass(frozen=True)
class RewardTrainResult:
    """What a training leaves."""

    reward: VideoReward
    """The trained model, in memory; also in ``<out>/model``."""
    history: list[Row]
    """Rows of ``log.jsonl``."""
    num_pairs: int
    """Pairs it was trained on."""


@held
def train_reward(
    dataset: Dataset,
    base: str,
    out: str | Path,
    config: RewardTrainConfig | None = None,
    *,
    fresh: bool = False,
    progress: Progress = silent,
    on_step: Callable[[Row], None] | None = None,
    on_note: Callable[[str], None] = lambda _: None,
) -> RewardTrainResult:
    """Trains a VideoReward on the training prompts and stores it, normalised on the held-out ones, in ``out``.

    A run that stopped goes on from its last checkpoint and ends with the weights of the unbroken run. Where held-out
    pairs are judged, their loss and accuracy stand in the log as ``val/loss`` and ``val/accuracy/<dim>``. Started by
    ``accelerate launch`` or ``torchrun`` in several processes, these train together, see `training.loop.fit`; each
    uses a GPU of its own where there is one.

    Args:
        dataset: judged pairs, or ratings where ``config.loss`` is regression; its dimensions and guidelines are used.
        base: ``sprites`` for the embedded base, the folder or hub id of a Qwen2-VL, or the folder of a trained reward,
            which keeps template, limits and positions: dimensions it lacks are added, further ones are not trained on.
        out: output folder; a run with the same settings and data resumes there.
        config: see `RewardTrainConfig`.
        fresh: start over where ``out`` holds another run of ours.
        progress: counts clips, then steps.
        on_step: called with the row of each step.
        on_note: called before any work with what is worth knowing of the clips.

    Raises:
        ConfigError: a template that does not fit, settings that contradict the reward to go on from or each other.
        DataError: no verdict to learn or to choose the best by, no clips to normalise on, an unreadable clip or prompt.
        ModelError: the base cannot be loaded.
        OutputError: ``out`` belongs to another run, or cannot be written.
    """
    config = config or RewardTrainConfig()
    check_settings(config)
    processes = join()
    progress = progress if processes.is_first else silent
    reward = start_reward(dataset, base, config).to(processes.device)
    lessons = read_lessons(reward, dataset, config)
    if processes.is_first and lessons.note is not None:
        on_note(lessons.note)
    objective = _objective(reward, config)
    if config.keep == "best" and not objective.weigh(lessons.unseen):
        raise DataError(f"{dataset.path}: keep=best wants judged pairs in split 'val', got none; use keep=last.")
    identity = _identity(reward, dataset, base, config, lessons, processes)
    folder = claim_together(out, identity, processes, fresh=fresh)
    lessons.reader.warm(lessons.judged, progress)
    checkpointing = gradient_checkpointing(reward, config.gradient_checkpointing)
    with progress("train reward", config.fit.num_steps) as advance, checkpointing:
        history = _fit(objective, reward, lessons, config, folder, count_steps(advance, on_step), processes)
    merge_lora(reward.eval())
    clips = clips_in(dataset, lessons.normalised_on)
    reward.set_normalisation(np.array(score_rows(reward, clips, max_rejected=0.0, progress=progress)))
    used = joined_use(
        reward.settings.used_prompts,
        is_reward(base),
        trained=(group.prompt for group in lessons.groups),
        selected=(group.prompt for group in lessons.unseen if config.keep == "best"),
        normalised=(prompt for _, prompt in clips),
    )
    reward.settings = reward.settings.model_copy(update={"ties": _ties(objective), "used_prompts": used})
    reward.name = folder.resolve().name
    if processes.is_first:
        reward.save_pretrained(folder / MODEL_FOLDER)
    processes.wait()
    return RewardTrainResult(reward, history, sum(len(group.pairs) for group in lessons.groups))


def _fit(
    objective: RewardObjective,
    reward: VideoReward,
    lessons: Lessons,
    config: RewardTrainConfig,
    folder: Path,
    on_step: Callable[[Row], None],
    processes: Processes,
) -> list[Row]:
    """Trains with validation on the unseen groups; the objective ends with the weights that are kept."""
    unseen, size = lessons.unseen, config.fit.batch_size

    def measure() -> dict[str, float]:
        starts = range(size * processes.rank, len(unseen), size * processes.count)
        return objective.measure((lessons.collate(unseen[start : start + size]) for start in starts), processes)

    keeper = KeepBest(objective, folder / BEST_FILE, "val/loss", higher=False)
    reward.train()
    history = fit(
        objective,
        lessons.groups,
        lessons.collate,
        config.fit,
        folder,
        on_step=on_step,
        callbacks=[keeper] if config.keep == "best" else [],
        validate=measure if objective.weigh(unseen) else None,
        order=lessons.order,
        name_of=lambda index: f"clips {', '.join(lessons.groups[index].clip_ids)}",
        processes=processes,
    )
    if config.keep == "best":
        keeper.restore()
    return history


def _ties(objective: RewardObjective) -> Ties | None:
    criterion = objective.criterion
    if not isinstance(criterion, VerdictCriterion) or (widths := criterion.widths()) is None:
        return None
    return Ties.model_validate({"law": criterion.law, "width": dict(zip(objective.dimensions, widths, strict=True))})


def _objective(reward: VideoReward, config: RewardTrainConfig) -> RewardObjective:
    prepare_tuning(reward, config.tuning, seed=config.fit.seed)
    return RewardObjective(
        reward,
        find_criterion(
            config.loss, len(reward.dimensions), theta=config.theta, nu=config.nu, learn_ties=config.learn_ties
        ),
        reward.dimensions,
        part_of=part_of,
        rates=config.rates,
        weight_decay=config.fit.weight_decay,
        augment=partial(
            augment_clips,
            processor=reward.processor,
            shift_share=config.shift_share,
            colour_jitter=config.colour_jitter,
            frame_shuffle=config.frame_shuffle,
        ),
    )


def _identity(
    reward: VideoReward, dataset: Dataset, base: str, config: RewardTrainConfig, lessons: Lessons, processes: Processes
) -> dict[str, Any]:
    groups = [*lessons.groups, *lessons.unseen]
    data = [[g.prompt, g.clip_ids, g.pairs.tolist(), g.shares.tolist(), g.ratings.tolist()] for g in groups]
    return {
        "command": "reward train",
        **config.model_dump(mode="json", exclude={"fit", "rates"}),
        "fit": config.fit.identity(processes),
        "bucket": config.fit.batch_size if config.bucket_by_length else None,  # decides the order
        "base": as_given(base),
        "weights": weights_digest(reward.backbone),
        "clips": fingerprint(clip_keys(dataset, [*lessons.judged, *lessons.normalised_on])),
        "dimensions": [dimension.model_dump(mode="json") for dimension in dataset.info.dimensions],
        "data": fingerprint(data),
    }
