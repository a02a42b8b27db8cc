"""A diffusers pipeline as a generator: the parts that its family makes of it, and what is true of every family."""

from __future__ import annotations

import inspect
import json
import shutil
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any, Self

import torch
from diffusers import DiffusionPipeline
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from videoalign.contracts.generator import Part, VelocityNet
from videoalign.contracts.output import fingerprint, whole_folder, write_json
from videoalign.contracts.video import Video
from videoalign.errors import ConfigError, ModelError
from videoalign.flow.times import follows_flow
from videoalign.models.digest import adapter_digest, moved
from videoalign.models.generators.families import Family, family_of
from videoalign.models.generators.opening import open_pipeline, quiet, resolve_place
from videoalign.models.generators.settings import NOTED_SETTINGS, SETTINGS_FILE, SamplingSettings
from videoalign.models.generators.wan_kinds import opened_as
from videoalign.models.generators.weights import check_offload, weights_of

CONFIG_FILE, WEIGHTS_FILE = "config.json", "diffusion_pytorch_model.safetensors"
"""What diffusers calls the files of a part."""

CODECS = ("vae", "audio_vae")
TRANSFORMERS = ("transformer", "transformer_2")
"""What pipelines call the parts of a `Codec` and of a `VelocityNet`; the others are a `Conditioner`'s."""


