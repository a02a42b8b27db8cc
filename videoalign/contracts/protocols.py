"""What training, sampling and evaluation ask of a model, whoever made it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol, Self, runtime_checkable

import numpy as np

from videoalign.contracts.output import fingerprint
from videoalign.contracts.video import Video

if TYPE_CHECKING:
    from torch import Tensor, nn


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

    def score_videos(self, videos: Sequence[Video], prompts: Sequence[str]) -> np.ndarray:
        """Normalised scores, float64 (N, D), higher is better; overall is their mean."""
        ...


def reward_digest(reward: RewardModel) -> str:
    """The same for a reward wherever it lies, whatever it is called and however it is loaded: its own ``digest`` where
    it has one, else a hash of its kind, name and dimensions."""
    own = getattr(reward, "digest", None)
    return str(own) if own else fingerprint([type(reward).__qualname__, reward.name, list(reward.dimensions)])


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
