"""Rounds of alignment: the model so far makes clips, a reward makes pairs of them, they train it on, and again."""

from __future__ import annotations

import itertools
import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np

from videoalign.contracts.holding import held
from videoalign.contracts.output import claim_folder, fingerprint, write_json
from videoalign.contracts.progress import Progress, silent
from videoalign.contracts.records import HELD_OUT, Prompt
from videoalign.contracts.reward import RewardModel
from videoalign.contracts.versions import library_versions
from videoalign.data.dataset import Dataset
from videoalign.data.lineage import Lineage, Teacher, prompt_hash, read_lineage
from videoalign.data.pairs import combine, pairs_of_scores
from videoalign.errors import DataError
from videoalign.evaluation.compare import headline
from videoalign.evaluation.report import ReportMedia, write_report
from videoalign.models.adapter_files import adapter_file_digest
from videoalign.models.generators.generator import PipelineGenerator
from videoalign.models.generators.opening import resolve_place
from videoalign.randomness import fold_in
from videoalign.recipes.generator.align import align
from videoalign.recipes.generator.encode import require_whole_layers
from videoalign.recipes.generator.evaluate import clip_table, compare_arms, make_and_judge, shown_rows
from videoalign.recipes.generator.generate import clip_identity, generate, open_generator
from videoalign.recipes.generator.independence import require_independence
from videoalign.recipes.generator.makers import Maker
from videoalign.recipes.generator.model_card import write_model_card
from videoalign.recipes.generator.rounds_settings import RoundsConfig
from videoalign.recipes.generator.tuning import tuning_of
from videoalign.recipes.judges import JUDGES, open_judge
from videoalign.recipes.score import score_dataset
from videoalign.stores.opening import as_given
from videoalign.training.checkpoint import RunLog
from videoalign.video.addresses import is_address

PAIRS_NAME = "pairs"
ROUND_FILE = "round.json"
"""What a round leaves when it is done, beside its dataset and its adapter."""

NO_JUDGE = (
    "No judge was given, so nothing here says whether the model is better: run again with --judge, which judges the "
    "rounds that are there."
)


@held
def rounds(
    dataset: Dataset,
    model: str,
    reward: str | Path,
    out: str | Path,
    config: RoundsConfig | None = None,
    *,
    judge: str | None = None,
    device: str = "cpu",
    dtype: str = "float32",
    offload: str = "none",
    fresh: bool = False,
    progress: Progress = silent,
    say: Callable[[str], None] = lambda text: None,
) -> dict[str, Any]:
    """Aligns a generator round by round, and compares every round with the base on prompts that none was trained on.

    Each round has a folder of its own in ``out``, ``round-1`` and so on, with the ``dataset`` of its clips and pairs
    and its ``adapter``; the dataset that is given says which prompts there are, and is not written to. A run that
    stopped, at whatever point, goes on there and ends with the same adapters.

    Args:
        dataset: its ``train`` prompts train; its ``test`` prompts, or ``val`` where it has none, are judged.
        model: name, folder or hub id of the base.
        reward: labels the clips: folder or hub id of a VideoReward, or a name of `recipes.judges`.
        out: output folder.
        config: how many rounds and how.
        judge: compares the rounds, as ``reward`` is given; None compares nothing.
        device: where generator and rewards run; see `load_generator`.
        dtype: precision of the generator; see `load_generator`.
        offload: what of the generator is kept off the graphics card; see `load_generator`.
        fresh: start over where ``out`` holds a run of ours.
        progress: counts clips and steps.
        say: is told which round begins, and what goes wrong in a training.

    Returns:
        What ``results.json`` holds; see docs/reference/results.md.

    Raises:
        ConfigError: settings that cannot take effect, or a judge that labels the pairs; see `require_independence`.
        DataError: no training prompts, none to judge on, or clips that give no pair.
        ModelError: a generator, adapter or reward that cannot be loaded.
        OutputError: ``out`` belongs to another run, or cannot be written.
    """
    config = config or RoundsConfig()
    train, held_out = _prompts(dataset, judge)
    place = resolve_place(device, "float32")[0]
    generator = open_generator(model, device=device, dtype=dtype, offload=offload, settings=config.of_model())
    teacher = open_judge(reward, device=place)
    _require_all(generator, teacher, config, [*(one.text for one in train), *held_out])
    referee = None if judge is None else open_judge(judge, device=place)
    if referee is not None:  # before anything is made
        _independent(referee, held_out, {"the adapter of a round": _to_be(teacher, train, config)}, config)
    folder = claim_folder(out, _identity(generator, teacher, train, config), fresh=fresh)
    done, start = [], config.start
    for number in range(1, config.num_rounds + 1):
        its_own = folder / f"round-{number}"
        if not (its_own / ROUND_FILE).is_file():
            say(f"round {number} of {config.num_rounds}")
            _round(number, its_own, dataset, train, generator, teacher, start, config, progress, say)
        done.append(json.loads((its_own / ROUND_FILE).read_text(encoding="utf-8")))
        start = its_own / "adapter"
    results: dict[str, Any] = {"seed": config.seed, "versions": library_versions(), "rounds": done}
    results |= {"adapter": as_given(str(start)), "judge_note": NO_JUDGE, "prompts_note": "", "warnings": []}
    if referee is not None:
        results["judge"] = f"the {judge}" if judge in JUDGES else as_given(str(judge))
        results |= _judged(folder, results, generator, referee, held_out, config, progress)
    write_json(folder / "results.json", results)
    return results


