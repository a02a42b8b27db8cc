"""A reward from a dataset of judgements."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from videoalign.contracts.holding import held
from videoalign.contracts.output import fingerprint
from videoalign.contracts.progress import Progress, silent
from videoalign.contracts.records import Dimension
from videoalign.data.clip_content import clip_keys
from videoalign.data.dataset import Dataset
from videoalign.distributed import Processes, join
from videoalign.distributed.claim import claim_together
from videoalign.errors import ConfigError
from videoalign.models.digest import weights_digest
from videoalign.models.videoreward import VideoReward
from videoalign.models.videoreward.augment import augment_clips
from videoalign.models.videoreward.checkpoint import MODEL_FOLDER
from videoalign.models.videoreward.extend import extend_reward
from videoalign.models.videoreward.prompt import default_template
from videoalign.models.videoreward.settings import Ties
from videoalign.models.videoreward.tuning import finish_tuning, part_of, prepare_tuning
from videoalign.recipes.reward.base import SPRITES, SPRITES_LIMITS, base_path, is_reward
from videoalign.recipes.reward.data import Lessons, read_lessons
from videoalign.recipes.reward.held_out import joined_use
from videoalign.recipes.reward.settings import RewardTrainConfig, check_settings
from videoalign.recipes.score import clips_in, score_rows
from videoalign.stores.opening import as_given
from videoalign.training.callbacks import KeepBest
from videoalign.training.loop import Row, count_steps, fit
from videoalign.training.objectives.reward import RewardObjective, find_criterion
from videoalign.training.optimizers import require_optimizer
from videoalign.training.order import bucketed_order

BEST_FILE = "best.safetensors"
"""The trained weights of the best validation, in the output folder."""

KEPT = {"limits", "pooling", "positions", "system", "template", "shared_head"}
"""Settings that a trained reward brings along."""


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
    require_optimizer(config.fit.optimizer)
    processes = join()
    progress = progress if processes.is_first else silent
    reward, objective = _start(dataset.info.dimensions, base, config, processes)
    lessons = read_lessons(reward, objective.criterion, dataset, config)
    if processes.is_first and lessons.note is not None:
        on_note(lessons.note)
    identity = {
        "command": "reward train",
        **config.model_dump(mode="json", exclude={"fit", "rates"}),
        "fit": config.fit.identity(processes),
        "bucket": config.fit.batch_size if config.bucket_by_length else None,  # decides the order
        "base": as_given(base),
        "weights": weights_digest(reward.backbone),
        "clips": fingerprint(clip_keys(dataset, [*lessons.judged, *lessons.normalised_on])),
        "dimensions": [dimension.model_dump(mode="json") for dimension in dataset.info.dimensions],
        "data": lessons.digest,
    }
    folder = claim_together(out, identity, processes, fresh=fresh)
    lessons.reader.warm(lessons.judged, progress)
    history = _fit(objective, lessons, config, folder, processes, progress, on_step)
    finish_tuning(reward.eval())
    clips = clips_in(dataset, lessons.normalised_on)
    reward.set_normalisation(score_rows(reward, clips, max_rejected=0.0, progress=progress)[0])
    used = joined_use(
        reward.settings.used_prompts,
        is_reward(base),
        trained=(group.prompt for group in lessons.groups),
        selected=(group.prompt for group in lessons.unseen if config.keep == "best"),
        normalised=(prompt for _, prompt in clips),
    )
    widths = objective.tie_widths()
    ties = None if widths is None else Ties(law=config.loss, width=widths)
    reward.settings = reward.settings.model_copy(update={"ties": ties, "used_prompts": used})
    reward.name = folder.resolve().name
    if processes.is_first:
        reward.save_pretrained(folder / MODEL_FOLDER)
    processes.wait()
    return RewardTrainResult(reward, history, sum(len(group.pairs) for group in lessons.groups))


def start_reward(dimensions: Sequence[Dimension], base: str, config: RewardTrainConfig) -> VideoReward:
    """The reward that a training starts from: untrained on a base, or a trained one with further dimensions.

    Raises:
        ConfigError: a template that does not fit, or settings that contradict the reward to go on from.
        ModelError: the base cannot be loaded.
    """
    if is_reward(base):
        parent = VideoReward.from_pretrained(base)
        for name in sorted(KEPT & config.model_fields_set):
            have, want = getattr(parent.settings, name, None), getattr(config, name)
            if want is not None and have != want:
                raise ConfigError(f"{name}: the reward {base} brings its own; got another one. Leave {name} out.")
        reward = extend_reward(parent, dimensions, seed=config.fit.seed)
        provenance = {**reward.settings.provenance, "parent": as_given(base)}
        reward.settings = reward.settings.model_copy(update={"provenance": provenance})
        return reward
    embedded, template = base == SPRITES, config.template
    system = "" if embedded and config.system is None else config.system
    if template is None and system is not None:
        template = default_template(dimensions, system=system, pooling=config.pooling)
    return VideoReward.from_base(
        base_path(base),
        dimensions=dimensions,
        limits=config.limits or (SPRITES_LIMITS if embedded else None),
        template=template,
        positions=config.positions,
        pooling=config.pooling,
        shared_head=config.shared_head,
        seed=config.fit.seed,
    )


def _start(
    dimensions: Sequence[Dimension], base: str, config: RewardTrainConfig, processes: Processes
) -> tuple[VideoReward, RewardObjective]:
    """The reward with all that is trained in place, and what it is trained on."""
    reward, seed = start_reward(dimensions, base, config).to(processes.device), config.fit.seed
    prepare_tuning(reward, config.tuning, seed=seed, checkpointing=config.gradient_checkpointing)
    ties = {"theta": config.theta, "nu": config.nu}
    augment = partial(
        augment_clips,
        processor=reward.processor,
        shift_share=config.shift_share,
        colour_jitter=config.colour_jitter,
        frame_shuffle=config.frame_shuffle,
    )
    return reward, RewardObjective(
        reward,
        find_criterion(config.loss, len(reward.dimensions), learn_ties=config.learn_ties, **ties),
        reward.dimensions,
        part_of=part_of,
        rates=config.rates,
        weight_decay=config.fit.weight_decay,
        augment=augment,
    )


def _fit(
    objective: RewardObjective,
    lessons: Lessons,
    config: RewardTrainConfig,
    folder: Path,
    processes: Processes,
    progress: Progress,
    on_step: Callable[[Row], None] | None,
) -> list[Row]:
    """Trains with validation on the unseen groups; the objective ends with the weights that are kept."""
    unseen, size, collate, order = lessons.unseen, config.fit.batch_size, lessons.reader.collate, None

    def measure() -> dict[str, float]:
        starts = range(size * processes.rank, len(unseen), size * processes.count)
        return objective.measure((collate(unseen[start : start + size]) for start in starts), processes)

    if lessons.lengths is not None:
        order = bucketed_order(lessons.lengths, size, config.fit.seed)
    keeper = KeepBest(objective, folder / BEST_FILE, "val/loss", higher=False)
    objective.reward.train()
    with progress("train reward", config.fit.num_steps) as advance:
        history = fit(
            objective,
            lessons.groups,
            collate,
            config.fit,
            folder,
            on_step=count_steps(advance, on_step),
            callbacks=[keeper] if config.keep == "best" else [],
            validate=measure if lessons.can_validate else None,
            order=order,
            name_of=lambda index: f"clips {', '.join(lessons.groups[index].clip_ids)}",
            processes=processes,
        )
    if config.keep == "best":
        keeper.restore()
    return history
