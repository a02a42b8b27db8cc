"""Settings at the ends of their ranges, in every family: the stock pipeline's own clip, or one line that refuses."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.models.generators.small_pipelines import SMALL, TEXTS, build
from videoalign.errors import VideoAlignError
from videoalign.models.generators.generator import PipelineGenerator

EXTREMES: tuple[dict[str, Any], ...] = (
    {"num_frames": 1},
    {"num_frames": 3},
    {"height": 8},
    {"guidance_scale": 0.0},
    {"guidance_scale": -1.0},
    {"num_steps": 1},
    {"max_text_tokens": 1},
    {"max_text_tokens": 600},
    {"fps": 0},
    {"fps": 1e6},
    {"vae_slicing": True, "vae_tiling": True},
)
REFUSED = {
    "StableDiffusion3Pipeline": {"max_text_tokens": "got 600; 'tiny' wants at most 512. Set max_text_tokens=512."},
    "FluxPipeline": {"max_text_tokens": "got 600; 'tiny' wants at most 512. Set max_text_tokens=512."},
    "LTX2Pipeline": {"fps": "got 1e+06; 'tiny' makes sound too, for which 5 frames then are too short."},
}
"""What only some families refuse, and how."""
ARGUMENTS = {"num_steps": "num_inference_steps", "fps": "frame_rate", "max_text_tokens": "max_sequence_length"}
"""What the calls of pipelines name a setting, where it is not the same."""


@pytest.mark.parametrize("name", SMALL)
def test_an_extreme_gives_the_stock_clip_or_is_refused_in_one_line(name: str, tmp_path: Path) -> None:
    small, pipeline = SMALL[name], build(name)
    generator, asked, refused = PipelineGenerator(pipeline, small.settings, "tiny"), small.ask(tmp_path), {}
    for change in EXTREMES:
        (setting, value), *_ = change.items()
        try:
            extreme = generator.changed(change)
            latents = extreme.sampler.latents(asked, [3, 4])
        except VideoAlignError as error:
            refused[setting, value] = str(error)
            continue
        scale = extreme.settings.guidance_scale
        own = {ARGUMENTS.get(key, key): new for key, new in change.items()}
        told = small.call | small.size() | {"num_inference_steps": small.settings.num_steps}
        told |= {key: new for key, new in own.items() if key in told and key != "guidance_scale"}
        told |= {small.guidance: scale} if small.guidance else {}
        if small.guidance is None:
            pipeline.guider = type(pipeline.guider)(guidance_scale=max(scale, 1.0))  # 1 or less is off everywhere
        stock = pipeline(
            prompt=TEXTS,
            negative_prompt=["", ""] if scale > 1 else None,
            latents=small.laid(torch.stack([extreme.sampler.noise(seed) for seed in (3, 4)])),
            generator=small.generators([3, 4]),
            output_type="latent",
            **small.shown(tmp_path),
            **(small.unguided if scale <= 1 else {}),
            **told,
        )[0]
        torch.testing.assert_close(small.returned(pipeline, latents), stock.float(), rtol=0, atol=1e-4)
        together, alone = extreme.codec.decode(latents, [3, 4]), extreme.codec.decode(latents[:1], [3])
        assert together[0].frames.shape[:3] == extreme.codec.clip_shape
        assert np.abs(together[0].frames.astype(int) - alone[0].frames).max() <= 1
    for (setting, _), line in refused.items():
        assert (setting in line or "tokens; 'tiny' reads 1" in line) and "\n" not in line
    always = {("num_frames", 1), ("guidance_scale", -1.0), ("max_text_tokens", 1), ("fps", 0)}
    sometimes = {("num_frames", 3), ("height", 8), ("num_steps", 1), ("max_text_tokens", 600), ("fps", 1e6)}
    assert always <= refused.keys() <= always | sometimes
    for setting, says in REFUSED.get(name, {}).items():
        assert any(says in line for (key, _), line in refused.items() if key == setting)
