"""Pretrains the transformer and the text encoder of the sprite world's generator on flawed clips.

On two cores: ``torchrun --nproc_per_node 2 -m videoalign.recipes.sprite_weights.generator
vae=runs/pretrain/autoencoder/vae``
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from videoalign.contracts.output import whole_file
from videoalign.distributed import Processes, join
from videoalign.flow.condition import Condition
from videoalign.models.generators.generator import PipelineGenerator
from videoalign.models.generators.wan import WanConditioner
from videoalign.models.small_wan import load_autoencoder, small_wan_pipeline
from videoalign.randomness import Draws
from videoalign.recipes.sprite_weights.progress import print_row
from videoalign.training.loop import FitConfig, fit
from videoalign.training.objective import Loss, require_names
from videoalign.training.objectives.flow import TimeSettings, velocity_errors
from videoalign.worlds.sprites.prompts import ALL_SENTENCES, TEMPLATES
from videoalign.worlds.sprites.web import sample_clip


class GeneratorConfig(FitConfig):
    """Settings of this script."""

    vae: str = "runs/pretrain/autoencoder/vae"
    """Folder of the pretrained autoencoder."""
    out: str = "runs/pretrain/generator"
    """Folder of the latents, the checkpoint, the log and the finished pipeline."""
    start: str = ""
    """Folder of a pipeline whose transformer and text encoder to go on from; empty starts from random weights."""
    num_clips: int = 6000
    """Clips per process; encoded once."""
    render_workers: int = 0
    """Processes that draw clips ahead of the autoencoder; 0 draws them in between."""
    num_steps: int = 6000
    """Optimiser steps."""
    batch_size: int = 32
    """Clips per process and step."""
    learning_rate: float = 1.5e-3
    """Peak rate."""
    warmup_steps: int = 200
    """Steps of linear warm-up."""
    schedule: Literal["constant", "cosine"] = "cosine"
    """Rate after the warm-up."""
    final_rate_share: float = 0.02
    """Share of the peak at the end."""
    betas: tuple[float, float] = (0.9, 0.98)
    """AdamW's decay rates."""
    weight_decay: float = 0.01
    """Decoupled weight decay."""
    time_shift: float = 1.7
    """Sigma shift of the training times; what a clip shows is decided near the noise."""
    compile: bool = True
    """Compile the transformer first (needs a C++ compiler): minutes to start, then steps at 0.6 of the time."""
    empty_share: float = 0.1
    """Share of captions replaced by the empty one, for classifier-free guidance."""


class Captioned(Sequence[tuple[Tensor, Tensor, Tensor]]):
    """(latents (C, F, H, W), token ids (L,), attention mask (L,)) of each clip."""

    def __init__(self, latents: Tensor, ids: Tensor, mask: Tensor) -> None:
        self.latents, self.ids, self.mask = latents, ids, mask

    def __len__(self) -> int:
        return len(self.latents)

    def __getitem__(self, index: Any) -> Any:
        return self.latents[index].float(), self.ids[index], self.mask[index]


class DrawnClips(Dataset[tuple[Tensor, str]]):
    """Flawed clips, uint8 (F, H, W, 3), and their captions, each drawn from (seed, rank, index)."""

    def __init__(self, num: int, seed: int, rank: int) -> None:
        self.num, self.seed, self.rank = num, seed, rank

    def __len__(self) -> int:
        return self.num

    def __getitem__(self, index: int) -> tuple[Tensor, str]:
        frames, caption, _ = sample_clip(np.random.default_rng((self.seed, self.rank, index)))
        return torch.from_numpy(frames), caption


def tokenizer_of(generator: PipelineGenerator) -> Callable[[Sequence[str]], tuple[Tensor, Tensor]]:
    """Texts to token ids and mask, for a text encoder that is trained."""
    conditioner = generator.conditioner
    assert isinstance(conditioner, WanConditioner)
    return conditioner.tokenize


