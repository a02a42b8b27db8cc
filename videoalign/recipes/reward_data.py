"""What a reward is trained on: judged clips of a dataset in groups, and the batches made of them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from videoalign.contracts.records import Aggregation, Clip
from videoalign.data.dataset import Dataset
from videoalign.errors import DataError
from videoalign.models.videoreward import VideoReward
from videoalign.models.videoreward.processing import VideoProcessor, smart_size
from videoalign.recipes.clip_reader import ClipReader
from videoalign.training.judged_groups import make_groups
from videoalign.training.objectives.reward import JudgedBatch, JudgedGroup, collate_groups


def require_lessons(dataset: Dataset, groups: Sequence[JudgedGroup], loss: str) -> None:
    """Nothing when the groups of the training prompts hold something that the loss can learn from.

    Raises:
        DataError: they do not.
    """
    if not groups:
        raise DataError(f"{dataset.path}: no judged pair among the training prompts; import judgements first.")
    if loss == "regression" and not any(bool((group.ratings != 0).any()) for group in groups):
        raise DataError(f"{dataset.path}: loss=regression wants ratings, got none; use loss=btt or import ratings.")
    if loss == "bt" and not any(bool((group.shares[..., [0, 2]] > 0).any()) for group in groups):
        raise DataError(f"{dataset.path}: loss=bt wants decided pairs, got ties alone; use loss=btt.")


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
    pairs, ratings = dataset.judged_pairs(split, labels), dataset.ratings()
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


def clips_of_groups(groups: Iterable[JudgedGroup], clips: dict[str, Clip]) -> list[Clip]:
    """Each clip once, in the order of the groups."""
    return [clips[name] for name in dict.fromkeys(name for group in groups for name in group.clip_ids)]


def token_counts(reward: VideoReward, groups: Sequence[JudgedGroup], clips: dict[str, Clip]) -> list[int]:
    """Of each group the tokens of its longest clip with its prompt, from sizes alone: nothing is decoded."""
    return [
        max(_places(reward.processor, clips[name]) for name in group.clip_ids) + len(reward.chat.encode(group.prompt))
        for group in groups
    ]


def _places(processor: VideoProcessor, clip: Clip) -> int:
    limits, num_frames = processor.limits, len(processor.indices(clip.num_frames, clip.fps))
    block = processor.patch * processor.merge
    height, width = smart_size(clip.height, clip.width, block, limits.min_frame_pixels, limits.max_frame_pixels)
    return processor.num_tokens((num_frames // processor.temporal, height // processor.patch, width // processor.patch))


def batcher(
    reward: VideoReward, reader: ClipReader, clips: dict[str, Clip]
) -> Callable[[Sequence[JudgedGroup]], JudgedBatch]:
    """Makes a batch of groups, on the reward's device."""

    def collate(groups: Sequence[JudgedGroup]) -> JudgedBatch:
        patches = [reader.read(clips[clip_id]) for group in groups for clip_id in group.clip_ids]
        prompts = [group.prompt for group in groups for _ in group.clip_ids]
        return collate_groups(groups, reward.inputs(patches, prompts).to(reward.device))

    return collate
