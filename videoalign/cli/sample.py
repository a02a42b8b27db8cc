"""``videoalign generate`` and ``sample``: prompts to clips, steered or not."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from videoalign.cli.common import (
    ConfigFile,
    Device,
    Dtype,
    Fresh,
    Model,
    OffloadOption,
    Overrides,
    load_config,
    parse_weights,
    print_note,
)
from videoalign.cli.engine import Address, EngineName, RaySettings, engine_of
from videoalign.cli.places import latents_dataset, made_folder, read_folder, read_model
from videoalign.cli.watching import progress

if TYPE_CHECKING:
    from videoalign.recipes.generator.steering import Steer

Adapter = Annotated[
    Path | None,
    typer.Option(
        "--adapter",
        metavar="A",
        help="Adapter folder that align made, or a LoRA of diffusers or ComfyUI.",
        parser=read_folder,
    ),
]
AdapterStrength = Annotated[
    float, typer.Option("--adapter-strength", help="How much of the adapter is used: 1 as trained, 0 the base.")
]
Guide = Annotated[
    Path | None, typer.Option("--guide", metavar="L", help="Latent reward that guide train made.", parser=read_folder)
]
Weights = Annotated[
    str | None, typer.Option("--weights", help="Weight of each dimension of guide or judge, as in VQ=1.")
]
Strength = Annotated[
    float | None, typer.Option("--strength", help="How hard the guide pulls; 0 not at all; default 1.")
]
Hold = Annotated[
    str | None,
    typer.Option(
        "--hold", metavar="others", help="Keep what has no weight where the unguided clip has it; twice the time."
    ),
]
SteerOption = Annotated[
    str | None,
    typer.Option(
        "--steer",
        metavar="WAY",
        help="nrg (with --guide, the default), early-best or particles (with --guide), best-of-n (with --judge).",
    ),
]
Judge = Annotated[
    str | None,
    typer.Option("--judge", metavar="R", help="VideoReward, or 'oracle', that picks for best-of-n.", parser=read_model),
]
Candidates = Annotated[
    int | None, typer.Option("--candidates", metavar="N", help="Noises that a search tries for a clip; default 4.")
]
PerPrompt = Annotated[int | None, typer.Option("--per-prompt", metavar="K", help="Clips of each prompt.")]
SeedOption = Annotated[int | None, typer.Option("--seed", help="Decides the noise of every clip.")]


def register(app: typer.Typer) -> None:
    """Adds the commands to the command line."""
    app.command("generate")(generate)
    app.command("sample")(sample)


def generate(
    model: Model,
    prompts: Annotated[str, typer.Option("--prompts", metavar="FILE", help="TXT, CSV, JSONL or Parquet.")],
    out: Annotated[
        Path, typer.Option("--out", metavar="D", help="Dataset folder to make or add to.", parser=latents_dataset)
    ],
    settings: Overrides = None,
    per_prompt: PerPrompt = None,
    seed: SeedOption = None,
    adapter: Adapter = None,
    adapter_strength: AdapterStrength = 1.0,
    guide: Guide = None,
    weights: Weights = None,
    strength: Strength = None,
    hold: Hold = None,
    steer: SteerOption = None,
    judge: Judge = None,
    candidates: Candidates = None,
    device: Device = "auto",
    dtype: Dtype = "auto",
    offload: OffloadOption = "none",
    engine: EngineName = "local",
    address: Address = None,
    ray: RaySettings = None,
    config: ConfigFile = None,
) -> None:
    """Make clips of many prompts as a dataset; clips that are there are not made again."""
    from videoalign.data.prompts_file import read_prompt_file
    from videoalign.recipes.generator.generate import GenerateConfig
    from videoalign.recipes.generator.generate import generate as run

    options = load_config(GenerateConfig, config, settings, per_prompt=per_prompt, seed=seed)
    read = read_prompt_file(prompts)
    print(f"{prompts}: {read}")
    place: dict[str, Any] = {"scale": adapter_strength, "device": device, "dtype": dtype, "offload": offload}
    place["settings"] = options.of_model()
    runs_on = engine_of(engine, address, ray)
    steer_as = _asked(steer, guide, judge, weights, strength, hold, candidates)
    generator, steering = _open(model, adapter, steer_as, place)
    told: dict[str, Any] = {"engine": runs_on, "progress": progress, "on_note": print_note}
    dataset = run(generator, read.prompts, out, options, **steering, **told)
    print(f"{dataset.path}: {len(dataset.prompts())} prompts, {len(dataset.clips())} clips")


def sample(
    model: Model,
    prompt: Annotated[list[str], typer.Option("--prompt", metavar="TEXT", help="What to show; may be repeated.")],
    out: Annotated[
        Path, typer.Option("--out", metavar="DIR", help="Folder of the mp4 files to make.", parser=made_folder)
    ],
    settings: Overrides = None,
    image: Annotated[
        str | None,
        typer.Option("--image", metavar="FILE", help="Picture that the clips begin from, for an image-to-video model."),
    ] = None,
    per_prompt: PerPrompt = None,
    seed: SeedOption = None,
    adapter: Adapter = None,
    adapter_strength: AdapterStrength = 1.0,
    guide: Guide = None,
    weights: Weights = None,
    strength: Strength = None,
    hold: Hold = None,
    steer: SteerOption = None,
    judge: Judge = None,
    candidates: Candidates = None,
    device: Device = "auto",
    dtype: Dtype = "auto",
    offload: OffloadOption = "none",
    config: ConfigFile = None,
    fresh: Fresh = False,
) -> None:
    """Make clips of a prompt to look at."""
    from videoalign.data.prompts_file import beside_picture
    from videoalign.recipes.generator.generate import SampleConfig
    from videoalign.recipes.generator.generate import sample as run

    asked = prompt if image is None else [beside_picture(text, image) for text in prompt]
    options = load_config(SampleConfig, config, settings, per_prompt=per_prompt, seed=seed)
    place: dict[str, Any] = {"scale": adapter_strength, "device": device, "dtype": dtype, "offload": offload}
    place["settings"] = options.of_model()
    steer_as = _asked(steer, guide, judge, weights, strength, hold, candidates)
    generator, steering = _open(model, adapter, steer_as, place)
    for path in run(generator, asked, out, options, **steering, fresh=fresh, progress=progress):
        print(path)


def _asked(
    way: str | None,
    guide: Path | None,
    judge: str | None,
    weights: str | None,
    strength: float | None,
    hold: str | None,
    candidates: int | None,
) -> Steer:
    from videoalign.recipes.generator.steering import Steer

    numbers: dict[str, Any] = {"strength": strength, "candidates": candidates}
    given = {name: value for name, value in numbers.items() if value is not None}
    steer = Steer(way=way, guide=guide, judge=judge, weights=parse_weights(weights), hold=hold, **given)
    steer.require_read(given)
    return steer


def _open(model: str, adapter: Path | None, steer: Steer, place: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
    """The generator, and how it is steered, as `recipes.generate` takes it."""
    from videoalign.recipes.generator.generate import open_generator, variant_name

    generator = open_generator(model, adapter, **place)
    steering = steer.open(generator)
    return generator, {"variant": variant_name(adapter, steering, scale=place["scale"]), "steering": steering}
