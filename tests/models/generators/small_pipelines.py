"""A small random pipeline of every family, from the classes of diffusers, and what its own call takes and hands on."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from tests.models.generators.small_builds import (
    MAX_TOKENS,
    TEXTS,
    flux,
    hunyuan,
    hunyuan15,
    ltx,
    mochi,
    sd3,
    wan_beginning,
    wan_image,
)
from tests.models.generators.small_ltx2 import ltx2
from videoalign.contracts.records import Asked, WinLosePair
from videoalign.data.dataset import Dataset
from videoalign.data.prompts_file import beside_picture
from videoalign.models.generators.settings import NOTED_SETTINGS, SamplingSettings
from videoalign.models.small_wan import TINY_SETTINGS, TINY_SIZES, small_wan_pipeline
from videoalign.randomness import fold_in


@dataclass(frozen=True)
class Small:
    """A family as its own pipeline knows it; nothing here is the package's arithmetic."""

    build: Callable[[], Any]
    settings: SamplingSettings
    call: dict[str, Any]
    """Arguments of the pipeline's own call besides prompts, latents and those that all take."""
    guidance: str | None = "guidance_scale"
    """Argument of the scale of classifier-free guidance; None where it is that of the pipeline's guider."""
    laid: Callable[[Tensor], Tensor] = lambda x: x
    """Latents (B, C, F, H, W) as the pipeline keeps them."""
    given: Callable[[Any, Tensor], Tensor] | None = None
    """Latents (B, C, F, H, W) as the call of a pipeline returns them, where that is not as it keeps them."""
    draws: str = "decode"
    """What the call draws from its generator for a clip of a seed."""
    unguided: dict[str, Any] = field(default_factory=dict)
    """Arguments of the call that it takes further where there is no guidance."""
    trained: dict[str, Any] = field(default_factory=dict)
    """Arguments of the transformer that are otherwise in the network that is trained than in the pipeline's call."""
    besides: Callable[[dict[str, Any]], tuple[Tensor, ...]] = lambda told: ()
    """What the transformer gives besides the velocity, of the arguments of its call."""
    sign: float = 1.0
    """-1 where the transformer predicts data - noise."""
    told: Callable[[Tensor], Tensor] = lambda t: 1000 * t
    """What the transformer is told at t."""
    wrong_sizes: dict[str, tuple[int, str]] = field(default_factory=dict)
    """Values that the model cannot make, and the nearest that it can."""
    wrong_parts: tuple[dict[str, Any], str] | None = None
    """Settings of a transformer that the family refuses, and what it says."""
    defaults: dict[str, Any] = field(default_factory=dict)
    """What a hub id without settings of ours samples."""
    picture: bool = False
    """Clips begin from a picture."""
    given_frames: int = 0
    """Latent frames that are those of the picture and no noise."""
    still: bool = False
    """Clips are stills, of which the call is told no frames."""

    def size(self) -> dict[str, int]:
        """What the call is told of it."""
        told = {"height": self.settings.height, "width": self.settings.width}
        return told if self.still else {"num_frames": self.settings.num_frames, **told}

    def returned(self, pipeline: Any, latents: Tensor) -> Tensor:
        """Latents (B, C, F, H, W) as the pipeline's own call returns them."""
        return self.laid(latents) if self.given is None else self.given(pipeline, latents)

    def generators(self, seeds: Sequence[int]) -> list[torch.Generator]:
        """What the call is given for clips of these seeds."""
        return [fold_in(seed, self.draws) for seed in seeds]

    def ask(self, folder: Path, texts: Sequence[str] = TEXTS, *, seed: int = 0) -> list[Asked]:
        """What our generator is asked for; the picture, where there is one, is in the folder."""
        return [beside_picture(text, str(picture_in(folder, seed))) for text in texts] if self.picture else list(texts)

    def shown(self, folder: Path) -> dict[str, Any]:
        """What the pipeline's own call is given for the picture of `ask`."""
        return {"image": Image.open(picture_in(folder))} if self.picture else {}


def picture_in(folder: Path, seed: int = 0) -> Path:
    """A file of coloured squares."""
    place = folder / f"picture-{seed}.png"
    if not place.is_file():
        squares = np.random.default_rng(seed).integers(0, 256, (3, 5, 3), dtype=np.uint8)
        Image.fromarray(squares.repeat(8, 0).repeat(8, 1)).save(place)
    return place


def own_clips(generator: Any, texts: Sequence[str], seeds: Sequence[int]) -> np.ndarray:
    """uint8 frames that the stock call of a small Wan makes of the texts, from the noise that we begin from."""
    text, negative = (generator.conditioner.encode(given)["text"] for given in (texts, [""]))
    frames = generator.pipeline(
        prompt_embeds=text,
        negative_prompt_embeds=negative.expand_as(text),
        latents=torch.stack([generator.sampler.noise(seed) for seed in seeds]),
        num_frames=9,
        height=32,
        width=32,
        num_inference_steps=4,
        guidance_scale=3.0,
    ).frames
    return (frames * 255).round().astype(np.uint8)


