"""Prompts to clips: into a dataset, or into a folder of mp4 files to look at."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import Field

from videoalign.contracts.engine import IN_PROCESS, Engine, cut
from videoalign.contracts.generator import Generator, Steering
from videoalign.contracts.holding import held, hold_folder
from videoalign.contracts.output import claim_folder, fingerprint
from videoalign.contracts.progress import Progress, silent
from videoalign.contracts.records import INFO_FILE, Asked, Clip, DatasetInfo, Prompt
from videoalign.contracts.video import Video
from videoalign.data.clip_content import clip_keys
from videoalign.data.dataset import CLIP_FOLDER, Dataset, prompt_id_of
from videoalign.distributed.memory import memory_told
from videoalign.errors import ConfigError, DataError
from videoalign.models.generators.settings import ModelSettings
from videoalign.recipes.generator.encode import sampler_store
from videoalign.recipes.generator.pictures import own_pictures, prompt_names
from videoalign.sampling.generate import ClipPlan, make_clips, plan_clips
from videoalign.sampling.step_check import NUM_CHECKED, StepCheck
from videoalign.video.files import write_video

if TYPE_CHECKING:
    from torch import Tensor

    from videoalign.models.generators.generator import PipelineGenerator

RUNS_FOLDER = "runs"
"""Of a dataset: keeps two runs from making the same clips at once; gone when they are made."""

FLUSH_CLIPS = 64
"""Clips after which the dataset's table is written, at the end of a batch; a run that stops makes at most about so many
again."""


class SampleConfig(ModelSettings):
    """How clips are made."""

    per_prompt: int = Field(default=1, gt=0)
    """Clips of each prompt."""
    seed: int = 0
    """Decides the noise of every clip; a clip's noise depends on it, its prompt and its number alone."""
    batch_size: int = Field(default=8, gt=0)
    """Clips made at once."""


class GenerateConfig(SampleConfig):
    """How clips of a dataset are made."""

    keep_latents: bool = True
    """Keep the latents that each clip was decoded from beside the dataset, for `encode`: the file lost something when
    it was written, and training would learn that loss."""
    check_steps: bool = True
    """Make the first two clips of a new dataset again in twice the steps, and say so where they come out as others: the
    sampler is then too coarse for the model. Costs as much as four clips."""


def generate(
    generator: Generator,
    prompts: Sequence[Asked],
    out: str | Path | Dataset,
    config: GenerateConfig | None = None,
    *,
    variant: str = "",
    steering: Steering | None = None,
    info: DatasetInfo | None = None,
    engine: Engine = IN_PROCESS,
    progress: Progress = silent,
    on_note: Callable[[str], None] = lambda _: None,
) -> Dataset:
    """Makes clips and adds them to a dataset; clips that are there are not made again.

    A clip's id stands for all that decides it: weights, scheduler, adapter, guide and settings, given or the model's
    own. Where anything of that has changed, other clips are made beside the old ones.

    Args:
        generator: makes the clips.
        prompts: texts, or prompts with their split and, at places that can be read as they stand, their pictures, which
            are copied into the dataset.
        out: dataset, or its folder, made when absent.
        config: how many and how.
        variant: what to call what was done to the model, such as the name of an adapter; it joins the model's name.
        steering: see `make_clips`; such as what `steering.guide_wrapper` makes.
        info: dimensions of a new dataset, the default three when absent; one that is there must have the same.
        engine: runs the model; where that is on other machines, they must see ``out`` under the same path.
        progress: counts clips.
        on_note: called with what `StepCheck` says of the sampler.

    Raises:
        DataError: no prompts, or one that the model cannot read; nothing is written then.
        VideoError: a picture that cannot be read; likewise.
        OutputError: ``out`` cannot be written.
    """
    config = config or GenerateConfig()
    generator = generator.changed(config.of_model())
    if not prompts:
        raise DataError("--prompts: got 0 prompts; wanted at least 1.")
    generator.conditioner.check(prompts)
    identity = clip_identity(generator, steering)
    dataset = out if isinstance(out, Dataset) else _opened(out, info)
    records = own_pictures(dataset, dataset.own_prompts(prompts))
    dataset.add(prompts=records)
    name = "+".join(filter(None, (generator.name, variant)))
    maker = fingerprint([name, identity])[:8]
    plans = plan_clips(list(map(dataset.asked, records)), config.per_prompt, config.seed, f"{_slug(name)}-{maker}")
    there, made = dataset.clips(), list[tuple[Clip, "Tensor"]]()
    done = {clip.clip_id for clip in there if dataset.clip_bytes(clip) is not None}
    parts = cut(plans, config.batch_size, lambda plan: plan.clip_id in done)
    wanted = config.check_steps and not there and not (steering and steering.searches)
    checked = [plan.clip_id for plan in plans[:NUM_CHECKED]] if wanted else []
    work = _MakeClips(generator, steering, dataset.path, name, config.keep_latents, tuple(checked))
    same = fingerprint([plan.clip_id for plan in plans])[:8]
    with hold_folder(dataset.path / RUNS_FOLDER / f"generate-{same}"), progress("generate", len(plans)) as advance:
        advance(len(plans) - sum(map(len, parts)))
        try:
            for finished in engine.stream(parts, work):
                clips, notes = finished.made
                made += clips
                advance(len(clips), work_seconds=finished.work_seconds)
                for note in notes:
                    on_note(note)
                if len(made) >= FLUSH_CLIPS:
                    _add(dataset, generator, made, config.keep_latents)
                    made = []
        finally:
            _add(dataset, generator, made, config.keep_latents)
    return dataset


