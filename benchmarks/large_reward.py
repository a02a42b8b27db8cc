"""Scoring with a random reward of the size of Qwen2-VL-2B: clips a second, share of the model's own rate, peak memory.

The weights are random, so nothing is downloaded; what is timed does not depend on their values. The clips are frames in
memory, so that the model is measured and not the decoder. Prints one JSON object; made for a graphics card, and runs
anywhere with ``--shape tiny``.
"""

from __future__ import annotations

import argparse
import json
import resource
import time
from dataclasses import dataclass

import numpy as np
import torch
from transformers import Qwen2VLConfig, Qwen2VLModel

from videoalign.contracts.records import DEFAULT_DIMENSIONS
from videoalign.contracts.video import Video
from videoalign.models.small_qwen import small_tokenizer
from videoalign.models.videoreward import VideoReward
from videoalign.models.videoreward.processing import ReadingLimits
from videoalign.models.videoreward.prompt import default_template
from videoalign.models.videoreward.settings import Normalisation, RewardSettings

PROMPT = "a girl in a red dress walks along the beach at sunset"


@dataclass(frozen=True)
class Shape:
    """Sizes of a Qwen2-VL."""

    width: int
    mlp: int
    layers: int
    heads: int
    groups: int
    vision_width: int
    vision_layers: int
    vision_heads: int


SHAPES = {
    "2b": Shape(1536, 8960, 28, 12, 2, 1280, 32, 16),
    "tiny": Shape(64, 128, 2, 4, 2, 64, 2, 4),
}


def random_reward(shape: Shape, side: int, num_frames: int, dtype: torch.dtype, device: torch.device) -> VideoReward:
    """A reward of this shape with random weights that reads ``num_frames`` frames of ``side`` x ``side``."""
    tokenizer = small_tokenizer([default_template(DEFAULT_DIMENSIONS), PROMPT] * 9, vocab_size=640)
    ids = {name: tokenizer.convert_tokens_to_ids(f"<|{name}|>") for name in ("video_pad", "vision_start", "vision_end")}
    sixteenth = shape.width // shape.heads // 16
    text = {
        "vocab_size": len(tokenizer),
        "hidden_size": shape.width,
        "intermediate_size": shape.mlp,
        "num_hidden_layers": shape.layers,
        "num_attention_heads": shape.heads,
        "num_key_value_heads": shape.groups,
        "bos_token_id": None,
        "eos_token_id": None,
        "rope_parameters": {
            "rope_type": "default",
            "rope_theta": 1e6,
            "mrope_section": [2 * sixteenth, 3 * sixteenth, 3 * sixteenth],
        },
    }
    vision = {
        "depth": shape.vision_layers,
        "embed_dim": shape.vision_width,
        "hidden_size": shape.width,
        "num_heads": shape.vision_heads,
    }
    config = Qwen2VLConfig(
        text_config=text,
        vision_config=vision,
        image_token_id=ids["video_pad"],
        video_token_id=ids["video_pad"],
        vision_start_token_id=ids["vision_start"],
        vision_end_token_id=ids["vision_end"],
    )
    with torch.random.fork_rng(), torch.device(device):
        torch.manual_seed(0)
        torch.set_default_dtype(dtype)
        backbone = Qwen2VLModel._from_config(config, attn_implementation="sdpa")
        torch.set_default_dtype(torch.float32)
    limits = ReadingLimits(
        fps=2.0, min_frames=num_frames, max_frames=num_frames, min_frame_pixels=side**2, max_frame_pixels=side**2
    )
    settings = RewardSettings(
        dimensions=DEFAULT_DIMENSIONS,
        template=default_template(DEFAULT_DIMENSIONS),
        limits=limits,
        normalisation={dimension.name: Normalisation(mean=0.0, std=1.0) for dimension in DEFAULT_DIMENSIONS},
    )
    tokens, head = torch.randn(3, shape.width, device=device), torch.randn(1, shape.width, device=device)
    return VideoReward(backbone, tokenizer, settings, tokens=tokens, head=head).eval()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--shape", choices=SHAPES, default="2b")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--dtype", default="bfloat16")
    parser.add_argument("--side", type=int, default=448, help="pixels of a frame's side")
    parser.add_argument("--frames", type=int, default=10, help="frames read of a clip")
    parser.add_argument("--batch", type=int, default=4, help="clips in one forward pass")
    parser.add_argument("--clips", type=int, default=64, help="clips of a measurement")
    options = parser.parse_args()
    device = torch.device(options.device)
    reward = random_reward(SHAPES[options.shape], options.side, options.frames, getattr(torch, options.dtype), device)
    frames = np.random.default_rng(0).integers(0, 256, (options.frames, options.side, options.side, 3), dtype=np.uint8)
    pairs = [(Video(frames, 2.0), PROMPT)] * options.clips
    inputs = reward.inputs([reward.processor.read(pairs[0][0])] * options.batch, [PROMPT] * options.batch).to(device)

    def forward() -> None:
        with torch.no_grad():
            for _ in range(options.clips // options.batch):
                reward(inputs)

    def score() -> None:
        assert all(row.error is None for row in reward.score_stream(pairs, batch_size=options.batch))

    rates = {}
    for name, action in (("forward", forward), ("score", score)):
        action()
        begin = time.perf_counter()
        action()
        if device.type == "cuda":
            torch.cuda.synchronize()
        rates[name] = options.clips / (time.perf_counter() - begin)
    on_card = device.type == "cuda"
    peak = torch.cuda.max_memory_allocated() if on_card else 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    result = {
        "device": torch.cuda.get_device_name() if on_card else "cpu",
        "settings": vars(options),
        "clips_per_second": rates["score"],
        "share_of_forward_rate": rates["score"] / rates["forward"],
        "peak_memory_gib": peak / 2**30,
        "torch": torch.__version__,
    }
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
