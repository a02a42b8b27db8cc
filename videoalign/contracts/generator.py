"""What training, sampling and evaluation ask of a video generator, whichever family it is of.

Everywhere t = 0 is data, t = 1 is noise, x_t = (1 - t) x_data + t x_noise and v = x_noise - x_data; latents are
(B, C, F, H, W) and t is (B,). A family that thinks otherwise is turned round where it is opened.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol, Self

from videoalign.contracts.records import Asked
from videoalign.contracts.video import Video

if TYPE_CHECKING:
    import numpy as np
    import torch
    from torch import Tensor, nn

    from videoalign.flow.condition import Condition


Part = Literal["codec", "conditioner", "network"]
"""A part of a generator that has weights."""


class Codec(Protocol):
    """Between pixels and the latents that a generator works in."""

    @property
    def clip_shape(self) -> tuple[int, int, int]:
        """(frames, height, width) of the clips that it encodes."""
        ...

    @property
    def latent_shape(self) -> tuple[int, int, int, int]:
        """(C, F, H, W) of the latents of such a clip."""
        ...

    @property
    def fps(self) -> float:
        """Frames per second of those clips."""
        ...

    def encode(self, videos: Sequence[Video]) -> Tensor:
        """Normalised latents, float32 (B, C, F, H, W)."""
        ...

    def encode_frames(self, frames: np.ndarray) -> Tensor:
        """The same of uint8 frames (B, F, H, W, 3), of any size that the model's parts could work in."""
        ...

    def decode(self, latents: Tensor, seeds: Sequence[int] | None = None) -> list[Video]:
        """The clips behind normalised latents; where decoding draws noise, a clip's seed decides it, 0 by default."""
        ...

    def identity(self) -> str:
        """What its latents depend on besides the shape of a clip."""
        ...


class Conditioner(Protocol):
    """Prompts to what the network reads of them."""

    @property
    def names(self) -> tuple[str, ...]:
        """Of the tensors in its conditions."""
        ...

    @property
    def lengths(self) -> Mapping[str, int]:
        """`Condition.lengths` of its conditions."""
        ...

    def check(self, prompts: Sequence[Asked]) -> None:
        """Raises `DataError` for a prompt that the model cannot read, or that lacks a picture which it needs or has one
        which it does not read, and `VideoError` for a picture that cannot be read; before anything is made."""
        ...

    def encode(self, prompts: Sequence[Asked]) -> Condition:
        """A row for each prompt; raises as `check` does."""
        ...

    def identity(self) -> str:
        """What its conditions depend on."""
        ...


class VelocityNet(Protocol):
    """The network: what predicts v, and what alignment trains."""

    training: bool
    """Whether layers such as dropout behave as in training; see `nn.Module.train`."""

    @property
    def transformers(self) -> Mapping[str, nn.Module]:
        """The parts that LoRA goes onto, by their names in the pipeline; several where each serves a range of times."""
        ...

    @property
    def device(self) -> torch.device:
        """Where it runs."""
        ...

    @property
    def constants(self) -> Mapping[str, float]:
        """What its velocities depend on besides the transformers: ``time_scale``, what they are told at t = 1."""
        ...

    def train(self, mode: bool = True) -> Any:
        """As `nn.Module.train`."""
        ...

    def parameters(self) -> Iterator[nn.Parameter]:
        """As of `nn.Module`."""
        ...

    def __call__(self, x_t: Tensor, t: Tensor, condition: Condition) -> Tensor:
        """Predicted v, float32, at latents (B, C, F, H, W) and times (B,); gradients flow."""
        ...

    def identity(self) -> str:
        """What its velocities depend on, adapters left out."""
        ...


class SchedulerWrapper(Protocol):
    """Puts a guided scheduler around the generator's own for one call."""

    def __call__(self, scheduler: Any, condition: Condition) -> Any:
        """``scheduler`` wrapped; ``condition`` has a row for each of the clips being sampled."""
        ...


