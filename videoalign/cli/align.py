"""``videoalign pairs``, ``encode`` and ``align``: from a reward's scores to an adapter."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from videoalign.cli.common import (
    AsJson,
    ConfigFile,
    Device,
    Dtype,
    Fresh,
    GrownDataset,
    LatentsDataset,
    Model,
    OffloadOption,
    Overrides,
    load_config,
    parse_weights,
    print_json,
    print_note,
)
from videoalign.cli.engine import Address, EngineName, MaxRejected, RaySettings, engine_of
from videoalign.cli.places import made_folder
from videoalign.cli.watching import progress
from videoalign.contracts.holding import hold_folder
from videoalign.contracts.output import fingerprint

if TYPE_CHECKING:
    from videoalign.contracts.generator import Generator
    from videoalign.data.dataset import Dataset
    from videoalign.recipes.generator.align_methods import AlignConfig

PairsName = Annotated[str, typer.Option("--pairs", metavar="NAME", help="Name of the pairs in the dataset.")]


def register(app: typer.Typer) -> None:
    """Adds the commands to the command line."""
    app.command("pairs")(pairs)
    app.command("encode")(encode)
    app.command("align")(align)


def pairs(
    dataset: GrownDataset,
    name: Annotated[str, typer.Option("--name", metavar="NAME", help="Name that the pairs get in the dataset.")],
    reward: Annotated[str, typer.Option("--reward", metavar="R", help="Reward that scored the dataset.")],
    settings: Overrides = None,
    weights: Annotated[
        str | None, typer.Option("--weights", help="Weight of each dimension, as in VQ=1,MQ=1,TA=1; default: equal.")
    ] = None,
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """Make win-lose pairs from a reward's scores."""
    from videoalign.data.dataset import Dataset
    from videoalign.data.pairs import PairsConfig, pairs_of_scores

    options = load_config(PairsConfig, config, settings)
    folder = Dataset.open(dataset)
    made = pairs_of_scores(folder, Path(reward).name, parse_weights(weights), options)
    folder.write_pairs(name, made)
    margins = sorted(pair.reward_win - pair.reward_lose for pair in made)
    if as_json:
        told = {"reward": made[0].reward, "reward_digest": made[0].reward_digest, "weights": made[0].weights}
        print_json({"name": name, "pairs": len(made), "median_margin": margins[len(margins) // 2], **told})
    else:
        print(f"{name}: {len(made)} pairs, median margin {margins[len(margins) // 2]:.3f}")


def encode(
    dataset: LatentsDataset,
    model: Model,
    pairs: PairsName,
    settings: Overrides = None,
    reference_draws: Annotated[
        int | None,
        typer.Option("--reference-draws", metavar="K", help="Store the reference's errors on K draws of each pair."),
    ] = None,
    device: Device = "auto",
    dtype: Dtype = "auto",
    offload: OffloadOption = "none",
    max_rejected: MaxRejected = 0.0,
    engine: EngineName = "local",
    address: Address = None,
    ray: RaySettings = None,
    config: ConfigFile = None,
) -> None:
    """Turn the clips and prompts of some pairs into latents and what the model reads of prompts, once."""
    from videoalign.data.dataset import Dataset
    from videoalign.models.generators import load_generator
    from videoalign.recipes.generator.encode import EncodeConfig, clips_of_pairs, encode_reference, require_whole_layers
    from videoalign.recipes.generator.encode import encode as run
    from videoalign.recipes.generator.generate import RUNS_FOLDER

    options = load_config(EncodeConfig, config, settings, reference_draws=reference_draws)
    folder = Dataset.open(dataset)
    rows = folder.pairs(pairs)
    generator = load_generator(model, device=device, dtype=dtype, offload=offload, settings=options.of_model())
    if options.reference_draws:
        require_whole_layers(generator)
    together = [(pair.clip_win, pair.clip_lose) for pair in rows]
    how: dict[str, Any] = {"engine": engine_of(engine, address, ray), "progress": progress}
    clip_ids = clips_of_pairs(folder, rows)
    with hold_folder(folder.path / RUNS_FOLDER / f"encode-{fingerprint([generator.name, pairs])[:8]}"):
        cache = run(folder, generator, clip_ids, options, together=together, max_rejected=max_rejected, **how)
        usable = [pair for pair in rows if {pair.clip_win, pair.clip_lose} <= cache.clip_ids]
        if len(usable) < len(rows):
            told = "make the pairs again, which leaves them out"
            print_note(f"{len(rows) - len(usable)} of {len(rows)} pairs have a clip that was rejected; {told}")
        if options.reference_draws:
            draws, times = options.reference_draws, options.times
            encode_reference(generator, cache, usable, num_draws=draws, times=times, **how)
    print(f"{cache.folder}: {len(cache.clip_ids)} clips, {len(cache.prompt_ids)} prompts")


def align(
    method: Annotated[str, typer.Argument(metavar="METHOD", help="sft, rwr or dpo.")],
    dataset: LatentsDataset,
    model: Model,
    pairs: PairsName,
    out: Annotated[Path, typer.Option("--out", metavar="A", help="Folder to make.", parser=made_folder)],
    settings: Overrides = None,
    device: Device = "auto",
    dtype: Dtype = "auto",
    offload: OffloadOption = "none",
    config: ConfigFile = None,
    fresh: Fresh = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Tell settings, memory and seconds of a step after three; write nothing.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Train an adapter, or all weights, on pairs; a run that stopped goes on where it was."""
    from videoalign.data.dataset import Dataset
    from videoalign.distributed import join
    from videoalign.models.generators import load_generator
    from videoalign.recipes.generator.align import align as run
    from videoalign.recipes.generator.align_methods import method_config

    options = load_config(method_config(method), config, settings)
    folder = Dataset.open(dataset)
    folder.pairs(pairs)
    join(may_share_weights=True)  # each of several processes takes its graphics card before it opens the model
    dtype = "float32" if dtype == "auto" and options.train == "full" else dtype
    generator = load_generator(model, device=device, dtype=dtype, offload=offload, settings=options.of_model())
    if dry_run:
        _tell_dry_run(method, folder, generator, pairs, options, as_json=as_json)
        return
    result = run(method, folder, generator, pairs, out, options, fresh=fresh, progress=progress, say=print_note)
    last = result.history[-1]
    if as_json:
        teachers = [asdict(teacher) for teacher in result.teachers]
        print_json({"adapter": str(result.adapter), "pairs": result.num_pairs, "last": last, "teachers": teachers})
        return
    told = {name: value for name, value in last.items() if name not in ("step", "seconds") and "/t" not in name}
    numbers = ", ".join(f"{name} {value:.4g}" for name, value in told.items())
    print(f"{result.adapter}: {result.num_pairs} pairs, {int(last['step'])} steps; {numbers}")
    print(f"labels by: {', '.join(map(str, result.teachers))}")
    if not all(teacher.digest for teacher in result.teachers):
        print(f"pairs '{pairs}' do not record what reward labelled them, so 'evaluate' cannot tell it from the judge")


def _tell_dry_run(
    method: str, dataset: Dataset, generator: Generator, pairs: str, config: AlignConfig, *, as_json: bool
) -> None:
    from videoalign.recipes.generator.dry_run import dry_run

    found, gib = dry_run(method, dataset, generator, pairs, config), 2**30
    cost = found.cost
    told = {
        "memory_gib": cost.bytes / gib,
        "weights_gib": cost.weights_bytes / gib,
        "optimizer_gib": cost.optimizer_bytes / gib,
        "activations_gib": cost.activations_bytes / gib,
        "operations_per_step": cost.operations * config.fit.accumulate_steps,
        "seconds_per_step": found.seconds_per_step,
        "hours": found.hours,
    }
    if as_json:
        print_json({"pairs": found.num_pairs, "settings": found.settings, **told})
        return
    for name, value in _flat(found.settings):
        print(f"{name}={value}")
    print(f"{found.num_pairs} pairs; memory {told['memory_gib']:.3g} GiB: weights {told['weights_gib']:.3g}, ", end="")
    print(f"optimizer {told['optimizer_gib']:.3g}, one batch {told['activations_gib']:.3g}")
    print(f"{told['operations_per_step'] / 1e12:.3g} TFLOP and {found.seconds_per_step:.3g} s a step, ", end="")
    print(f"{found.hours:.3g} h for {config.fit.num_steps} steps; nothing was written")


def _flat(settings: dict[str, Any], before: str = "") -> Iterator[tuple[str, Any]]:
    """Settings by their whole name, as an override takes it."""
    for name, value in settings.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{before}{name}.")
        else:
            yield before + name, json.dumps(value)