def _round(
    number: int,
    folder: Path,
    dataset: Dataset,
    prompts: Sequence[Prompt],
    generator: PipelineGenerator,
    teacher: RewardModel,
    start: Path | None,
    config: RoundsConfig,
    progress: Progress,
    say: Callable[[str], None],
) -> None:
    """Clips by the model so far, scores, pairs, and the adapter that they train."""
    seconds, began = {}, time.perf_counter()
    made = Dataset.create(folder / "dataset", dataset.info, exist_ok=True)
    options = config.of_clips(fold_in(config.seed, "round", number).initial_seed() % 2**31)
    with Maker(generator.name, generator, None if start is None else str(start)).ready() as so_far:
        generate(so_far, prompts, made, options, variant=f"round-{number - 1}", progress=progress)
    seconds["generate"], began = time.perf_counter() - began, time.perf_counter()
    scores = score_dataset(teacher, made, progress=progress)
    seconds["score"], began = time.perf_counter() - began, time.perf_counter()
    made.write_pairs(PAIRS_NAME, pairs_of_scores(made, teacher.name, config.weights, config.pairs))
    training = config.of_training(number, start)
    result = align(config.method, made, generator, PAIRS_NAME, folder / "adapter", training, progress=progress, say=say)
    seconds["align"] = time.perf_counter() - began
    rows = made.pairs(PAIRS_NAME)
    record = {
        "round": number,
        "clips": len(scores),
        "pairs": result.num_pairs,
        "reward": {name: float(np.mean([row["normalised"][name] for row in scores])) for name in teacher.dimensions},
        "median_margin": float(np.median([row.reward_win - row.reward_lose for row in rows])),
        "last": {name: value for name, value in result.history[-1].items() if "/" not in name},
        "seconds": seconds,
    }
    write_json(folder / ROUND_FILE, record)


