"""A reward from a dataset of judgements."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from videoalign.config import Config
from videoalign.contracts.output import claim_folder, fingerprint
from videoalign.contracts.progress import Progress, silent
from videoalign.data.dataset import Dataset
from videoalign.errors import ConfigError, DataError, ModelError, did_you_mean
from videoalign.losses.preference import NU, THETA
from videoalign.models.videoreward import VideoReward
from videoalign.models.videoreward.augment import shift_clips
from videoalign.models.videoreward.checkpoint import MODEL_FOLDER
from videoalign.models.videoreward.processing import ReadingLimits
from videoalign.models.videoreward.prompt import SYSTEM, default_template
from videoalign.models.videoreward.settings import Ties
from videoalign.models.videoreward.tuning import PARTS, Tuning, merge_lora, part_of, prepare_tuning
from videoalign.recipes.clip_reader import ClipReader
from videoalign.recipes.reward_data import batcher, clips_of_groups, clips_of_split, groups_of_split, training_groups
from videoalign.recipes.scoring import raw_scores
from videoalign.training.callbacks import KeepBest
from videoalign.training.loop import FitConfig, Row, count_steps, fit
from videoalign.training.objectives.reward import (
    JudgedBatch,
    JudgedGroup,
    RewardObjective,
    TieCriterion,
    find_criterion,
)
from videoalign.worlds.sprites.renderer import SIZE_PX

BEST_FILE = "best.safetensors"
"""The trained weights of the best validation, in the output folder."""

SPRITES = "sprites"
SPRITES_BASE = Path(__file__).parents[1] / "worlds" / "sprites" / "weights" / "reward_base"
SPRITES_LIMITS = ReadingLimits(fps=8.0, max_frames=16, min_frame_pixels=SIZE_PX**2, max_frame_pixels=SIZE_PX**2)
"""What the shipped base was pretrained on; used for it when a run sets no limits of its own."""


class RewardTrainConfig(Config):
    """How a reward is trained."""

    fit: FitConfig = FitConfig(
        num_steps=300, batch_size=4, learning_rate=3e-4, warmup_steps=20, schedule="cosine", weight_decay=0.01
    )
    """Length, rate and batch of the training; a batch counts groups of clips that share a prompt."""
    loss: Literal["btt", "davidson", "bt", "regression"] = "btt"
    """Bradley-Terry with ties after Rao and Kupper or after Davidson, Bradley-Terry on decided pairs alone, or squared
    distance to mean ratings."""
    theta: float = Field(THETA, gt=1)
    """Width of the tie band of btt."""
    nu: float = Field(NU, gt=0)
    """Weight of the tie of davidson."""
    learn_ties: bool = False
    """Train theta or nu, one per dimension, from where it stands."""
    labels: Literal["majority", "shares"] = "majority"
    """Each pair counts with the verdict of most raters, or with the shares of their votes for A, tie and B."""
    tuning: Tuning = Tuning()
    """What is trained."""
    rates: dict[str, float] = {}
    """Learning rates of parts (language, vision, merger, tokens, head) that differ from the run's."""
    limits: ReadingLimits | None = None
    """Frames and pixels read; default: those of the base, 2 fps and 448 x 448 for a real one."""
    positions: Literal["plain", "mrope"] = "plain"
    """Rotary positions: 0..L-1 on all axes, as the released reward, or time, height and width apart."""
    system: str | None = None
    """Text of the system turn, empty for none; default: that of Qwen2-VL, none for the embedded base."""
    template: str | None = None
    """The whole chat turn; default: made from the system turn and the dataset's guidelines."""
    shared_head: bool = True
    """One row of the head for all dimensions, or a row each."""
    max_clips: int = Field(8, ge=2)
    """Most clips of one prompt that are scored together."""
    shift_share: float = Field(0.0, ge=0, lt=1)
    """At every step each clip is moved by up to this share of its height and width, so that places are not learnt."""
    normalise_on: Literal["val", "train"] = "val"
    """Split whose clips give the mean and deviation that scores are normalised with."""
    keep: Literal["last", "best"] = "last"
    """Weights of the last step, or of the validation with the lowest loss; fit.validate_every_steps says how often."""


@dataclass(frozen=True)
class RewardTrainResult:
    """What a training leaves."""

    reward: VideoReward
    """The trained model, in memory; also in ``<out>/model``."""
    history: list[Row]
    """Rows of ``log.jsonl``."""
    num_pairs: int
    """Pairs it was trained on."""


