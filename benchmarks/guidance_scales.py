"""A model that samples with classifier-free guidance: which pairs align it, and how strong is the adapter to be?

python benchmarks/guidance_scales.py --out runs/scales --seeds 0 1 2        # half an hour of one core a seed

On the sprite world, whose oracle labels the pairs and judges held-out prompts. A run that stopped goes on.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any, NamedTuple

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


class Case(NamedTuple):
    """What is sampled, against the base at the same scale."""

    use: float
    """Guidance scale of use."""
    pairs: float = 1
    """That of the clips whose pairs taught the adapter."""
    strength: float = 1
    """Of the adapter, where 1 is as trained."""
    bare: bool = False
    """The half without a prompt goes without the adapter."""


CASES = (
    Case(1),
    *(Case(use, strength=strength) for use in (3, 5) for strength in (1, 0.75, 0.5, 0.25)),
    *(Case(use, bare=True) for use in (3, 5)),
    *(Case(use, pairs=use) for use in (3, 5)),
)
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
    parser.add_argument("--own-pairs", action="store_true", help="pairs made at the scale of use as well")
    given = parser.parse_args()
    torch.set_num_threads(1)
    rows: list[dict[str, Any]] = []
    print("| seed | scale of use | pairs | adapter | unconditional half | VQ | MQ | TA | overall | interval |")
    print("| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |", flush=True)
    for seed in given.seeds:
        for case in CASES:
            if case.pairs != 1 and not given.own_pairs:
                continue
            row = {"seed": seed, **case._asdict(), "rates": rates_of(case, given.out / str(seed), seed)}
            rows.append(row)
            rates = " | ".join(f"{row['rates'][name]['win_rate']:.2f}" for name in ("VQ", "MQ", "TA", "overall"))
            total = row["rates"]["overall"]
            half = "base" if case.bare else "adapted"
            said = f"{seed} | {case.use:g} | scale {case.pairs:g} | {case.strength:g} | {half} | {rates}"
            print(f"| {said} | {total['low']:.2f} to {total['high']:.2f} |", flush=True)
            (given.out / "rows.json").write_text(json.dumps(rows, indent=1))


def rates_of(case: Case, folder: Path, seed: int) -> dict[str, Any]:
    """Win rates over the base; clips and adapters that are there are not made again."""
    adapter = trained(folder / f"pairs_{case.pairs:g}", seed, case.pairs)
    base = judged(folder / f"base_{case.use:g}", seed, case.use, open_generator("sprites"))
    generator = open_generator("sprites", adapter, scale=case.strength)
    name = f"use_{case.use:g}_pairs_{case.pairs:g}_adapter_{case.strength:g}" + "_bare" * case.bare
    with bare_unconditional(generator) if case.bare else nullcontext():
        aligned = judged(folder / name, seed, case.use, generator)
    return compare(base.scores, aligned.scores, base.prompts, Oracle().dimensions)


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


def judged(folder: Path, seed: int, scale: float, generator: PipelineGenerator) -> JudgedClips:
    """Two clips of each held-out prompt, scored."""
    options = GenerateConfig(
        per_prompt=2, seed=seed + 1, batch_size=24, guidance_scale=scale, keep_latents=False, check_steps=False
    )
    return judge_dataset(Oracle(), generate(generator, HELD_OUT, folder, options), HELD_OUT)


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