def _judged(
    folder: Path,
    results: dict[str, Any],
    generator: PipelineGenerator,
    referee: RewardModel,
    prompts: Sequence[str],
    config: RoundsConfig,
    progress: Progress,
) -> dict[str, Any]:
    """Clips of the held-out prompts by the base and after each round, from the same noise, judged and compared."""
    names = [f"round-{number}" for number in range(1, config.num_rounds + 1)]
    lineage = {names[-1]: read_lineage(folder / names[-1] / "adapter")}  # it tells of the rounds before as well
    independence = _independent(referee, prompts, lineage, config)
    options = config.of_evaluation()
    asked = [list(prompts), options.per_prompt, options.seed, clip_identity(generator)]
    place, seconds = folder / f"judged-{fingerprint(asked)[:8]}", dict[str, float]()
    adapters = {"base": None, **{name: str(folder / name / "adapter") for name in names}}
    arms = {
        name: make_and_judge(name, Maker(name, generator, adapter), prompts, referee, place, options, seconds, progress)
        for name, adapter in adapters.items()
    }
    write_json(folder / "scores.json", clip_table(arms, referee.dimensions))
    alignment = {name: compare_arms(arms["base"], arms[name], referee) for name in names}
    sizes = {"Rounds": len(names), "Held-out prompts": len(prompts), "Clips per prompt": options.per_prompt}
    found = {
        **asdict(independence),
        "alignment": alignment,
        "headline": headline(alignment),
        "over_last": {name: compare_arms(arms[last], arms[name], referee) for last, name in itertools.pairwise(names)},
        "run": sizes,
        "seconds": seconds,
    }
    shown = shown_rows(arms, referee.dimensions, config.num_shown)
    histories = {name: RunLog(folder / name / "adapter" / "log.jsonl").rows() for name in names}
    write_report(folder, {**results, **found}, ReportMedia(comparisons=shown, histories=histories))
    for name in names:
        write_model_card(folder / name / "adapter", results={**results, **found}, arm=name)
    return found


def _prompts(dataset: Dataset, judge: str | None) -> tuple[list[Prompt], list[str]]:
    """Those to train on, as another dataset can hold them, and the texts to judge on."""
    prompts = dataset.prompts()
    train = [_elsewhere(dataset, one) for one in prompts if one.split not in HELD_OUT]
    if not train:
        raise DataError(f"{dataset.path}: has no prompts to train on; add some, or 'videoalign data split' it anew.")
    for split in ("test", "val"):
        texts = list(dict.fromkeys(one.text for one in prompts if one.split == split))
        if texts:
            return train, texts
    if judge is not None:
        raise DataError(
            f"--judge: {dataset.path} has no held-out prompts to judge on; hold some out with 'videoalign data split "
            "--val 0.1 --test 0.1'."
        )
    return train, []


def _elsewhere(dataset: Dataset, prompt: Prompt) -> Prompt:
    """The prompt with the place of its picture told so that it holds in another folder."""
    if not prompt.media or is_address(prompt.media):
        return prompt
    return replace(prompt, media=str((dataset.path / prompt.media).resolve()))


def _require_all(
    generator: PipelineGenerator, teacher: RewardModel, config: RoundsConfig, texts: Sequence[str]
) -> None:
    """Refuses, before anything is made, what would stop a round in its middle."""
    require_whole_layers(generator)
    generator.conditioner.check(texts)
    tuning_of(generator, config.of_training(1, config.start))
    combine((), teacher.dimensions, config.weights)
    teacher.normalise(np.zeros((0, len(teacher.dimensions))))


def _to_be(teacher: RewardModel, prompts: Sequence[Prompt], config: RoundsConfig) -> Lineage:
    """What an adapter of these rounds will have been trained on."""
    before = None if config.start is None else read_lineage(config.start)
    teachers = (Teacher(name=teacher.name, digest=teacher.digest), *(() if before is None else before.teachers))
    hashes = {prompt_hash(one.text) for one in prompts} | set(() if before is None else before.prompts)
    return Lineage(method=f"align {config.method}", teachers=teachers, prompts=tuple(sorted(hashes)))


def _independent(
    judge: RewardModel, prompts: Sequence[str], lineages: Mapping[str, Lineage | None], config: RoundsConfig
) -> Any:
    return require_independence(
        judge,
        prompts,
        lineages,
        allow_teacher=config.allow_teacher_judge,
        allow_trained_prompts=config.allow_trained_prompts,
    )


def _identity(
    generator: PipelineGenerator, teacher: RewardModel, prompts: Sequence[Prompt], config: RoundsConfig
) -> dict[str, Any]:
    return {
        "command": "rounds",
        **config.identity(),
        "start": "" if config.start is None else adapter_file_digest(config.start),
        "model": clip_identity(generator),
        "reward": teacher.digest,
        "prompts": [asdict(prompt) for prompt in prompts],
    }