class PipelineGenerator:
    """A `contracts.generator.Generator` over a diffusers pipeline of a family in `families.FAMILIES`."""

    def __init__(
        self, pipeline: DiffusionPipeline, settings: SamplingSettings | None = None, name: str = "generator"
    ) -> None:
        """
        Args:
            pipeline: with all its parts; they are put into evaluation mode.
            settings: sizes and sampling; by default those that the pipeline was built for (`small_wan_pipeline` notes
                them on it), else those of its own call.
            name: what datasets, adapters and messages call the model.

        Raises:
            ModelError: a pipeline of no family, or of a kind that its family does not support.
            ConfigError: frames, height or width that the model cannot work in.
        """
        self.family = family = family_of(name, type(pipeline).__name__)
        self.pipeline: Any = pipeline
        self.settings, self.name = settings or vars(pipeline).get(NOTED_SETTINGS, family.defaults), name
        own = {**pipeline.config, "_class_name": type(pipeline).__name__}
        if opened_as(name, own, self.settings.from_picture) != type(pipeline).__name__:
            raise ConfigError(
                f"from_picture: '{name}' is open as a {type(pipeline).__name__}; say it where the model is opened."
            )
        family.require_index(name, pipeline.config)
        family.require_parts(name, self._configs())
        family.require_legal(name, self.settings, self._configs())
        _require_scheduler(name, family, pipeline.scheduler)
        pipeline.set_progress_bar_config(disable=True)
        for part in self._weighed():
            part.eval()
        made_of = pipeline, self.settings, name
        self.codec, self.conditioner = family.codec(*made_of), family.conditioner(*made_of)
        self.sampler = family.sampler(*made_of)
        self._network: tuple[list[Any], VelocityNet] | None = None
        self.opened: Callable[[], PipelineGenerator] | None = None

    @classmethod
    def from_pretrained(
        cls,
        source: str | Path,
        *,
        name: str | None = None,
        dtype: str = "float32",
        device: str = "cpu",
        offload: str = "none",
        settings: Mapping[str, Any] | None = None,
    ) -> Self:
        """The model in a diffusers folder or of a hub id; the weights of its parts are read when they are used.

        Args:
            source: folder with ``model_index.json``, or ``owner/model`` on the hub.
            name: what to call it; its source by default.
            dtype: precision of transformer and text encoder, ``float32``, ``bfloat16`` or ``auto``, which is bfloat16
                on a graphics card; the autoencoder stays in float32.
            device: where it runs; ``auto`` is the graphics card where there is one.
            offload: see `models.generators.load_generator`.
            settings: those of `SamplingSettings` that are to be other than the model's own.

        Raises:
            ModelError: no such model, or not one of a supported family.
            ConfigError: a device or precision that is not there, or a setting that the model cannot meet.
        """
        place, precision = resolve_place(device, dtype)
        check_offload(offload, place)
        pipeline, found = open_pipeline(
            source, settings or {}, dtype=precision, device=place, offload=offload, name=name
        )
        generator = cls(pipeline, found, name or Path(source).name)
        generator._require_effect(settings or {})
        how: dict[str, Any] = {"name": name, "dtype": dtype, "device": device, "offload": offload}
        generator.opened = partial(cls.from_pretrained, source, settings=settings, **how)
        return generator

    @property
    def folder(self) -> Path | None:
        """Where its files are; None of a pipeline that was given whole."""
        return None if weights_of(self.pipeline) is None else Path(self.pipeline.name_or_path)

    @property
    def network(self) -> VelocityNet:
        """Velocities, with its weights; the same object for as long as they are open."""
        weights = weights_of(self.pipeline)
        if weights is not None:
            weights.open_to_stay(self.pipeline, TRANSFORMERS)
        parts = [getattr(self.pipeline, name, None) for name in TRANSFORMERS]
        if self._network is None or any(one is not other for one, other in zip(parts, self._network[0], strict=True)):
            self._network = parts, self.outline
        return self._network[1]

    @property
    def outline(self) -> VelocityNet:
        """The network as far as it is open: its layers and their shapes, and what it depends on."""
        return self.family.network(self.pipeline, self.settings, self.name)

    @property
    def device(self) -> torch.device:
        """Where the model runs."""
        weights = weights_of(self.pipeline)
        return self.network.device if weights is None else weights.device

    @property
    def offload(self) -> str:
        """See `from_pretrained`."""
        weights = weights_of(self.pipeline)
        return "none" if weights is None else weights.offload

    def free(self, *parts: Part, changed: bool = False) -> None:
        """Lets go of the weights of these parts until they are used again; those that were changed are kept.

        With ``changed`` these are let go of as well, so that they are again as their files have them; a pipeline that
        was given whole has none, and stays as it is.
        """
        weights = weights_of(self.pipeline)
        if weights is not None:
            named = {"codec": CODECS, "network": TRANSFORMERS}
            others = [name for name in self.family.weighed if name not in (*CODECS, *TRANSFORMERS)]
            names = [name for part in parts for name in named.get(part, others)]
            weights.close(self.pipeline, names, changed=changed)

    def changed(self, settings: Mapping[str, Any]) -> Self:
        """The same model with other settings of `SamplingSettings`; what is None stays as it is.

        Raises:
            ConfigError: an unknown setting, one that the model cannot meet, or one that would change nothing.
            DataError: a negative prompt that the model cannot read.
        """
        other = type(self)(self.pipeline, self.settings.changed(settings), self.name)
        other._require_effect(settings)
        other.opened = self.opened
        return other

    def reopener(self) -> Callable[[], PipelineGenerator]:
        """See `contracts.engine.Reopened`."""
        if self.opened is None:
            raise ModelError(f"--model: '{self.name}' is in memory alone; save it and open it from its folder.")
        return partial(_reopened, self.opened, self.settings, self.sent())

    def sent(self) -> dict[str, str | None]:
        """What another process must find where it opens the same model."""
        on = {name: adapter_digest(module) for name, module in self.outline.transformers.items()}
        return {**self.identity(), **{f"adapter of {name}": value for name, value in on.items() if value is not None}}

    def save_pretrained(
        self,
        folder: str | Path,
        *,
        half: bool = False,
        transformers: Mapping[str, Mapping[str, Tensor]] | None = None,
    ) -> None:
        """Writes a folder that `from_pretrained` reads, and ``DiffusionPipeline.from_pretrained`` of diffusers.

        Parts whose weights were not read are copied from their files.

        Args:
            folder: replaced when it is there.
            half: store the weights in float16.
            transformers: weights of transformers by their names in the pipeline, to be stored in place of their own.

        Raises:
            OutputError: the place cannot be written.
        """
        with whole_folder(folder) as aside, quiet():
            for name, part in self.pipeline.components.items():
                given = (transformers or {}).get(name)
                self._save_part(name, part, aside / name, given)
            self.pipeline.save_config(aside)
            (aside / SETTINGS_FILE).write_text(self.settings.model_dump_json(indent=2) + "\n", encoding="utf-8")
            for file in sorted(aside.rglob("*.json")):  # the folder of an earlier load says nothing to others
                values = json.loads(file.read_text(encoding="utf-8"))
                if isinstance(values, dict) and values.pop("_name_or_path", None) is not None:
                    file.write_text(json.dumps(values, indent=2) + "\n", encoding="utf-8")
            for file in sorted(aside.rglob("*.safetensors")) if half else ():
                save_file(
                    {key: value.half() for key, value in load_file(file).items()}, file, metadata={"format": "pt"}
                )

    def _save_part(self, name: str, part: Any, folder: Path, given: Mapping[str, Tensor] | None) -> None:
        """A component of the pipeline; ``given`` are other weights for it."""
        weights = weights_of(self.pipeline)
        files = None if weights is None or given is not None else weights.folder_of(self.pipeline, name)
        if files is not None:
            shutil.copytree(files, folder)
        elif given is not None:
            part.save_config(folder)
            config = json.loads((folder / CONFIG_FILE).read_text(encoding="utf-8"))
            class_name = self.pipeline.config[name][1]  # a sharded module has a class of its own
            write_json(folder / CONFIG_FILE, {**config, "_class_name": class_name})
            save_file(dict(given), folder / WEIGHTS_FILE, metadata={"format": "pt"})
        elif part is not None:
            part.save_pretrained(folder)

    def to(self, device: str | torch.device) -> Self:
        """Moves the model."""
        weights = weights_of(self.pipeline)
        if weights is not None:
            weights.to(self.pipeline, device)
            return self
        with ExitStack() as stack:
            for part in self._weighed():
                stack.enter_context(moved(part))
            self.pipeline.to(device)
        return self

    def identity(self) -> dict[str, str]:
        """What latents, conditions and adapters made with this model depend on; adapters on it are left out."""
        return {
            "name": self.name,
            "transformer": self.outline.identity(),
            "autoencoder": self.codec.identity(),
            "text_encoder": self.conditioner.identity(),
            "size": fingerprint(self.settings.model_dump(include={"num_frames", "height", "width"})),
        }

    @property
    def origin(self) -> dict[str, str]:
        """``source``, its hub id, or its name where it came from a folder; ``pipeline``, the class that it is of."""
        weights = weights_of(self.pipeline)
        source = self.name if weights is None or Path(weights.model).exists() else weights.model
        return {"source": source, "pipeline": type(self.pipeline).__name__}

    def clip_identity(self) -> dict[str, Any]:
        """What a clip that the model samples by its settings depends on, besides prompt and seed; adapters count."""
        return {**self.identity(), **self.sampler.identity()}

    def sample(self, prompts: Sequence[str], seeds: Sequence[int], **options: Any) -> list[Video]:
        """One clip per (prompt, seed): `Sampler.latents`, decoded; equal to what the pipeline's own call returns."""
        return self.codec.decode(self.sampler.latents(prompts, seeds, **options), seeds)

    def _require_effect(self, given: Mapping[str, Any]) -> None:
        """Checks settings that somebody gave: that the model reads them, and can, before anything is made."""
        name, settings = self.name, self.settings
        told = given.get("embedded_guidance")
        if told is not None and "guidance" not in self.conditioner.names:
            raise ConfigError(
                f"embedded_guidance: got {told:g}, but '{name}' is told no scale; leave it out, or set guidance_scale."
            )
        if given.get("num_steps") is not None:
            self.sampler.asked(None, None)
        guided, negative = settings.guidance_scale > 1, settings.negative_prompt
        if given.get("negative_prompt") and not guided:
            raise ConfigError(
                f"negative_prompt: got '{negative[:60]}', but '{name}' samples without classifier-free guidance "
                f"(guidance_scale {settings.guidance_scale:g}); set guidance_scale above 1, or leave it out."
            )
        if guided and negative and any(given.get(key) is not None for key in ("negative_prompt", "max_text_tokens")):
            self.conditioner.check_texts([negative], "negative_prompt")

    def _weighed(self) -> list[nn.Module]:
        found = (getattr(self.pipeline, part, None) for part in self.family.weighed)
        return [part for part in found if part is not None]

    def _configs(self) -> dict[str, Any]:
        found = {part: getattr(self.pipeline, part, None) for part in self.family.weighed}
        configs = {part: module.config for part, module in found.items() if module is not None}
        return {**configs, "pipeline": self.pipeline.config}


def _require_scheduler(name: str, family: Family, scheduler: Any) -> None:
    kind, wanted = type(scheduler).__name__, "wanted a flow-matching one, such as FlowMatchEulerDiscreteScheduler"
    if not follows_flow(scheduler.config):
        what = f"follows no flow (prediction_type {scheduler.config.get('prediction_type')})"
    elif family.gives_sigmas and "sigmas" not in inspect.signature(scheduler.set_timesteps).parameters:
        what = "takes no sigmas, which its pipeline gives"
    else:
        return
    raise ModelError(f"--model: the scheduler of '{name}', a {kind}, {what}; {wanted}, in its folder 'scheduler'.")


def _reopened(
    opened: Callable[[], PipelineGenerator], settings: SamplingSettings, sent: Mapping[str, str | None]
) -> PipelineGenerator:
    found = opened()
    generator = type(found)(found.pipeline, settings, found.name)
    generator.opened = found.opened
    have = generator.sent()
    if have != sent:
        differs = ", ".join(sorted(name for name in {*have, *sent} if have.get(name) != sent.get(name)))
        raise ModelError(
            f"--model: '{generator.name}' is another one here than was sent (differs in {differs}); give every machine "
            "the same files, and save what was changed after it was opened."
        )
    return generator