class CaptionedFlowMatching:
    """Flow matching on captioned latents; transformer and text encoder learn together."""

    def __init__(self, generator: PipelineGenerator, config: GeneratorConfig) -> None:
        pipeline = generator.pipeline
        self.transformer, self.encoder = pipeline.transformer, pipeline.text_encoder
        self.config, self.time_scale = config, generator.network.constants["time_scale"]
        self.predict = torch.compile(self.transformer) if config.compile else self.transformer
        self.empty_ids, self.empty_mask = tokenizer_of(generator)([""])

    def parameter_groups(self) -> list[dict[str, Any]]:
        return [{"params": [*self.transformer.parameters(), *self.encoder.parameters()]}]

    def state_dict(self) -> dict[str, Tensor]:
        parts = {"transformer": self.transformer, "encoder": self.encoder}
        return {f"{part}.{k}": v for part, module in parts.items() for k, v in module.named_parameters()}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        require_names(state, self.state_dict())
        for part, module in {"transformer": self.transformer, "encoder": self.encoder}.items():
            own = {k.removeprefix(f"{part}."): v for k, v in state.items() if k.startswith(f"{part}.")}
            module.load_state_dict(own, strict=False)

    def loss(self, batch: tuple[Tensor, Tensor, Tensor], draws: Draws) -> Loss:
        x_data, ids, mask = batch
        t = TimeSettings(shift=self.config.time_shift).draw(draws).to(x_data.device)
        x_noise = draws.normal("noise", x_data.shape[1:]).to(x_data.device)
        empty = (draws.uniform("empty caption") < self.config.empty_share).to(x_data.device)
        ids = torch.where(empty[:, None], self.empty_ids.to(ids), ids)
        mask = torch.where(empty[:, None], self.empty_mask.to(mask), mask)
        text = self.encoder(ids, mask).last_hidden_state * mask[..., None]
        errors = velocity_errors(self._velocity, x_data, Condition({"text": text}), t, x_noise)
        return Loss(errors, torch.ones_like(errors), t, {"error": errors})

    def _velocity(self, x_t: Tensor, t: Tensor, condition: Condition) -> Tensor:
        predicted: Tensor = self.predict(x_t, t * self.time_scale, condition["text"]).sample
        return predicted


def captioned_latents(
    generator: PipelineGenerator, config: GeneratorConfig, processes: Processes, folder: Path
) -> Captioned:
    """The clips of all processes, ``num_clips`` of each, rendered and encoded once and kept in ``folder``."""
    caches = [folder / f"latents-{number}.safetensors" for number in range(processes.count)]
    rank = processes.rank
    if not caches[rank].is_file():
        parts, captions = [], []
        drawn = DrawnClips(config.num_clips, config.seed, rank)
        for frames, told in DataLoader(drawn, batch_size=16, num_workers=config.render_workers):
            parts.append(generator.codec.encode_frames(frames.numpy()).half().cpu())
            captions += told
            if rank == 0 and len(captions) % 960 == 0:
                print(f"encoded {len(captions)} of {config.num_clips} clips", flush=True)
        ids, mask = tokenizer_of(generator)(captions)
        with whole_file(caches[rank]) as aside:
            save_file({"latents": torch.cat(parts), "ids": ids, "mask": mask}, aside)
    processes.wait()
    stored = [load_file(cache) for cache in caches]
    return Captioned(*(torch.cat([part[name] for part in stored]) for name in ("latents", "ids", "mask")))


def train_generator(config: GeneratorConfig) -> Path:
    """Trains and writes the finished pipeline folder."""
    processes = join()
    device = processes.device
    texts = [sentence.text(k) for sentence in ALL_SENTENCES for k in range(len(TEMPLATES))]
    if config.start:
        generator = PipelineGenerator.from_pretrained(config.start).to(device)
    else:
        vae = load_autoencoder(config.vae)
        generator = PipelineGenerator(small_wan_pipeline(texts, vae=vae, seed=config.seed)).to(device)
    objective = CaptionedFlowMatching(generator, config)
    folder = Path(config.out)
    clips = captioned_latents(generator, config, processes, folder)
    fit(
        objective,
        clips,
        lambda items: tuple(torch.stack(column).to(device) for column in zip(*items, strict=True)),
        config,
        folder / "run",
        on_step=print_row(processes.rank, every=50),
        processes=processes,
    )
    if processes.is_first:
        generator.save_pretrained(folder / "pipeline", half=True)
    return folder / "pipeline"


if __name__ == "__main__":
    train_generator(GeneratorConfig.load(None, sys.argv[1:]))
