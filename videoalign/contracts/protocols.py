"""What training, sampling and evaluation ask of a model, whoever made it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol, Self, runtime_checkable

import numpy as np

from videoalign.contracts.used_prompts import UsedPrompts
from videoalign.contracts.video import Video
from videoalign.errors import VideoAlignError

if TYPE_CHECKING:
    from torch import Tensor, nn


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

    def stream_raw(self, clips: Iterable[tuple[Any, str]]) -> Iterator[np.ndarray | VideoAlignError]:
        """For each (video, prompt), in order, its raw scores, float64 (D,), or what is wrong with it.

        A video is whatever `video.sources.read_source` takes; no more of them are held than go through the model soon.
        """
        ...

    def normalise(self, raw: np.ndarray) -> np.ndarray:
        """Normalised scores of raw ones, (N, D) or (D,); raises `ModelError` where the reward cannot tell."""
        ...

    def verdict_law(self, dimension: str) -> VerdictLaw | None:
        """How likely it holds each verdict on a dimension to be; None where it knows no ties."""
        ...


class LatentCodec(Protocol):
    """Between pixels and the latents that a generator works in."""

    def encode(self, videos: Sequence[Video]) -> Tensor:
        """Normalised latents, float32 (B, C, F, H, W)."""
        ...

    def decode(self, latents: Tensor) -> list[Video]:
        """The clips behind normalised latents."""
        ...


class SchedulerWrapper(Protocol):
    """Puts a guided scheduler around the generator's own for one call."""

    def __call__(self, scheduler: Any, text: Tensor) -> Any:
        """``scheduler`` wrapped; ``text`` holds the text states (B, L, D) of the clips being sampled."""
        ...


class Steering(SchedulerWrapper, Protocol):
    """A `SchedulerWrapper` whose clips can be told from those of another."""

    @property
    def identity(self) -> dict[str, Any]:
        """All that decides what it does to a clip, as JSON can hold it."""
        ...


class Generator(LatentCodec, Protocol):
    """A rectified-flow video generator: t = 0 is data, t = 1 is noise, v = x_noise - x_data."""

    name: str

    @property
    def transformer(self) -> nn.Module:
        """The network that alignment trains (LoRA goes onto it)."""
        ...

    @property
    def clip_shape(self) -> tuple[int, int, int]:
        """(frames, height, width) of the clips that it encodes and makes."""
        ...

    @property
    def time_shift(self) -> float:
        """Sigma shift of the times that it samples at; raises `ConfigError` where that is no one number."""
        ...

    @property
    def fps(self) -> float:
        """Frames per second of those clips."""
        ...

    @property
    def scheduler_name(self) -> str:
        """What takes the sampling steps, with its shift, for people to read."""
        ...

    def identity(self) -> dict[str, str]:
        """What its latents, text states and adapters depend on, as short strings."""
        ...

    def clip_identity(self) -> dict[str, Any]:
        """All that decides a clip besides its prompt and seed, adapters included, as JSON can hold it."""
        ...

    def changed(self, settings: Mapping[str, Any]) -> Self:
        """The same model with other defaults of sampling or another clip shape; what is None stays as it is."""
        ...

    def check_prompts(self, prompts: Sequence[str]) -> None:
        """Raises `DataError` for a prompt that the model cannot read; cheap, before anything is made."""
        ...

    def encode_text(self, prompts: Sequence[str]) -> Tensor:
        """Text states, float32 (B, L, D)."""
        ...

    def velocity(self, x_t: Tensor, t: Tensor, text: Tensor) -> Tensor:
        """Predicted v at latents (B, C, F, H, W) and times (B,); gradients flow."""
        ...

    def sample_latents(
        self,
        prompts: Sequence[str],
        seeds: Sequence[int],
        *,
        num_steps: int | None = None,
        guidance_scale: float | None = None,
        wrap_scheduler: SchedulerWrapper | None = None,
        on_step: Callable[[], None] | None = None,
    ) -> Tensor:
        """Latents of one clip per (prompt, seed), float32 (B, C, F, H, W); `decode` makes the clips of them.

        The noise of a clip depends on its seed alone, not on its batch.

        Args:
            prompts: one text per clip.
            seeds: one per clip.
            num_steps: sampling steps; the model's own by default.
            guidance_scale: of classifier-free guidance; the model's own by default.
            wrap_scheduler: puts a guided scheduler around the model's own for this call.
            on_step: called after every sampling step, as for a progress bar.
        """
        ...


class LatentReward(Protocol):
    """Scores noisy latents; differentiable in them."""

    dimensions: tuple[str, ...]

    def score(self, x_t: Tensor, t: Tensor, text: Tensor) -> Tensor:
        """Scores (B, D) at latents (B, C, F, H, W), times (B,) and text states (B, L, D)."""
        ...


class Guide(Protocol):
    """Changes a velocity during sampling."""

    def adjust(self, velocity: Tensor, x_t: Tensor, t: Tensor, text: Tensor) -> Tensor:
        """The guided velocity, same shape; t is (B,)."""
        ...
