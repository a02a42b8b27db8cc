"""Says how good a generator of the sprite world is, by guidance scale, as the oracle sees it.

``python -m videoalign.recipes.sprite_weights.measure_base model=sprites guidance_scales=[1,1.5,2.5,4]``
"""

from __future__ import annotations

import sys

import numpy as np
from pydantic import Field

from videoalign.config import Config
from videoalign.models.generators.generator import PipelineGenerator
from videoalign.recipes.generator.generate import open_generator
from videoalign.worlds.sprites.oracle import Oracle, attribute_fits
from videoalign.worlds.sprites.prompts import HELD_OUT_SENTENCES, parse

COLUMNS = ("colour", "shape", "motion", "VQ", "MQ", "TA")


class MeasureBaseConfig(Config):
    """Settings of this script."""

    model: str = "sprites"
    """The generator: a folder, or the one that ships."""
    guidance_scales: tuple[float, ...] = (1.0, 1.5, 2.5, 4.0)
    """Scales of classifier-free guidance, a row each."""
    per_prompt: int = Field(2, gt=0)
    """Clips of each held-out sentence."""
    batch_size: int = Field(24, gt=0)
    """Clips made at once."""
    seed: int = 0
    """Decides the noise."""


def measure_base(generator: PipelineGenerator, config: MeasureBaseConfig, guidance_scale: float) -> dict[str, float]:
    """Of clips of the held-out sentences: the shares whose colour, shape and motion fit by more than one half, and the
    mean scores."""
    texts = [sentence.text() for sentence in HELD_OUT_SENTENCES for _ in range(config.per_prompt)]
    seeds = [config.seed * len(texts) + number for number in range(len(texts))]
    rows = []
    for start in range(0, len(texts), config.batch_size):
        part = slice(start, start + config.batch_size)
        videos = generator.sample(texts[part], seeds[part], guidance_scale=guidance_scale)
        scores = Oracle().score_videos(videos, texts[part])
        fits = [attribute_fits(video.frames, parse(text)) for video, text in zip(videos, texts[part], strict=True)]
        rows.append(np.concatenate([np.array(fits) > 0.5, scores], axis=1))
    return dict(zip(COLUMNS, np.concatenate(rows).mean(0).tolist(), strict=True))


def measure_all(config: MeasureBaseConfig) -> str:
    """The table, in Markdown."""
    generator = open_generator(config.model)
    lines = ["| guidance scale | " + " | ".join(COLUMNS) + " |", "|---" * (len(COLUMNS) + 1) + "|"]
    for scale in config.guidance_scales:
        row = measure_base(generator, config, scale)
        cells = [f"{row[name]:.0%}" if name.islower() else f"{row[name]:.2f}" for name in COLUMNS]
        lines.append(f"| {scale:g} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


if __name__ == "__main__":
    print(measure_all(MeasureBaseConfig.load(None, sys.argv[1:])))
