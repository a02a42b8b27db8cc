"""A small run for the tests of the report: rendered clips, judged by the oracle, and made-up training logs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from videoalign.contracts.records import DEFAULT_DIMENSIONS
from videoalign.contracts.video import Video
from videoalign.evaluation.compare import compare, guidance_entry, headline
from videoalign.evaluation.report import ClipRow, ReportMedia
from videoalign.video.files import write_video
from videoalign.worlds.sprites.oracle import Oracle
from videoalign.worlds.sprites.prompts import HELD_OUT_SENTENCES
from videoalign.worlds.sprites.renderer import FPS, Flaws, Scene, render, sample_scene

ARMS = {
    "base": Flaws(blur_px=1.4, grain=7.0, jitter_px=1.2, frozen_share=0.3),
    "sft": Flaws(blur_px=1.3, grain=6.5, jitter_px=1.1, frozen_share=0.35),
    "rwr": Flaws(blur_px=1.0, grain=5.0, jitter_px=1.0, frozen_share=0.2),
    "dpo": Flaws(blur_px=0.3, grain=1.0, jitter_px=0.2),
    "dpo_t": Flaws(blur_px=2.2, grain=9.0, jitter_px=0.1),
}
WEIGHTS = ({"VQ": 1.0, "MQ": 0.0, "TA": 0.0}, {"VQ": 0.5, "MQ": 0.5, "TA": 0.0}, {"VQ": 0.0, "MQ": 1.0, "TA": 0.0})
NUM_PROMPTS, PER_PROMPT = 4, 2


def build_run(folder: Path, num_rows: int = 3) -> tuple[dict[str, Any], ReportMedia]:
    """``results`` and ``media`` of a run whose clips lie in ``folder``."""
    scores, prompt_ids, rows = _judged_clips(folder, num_rows)
    noise = np.random.default_rng(5)
    names = Oracle.dimensions
    blurred = {arm: values + noise.normal(0, 0.05, values.shape) for arm, values in scores.items()}
    alignment, second = (
        {arm: compare(judged["base"], judged[arm], prompt_ids, names) for arm in ARMS if arm != "base"}
        for judged in (scores, blurred)
    )
    results = {
        "seed": 7,
        "command": "videoalign quickstart --out runs/example --seed 7",
        "versions": {"videoalign": "0.1.0", "torch": "2.13.0"},
        "seconds": {"score": 12.5, "align": 187.25, "evaluate": 64.0},
        "about": "A base model and four ways to train its flaws out of it, from preferences between its own clips.",
        "run": {"Training prompts": 108, "Held-out prompts": NUM_PROMPTS, "Clips per prompt": PER_PROMPT},
        "dimensions": {dimension.name: dimension.guideline for dimension in DEFAULT_DIMENSIONS},
        "judge": "the oracle",
        "judge_note": "It labelled no training pair.",
        "alignment": alignment,
        "headline": headline(alignment),
        "prompts_note": "No stage of alignment saw these prompts.",
        "warnings": [],
        "alignment_videoreward": second,
        "guidance": [
            guidance_entry(weights, alignment[arm])
            for weights, arm in zip(WEIGHTS, ("rwr", "dpo", "dpo_t"), strict=True)
        ],
        "reward": {name: _reward_row(place) for place, name in enumerate(names)},
    }
    guided = [
        ClipRow(prompt=row.prompt, clips={"unguided": row.clips["base"], "VQ 1": row.clips["dpo"]}) for row in rows[:1]
    ]
    return results, ReportMedia(comparisons=rows, guidance=guided, histories=_histories())


def _reward_row(place: int) -> dict[str, float]:
    accuracy = {
        "with_ties": 0.71 + place / 50,
        "without_ties": 0.83 - place / 25,
        "low": 0.8 - place / 25,
        "high": 0.86,
    }
    return {**accuracy, "n": 240, "random": 0.41, "always_tie": 0.28, "rater_agreement": 0.77}


def _judged_clips(folder: Path, num_rows: int) -> tuple[dict[str, np.ndarray], list[str], list[ClipRow]]:
    rng = np.random.default_rng(3)
    scores: dict[str, list[np.ndarray]] = {arm: [] for arm in ARMS}
    prompt_ids: list[str] = []
    rows: list[ClipRow] = []
    for place, sentence in enumerate(HELD_OUT_SENTENCES[:: len(HELD_OUT_SENTENCES) // NUM_PROMPTS][:NUM_PROMPTS]):
        for repeat in range(PER_PROMPT):
            scene = sample_scene(sentence, rng)
            clips, judged = {}, {}
            for arm, flaws in ARMS.items():
                strength = rng.uniform(0.2, 1.6)
                weaker = Flaws(**{name: strength * value for name, value in vars(flaws).items()})
                video = Video(render(Scene(**{**vars(scene), "flaws": weaker})), FPS)
                score = Oracle().score_videos([video], [sentence.text()])[0]
                scores[arm].append(score)
                if repeat == 0 and place < num_rows:
                    clips[arm] = folder / f"{place}-{arm}.mp4"
                    judged[arm] = dict(zip(Oracle.dimensions, score.tolist(), strict=True))
                    write_video(clips[arm], video)
            prompt_ids.append(sentence.text())
            if clips:
                rows.append(ClipRow(prompt=sentence.text(), clips=clips, scores=judged))
    return {arm: np.array(values) for arm, values in scores.items()}, prompt_ids, rows


def _histories() -> dict[str, list[dict[str, float]]]:
    rng = np.random.default_rng(4)
    steps = np.arange(1, 201)
    histories: dict[str, list[dict[str, float]]] = {}
    for place, arm in enumerate(arm for arm in ARMS if arm != "base"):
        rows = {"step": steps, "loss": 0.693 * np.exp(-steps / (80 + 20 * place)) + rng.normal(0, 0.03, 200) + 0.2}
        if arm.startswith("dpo"):
            rows["implicit_accuracy"] = np.clip(0.5 + steps / 500 + rng.normal(0, 0.08, 200), 0, 1)
            rows["margin"] = steps / 100 + rng.normal(0, 0.2, 200)
            rows["win_excess"] = -steps / 9000 + rng.normal(0, 0.002, 200)
            rows["lose_excess"] = steps / 6000 + rng.normal(0, 0.002, 200)
        histories[arm] = [{key: float(values[i]) for key, values in rows.items()} for i in range(200)]
    return histories
