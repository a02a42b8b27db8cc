"""What evaluation, sampling and training ask of a reward, whoever made it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import numpy as np

from videoalign.contracts.used_prompts import UsedPrompts
from videoalign.contracts.video import Video
from videoalign.errors import VideoAlignError

if TYPE_CHECKING:
    from torch import Tensor

    from videoalign.flow.condition import Condition


VerdictLaw = Callable[[np.ndarray], np.ndarray]
"""From differences of normalised scores, A less B, (N,), to how likely A, a tie and B are, (N, 3)."""


@runtime_checkable
class RewardModel(Protocol):
    """Scores clips on named dimensions: a trained VideoReward, or an oracle."""

    @property
    def name(self) -> str:
        """What to call it in tables and file names."""
        ...

    @property
    def dimensions(self) -> tuple[str, ...]:
        """Names of the scores, in order."""
        ...

    @property
    def digest(self) -> str:
        """The same for a reward wherever it lies, whatever it is called and however it is loaded."""
        ...

    @property
    def used_prompts(self) -> UsedPrompts | None:
        """What it was trained, chosen and normalised on; None where that is not recorded."""
        ...

    @property
    def sees_prompt(self) -> Mapping[str, bool]:
        """Whether a dimension reads the prompt, by its name; without those of which it does not say."""
        ...

    def about(self) -> dict[str, Any]:
        """All that decides its scores, as JSON can hold it; name and dimensions stand first."""
        ...

    def score_videos(self, videos: Sequence[Video], prompts: Sequence[str]) -> np.ndarray:
        """Normalised scores, float64 (N, D), higher is better; overall is their mean."""
        ...

    @property
    def reader(self) -> Callable[[tuple[Any, str]], Any]:
        """Reads a (video, prompt) for `score_read`; it holds no weights and can be sent to other processes.

        A video is whatever `video.sources.read_source` takes. What is wrong with it is raised as `VideoAlignError`.
        """
        ...

    def score_read(self, read: Sequence[Any]) -> list[np.ndarray | VideoAlignError]:
        """For each clip as ``reader`` gave it, or what was wrong with it, its raw scores, float64 (D,), or what is
        wrong with it; all go through the model together."""
        ...

    def normalise(self, raw: np.ndarray) -> np.ndarray:
        """Normalised scores of raw ones, (N, D) or (D,); raises `ModelError` where the reward cannot tell."""
        ...

    def verdict_law(self, dimension: str) -> VerdictLaw | None:
        """How likely it holds each verdict on a dimension to be; None where it knows no ties."""
        ...


class LatentReward(Protocol):
    """Scores noisy latents; differentiable in them."""

    dimensions: tuple[str, ...]

    def score(self, x_t: Tensor, t: Tensor, condition: Condition) -> Tensor:
        """Scores (B, D) at latents (B, C, F, H, W), times (B,) and conditions of B rows."""
        ...


class Guide(Protocol):
    """Changes a velocity during sampling."""

    def adjust(self, velocity: Tensor, x_t: Tensor, t: Tensor, condition: Condition) -> Tensor:
        """The guided velocity, same shape; t is (B,)."""
        ...
