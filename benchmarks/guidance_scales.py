"""Which pairs align a model that samples with classifier-free guidance: made without it, or with the scale of use?

python benchmarks/guidance_scales.py --out runs/scales --seeds 0 1 2        # 25 minutes of one core a seed

On the sprite world, whose oracle labels the pairs and judges held-out prompts. A run that stopped goes on.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import torch

from videoalign.data.pairs import PairsConfig, pairs_of_scores
from videoalign.evaluation.compare import compare
from videoalign.models.generators.generator import PipelineGenerator
from videoalign.models.lora import as_reference
from videoalign.recipes.generator.align import align
from videoalign.recipes.generator.align_methods import DpoConfig
from videoalign.recipes.generator.generate import GenerateConfig, generate, open_generator
from videoalign.recipes.judges import JudgedClips, judge_dataset
from videoalign.training.loop import FitConfig
from videoalign.worlds.sprites.oracle import Oracle
from videoalign.worlds.sprites.prompts import HELD_OUT_SENTENCES, TRAIN_SENTENCES

CASES = ((1, 1, False), (3, 1, False), (3, 1, True), (3, 3, False), (5, 1, False), (5, 1, True), (5, 5, False))
"""Guidance scale of use; that of the pairs; whether the unconditional half goes without the adapter."""
TRAIN = [TRAIN_SENTENCES[place * len(TRAIN_SENTENCES) // 54].text() for place in range(54)]
HELD_OUT = [sentence.text() for sentence in HELD_OUT_SENTENCES]
PAIRS = "oracle"
DPO = DpoConfig(
    fit=FitConfig(num_steps=100, batch_size=16, learning_rate=1e-3, warmup_steps=10, schedule="cosine"),
    beta=100.0,
    reference_draws=4,
)


def main() -> None:
    """Writes ``rows.json`` and prints a Markdown table: win rates over the base at the same scale."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    given = parser.parse_args()
    torch.set_num_threads(1)
    rows: list[dict[str, Any]] = []
    print("| seed | scale of use | pairs | unconditional half | VQ | MQ | TA | overall | interval |")
    print("| --- | --- | --- | --- | --- | --- | --- | --- | --- |", flush=True)
    for seed in given.seeds:
        for row in rows_of_seed(given.out / str(seed), seed):
            rows.append(row)
            rates = " | ".join(f"{row['rates'][name]['win_rate']:.2f}" for name in ("VQ", "MQ", "TA", "overall"))
            total = row["rates"]["overall"]
            said = f"{seed} | {row['use']:g} | scale {row['pairs']:g} | {row['unconditional']} | {rates}"
            print(f"| {said} | {total['low']:.2f} to {total['high']:.2f} |", flush=True)
            (given.out / "rows.json").write_text(json.dumps(rows, indent=1))


def rows_of_seed(folder: Path, seed: int) -> Iterator[dict[str, Any]]:
    """One row a case; clips and adapters that are there are not made again."""
    judge = Oracle()
    for use, scale_of_pairs, bare in CASES:
        adapter = trained(folder / f"pairs_{scale_of_pairs:g}", seed, scale_of_pairs)
        base = judged(folder / f"base_{use:g}", seed, use)
        name = f"use_{use:g}_pairs_{scale_of_pairs:g}" + "_bare" * bare
        aligned = judged(folder / name, seed, use, adapter, bare=bare)
        rates = compare(base.scores, aligned.scores, base.prompts, judge.dimensions)
        half = "base" if bare else "adapted"
        yield {"seed": seed, "use": use, "pairs": scale_of_pairs, "unconditional": half, "rates": rates}


def trained(folder: Path, seed: int, scale: float) -> Path:
    """An adapter of Flow-DPO from the three best against the three worst of six clips a prompt."""
    if (folder / "adapter" / "lineage.json").exists():
        return folder / "adapter"
    generator, judge = open_generator("sprites"), Oracle()
    options = GenerateConfig(per_prompt=6, seed=seed, batch_size=18, guidance_scale=scale, check_steps=False)
    dataset = generate(generator, TRAIN, folder / "dataset", options)
    seen = judge_dataset(judge, dataset, TRAIN)
    named = [dict(zip(judge.dimensions, row, strict=True)) for row in seen.scores.tolist()]
    rows = [
        {"clip_id": clip.clip_id, "raw": row, "normalised": row} for clip, row in zip(seen.clips, named, strict=True)
    ]
    dataset.write_scores(judge.name, rows)
    dataset.write_pairs(PAIRS, pairs_of_scores(dataset, judge.name, config=PairsConfig(max_per_prompt=3)))
    settings = DPO.model_copy(update={"fit": DPO.fit.model_copy(update={"seed": seed})})
    return align("dpo", dataset, generator, PAIRS, folder / "adapter", settings).adapter


def judged(folder: Path, seed: int, scale: float, adapter: Path | None = None, *, bare: bool = False) -> JudgedClips:
    """Two clips of each held-out prompt, scored; ``bare``: the unconditional half is the base's, without adapter."""
    generator = open_generator("sprites", adapter)
    options = GenerateConfig(
        per_prompt=2, seed=seed + 1, batch_size=24, guidance_scale=scale, keep_latents=False, check_steps=False
    )
    with bare_unconditional(generator) if bare else nullcontext():
        dataset = generate(generator, HELD_OUT, folder, options)
    return judge_dataset(Oracle(), dataset, HELD_OUT)


@contextmanager
def bare_unconditional(generator: PipelineGenerator) -> Iterator[None]:
    """Switches the adapter off where the pipeline asks the transformer without a prompt."""
    transformer: Any = generator.network.transformers["transformer"]
    usual = transformer.cache_context

    @contextmanager
    def context(name: str, *given: Any, **named: Any) -> Iterator[None]:
        with usual(name, *given, **named), as_reference(transformer) if name == "uncond" else nullcontext():
            yield

    transformer.cache_context = context
    try:
        yield
    finally:
        del transformer.cache_context


if __name__ == "__main__":
    main()