class Steering(Protocol):
    """Another way from prompts and seeds to latents than the sampler's own; its clips can be told from others."""

    @property
    def identity(self) -> dict[str, Any]:
        """All that decides what it does to a clip, as JSON can hold it."""
        ...

    @property
    def name(self) -> str:
        """What to call it in tables and file names."""
        ...

    @property
    def searches(self) -> bool:
        """Whether it tries several noises for a clip, so that more steps need not come nearer to the same clip."""
        ...

    def latents(
        self, generator: Generator, prompts: Sequence[Asked], seeds: Sequence[int], *, num_steps: int | None = None
    ) -> Tensor:
        """As `Sampler.latents`; a clip depends on its prompt and its seed."""
        ...


class Sampler(Protocol):
    """Prompts and seeds to latents, by the model's own scheduler."""

    @property
    def time_shift(self) -> float:
        """Sigma shift of the times that it samples at; raises `ConfigError` where that is no one number."""
        ...

    @property
    def scheduler_name(self) -> str:
        """What takes the steps, with its shift, for people to read."""
        ...

    @property
    def num_steps(self) -> int:
        """Steps that it takes when nothing else is asked for."""
        ...

    def latents(
        self,
        prompts: Sequence[Asked],
        seeds: Sequence[int],
        *,
        num_steps: int | None = None,
        guidance_scale: float | None = None,
        wrap_scheduler: SchedulerWrapper | None = None,
        on_step: Callable[[], None] | None = None,
    ) -> Tensor:
        """Latents of one clip per (prompt, seed), float32 (B, C, F, H, W); `Codec.decode` makes the clips of them.

        The noise of a clip depends on its seed alone, not on its batch.

        Args:
            prompts: one per clip.
            seeds: one per clip.
            num_steps: sampling steps; the model's own by default.
            guidance_scale: of classifier-free guidance; the model's own by default.
            wrap_scheduler: puts a guided scheduler around the model's own for this call.
            on_step: called after every sampling step, as for a progress bar.
        """
        ...

    def identity(self) -> dict[str, Any]:
        """What a clip depends on besides prompt, seed and the identities of the other parts; adapters count."""
        ...


class Generator(Protocol):
    """A rectified-flow video generator in its parts."""

    @property
    def name(self) -> str:
        """What datasets, adapters and messages call it."""
        ...

    @property
    def folder(self) -> Path | None:
        """Where its files are; None where it was not opened from any."""
        ...

    @property
    def codec(self) -> Codec:
        """Pixels and latents."""
        ...

    @property
    def conditioner(self) -> Conditioner:
        """Prompts."""
        ...

    @property
    def network(self) -> VelocityNet:
        """Velocities."""
        ...

    @property
    def sampler(self) -> Sampler:
        """Clips."""
        ...

    def identity(self) -> dict[str, str]:
        """What its latents, conditions and adapters depend on, as short strings."""
        ...

    @property
    def origin(self) -> dict[str, str]:
        """Where others find it: ``source``, a hub id or a name, and ``pipeline``, a class of diffusers."""
        ...

    def clip_identity(self) -> dict[str, Any]:
        """All that decides a clip besides its prompt and seed, adapters included, as JSON can hold it."""
        ...

    def changed(self, settings: Mapping[str, Any]) -> Self:
        """The same model with other defaults of sampling or another clip shape; what is None stays as it is."""
        ...

    def to(self, device: str | torch.device) -> Self:
        """Moves the model."""
        ...

    @property
    def outline(self) -> VelocityNet:
        """The network without need of its weights: its layers and their shapes, and what it depends on."""
        ...

    @property
    def device(self) -> torch.device:
        """Where the model runs."""
        ...

    @property
    def offload(self) -> str:
        """What is on the graphics card: all (``none``), the part that runs (``model``), the layer (``sequential``)."""
        ...

    def free(self, *parts: Part, changed: bool = False) -> None:
        """Lets go of the weights of these parts, which are read again when they are used, where that can be done.

        Weights that were changed are kept; with ``changed`` they too are let go of, and are as they were opened again.
        """
        ...

    def save_pretrained(
        self, folder: str | Path, *, transformers: Mapping[str, Mapping[str, Tensor]] | None = None
    ) -> None:
        """Writes a folder that diffusers opens; ``transformers`` are weights, by name, in place of the network's own.

        Raises:
            OutputError: the place cannot be written.
        """
        ...
