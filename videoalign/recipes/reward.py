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
from videoalign.contracts.records import Clip
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
from videoalign.recipes.scoring import raw_scores
from videoalign.training.judged_groups import make_groups
from videoalign.training.loop import FitConfig, Row, count_steps, fit
from videoalign.training.objectives.reward import (
    JudgedBatch,
    JudgedGroup,
    RewardObjective,
    TieCriterion,
    collate_groups,
    find_criterion,
)
from videoalign.worlds.sprites.renderer import SIZE_PX

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

    A run that stopped goes on from its last checkpoint and ends with the weights of the unbroken run.

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
        DataError: no pair with a verdict in the training split, no clips to normalise on, a prompt with a reward token.
        ModelError: the base cannot be loaded.
        OutputError: ``out`` belongs to another run, or cannot be written.
    """
    config = _checked(config or RewardTrainConfig())
    groups = training_groups(dataset, config)
    held_out = _clips_of_split(dataset, config.normalise_on)
    reward = _untrained(dataset, base, config)
    folder = claim_folder(out, _identity(dataset, base, config, groups), fresh=fresh)
    clips = {clip.clip_id: clip for clip in dataset.clips()}
    reader = ClipReader(dataset, reward.processor)
    reader.warm([clips[name] for name in dict.fromkeys(name for group in groups for name in group.clip_ids)], progress)
    prepare_tuning(reward, config.tuning, seed=config.fit.seed)

    def collate(batch: list[JudgedGroup]) -> JudgedBatch:
        patches = [reader.read(clips[clip_id]) for group in batch for clip_id in group.clip_ids]
        prompts = [group.prompt for group in batch for _ in group.clip_ids]
        return collate_groups(batch, reward.inputs(patches, prompts).to(reward.device))

    reward.train()
    objective = _objective(reward, config)
    with progress("train reward", config.fit.num_steps) as advance:
        history = fit(objective, groups, collate, config.fit, folder, on_step=count_steps(advance, on_step))
    reward.eval()
    merge_lora(reward)
    if isinstance(objective.criterion, TieCriterion):
        widths = dict(zip(reward.dimensions, objective.criterion.widths(), strict=True))
        reward.settings = reward.settings.model_copy(update={"ties": Ties(law=objective.criterion.law, width=widths)})
    reward.set_normalisation(raw_scores(reward, dataset, held_out, progress))
    reward.name = Path(out).resolve().name
    reward.save_pretrained(folder / MODEL_FOLDER)
    return RewardTrainResult(reward, history, sum(len(group.pairs) for group in groups))


def training_groups(dataset: Dataset, config: RewardTrainConfig) -> list[JudgedGroup]:
    """Groups of the training prompts.

    Raises:
        DataError: nothing there that the loss could learn from.
    """
    texts = {prompt.prompt_id: prompt.text for prompt in dataset.prompts()}
    ratings = dataset.ratings()
    groups = make_groups(
        dataset.judged_pairs("train"),
        texts,
        dataset.dimensions,
        ratings=ratings,
        max_clips=config.max_clips,
        by_votes=config.labels == "shares",
    )
    if not groups:
        raise DataError(f"{dataset.path}: no judged pair among the training prompts; import judgements first.")
    if config.loss == "regression" and not any(bool((group.ratings != 0).any()) for group in groups):
        raise DataError(f"{dataset.path}: loss=regression wants ratings, got none; use loss=btt or import ratings.")
    if config.loss == "bt" and not any(bool((group.shares[..., [0, 2]] > 0).any()) for group in groups):
        raise DataError(f"{dataset.path}: loss=bt wants decided pairs, got ties alone; use loss=btt.")
    return groups


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
    if config.loss == "regression" and config.labels == "shares":
        raise ConfigError("labels: loss=regression reads ratings, not votes; use labels=majority or another loss.")
    return config


def _clips_of_split(dataset: Dataset, split: str) -> list[Clip]:
    prompts = {prompt.prompt_id for prompt in dataset.prompts() if prompt.split == split}
    clips = [clip for clip in dataset.clips() if clip.prompt_id in prompts]
    if len(clips) < 2:
        raise DataError(
            f"{dataset.path}: {len(clips)} clips in split '{split}' to normalise scores on, wanted 2 or more; "
            "run 'videoalign data split' first, or set normalise_on=train."
        )
    return clips


def _identity(dataset: Dataset, base: str, config: RewardTrainConfig, groups: Sequence[JudgedGroup]) -> dict[str, Any]:
    data = [[g.prompt, g.clip_ids, g.pairs.tolist(), g.shares.tolist(), g.ratings.tolist()] for g in groups]
    return {
        "command": "reward train",
        **config.model_dump(mode="json", exclude={"fit": {"save_every_steps"}}),
        "base": base,
        "dimensions": [dimension.model_dump(mode="json") for dimension in dataset.info.dimensions],
        "data": fingerprint(data),
    }
