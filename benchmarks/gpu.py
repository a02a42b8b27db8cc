"""Training steps of SFT and Flow-DPO in the exact shapes of Wan's models: time, memory and share of the card's rate.

The weights are random, so nothing is downloaded; what is timed does not depend on their values. Prints one JSON object
a line. Made for a graphics card; ``--shapes tiny --device cpu`` runs anywhere.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from diffusers import WanTransformer3DModel
from torch import Tensor

from videoalign.flow.condition import Condition
from videoalign.models.lora import LoraSettings, add_lora, as_reference, remove_adapter
from videoalign.training.cost import StepCost, cost_of_objective
from videoalign.training.loop import FitConfig, fit
from videoalign.training.objectives.dpo import DpoObjective
from videoalign.training.objectives.flow import FlowObjective, PairExample, PairReference, TimeSettings, collate_pairs
from videoalign.training.objectives.sft import SftObjective

NUM_TRAIN_TIMESTEPS = 1000


@dataclass(frozen=True)
class Shape:
    """Sizes of a Wan transformer and of the latents (C, F, H, W) that it is trained on."""

    heads: int
    ffn: int
    layers: int
    latents: tuple[int, int, int, int]
    head_width: int = 128
    text: tuple[int, int] = (512, 4096)


SHAPES = {
    "wan21-1.3b": Shape(12, 8960, 30, (16, 21, 60, 104)),  # 81 frames of 480 x 832
    "wan22-5b": Shape(24, 14336, 30, (48, 31, 44, 80)),  # 121 frames of 704 x 1280
    "wan22-a14b-expert": Shape(40, 13824, 40, (16, 21, 60, 104)),
    "tiny": Shape(2, 64, 2, (4, 3, 8, 8), head_width=16, text=(8, 16)),
}


def random_transformer(shape: Shape, device: torch.device, dtype: torch.dtype) -> WanTransformer3DModel:
    """The transformer with random weights, gradient checkpointing on."""
    with torch.device(device):
        torch.set_default_dtype(dtype)
        transformer = WanTransformer3DModel(
            patch_size=(1, 2, 2),
            num_attention_heads=shape.heads,
            attention_head_dim=shape.head_width,
            in_channels=shape.latents[0],
            out_channels=shape.latents[0],
            text_dim=shape.text[1],
            freq_dim=256,
            ffn_dim=shape.ffn,
            num_layers=shape.layers,
            cross_attn_norm=True,
            qk_norm="rms_norm_across_heads",
        )
        torch.set_default_dtype(torch.float32)
    transformer.enable_gradient_checkpointing()
    return transformer


def examples(shape: Shape, count: int) -> list[PairExample]:
    """Random pairs."""
    generator = torch.Generator().manual_seed(0)
    win, lose = (torch.randn(count, *shape.latents, generator=generator) for _ in range(2))
    text = torch.randn(count, *shape.text, generator=generator)
    conditions = Condition({"text": text}).split()
    return [PairExample(win=w, lose=x, condition=y) for w, x, y in zip(win, lose, conditions, strict=True)]


def with_reference(pairs: list[PairExample]) -> list[PairExample]:
    """The pairs with made-up reference errors on two draws each; a step costs the same with true ones."""
    times, errors = torch.tensor([0.3, 0.8]), torch.full((2,), 2.0)
    frames = errors[:, None].expand(2, pairs[0].win.shape[1])
    return [
        replace(
            pair,
            reference=PairReference(times, torch.tensor([2 * n, 2 * n + 1]), errors, errors, frames, frames),
        )
        for n, pair in enumerate(pairs)
    ]


def matrix_rate(device: torch.device, dtype: torch.dtype, size: int) -> float:
    """Operations a second of a square matrix product on random data."""
    a, b = (torch.randn(size, size, device=device, dtype=dtype) for _ in range(2))
    for _ in range(3):
        a @ b
    _wait(device)
    begin = time.perf_counter()
    for _ in range(10):
        a @ b
    _wait(device)
    return 10 * 2 * size**3 / (time.perf_counter() - begin)


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize()


class Bench:
    """One shape on one device."""

    def __init__(self, shape: Shape, device: torch.device, rank: int) -> None:
        self.shape, self.device = shape, device
        self.transformer = random_transformer(shape, device, torch.bfloat16 if device.type == "cuda" else torch.float32)
        self.parameters = add_lora(self.transformer, LoraSettings(rank=rank, alpha=2 * rank), seed=0)
        self.transformer.train()

    def velocity(self, x_t: Tensor, t: Tensor, condition: Condition) -> Tensor:
        dtype, text = self.transformer.dtype, condition["text"]
        out = self.transformer(x_t.to(dtype), t * NUM_TRAIN_TIMESTEPS, text.to(dtype), return_dict=False)[0]
        return out.float()

    def objective(self, method: str) -> FlowObjective:
        if method == "sft":
            return SftObjective(self.velocity, self.parameters, TimeSettings())
        reference = lambda: as_reference(self.transformer)  # noqa: E731
        return DpoObjective(self.velocity, self.parameters, TimeSettings(), reference, beta=500.0)

    def cost(self, method: str) -> StepCost:
        """What a step takes, told from shapes."""
        pairs = examples(self.shape, 1)
        batch = collate_pairs(with_reference(pairs) if method == "dpo cached" else pairs)
        config = FitConfig(batch_size=1, dtype="bfloat16")
        return cost_of_objective(self.objective(method), batch, config, self.transformer.parameters())

    def steps(
        self, method: str, num_steps: int, on_step: Callable[[dict[str, float]], None] | None = None
    ) -> list[float]:
        """Seconds of each step of one pair; of SFT, one clip."""
        pairs = examples(self.shape, 2)
        config = FitConfig(
            num_steps=num_steps,
            batch_size=1,
            learning_rate=1e-5,
            warmup_steps=0,
            dtype="bfloat16",
            save_every_steps=10**6,
        )
        with tempfile.TemporaryDirectory() as folder:
            rows = fit(
                self.objective(method),
                with_reference(pairs) if method == "dpo cached" else pairs,
                collate_pairs,
                config,
                Path(folder),
                on_step=on_step,
            )
        return [row["seconds"] for row in rows]


def measure(bench: Bench, method: str, cost: StepCost, *, num_steps: int, rate: float) -> dict[str, Any]:
    """Median seconds of a step, peak memory, measured and told from shapes, and share of the measured matrix rate."""
    if bench.device.type == "cuda":
        torch.cuda.reset_peak_memory_stats()
    seconds = sorted(bench.steps(method, num_steps)[1:])
    middle = seconds[len(seconds) // 2]
    peak = torch.cuda.max_memory_allocated() / 2**30 if bench.device.type == "cuda" else None
    return {
        "seconds_per_step": middle,
        "steps": len(seconds),
        "peak_memory_gib": peak,
        "told_memory_gib": cost.bytes / 2**30,
        "operations_per_step": cost.operations,
        "share_of_matrix_rate": cost.operations / middle / rate,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--shapes", default="wan21-1.3b,wan22-5b,wan22-a14b-expert")
    parser.add_argument("--methods", default="sft,dpo cached,dpo live")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--rank", type=int, default=64)
    parser.add_argument("--steps", type=int, default=4, help="timed steps of a method, after one that is not timed")
    parser.add_argument("--seconds", type=float, default=300.0, help="no shape is begun later than this")
    options = parser.parse_args()
    begin, device = time.perf_counter(), torch.device(options.device)
    on_card = device.type == "cuda"
    rate = matrix_rate(device, torch.bfloat16, 8192 if on_card else 256)
    name = torch.cuda.get_device_name() if on_card else "cpu"
    print(json.dumps({"device": name, "torch": torch.__version__, "matrix_rate_tflops": rate / 1e12}), flush=True)
    for shape in options.shapes.split(","):
        if time.perf_counter() - begin > options.seconds:
            break
        bench = Bench(SHAPES[shape], device, options.rank)
        for method in options.methods.split(","):
            if time.perf_counter() - begin > options.seconds:
                break
            cost = bench.cost(method)
            for compiled in (False, True) if on_card and method == "sft" else (on_card,):
                if compiled:
                    bench.transformer.compile_repeated_blocks()
                found = measure(bench, method, cost, num_steps=options.steps + 1, rate=rate)
                print(json.dumps({"shape": shape, "method": method, "compiled": compiled, **found}), flush=True)
        remove_adapter(bench.transformer)
        del bench
        if on_card:
            torch.cuda.empty_cache()


if __name__ == "__main__":
    main()