def tokens_of(x: Tensor) -> Tensor:
    """(B, C, F, H, W) as (B, F H W, C), frame after frame and row after row."""
    return x.flatten(2).transpose(1, 2)


def raw_latents(pipeline: Any, x: Tensor) -> Tensor:
    """(B, C, F, H, W) as the autoencoder makes them."""
    vae = pipeline.vae
    mean, std = (value.reshape(1, -1, 1, 1, 1) for value in (vae.latents_mean, vae.latents_std))
    return x * std / vae.config.scaling_factor + mean


def squares(x: Tensor) -> Tensor:
    """(B, C, 1, H, W) as (B, H W / 4, 4 C), each token two by two latents of every channel."""
    size, channels, _, height, width = x.shape
    parts = x.reshape(size, channels, height // 2, 2, width // 2, 2)
    return parts.permute(0, 2, 4, 1, 3, 5).reshape(size, height * width // 4, 4 * channels)


def settings(**own: Any) -> SamplingSettings:
    """Nine frames of 64 x 64 pixels in three steps with guidance, but for what is told."""
    values = {"fps": 8, "num_frames": 9, "height": 64, "width": 64, "num_steps": 3, "guidance_scale": 3.0}
    return SamplingSettings(**{**values, "max_text_tokens": MAX_TOKENS, **own})


def class_of(name: str) -> str:
    """Of a pipeline, by its name in `SMALL`."""
    return name.split(" ")[0]


SMALL: dict[str, Small] = {
    "WanPipeline": Small(
        build=lambda: small_wan_pipeline(TEXTS, TINY_SIZES, settings=TINY_SETTINGS),
        settings=TINY_SETTINGS,
        call={"max_sequence_length": 8},
        wrong_sizes={"num_frames": (12, "num_frames=9 or num_frames=13"), "height": (40, "height=32 or height=48")},
        wrong_parts=({"in_channels": 28}, "reads 28 channels where the autoencoder makes 12"),
        defaults={"num_frames": 81, "height": 480, "width": 832, "num_steps": 50, "guidance_scale": 5.0, "fps": 16.0},
    ),
    "WanImageToVideoPipeline": Small(
        build=wan_image,
        settings=TINY_SETTINGS,
        call={"max_sequence_length": 8},
        picture=True,
        wrong_sizes={"num_frames": (12, "num_frames=9 or num_frames=13"), "height": (40, "height=32 or height=48")},
        wrong_parts=({"in_channels": 12}, "reads 12 channels where the autoencoder makes 12, or 28 with a picture"),
        defaults={"num_frames": 81, "height": 480, "width": 832, "num_steps": 50, "guidance_scale": 5.0},
    ),
    "WanImageToVideoPipeline of TI2V": Small(
        build=wan_beginning,
        settings=TINY_SETTINGS,
        call={"max_sequence_length": 8},
        picture=True,
        given_frames=1,
        told=lambda t: 1000 * t[:, None] * torch.arange(12).ge(4),
        wrong_sizes={"num_frames": (12, "num_frames=9 or num_frames=13"), "height": (40, "height=32 or height=48")},
        wrong_parts=({"in_channels": 28}, "reads 28 channels where the autoencoder makes 12"),
    ),
    "LTXPipeline": Small(
        build=ltx,
        settings=settings(decode_timestep=0.4, decode_noise_scale=0.25),
        call={"frame_rate": 8, "max_sequence_length": MAX_TOKENS, "decode_timestep": 0.4, "decode_noise_scale": 0.25},
        laid=tokens_of,
        wrong_sizes={"num_frames": (12, "num_frames=9 or num_frames=17"), "width": (80, "width=64 or width=96")},
        wrong_parts=({"in_channels": 16}, "reads 16 channels in patches of 1 and 1; wanted the 8"),
        defaults={"num_frames": 161, "height": 512, "width": 704, "num_steps": 50, "guidance_scale": 3.0, "fps": 25.0},
    ),
    "LTX2Pipeline": Small(
        build=ltx2,
        settings=settings(num_frames=5, height=32, width=32),
        call={"frame_rate": 8, "max_sequence_length": MAX_TOKENS},
        laid=tokens_of,
        given=raw_latents,
        draws="audio",
        unguided={
            "stg_scale": 0.0,
            "modality_scale": 1.0,
            "audio_guidance_scale": 1.0,
            "audio_stg_scale": 0.0,
            "audio_modality_scale": 1.0,
        },
        trained={"isolate_modalities": True},
        besides=lambda told: (torch.zeros_like(told["audio_hidden_states"]),),
        wrong_sizes={
            "num_frames": (8, "num_frames=7 or num_frames=9"),
            "width": (40, "width=32 or width=64"),
            "max_text_tokens": (10, "max_text_tokens=8 or max_text_tokens=12"),
        },
        wrong_parts=({"patch_size": 2}, "reads 4 channels in patches of 2 and 1; wanted the 4"),
        defaults={
            "num_frames": 121,
            "height": 512,
            "width": 768,
            "num_steps": 30,
            "guidance_scale": 3.0,
            "fps": 24.0,
            "max_text_tokens": 1024,
        },
    ),
    "HunyuanVideoPipeline": Small(
        build=hunyuan,
        settings=settings(height=32, width=32, embedded_guidance=4.0, max_text_tokens=80),
        call={"guidance_scale": 4.0, "max_sequence_length": 80},
        guidance="true_cfg_scale",
        wrong_sizes={"num_frames": (12, "num_frames=9 or num_frames=13"), "height": (40, "height=32 or height=48")},
        wrong_parts=({"image_condition_type": "latent_concat"}, "or a picture; wanted a text-to-video model"),
        defaults={
            "num_frames": 129,
            "height": 720,
            "width": 1280,
            "num_steps": 50,
            "guidance_scale": 1.0,
            "embedded_guidance": 6.0,
            "max_text_tokens": 256,
        },
    ),
    "HunyuanVideo15Pipeline": Small(
        build=hunyuan15,
        settings=settings(num_frames=5, height=16, width=16, num_steps=2, max_text_tokens=100),
        call={},
        guidance=None,
        wrong_sizes={"num_frames": (12, "num_frames=11 or num_frames=13"), "height": (30, "height=28 or height=32")},
        wrong_parts=({"in_channels": 4}, "reads 4 channels where the autoencoder makes 4, or two times"),
        defaults={"num_frames": 121, "num_steps": 50, "guidance_scale": 7.5, "max_text_tokens": 1000},
    ),
    "MochiPipeline": Small(
        build=mochi,
        settings=settings(num_frames=7, height=32, width=32),
        call={"max_sequence_length": MAX_TOKENS},
        sign=-1.0,
        told=lambda t: 1000 * (1 - t),
        wrong_sizes={"num_frames": (9, "num_frames=7 or num_frames=13"), "height": (40, "height=32 or height=48")},
        wrong_parts=({"in_channels": 16}, "reads 16 channels where the autoencoder makes 12"),
        defaults={"num_frames": 19, "height": 480, "width": 848, "num_steps": 64, "guidance_scale": 4.5},
    ),
    "StableDiffusion3Pipeline": Small(
        build=sd3,
        settings=settings(num_frames=2, height=16, width=16),
        call={"max_sequence_length": MAX_TOKENS},
        laid=lambda x: x[:, :, 0],
        still=True,
        wrong_sizes={
            "num_frames": (9, "num_frames=2"),
            "height": (18, "height=16 or height=20"),
            "width": (68, "width=64"),
        },
        wrong_parts=({"in_channels": 9}, "reads 9 channels where the autoencoder makes 4"),
        defaults={"num_frames": 2, "height": 1024, "width": 1024, "num_steps": 28, "guidance_scale": 7.0},
    ),
    "FluxPipeline": Small(
        build=flux,
        settings=settings(num_frames=2, height=16, width=16, embedded_guidance=4.0),
        call={"guidance_scale": 4.0, "max_sequence_length": MAX_TOKENS},
        guidance="true_cfg_scale",
        laid=squares,
        told=lambda t: t,
        still=True,
        wrong_sizes={"num_frames": (1, "num_frames=2"), "width": (18, "width=16 or width=20")},
        wrong_parts=({"in_channels": 24}, "reads 24 channels where 2 x 2 latents of the autoencoder have 16"),
        defaults={
            "height": 1024,
            "num_steps": 28,
            "guidance_scale": 1.0,
            "embedded_guidance": 3.5,
            "max_text_tokens": 512,
        },
    ),
}


def build(name: str, seed: int = 1) -> Any:
    """The small pipeline of a family, its weights drawn from the seed."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        pipeline = SMALL[name].build()
    pipeline.set_progress_bar_config(disable=True)
    setattr(pipeline, NOTED_SETTINGS, SMALL[name].settings)
    return pipeline


def write_two_pairs(dataset: Dataset) -> None:
    """Pairs ``p`` of a dataset of two prompts with two clips each: the first clip of each wins."""
    clips = dataset.clips()
    pairs = [
        WinLosePair(prompt_id=a.prompt_id, clip_win=a.clip_id, clip_lose=b.clip_id, reward_win=1.0, reward_lose=0.0)
        for a, b in (clips[:2], clips[2:])
    ]
    dataset.write_pairs("p", pairs)
