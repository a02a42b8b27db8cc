"""A candidate against a base: clips of the same prompts and seeds, a judge, win rates and a page to look at."""

from __future__ import annotations

import shlex
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from pydantic import Field

from videoalign.contracts.engine import IN_PROCESS, Engine
from videoalign.contracts.holding import held
from videoalign.contracts.output import claim_folder, write_json
from videoalign.contracts.progress import Progress, silent
from videoalign.contracts.records import Asked, text_of
from videoalign.contracts.reward import RewardModel
from videoalign.contracts.versions import library_versions
from videoalign.data.lineage import read_lineage
from videoalign.data.prompts_file import read_prompt_file
from videoalign.errors import DataError
from videoalign.evaluation.compare import compare, headline
from videoalign.evaluation.report import ClipRow, ReportMedia, write_report
from videoalign.models.generators.opening import resolve_place
from videoalign.recipes.generator.generate import GenerateConfig, SampleConfig, generate, require_strength
from videoalign.recipes.generator.independence import Independence, require_independence
from videoalign.recipes.generator.makers import Maker, open_makers, split_model
from videoalign.recipes.generator.pictures import prompt_names
from videoalign.recipes.judges import JUDGES, JudgedClips, judge_dataset, open_judge
from videoalign.stores.opening import as_given


class EvaluateConfig(SampleConfig):
    """How two models are compared."""

    per_prompt: int = Field(default=4, gt=0)
    """Clips of each prompt and model."""
    num_shown: int = Field(default=6, ge=0)
    """Prompts whose first clips stand in the report."""
    adapter_strength: float = 1.0
    """How much of an adapter is used: 1 as trained, 0 the base."""
    allow_teacher_judge: bool = False
    """Let the judge be the reward that labelled what an arm was trained on; every table then says so."""
    allow_trained_prompts: bool = False
    """Let prompts be among those that an arm was trained on; every table then says so."""


@held
def evaluate(
    base: str,
    candidate: str,
    prompts: str | Path,
    judge: str,
    out: str | Path,
    config: EvaluateConfig | None = None,
    *,
    device: str = "cpu",
    dtype: str = "float32",
    offload: str = "none",
    fresh: bool = False,
    engine: Engine = IN_PROCESS,
    progress: Progress = silent,
) -> dict[str, Any]:
    """Compares two generators and writes ``results.json``, ``scores.json`` and ``report.html`` into ``out``.

    Args:
        base: name, folder or hub id of a generator.
        candidate: the same, or ``MODEL:ADAPTER`` with the folder of an adapter behind the colon.
        prompts: file of prompts, see `read_prompt_file`; none that an arm was trained on.
        judge: ``oracle`` for the sprite world, or the folder of a VideoReward that taught neither arm.
        out: output folder; a run that stopped goes on there.
        config: how many clips and how.
        device: where generators and reward run; see `load_generator`.
        dtype: precision of the generators; see `load_generator`.
        offload: what of the generators is kept off the graphics card; see `load_generator`.
        fresh: start over where ``out`` holds a run of ours.
        engine: runs generators and judge; other machines must see ``out`` under the same path.
        progress: counts clips.

    Returns:
        What ``results.json`` holds; see docs/reference/results.md.

    Raises:
        ConfigError: the judge taught an arm or an arm was trained on a prompt, and ``config`` does not allow it, see
            `require_independence`; a strength without an adapter.
        DataError: a prompt file or clip that cannot be used.
        ModelError: a generator, adapter or reward that cannot be loaded.
        OutputError: ``out`` belongs to another run, or cannot be written.
    """
    config = config or EvaluateConfig()
    asked, referee = read_prompt_file(prompts).prompts, open_judge(judge, device=resolve_place(device, "float32")[0])
    texts = list(map(text_of, asked))
    independence = _independence(referee, texts, (base, candidate), config)
    require_strength(config.adapter_strength, given=any(split_model(model)[1] for model in (base, candidate)))
    arms_asked, strength = {"base": base, "candidate": candidate}, config.adapter_strength
    makers = open_makers(arms_asked, config, strength=strength, device=device, dtype=dtype, offload=offload)
    settings = config.model_dump(include={"per_prompt", "num_shown", "seed", "adapter_strength"})
    identity = {"command": "evaluate", "prompts": prompt_names(asked), "judge": as_given(judge), "settings": settings}
    identity |= {arm: maker.identity() for arm, maker in makers.items()}
    folder = claim_folder(out, identity, fresh=fresh)
    seconds: dict[str, float] = {}
    how = referee, folder, config, seconds, progress, engine
    arms = {arm: make_and_judge(arm, maker, asked, *how) for arm, maker in makers.items()}
    write_json(folder / "scores.json", clip_table(arms, referee.dimensions))
    alignment = {"candidate": compare_arms(arms["base"], arms["candidate"], referee)}
    places = {"--base": base, "--candidate": candidate, "--prompts": prompts, "--judge": judge, "--out": out}
    given = {option: as_given(place) for option, place in places.items()}
    sizes: dict[str, Any] = {"Base": given["--base"], "Candidate": given["--candidate"]}
    sizes |= {"Prompts": len(texts), "Clips per prompt": config.per_prompt}
    sizes |= {"Strength of the adapter": strength} if strength != 1 else {}
    found = {"alignment": alignment, "headline": headline(alignment), "run": sizes, "seconds": seconds}
    results = {**_provenance(given, config), **asdict(independence), **found}
    write_json(folder / "results.json", results)
    write_report(folder, results, ReportMedia(comparisons=shown_rows(arms, referee.dimensions, config.num_shown)))
    return results


