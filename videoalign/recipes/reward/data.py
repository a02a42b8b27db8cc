"""What a reward is trained on: judged clips of a dataset in groups, the clips decoded, and the batches made of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from videoalign.contracts.progress import Progress
from videoalign.contracts.records import Aggregation, Clip
from videoalign.contracts.video import unreadable
from videoalign.data.dataset import Dataset
from videoalign.errors import DataError, VideoError, first_few
from videoalign.models.videoreward import VideoReward
from videoalign.models.videoreward.processing import Patches, VideoProcessor
from videoalign.recipes.reward.settings import RewardTrainConfig
from videoalign.training.judged_groups import make_groups
from videoalign.training.objectives.reward import JudgedBatch, JudgedGroup, collate_groups
from videoalign.training.order import Order, bucketed_order

CACHE_BYTES = 2 * 1024**3
"""Decoded clips kept in memory while training; clips beyond it are decoded again at each use."""


@dataclass(frozen=True, kw_only=True)
class Lessons:
    """What a reward learns from, is measured on and normalised on, and the clips decoded."""

    groups: list[JudgedGroup]
    """Of the training prompts."""
    unseen: list[JudgedGroup]
    """Of the validation prompts."""
    judged: list[Clip]
    """Clips of both, each once."""
    normalised_on: list[Clip]
    reader: ClipReader
    collate: Callable[[Sequence[JudgedGroup]], JudgedBatch]
    """See `batcher`."""
    order: Order | None
    """See `training.order.bucketed_order`; None where groups come in any order."""
    note: str | None
    """What is worth knowing of the clips before any work; None for nothing."""


def read_lessons(reward: VideoReward, dataset: Dataset, config: RewardTrainConfig) -> Lessons:
    """The judged groups and the clips that a training needs, found whole and readable by the table of clips alone.

    Raises:
        DataError: nothing that the loss can learn from, or fewer than two clips to normalise on.
        VideoError: clips that a reward cannot read; names their files.
    """
    clips = {clip.clip_id: clip for clip in dataset.clips()}
    groups, unseen = (
        groups_of_split(dataset, split, reward.dimensions, labels=config.labels, max_clips=config.max_clips)
        for split in ("train", "val")
    )
    if not groups:
        raise DataError(f"{dataset.path}: no judged pair among the training prompts; import judgements first.")
    if config.loss == "regression" and not any(bool((group.ratings != 0).any()) for group in groups):
        raise DataError(f"{dataset.path}: loss=regression wants ratings, got none; use loss=btt or import ratings.")
    if config.loss == "bt" and not any(bool((group.shares[..., [0, 2]] > 0).any()) for group in groups):
        raise DataError(f"{dataset.path}: loss=bt wants decided pairs, got ties alone; use loss=btt.")
    normalised_on = clips_of_split(dataset, config.normalise_on)
    judged = [clips[name] for name in dict.fromkeys(name for group in [*groups, *unseen] for name in group.clip_ids)]
    reasons = {clip.clip_id: unreadable(clip.num_frames, clip.height, clip.width) for clip in [*judged, *normalised_on]}
    broken = [(dataset.clip_source(clips[name]), reason) for name, reason in reasons.items() if reason is not None]
    if broken:
        names = first_few([Path(file).name for file, _ in broken])
        raise VideoError(
            f"{dataset.path}: {len(broken)} clips cannot be read by a reward ({names}); the first: {broken[0][0]}: "
            f"{broken[0][1]} 'videoalign data check' lists them all."
        )
    reader, order = ClipReader(dataset, reward.processor), None
    if config.bucket_by_length:
        lengths = token_counts(reward, groups, clips)
        order = bucketed_order(lengths, config.fit.batch_size, config.fit.seed)
    return Lessons(
        groups=groups,
        unseen=unseen,
        judged=judged,
        normalised_on=normalised_on,
        reader=reader,
        collate=batcher(reward, reader, clips),
        order=order,
        note=note_on_time(reward, judged),
    )


def groups_of_split(
    dataset: Dataset,
    split: str,
    dimensions: Sequence[str],
    *,
    labels: Aggregation | str = Aggregation.ADJUDICATED,
    max_clips: int,
) -> list[JudgedGroup]:
    """Groups of the prompts of one split, see `training.judged_groups.make_groups`, labelled as
    `contracts.records.Aggregation` says; dimensions that the dataset does not judge have no verdicts."""
    texts = {prompt.prompt_id: prompt.text for prompt in dataset.prompts()}
    pairs, ratings = dataset.judged_pairs(split, labels), list(dataset.stream_ratings())
    return make_groups(pairs, texts, dimensions, ratings=ratings, max_clips=max_clips)


def clips_of_split(dataset: Dataset, split: str) -> list[Clip]:
    """Clips that scores are normalised on.

    Raises:
        DataError: fewer than two.
    """
    prompts = {prompt.prompt_id for prompt in dataset.prompts() if prompt.split == split}
    clips = [clip for clip in dataset.clips() if clip.prompt_id in prompts]
    if len(clips) < 2:
        raise DataError(
            f"{dataset.path}: {len(clips)} clips in split '{split}' to normalise scores on, wanted 2 or more; "
            "run 'videoalign data split' first, or set normalise_on=train."
        )
    return clips


def token_counts(reward: VideoReward, groups: Sequence[JudgedGroup], clips: dict[str, Clip]) -> list[int]:
    """Of each group the tokens of its longest clip with its prompt, from sizes alone: nothing is decoded."""
    longest = (max(reward.processor.num_tokens_of(clips[name]) for name in group.clip_ids) for group in groups)
    return [tokens + len(reward.chat.encode(group.prompt)) for tokens, group in zip(longest, groups, strict=True)]


def note_on_time(reward: VideoReward, clips: Sequence[Clip]) -> str | None:
    """What to say where temporal patches of clips share a place in time; None where all have places of their own."""
    shortest = reward.family.shortest_patch(reward.backbone.config.vision_config)
    if reward.settings.positions != "mrope":
        return None
    number = sum(reward.processor.seconds_per_patch(clip) < shortest for clip in clips)
    if not number:
        return None
    return (
        f"{number} of {len(clips)} clips are read in steps of less than {shortest:g} seconds, which "
        f"{reward.family.title} does not tell apart in time: so it is above limits.fps={2 / shortest:g}, and of clips "
        f"under {2 * shortest:g} second. Take a lower limits.fps, longer clips, or a base of another family."
    )


class ClipReader:
    """Patches of a dataset's clips, decoded once while they fit into memory."""

    def __init__(self, dataset: Dataset, processor: VideoProcessor, *, cache_bytes: int = CACHE_BYTES) -> None:
        self.dataset, self.processor, self.free_bytes = dataset, processor, cache_bytes
        self.kept: dict[str, Patches] = {}

    def warm(self, clips: Sequence[Clip], progress: Progress) -> None:
        """Decodes as many of the clips as fit."""
        with progress("read clips", len(clips)) as advance:
            for clip in clips:
                if self.free_bytes > 0:
                    self.read(clip)
                advance()

    def read(self, clip: Clip) -> Patches:
        """The patches of one clip."""
        if clip.clip_id in self.kept:
            return self.kept[clip.clip_id]
        patches = self.processor.read_chosen(
            lambda choose: self.dataset.load(clip, choose).frames,
            str(self.dataset.clip_source(clip)),
        )
        size = patches.values.numel()
        if size <= self.free_bytes:
            self.kept[clip.clip_id] = patches
            self.free_bytes -= size
        return patches


def batcher(
    reward: VideoReward, reader: ClipReader, clips: dict[str, Clip]
) -> Callable[[Sequence[JudgedGroup]], JudgedBatch]:
    """Makes a batch of groups, on the reward's device."""

    def collate(groups: Sequence[JudgedGroup]) -> JudgedBatch:
        patches = [reader.read(clips[clip_id]) for group in groups for clip_id in group.clip_ids]
        prompts = [group.prompt for group in groups for _ in group.clip_ids]
        return collate_groups(groups, reward.inputs(patches, prompts).to(reward.device))

    return collate
