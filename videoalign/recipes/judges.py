"""Judges by name, and their scores of one generator's clips in an order that two arms share."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from videoalign.contracts.engine import IN_PROCESS, Engine
from videoalign.contracts.progress import Progress, silent
from videoalign.contracts.records import Clip
from videoalign.contracts.reward import RewardModel
from videoalign.data.dataset import Dataset
from videoalign.models.videoreward import VideoReward
from videoalign.recipes.score import clips_in, score_clips
from videoalign.worlds.sprites.oracle import Oracle

JUDGES: dict[str, Callable[[], RewardModel]] = {Oracle.name: Oracle}
"""Judges that are called by a name; a new one is a `video.judge.FrameJudge` and a row here."""


@dataclass(frozen=True, kw_only=True)
class JudgedClips:
    """Clips of one model in the order of prompts and seeds, with their scores."""

    dataset: Dataset
    clips: list[Clip]
    prompts: list[str]
    """Text of each clip's prompt."""
    scores: np.ndarray
    """(N, D)."""


def open_judge(judge: str | Path, **load: Any) -> RewardModel:
    """The judge of that name in `JUDGES`, or the VideoReward in a folder or on the hub.

    Args:
        judge: name, folder or hub id.
        load: of a VideoReward alone, see `VideoReward.from_pretrained`.

    Raises:
        ModelError: no reward there, or it cannot be loaded so.
    """
    named = JUDGES.get(str(judge))
    return named() if named is not None else VideoReward.from_pretrained(judge, **load)


def judge_dataset(
    judge: RewardModel,
    dataset: Dataset,
    prompts: Sequence[str],
    *,
    keep: Path | None = None,
    engine: Engine = IN_PROCESS,
    progress: Progress = silent,
) -> JudgedClips:
    """Scores of a dataset's clips, ordered by prompt as given and then by seed, so that two arms match row by row.

    Args:
        judge: scores the clips.
        dataset: clips of one model.
        prompts: texts of the prompts that count.
        keep: see `score.score_rows`.
        engine: runs the judge.
        progress: counts clips.

    Raises:
        VideoError: a clip that cannot be scored.
        ModelError: the judge stores no normalisation.
    """
    index = {text: number for number, text in enumerate(prompts)}
    texts = {prompt.prompt_id: prompt.text for prompt in dataset.prompts() if prompt.text in index}
    clips = [clip for clip in dataset.clips() if clip.prompt_id in texts]
    clips.sort(key=lambda clip: (index[texts[clip.prompt_id]], clip.seed))
    how: dict[str, Any] = {"keep": keep, "engine": engine, "progress": progress}
    scored = score_clips(judge, clips_in(dataset, clips), max_rejected=0.0, **how)
    return JudgedClips(
        dataset=dataset,
        clips=clips,
        prompts=[texts[clip.prompt_id] for clip in clips],
        scores=scored.normalised,
    )