def _independence(
    judge: RewardModel, prompts: Sequence[str], models: Sequence[str], config: EvaluateConfig
) -> Independence:
    parts = [split_model(model) for model in models]
    lineages = {as_given(adapter): read_lineage(adapter) for _, adapter in parts if adapter}
    for model, _ in parts:
        if (trained := read_lineage(model)) is not None:
            lineages[as_given(model)] = trained
    return require_independence(
        judge,
        prompts,
        lineages,
        allow_teacher=config.allow_teacher_judge,
        allow_trained_prompts=config.allow_trained_prompts,
    )


def compare_arms(base: JudgedClips, candidate: JudgedClips, judge: RewardModel) -> dict[str, dict[str, float]]:
    """Win rates of the candidate, see `evaluation.compare.compare`.

    Raises:
        DataError: the arms do not hold clips of the same prompts and seeds.
    """
    keys = [[(text, clip.seed) for text, clip in zip(arm.prompts, arm.clips, strict=True)] for arm in (base, candidate)]
    if keys[0] != keys[1]:
        raise DataError(
            f"comparison: {base.dataset.path} and {candidate.dataset.path} hold clips of other prompts or seeds; "
            "make both with the same prompts, seed and number of clips."
        )
    return compare(base.scores, candidate.scores, base.prompts, judge.dimensions)


def clip_table(arms: Mapping[str, JudgedClips], dimensions: Sequence[str]) -> list[dict[str, Any]]:
    """Each prompt and seed with every arm's scores by dimension, as ``scores.json`` holds them."""
    first = next(iter(arms.values()))
    return [
        {"prompt": first.prompts[row], "seed": clip.seed}
        | {name: dict(zip(dimensions, arm.scores[row].tolist(), strict=True)) for name, arm in arms.items()}
        for row, clip in enumerate(first.clips)
    ]


def shown_rows(arms: Mapping[str, JudgedClips], dimensions: Sequence[str], num_rows: int) -> list[ClipRow]:
    """The first clip of each of ``num_rows`` prompts, spread over all of them, side by side from every arm."""
    prompts = next(iter(arms.values())).prompts
    firsts = [row for row, text in enumerate(prompts) if row == 0 or text != prompts[row - 1]]
    chosen = (
        [firsts[place * len(firsts) // num_rows] for place in range(num_rows)] if num_rows < len(firsts) else firsts
    )
    return [
        ClipRow(
            prompt=prompts[row],
            clips={name: arm.dataset.clip_path(arm.clips[row]) for name, arm in arms.items()},
            scores={name: dict(zip(dimensions, arm.scores[row].tolist(), strict=True)) for name, arm in arms.items()},
        )
        for row in (chosen if num_rows else [])
    ]


def make_and_judge(
    arm: str,
    maker: Maker,
    prompts: Sequence[Asked],
    judge: RewardModel,
    folder: Path,
    config: EvaluateConfig,
    seconds: dict[str, float],
    progress: Progress,
    engine: Engine = IN_PROCESS,
) -> JudgedClips:
    """The clips of one arm, in ``folder/arm``, and the judge's scores of them; both go on where they were stopped.

    Args:
        arm: what the model is called in the comparison.
        maker: the model.
        prompts: texts.
        judge: scores the clips.
        folder: of the comparison.
        config: how many clips and how.
        seconds: gets what making and judging took.
        progress: counts clips.
        engine: runs model and judge.
    """
    started = time.perf_counter()
    variant = Path(maker.adapter).name if maker.adapter else ""
    options = GenerateConfig(
        **config.model_dump(include=set(SampleConfig.model_fields)), keep_latents=False, check_steps=False
    )
    with maker.ready() as generator:
        run: dict[str, Any] = {"engine": engine, "progress": progress}
        dataset = generate(generator, prompts, folder / arm, options, variant=variant, **run)
    made = time.perf_counter()
    judged = judge_dataset(judge, dataset, list(map(text_of, prompts)), keep=folder / "scores" / arm, **run)
    seconds |= {f"{arm} clips": made - started, f"{arm} judging": time.perf_counter() - made}
    return judged


def _provenance(given: Mapping[str, str], config: EvaluateConfig) -> dict[str, Any]:
    judge = given["--judge"]
    return {
        "seed": config.seed,
        "versions": library_versions(),
        "command": _command(given, config),
        "judge": f"the {judge}" if judge in JUDGES else judge,
    }


def _command(given: Mapping[str, str], config: EvaluateConfig) -> str:
    changed = [f"{name}={value}" for name, value in config.model_dump(exclude_defaults=True).items()]
    return shlex.join(["videoalign", "evaluate", *(word for option in given.items() for word in option), *changed])