@dataclass(frozen=True)
class _MakeClips:
    """Makes planned clips and writes their files; gives their records with latents, and notes of the step check."""

    generator: Generator
    steering: Steering | None
    folder: Path
    name: str
    keep_latents: bool
    checked: tuple[str, ...]
    """Ids of clips that are made again in twice the steps."""

    def __call__(self, plans: Sequence[ClipPlan]) -> tuple[list[tuple[Clip, Tensor]], list[str]]:
        made, notes = [], list[str]()
        check = StepCheck(self.generator, self.steering, notes.append, wanted=bool(self.checked))
        size = len(plans)
        with memory_told("batch_size", size):
            for plan, video, latents in make_clips(self.generator, plans, batch_size=size, steering=self.steering):
                clip = _write_clip(self.folder, plan, video, self.name)
                made.append((clip, latents.cpu() if self.keep_latents else latents.new_empty(0).cpu()))
                if plan.clip_id in self.checked:
                    check.after(plan, latents)
            check.finish()
        return made, notes


def _opened(out: str | Path, info: DatasetInfo | None) -> Dataset:
    """The dataset in a folder, whatever it judges where nothing else is asked for; a new one where there is none."""
    if info is None and (Path(out) / INFO_FILE).exists():
        return Dataset.open(out)
    return Dataset.create(out, info or DatasetInfo(), exist_ok=True)


@held
def sample(
    generator: Generator,
    prompts: Sequence[Asked],
    out: str | Path,
    config: SampleConfig | None = None,
    *,
    variant: str = "",
    steering: Steering | None = None,
    fresh: bool = False,
    progress: Progress = silent,
) -> list[Path]:
    """Makes clips as mp4 files in a folder, named after prompt and seed; the paths, in order.

    Arguments as in `generate`; ``fresh`` empties a folder that an earlier call with other settings filled.

    Raises:
        DataError: a prompt that the model cannot read; nothing is written then.
        VideoError: a picture that cannot be read; likewise.
        OutputError: ``out`` belongs to another run or cannot be written.
    """
    config = config or SampleConfig()
    generator = generator.changed(config.of_model())
    generator.conditioner.check(prompts)
    records = [Prompt(prompt_id=prompt_id_of(one), text=one) if isinstance(one, str) else one for one in prompts]
    identity = clip_identity(generator, steering)
    identity["settings"] |= config.model_dump(include={"per_prompt", "seed"})
    identity |= {"command": "sample", "variant": variant, "prompts": prompt_names(prompts)}
    folder = claim_folder(out, identity, fresh=fresh)
    plans = plan_clips(records, config.per_prompt, config.seed, "")
    paths = {plan.clip_id: folder / f"{_slug(plan.text)}-{plan.seed}.mp4" for plan in plans}
    done = {clip_id for clip_id, path in paths.items() if path.is_file()}
    size = min(config.batch_size, len(plans))
    with memory_told("batch_size", size), progress("sample", len(plans)) as advance:
        for plan, video, _ in make_clips(
            generator, plans, done=done, steering=steering, on_clip=advance, batch_size=config.batch_size
        ):
            write_video(paths[plan.clip_id], video)
    return [paths[plan.clip_id] for plan in plans]


