"""Pretrains the autoencoder of the sprite world's generator.

On two cores: ``torchrun --nproc_per_node 2 -m videoalign.recipes.sprite_weights.autoencoder
out=runs/pretrain/autoencoder``
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from videoalign.distributed import join
from videoalign.losses.flow_matching import per_sample_mse
from videoalign.models.small_wan import small_autoencoder
from videoalign.randomness import Draws
from videoalign.recipes.sprite_weights.progress import print_row
from videoalign.training.loop import FitConfig, fit
from videoalign.training.objective import Loss
from videoalign.worlds.sprites.renderer import SIZE_PX
from videoalign.worlds.sprites.web import sample_clip


class AutoencoderConfig(FitConfig):
    """Settings of this script."""

    out: str = "runs/pretrain/autoencoder"
    """Folder of the checkpoint, the log and the trained autoencoder."""
    num_steps: int = 5000
    """Optimiser steps."""
    batch_size: int = 4
    """Crops per process and step."""
    learning_rate: float = 2.5e-3
    """Peak rate."""
    warmup_steps: int = 100
    """Steps of linear warm-up."""
    schedule: Literal["constant", "cosine"] = "cosine"
    """Rate after the warm-up."""
    final_rate_share: float = 0.02
    """Share of the peak at the end."""
    betas: tuple[float, float] = (0.9, 0.99)
    """AdamW's decay rates."""
    weight_decay: float = 1e-4
    """Decoupled weight decay."""
    crop_px: int = 32
    """Side of the square crops, around the shape."""
    short_frames: int = 9
    """Frames of a crop at first."""
    full_frames_from: float = 0.6
    """Share of the run after which crops hold all frames."""
    ramp_steps: int = 1500
    """Steps over which the sharpness terms and the latent noise come in; plain squared error rules before."""
    kl_weight: float = 1e-5
    """Weight of the mean KL divergence per latent element."""


class Crops(Sequence[Tensor]):
    """Endless web clips, cropped around the shape; item i is always the same crop."""

    def __init__(self, config: AutoencoderConfig, length: int) -> None:
        self.config, self.length = config, length

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: Any) -> Any:
        """One crop, float32 (3, F, H, W) in [-1, 1]."""
        if not 0 <= index < self.length:
            raise IndexError(index)
        rng = np.random.default_rng((self.config.seed, 0, index))
        frames, _, scene = sample_clip(rng)
        side = self.config.crop_px
        left, top = (
            int(np.clip(centre - side / 2 + rng.uniform(-10, 10), 0, SIZE_PX - side)) for centre in scene.centre_px
        )
        crop = frames[:, top : top + side, left : left + side]
        return torch.from_numpy(crop.copy()).permute(3, 0, 1, 2).float() / 127.5 - 1


class Reconstruction:
    """Squared error at first, then also absolute error of pixels and of their differences, and a little KL."""

    def __init__(self, autoencoder: Any, config: AutoencoderConfig) -> None:
        self.autoencoder, self.config = autoencoder, config

    def parameter_groups(self) -> list[dict[str, Any]]:
        return [{"params": list(self.autoencoder.parameters())}]

    def state_dict(self) -> dict[str, Tensor]:
        return dict(self.autoencoder.state_dict())

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        self.autoencoder.load_state_dict(state)

    def loss(self, batch: Tensor, draws: Draws) -> Loss:
        ramp = min(1.0, draws.step / self.config.ramp_steps)
        if draws.step < self.config.full_frames_from * self.config.num_steps:
            batch = batch[:, :, : self.config.short_frames]
        posterior = self.autoencoder.encode(batch).latent_dist
        noise = draws.normal("noise", posterior.mean.shape[1:]).to(batch.device)
        restored = self.autoencoder.decode(posterior.mean + ramp * posterior.std * noise).sample
        squared = per_sample_mse(restored, batch)
        pairs = [(restored, batch), *zip(_differences(restored), _differences(batch), strict=True)]
        absolute = torch.stack([(a - b).abs().flatten(1).mean(1) for a, b in pairs]).sum(0)
        kl = 0.5 * (posterior.mean.square() + posterior.var - 1 - posterior.logvar).flatten(1).mean(1)
        value = 10 * squared + ramp * absolute + self.config.kl_weight * kl
        return Loss(value, torch.ones_like(value), metrics={"psnr": 10 * torch.log10(4 / squared), "kl": kl})


def _differences(video: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    return video.diff(dim=2), video.diff(dim=3), video.diff(dim=4)


@torch.no_grad()
def measure_latents(autoencoder: Any, clips: Tensor) -> tuple[list[float], list[float]]:
    """Mean and deviation of each latent channel over clips (B, 3, F, H, W) in [-1, 1]."""
    latents = torch.cat([autoencoder.encode(part).latent_dist.mode() for part in clips.split(8)])
    return latents.mean((0, 2, 3, 4)).tolist(), latents.std((0, 2, 3, 4)).tolist()


def train_autoencoder(config: AutoencoderConfig) -> Path:
    """Trains, measures the latent statistics, and writes the autoencoder folder."""
    processes = join()
    autoencoder = small_autoencoder(seed=config.seed).to(processes.device)
    crops = Crops(config, config.num_steps * config.batch_size * processes.count)
    folder = Path(config.out)
    fit(
        Reconstruction(autoencoder, config),
        crops,
        lambda items: torch.stack(items).to(processes.device),
        config,
        folder / "run",
        on_step=print_row(processes.rank, every=50),
        processes=processes,
    )
    if processes.is_first:
        rng = np.random.default_rng((config.seed, 1 << 20))
        clips = np.stack([sample_clip(rng)[0] for _ in range(256)])
        mean, std = measure_latents(
            autoencoder, torch.from_numpy(clips).permute(0, 4, 1, 2, 3).float().to(processes.device) / 127.5 - 1
        )
        autoencoder.register_to_config(latents_mean=mean, latents_std=std)
        autoencoder.save_pretrained(folder / "vae")
    return folder / "vae"


if __name__ == "__main__":
    train_autoencoder(AutoencoderConfig.load(None, sys.argv[1:]))