def train_reward(
    dataset: Dataset,
    base: str,
    out: str | Path,
    config: RewardTrainConfig | None = None,
    *,
    fresh: bool = False,
    progress: Progress = silent,
    on_step: Callable[[Row], None] | None = None,
) -> RewardTrainResult:
    """Trains a VideoReward on the training prompts and stores it, normalised on the held-out ones, in ``out``.

    A run that stopped goes on from its last checkpoint and ends with the weights of the unbroken run. Where held-out
    pairs are judged, their loss and accuracy stand in the log as ``val/loss`` and ``val/accuracy/<dim>``.

    Args:
        dataset: judged pairs, or ratings where ``config.loss`` is regression; its dimensions and guidelines are used.
        base: ``sprites`` for the embedded base, or the folder or hub id of a Qwen2-VL.
        out: output folder; a run with the same settings and data resumes there.
        config: see `RewardTrainConfig`.
        fresh: start over where ``out`` holds another run of ours.
        progress: counts clips, then steps.
        on_step: called with the row of each step.

    Raises:
        ConfigError: an unknown part in ``rates``, a template that does not fit.
        DataError: no pair with a verdict in the training split, no clips to normalise on, none to choose the best by, a
            prompt with a reward token.
        ModelError: the base cannot be loaded.
        OutputError: ``out`` belongs to another run, or cannot be written.
    """
    config = _checked(config or RewardTrainConfig())
    by_votes = config.labels == "shares"
    groups = training_groups(dataset, loss=config.loss, by_votes=by_votes, max_clips=config.max_clips)
    unseen = groups_of_split(dataset, "val", by_votes=by_votes, max_clips=config.max_clips)
    normalised_on = clips_of_split(dataset, config.normalise_on)
    reward = _untrained(dataset, base, config)
    objective = _objective(reward, config)
    if config.keep == "best" and not objective.can_measure(unseen):
        raise DataError(f"{dataset.path}: keep=best wants judged pairs in split 'val', got none; use keep=last.")
    folder = claim_folder(out, _identity(dataset, base, config, [*groups, *unseen]), fresh=fresh)
    clips = {clip.clip_id: clip for clip in dataset.clips()}
    reader = ClipReader(dataset, reward.processor)
    reader.warm(clips_of_groups([*groups, *unseen], clips), progress)
    collate = batcher(reward, reader, clips)
    with progress("train reward", config.fit.num_steps) as advance:
        after = count_steps(advance, on_step)
        history = _fit(objective, groups, unseen, collate, config, folder, after)
    reward.eval()
    merge_lora(reward)
    if isinstance(objective.criterion, TieCriterion):
        widths = dict(zip(reward.dimensions, objective.criterion.widths(), strict=True))
        reward.settings = reward.settings.model_copy(update={"ties": Ties(law=objective.criterion.law, width=widths)})
    reward.set_normalisation(raw_scores(reward, dataset, normalised_on, progress))
    reward.name = Path(out).resolve().name
    reward.save_pretrained(folder / MODEL_FOLDER)
    return RewardTrainResult(reward, history, sum(len(group.pairs) for group in groups))


def _fit(
    objective: RewardObjective,
    groups: Sequence[JudgedGroup],
    unseen: Sequence[JudgedGroup],
    collate: Callable[[Sequence[JudgedGroup]], JudgedBatch],
    config: RewardTrainConfig,
    folder: Path,
    on_step: Callable[[Row], None],
) -> list[Row]:
    """Trains with validation on the unseen groups; the objective ends with the weights that are kept."""
    size = config.fit.batch_size

    def measure() -> dict[str, float]:
        return objective.measure(collate(unseen[start : start + size]) for start in range(0, len(unseen), size))

    keeper = KeepBest(objective, folder / BEST_FILE, "val/loss", higher=False)
    objective.reward.train()
    history = fit(
        objective,
        groups,
        collate,
        config.fit,
        folder,
        on_step=on_step,
        callbacks=[keeper] if config.keep == "best" else [],
        validate=measure if objective.can_measure(unseen) else None,
    )
    if config.keep == "best":
        keeper.restore()
    return history


def base_path(base: str) -> str | Path:
    """Where a base is: the embedded one by its name, anything else as given.

    Raises:
        ModelError: this installation lacks the embedded base.
    """
    if base != SPRITES:
        return base
    if not (SPRITES_BASE / "config.json").is_file():
        raise ModelError(f"--model sprites: {SPRITES_BASE} is missing; install the package again.")
    return SPRITES_BASE


def _untrained(dataset: Dataset, base: str, config: RewardTrainConfig) -> VideoReward:
    embedded = base == SPRITES
    system = config.system if config.system is not None else "" if embedded else SYSTEM
    reward = VideoReward.from_base(
        base_path(base),
        dimensions=dataset.info.dimensions,
        limits=config.limits or (SPRITES_LIMITS if embedded else None),
        template=config.template or default_template(dataset.info.dimensions, system=system),
        positions=config.positions,
        shared_head=config.shared_head,
        seed=config.fit.seed,
    )
    for prompt in dataset.prompts():
        reward.chat.check_prompt(prompt.text)
    return reward


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
        augment=lambda inputs, generator: shift_clips(inputs, reward.processor, config.shift_share, generator),
    )


def _checked(config: RewardTrainConfig) -> RewardTrainConfig:
    for part, rate in config.rates.items():
        if part not in PARTS:
            raise ConfigError(f"rates: unknown part '{part}'.{did_you_mean(part, PARTS)}")
        if not rate > 0:
            raise ConfigError(f"rates.{part}: must be above 0; got {rate}. Freeze it with tuning instead.")
    if config.keep == "best" and config.fit.validate_every_steps == 0:
        raise ConfigError("keep: best wants validations in between; set fit.validate_every_steps above 0.")
    if config.loss == "regression" and config.labels == "shares":
        raise ConfigError("labels: loss=regression reads ratings, not votes; use labels=majority or another loss.")
    return config


def _identity(dataset: Dataset, base: str, config: RewardTrainConfig, groups: Sequence[JudgedGroup]) -> dict[str, Any]:
    data = [[g.prompt, g.clip_ids, g.pairs.tolist(), g.shares.tolist(), g.ratings.tolist()] for g in groups]
    return {
        "command": "reward train",
        **config.model_dump(mode="json", exclude={"fit": {"save_every_steps"}}),
        "base": base,
        "dimensions": [dimension.model_dump(mode="json") for dimension in dataset.info.dimensions],
        "data": fingerprint(data),
    }