def open_generator(
    model: str | Path,
    adapter: str | Path | None = None,
    *,
    scale: float = 1.0,
    device: str = "cpu",
    dtype: str = "float32",
    offload: str = "none",
    settings: Mapping[str, Any] | None = None,
) -> PipelineGenerator:
    """A generator by name or path, with an adapter on it where one is given.

    Args:
        model: see `load_generator`, also for device, dtype, offload and settings.
        adapter: folder or file, see `models.adapter_files.read_adapter`.
        scale: strength of the adapter; 1 as trained, 0 the base.
        device: where it runs.
        dtype: precision of transformer and text encoder.
        offload: what is kept off the graphics card.
        settings: other than the model's own.

    Raises:
        ModelError: no such model or adapter, or an adapter of another model.
        ConfigError: a device, precision or setting that cannot be met.
    """
    from videoalign.models.generators import load_generator
    from videoalign.models.network_adapters import load_adapters

    require_strength(scale, given=adapter is not None)
    generator = load_generator(model, device=device, dtype=dtype, offload=offload, settings=settings)
    if adapter is not None:
        load_adapters(generator.network, adapter, base=generator.identity(), scale=scale)
        place: dict[str, Any] = {"device": device, "dtype": dtype, "offload": offload, "settings": settings}
        generator.opened = partial(open_generator, model, str(adapter), scale=scale, **place)
    return generator


def require_strength(strength: float, *, given: bool) -> None:
    """Checks how much of an adapter is asked for.

    Args:
        strength: 1 as trained.
        given: whether there is an adapter.

    Raises:
        ConfigError: it is no number, or there is no adapter to use less or more of.
    """
    if not math.isfinite(strength):
        raise ConfigError(f"--adapter-strength: got {strength}; wanted a number, such as 0.7.")
    if strength != 1 and not given:
        raise ConfigError(
            f"--adapter-strength: got {strength:g}, but there is no adapter; give one with --adapter, or in "
            "evaluate as MODEL:ADAPTER."
        )


def variant_name(adapter: str | Path | None, steering: Steering | None, *, scale: float = 1.0) -> str:
    """A short name for what was done to a model: the names of adapter and steering with a hash of their files and use.

    Empty for a model as it is.

    Raises:
        ModelError: no adapter there.
    """
    parts = []
    if adapter is not None:
        from videoalign.models.adapter_files import adapter_file_digest

        name = Path(adapter).resolve().name.removesuffix(".safetensors")
        parts.append(f"{name}-{fingerprint([adapter_file_digest(adapter), scale])[:8]}")
    if steering is not None:
        parts.append(f"{steering.name}-{fingerprint(steering.identity)[:8]}")
    return "+".join(parts)


def clip_identity(generator: Generator, steering: Steering | None = None) -> dict[str, Any]:
    """All that decides a clip besides its prompt and seed: ``model``, ``settings`` and ``guide``.

    Raises:
        ConfigError: a wrapper that does not say what it does.
    """
    model = generator.clip_identity()
    settings = {name: model.pop(name) for name in ("num_steps", "guidance_scale", "negative_prompt", "fps")}
    return {"model": model, "settings": settings, "guide": _guide_identity(steering)}


def _guide_identity(steering: Steering | None) -> dict[str, Any] | None:
    if steering is None:
        return None
    identity: dict[str, Any] | None = getattr(steering, "identity", None)
    if identity is None:
        raise ConfigError(
            "steering: got something without 'identity', which says what it does to a clip; without it clips "
            "could not be told apart. Give what steering.guide_wrapper makes, or an object with such an attribute."
        )
    return identity


def _write_clip(folder: Path, plan: ClipPlan, video: Video, name: str) -> Clip:
    path = f"{CLIP_FOLDER}/{plan.clip_id}.mp4"
    write_video(folder / path, video)
    num_frames, height, width, _ = video.frames.shape
    return Clip(
        clip_id=plan.clip_id,
        prompt_id=plan.prompt_id,
        path=path,
        generator=name,
        seed=plan.seed,
        fps=video.fps,
        num_frames=num_frames,
        height=height,
        width=width,
    )


def _add(dataset: Dataset, generator: Generator, made: Sequence[tuple[Clip, Tensor]], keep_latents: bool) -> None:
    """Takes clips into the tables, after their latents, so that a clip in the table has them."""
    clips = [clip for clip, _ in made]
    if keep_latents and made:
        keys = clip_keys(dataset, clips)
        sampler_store(dataset, generator).add(dict(zip(keys, (latents for _, latents in made), strict=True)))
    dataset.add(clips=clips)


def _slug(text: str) -> str:
    """Words of any script for the name of a file: at most 60 characters and 120 bytes, no dash before them."""
    short = re.sub(r"[\W_]+", "-", text).strip("-")[:60].encode("utf-8", "ignore")[:120].decode("utf-8", "ignore")
    return short.strip("-") or "clip"
