"""What a judge of decoded frames shares with every other: it reads clips one by one and needs no normalisation."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from videoalign.contracts.output import fingerprint
from videoalign.contracts.reward import VerdictLaw
from videoalign.contracts.used_prompts import UsedPrompts
from videoalign.contracts.video import Video, unreadable
from videoalign.errors import DataError, VideoAlignError
from videoalign.video.sources import VideoSource, read_source


class FrameJudge(ABC):
    """A `contracts.reward.RewardModel` whose scores are a function of frames and prompt alone; nobody taught it.

    What is left to say: ``name``, ``dimensions`` and `score_videos`.
    """

    name: str
    dimensions: tuple[str, ...]

    @abstractmethod
    def score_videos(self, videos: Sequence[Video], prompts: Sequence[str]) -> np.ndarray:
        """Scores, float64 (N, D), higher is better."""

    @property
    def digest(self) -> str:
        """A hash of its kind, name and dimensions."""
        return fingerprint([type(self).__qualname__, self.name, list(self.dimensions)])

    @property
    def used_prompts(self) -> UsedPrompts | None:
        """None: it was not trained here."""
        return None

    @property
    def sees_prompt(self) -> Mapping[str, bool]:
        """Empty: a dataset says it of its dimensions."""
        return {}

    def about(self) -> dict[str, Any]:
        """Name and dimensions."""
        return {"name": self.name, "dimensions": list(self.dimensions)}

    @property
    def reader(self) -> Callable[[tuple[VideoSource, str]], tuple[Video, str]]:
        """All frames of a clip."""
        return _read

    def score_read(self, read: Sequence[tuple[Video, str] | VideoAlignError]) -> list[np.ndarray | VideoAlignError]:
        """Scores clip by clip, or what is wrong with it."""
        return [one if isinstance(one, VideoAlignError) else self._score(*one) for one in read]

    def _score(self, video: Video, prompt: str) -> np.ndarray | VideoAlignError:
        if reason := unreadable(*video.frames.shape[:3]):
            return DataError(f"{self.name}: {reason}")
        try:
            row: np.ndarray = self.score_videos([video], [prompt])[0]
        except DataError as error:
            return error
        return row

    def normalise(self, raw: np.ndarray) -> np.ndarray:
        """The scores as they are."""
        return raw

    def verdict_law(self, dimension: str) -> VerdictLaw | None:
        """None: it knows no ties."""
        return None


def _read(clip: tuple[VideoSource, str]) -> tuple[Video, str]:
    video, prompt = clip
    return read_source(video), prompt
