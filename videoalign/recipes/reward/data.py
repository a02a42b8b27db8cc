"""What a reward is trained on: judged clips of a dataset in groups, the clips decoded, and the batches made of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from videoalign.contracts.output import fingerprint
from videoalign.contracts.progress import Progress
from videoalign.contracts.records import Clip
from videoalign.contracts.video import unreadable
from videoalign.data.dataset import Dataset
from videoalign.errors import DataError, VideoError, first_few
from videoalign.models.videoreward import VideoReward
from videoalign.models.videoreward.processing import Patches
from videoalign.recipes.reward.settings import RewardTrainConfig
from videoalign.training.judged_groups import make_groups, weigh
from videoalign.training.objectives.reward import Criterion, JudgedBatch, JudgedGroup, collate_groups

CACHE_BYTES = 2 * 1024**3
"""Decoded clips kept in memory while training; clips beyond it are decoded again at each use."""


@dataclass(frozen=True, kw_only=True)
class Lessons:
    """What a reward learns from, is measured on and normalised on."""

    groups: list[JudgedGroup]
    """Of the training prompts."""
    unseen: list[JudgedGroup]
    """Of the validation prompts."""
    can_validate: bool
    """Whether the loss has something to measure on those."""
    judged: list[Clip]
    """Clips of both, each once."""
    normalised_on: list[Clip]
    lengths: list[int] | None
    """Of each training group the tokens of its longest clip with its prompt; None where batches do not go by length."""
    note: str | None
    """What is worth knowing of the clips before any work; None for nothing."""
    digest: str
    """A hash of the groups: of what was judged and how."""
    reader: ClipReader


def read_lessons(reward: VideoReward, criterion: Criterion, dataset: Dataset, config: RewardTrainConfig) -> Lessons:
    """The judged groups and the clips that a training needs, found whole and readable before any clip is decoded.

    Groups are labelled as `contracts.records.Aggregation` says; dimensions that the dataset does not judge have no
    verdicts.

    Raises:
        DataError: a prompt with a special token, nothing that the loss can learn from or choose the best by, or fewer
            than two clips to normalise on.
        VideoError: clips that a reward cannot read; names their files.
    """
    reader = ClipReader(reward, dataset)
    clips, prompts, ratings = reader.clips, dataset.prompts(), list(dataset.stream_ratings())
    pairs = [dataset.judged_pairs(split, config.labels) for split in ("train", "val")]
    texts = {prompt.prompt_id: prompt.text for prompt in prompts}
    groups, unseen = (
        make_groups(part, texts, reward.dimensions, ratings=ratings, max_clips=config.max_clips) for part in pairs
    )
    can_learn, can_validate = (weigh(criterion, part) > 0 for part in (groups, unseen))
    scale = {prompt.prompt_id for prompt in prompts if prompt.split == config.normalise_on}
    normalised_on = [clip for clip in clips.values() if clip.prompt_id in scale]
    for text in texts.values():
        reward.chat.check_prompt(text)
    prompt_tokens = {text: len(reward.chat.encode(text)) for text in texts.values()}
    if not groups:
        raise DataError(f"{dataset.path}: no judged pair among the training prompts; import judgements first.")
    if not can_learn:
        rated = "ratings, got none; use loss=btt or import ratings."
        wants = rated if config.loss == "regression" else "decided pairs, got ties alone; use loss=btt."
        raise DataError(f"{dataset.path}: loss={config.loss} wants {wants}")
    if config.keep == "best" and not can_validate:
        raise DataError(f"{dataset.path}: keep=best wants judged pairs in split 'val', got none; use keep=last.")
    if len(normalised_on) < 2:
        raise DataError(
            f"{dataset.path}: {len(normalised_on)} clips in split '{config.normalise_on}' to normalise scores on, "
            "wanted 2 or more; run 'videoalign data split' first, or set normalise_on=train."
        )
    judged = [clips[name] for name in dict.fromkeys(name for group in [*groups, *unseen] for name in group.clip_ids)]
    reasons = {clip.clip_id: unreadable(clip.num_frames, clip.height, clip.width) for clip in [*judged, *normalised_on]}
    broken = [(dataset.clip_source(clips[name]), reason) for name, reason in reasons.items() if reason is not None]
    if broken:
        names = first_few([Path(file).name for file, _ in broken])
        raise VideoError(
            f"{dataset.path}: {len(broken)} clips cannot be read by a reward ({names}); the first: {broken[0][0]}: "
            f"{broken[0][1]} 'videoalign data check' lists them all."
        )
    verdicts = [
        [g.prompt, g.clip_ids, g.pairs.tolist(), g.shares.tolist(), g.ratings.tolist()] for g in [*groups, *unseen]
    ]
    note, lengths = note_on_time(reward, judged), None
    if config.bucket_by_length:
        longest = (max(reward.processor.num_tokens_of(clips[name]) for name in group.clip_ids) for group in groups)
        lengths = [num + prompt_tokens[group.prompt] for num, group in zip(longest, groups, strict=True)]
    return Lessons(
        groups=groups,
        unseen=unseen,
        can_validate=can_validate,
        judged=judged,
        normalised_on=normalised_on,
        lengths=lengths,
        note=note,
        digest=fingerprint(verdicts),
        reader=reader,
    )


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
    """Clips of a dataset as a reward reads them, decoded once while they fit into memory.

    Args:
        reward: reads them.
        dataset: holds them.
        cache_bytes: of decoded clips that are kept.
    """

    def __init__(self, reward: VideoReward, dataset: Dataset, *, cache_bytes: int = CACHE_BYTES) -> None:
        self.reward, self.dataset, self.free_bytes = reward, dataset, cache_bytes
        self.clips = {clip.clip_id: clip for clip in dataset.clips()}
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
        patches = self.reward.processor.read_chosen(
            lambda choose: self.dataset.load(clip, choose).frames,
            str(self.dataset.clip_source(clip)),
        )
        size = patches.values.numel()
        if size <= self.free_bytes:
            self.kept[clip.clip_id] = patches
            self.free_bytes -= size
        return patches

    def collate(self, groups: Sequence[JudgedGroup]) -> JudgedBatch:
        """A batch of groups of the dataset's clips, on the reward's device."""
        patches = [self.read(self.clips[clip_id]) for group in groups for clip_id in group.clip_ids]
        prompts = [group.prompt for group in groups for _ in group.clip_ids]
        return collate_groups(groups, self.reward.inputs(patches, prompts).to(self.reward.device))
