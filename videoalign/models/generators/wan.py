"""Wan-style text-to-video models: any folder or hub id that diffusers opens as a WanPipeline."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from copy import copy
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from diffusers import WanPipeline
from diffusers.pipelines.wan.pipeline_wan import prompt_clean
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from videoalign.contracts.output import whole_folder
from videoalign.contracts.protocols import SchedulerWrapper
from videoalign.contracts.video import Video
from videoalign.errors import ConfigError, DataError
from videoalign.models.digest import moved
from videoalign.models.generators.identity import sampling_identity, training_identity
from videoalign.models.generators.opening import (
    WEIGHED_PARTS,
    open_pipeline,
    quiet,
    require_channels,
    require_family,
    resolve_place,
)
from videoalign.models.generators.settings import NOTED_SETTINGS, SETTINGS_FILE, SamplingSettings, require_legal
from videoalign.randomness import fold_in


class WanGenerator:
    """A `contracts.protocols.Generator` over a diffusers WanPipeline.

    Latents are those that the transformer sees: (B, C, F, H, W), shifted and scaled by the autoencoder's
    ``latents_mean`` and ``latents_std``. Time runs as everywhere here, t = 0 data, t = 1 noise, which is the
    pipeline's sigma; the transformer is told t times the scheduler's ``num_train_timesteps``.
    """

    def __init__(self, pipeline: WanPipeline, settings: SamplingSettings | None = None, name: str = "wan") -> None:
        """
        Args:
            pipeline: with all its parts; they are put into evaluation mode.
            settings: sizes and sampling; by default those that the pipeline was built for (`small_wan_pipeline` notes
                them on it), else those of Wan 2.1.
            name: what datasets, adapters and messages call the model.

        Raises:
            ModelError: a two-stage model (Wan 2.2 A14B), one with a time per token (Wan 2.2 TI2V), or one that reads
                more than text.
            ConfigError: frames, height or width that the model cannot work in.
        """
        kind = "WanPipeline" if isinstance(pipeline, WanPipeline) else type(pipeline).__name__
        require_family(name, {**pipeline.config, "_class_name": kind})
        require_channels(name, pipeline.transformer.config, pipeline.vae.config)
        noted = vars(pipeline).get(NOTED_SETTINGS, SamplingSettings())
        self.pipeline, self.settings, self.name = pipeline, settings or noted, name
        require_legal(name, self.settings, pipeline.vae.config, pipeline.transformer.config)
        pipeline.set_progress_bar_config(disable=True)
        for module in (pipeline.vae, pipeline.text_encoder, pipeline.transformer):
            module.eval()

    @classmethod
    def from_pretrained(
        cls,
        source: str | Path,
        *,
        name: str | None = None,
        dtype: str = "float32",
        device: str = "cpu",
        settings: Mapping[str, Any] | None = None,
    ) -> Self:
        """The model in a diffusers folder or of a hub id.

        Args:
            source: folder with ``model_index.json``, or ``owner/model`` on the hub.
            name: what to call it; its source by default.
            dtype: precision of transformer and text encoder, ``float32``, ``bfloat16`` or ``auto``, which is bfloat16
                on a graphics card; the autoencoder stays in float32.
            device: where it runs; ``auto`` is the graphics card where there is one.
            settings: those of `SamplingSettings` that are to be other than the model's own.

        Raises:
            ModelError: no such model, or not a text-to-video Wan model with one transformer.
            ConfigError: a device or precision that is not there, or a setting that the model cannot meet.
        """
        place, precision = resolve_place(device, dtype)
        pipeline, found = open_pipeline(source, settings or {}, dtype=precision)
        return cls(pipeline, found, name or Path(source).name).to(place)

    def changed(self, settings: Mapping[str, Any]) -> Self:
        """The same model with other settings of `SamplingSettings`; what is None stays as it is.

        Raises:
            ConfigError: an unknown setting, or one that the model cannot meet.
        """
        other = copy(self)
        other.settings = self.settings.changed(settings)
        require_legal(self.name, other.settings, self.pipeline.vae.config, self.pipeline.transformer.config)
        return other

    def save_pretrained(self, folder: str | Path, *, half: bool = False) -> None:
        """Writes a folder that `from_pretrained` reads; ``half`` stores the weights in float16.

        Raises:
            OutputError: the place cannot be written.
        """
        with whole_folder(folder) as aside, quiet():
            self.pipeline.save_pretrained(aside)
            (aside / SETTINGS_FILE).write_text(self.settings.model_dump_json(indent=2) + "\n", encoding="utf-8")
            for file in sorted(aside.rglob("*.json")):  # the folder of an earlier load says nothing to others
                values = json.loads(file.read_text(encoding="utf-8"))
                if isinstance(values, dict) and values.pop("_name_or_path", None) is not None:
                    file.write_text(json.dumps(values, indent=2) + "\n", encoding="utf-8")
            for file in sorted(aside.rglob("*.safetensors")) if half else ():
                save_file(
                    {key: value.half() for key, value in load_file(file).items()}, file, metadata={"format": "pt"}
                )

    def to(self, device: str | torch.device) -> Self:
        """Moves the model."""
        with ExitStack() as stack:
            for part in WEIGHED_PARTS:
                stack.enter_context(moved(getattr(self.pipeline, part)))
            self.pipeline.to(device)
        return self

    @property
    def transformer(self) -> nn.Module:
        """The network that alignment trains."""
        return self.pipeline.transformer

    @property
    def device(self) -> torch.device:
        """Where the transformer lives."""
        return next(self.transformer.parameters()).device

    @property
    def clip_shape(self) -> tuple[int, int, int]:
        """(frames, height, width) in pixels."""
        return self.settings.num_frames, self.settings.height, self.settings.width

    @property
    def time_shift(self) -> float:
        """Sigma shift s t / (1 + (s - 1) t) of the times that it samples at.

        Raises:
            ConfigError: the shift is no one number: it depends on the size of a clip, or there is more to it.
        """
        config = self.pipeline.scheduler.config
        shift = config.get("flow_shift", config.get("shift", 1.0))
        bends = ("use_dynamic_shifting", "use_karras_sigmas", "use_exponential_sigmas", "use_beta_sigmas")
        found = [name for name in (*bends, "shift_terminal") if config.get(name)]
        if found or shift is None:
            raise ConfigError(
                f"times.shift: the scheduler of '{self.name}' has {found[0] if found else 'no shift'}, so its times "
                "follow no one shift; set times.shift to a number."
            )
        return float(shift)

    @property
    def fps(self) -> float:
        """Frames per second of its clips."""
        return self.settings.fps

    @property
    def latent_shape(self) -> tuple[int, int, int, int]:
        """(C, F, H, W) of the latents of one clip."""
        config, settings = self.pipeline.vae.config, self.settings
        frames = (settings.num_frames - 1) // config.scale_factor_temporal + 1
        space = config.scale_factor_spatial
        return config.z_dim, frames, settings.height // space, settings.width // space

    def identity(self) -> dict[str, str]:
        """What latents and adapters made with this model depend on; adapters on the transformer are left out."""
        return {"name": self.name, **training_identity(self.pipeline, self.settings)}

    def clip_identity(self) -> dict[str, Any]:
        """What a clip that the model samples by its settings depends on, besides prompt and seed; adapters count."""
        return {**self.identity(), **sampling_identity(self.pipeline, self.settings)}

    @torch.no_grad()
    def encode(self, videos: Sequence[Video]) -> Tensor:
        """Latents float32 (B, C, F, H, W) of clips: the mean of the autoencoder's posterior, normalised.

        Raises:
            DataError: a clip whose frames, height or width are not the model's.
        """
        want = (*self.clip_shape, 3)
        for video in videos:
            if video.frames.shape != want:
                raise DataError(
                    f"encode: got a clip of (frames, height, width, 3) = {video.frames.shape}; '{self.name}' works in "
                    f"{want}. Resize the clip, or set num_frames, height and width of the model."
                )
        return self.encode_frames(np.stack([video.frames for video in videos]))

    @torch.no_grad()
    def encode_frames(self, frames: np.ndarray) -> Tensor:
        """Latents as `encode` makes them, of uint8 frames (B, F, H, W, 3) of any size that the autoencoder takes."""
        vae = self.pipeline.vae
        pixels = torch.from_numpy(frames).permute(0, 4, 1, 2, 3)
        posterior = vae.encode(pixels.to(vae.device, vae.dtype) / 127.5 - 1).latent_dist
        mean, std = self._latent_moments()
        return ((posterior.mode().float() - mean) / std).to(self.device)

    @torch.no_grad()
    def decode(self, latents: Tensor) -> list[Video]:
        """The clips behind normalised latents (B, C, F, H, W), by the very arithmetic of the pipeline's own call."""
        vae = self.pipeline.vae
        mean, std = (moment.to(vae.dtype) for moment in self._latent_moments())
        decoded = vae.decode(latents.to(vae.device, vae.dtype) / (1.0 / std) + mean, return_dict=False)[0]
        pixels = self.pipeline.video_processor.postprocess_video(decoded, output_type="np")  # (B, F, H, W, 3)
        return [Video(frames=clip, fps=self.settings.fps) for clip in (pixels * 255).round().astype(np.uint8)]

    @property
    def scheduler_name(self) -> str:
        """Class of the scheduler and its shift, as in ``UniPCMultistepScheduler, flow_shift 3``."""
        config = self.pipeline.scheduler.config
        told = [f"{name} {config[name]:g}" for name in ("flow_shift", "shift") if config.get(name) is not None]
        return ", ".join([type(self.pipeline.scheduler).__name__, *told])

    def check_prompts(self, prompts: Sequence[str]) -> None:
        """Nothing when the model can read every prompt; it is tokenised and no more.

        Raises:
            DataError: a text longer than the model reads or, where the model says so, with words it does not know.
        """
        tokenizer, limit = self.pipeline.tokenizer, self.settings.max_text_tokens
        for prompt in prompts:
            tokens = tokenizer(prompt_clean(prompt)).input_ids
            if len(tokens) > limit:
                raise DataError(
                    f"prompt: '{prompt[:60]}' has {len(tokens)} tokens; '{self.name}' reads {limit}. Shorten it."
                )
            if self.settings.known_words_only and tokenizer.unk_token_id in tokens:
                words = " ".join(tokenizer.decode([t]) if t != tokenizer.unk_token_id else "?" for t in tokens[:-1])
                raise DataError(
                    f"prompt: '{prompt[:60]}' has words that '{self.name}' does not know; it reads '{words}'. "
                    "Use words of its world."
                )

    @torch.no_grad()
    def encode_text(self, prompts: Sequence[str]) -> Tensor:
        """Text states float32 (B, max_text_tokens, text width), zero after the end of each text.

        Raises:
            DataError: see `check_prompts`.
        """
        self.check_prompts(prompts)
        states, _ = self.pipeline.encode_prompt(
            list(prompts), do_classifier_free_guidance=False, max_sequence_length=self.settings.max_text_tokens
        )
        return states.float()

    def tokenize(self, texts: Sequence[str]) -> tuple[Tensor, Tensor]:
        """Token ids and attention mask, int64 (B, max_text_tokens) each, as the pipeline makes them."""
        tokens = self.pipeline.tokenizer(
            [prompt_clean(text) for text in texts],
            padding="max_length",
            max_length=self.settings.max_text_tokens,
            truncation=True,
            return_tensors="pt",
        )
        return tokens.input_ids, tokens.attention_mask

    def velocity(self, x_t: Tensor, t: Tensor, text: Tensor) -> Tensor:
        """Predicted v = x_noise - x_data, float32, at latents (B, C, F, H, W), times (B,) and text (B, L, D)."""
        transformer = self.pipeline.transformer
        time = t * self.pipeline.scheduler.config.num_train_timesteps
        x_t, text = x_t.to(transformer.dtype), text.to(transformer.dtype)
        predicted: Tensor = transformer(x_t, time, text, return_dict=False)[0]
        return predicted.float()

    def noise(self, seed: int) -> Tensor:
        """The noise (C, F, H, W) that a clip of this seed starts from, float32 on the CPU."""
        return torch.randn(self.latent_shape, generator=fold_in(seed, "noise"))

    def sample(self, prompts: Sequence[str], seeds: Sequence[int], **options: Any) -> list[Video]:
        """One clip per (prompt, seed): `sample_latents`, decoded; equal to what the pipeline's own call returns."""
        return self.decode(self.sample_latents(prompts, seeds, **options))

    def sample_latents(
        self,
        prompts: Sequence[str],
        seeds: Sequence[int],
        *,
        num_steps: int | None = None,
        guidance_scale: float | None = None,
        wrap_scheduler: SchedulerWrapper | None = None,
        on_step: Callable[[], None] | None = None,
    ) -> Tensor:
        """Latents float32 (B, C, F, H, W), by the pipeline's own call; see `contracts.protocols.Generator`.

        Raises:
            ConfigError: a number of steps below 1, or a negative scale.
            DataError: a prompt that the text encoder cannot read; see `check_prompts`.
        """
        settings = self._asked(num_steps, guidance_scale)
        scale = settings.guidance_scale
        if len(prompts) != len(seeds):
            raise ValueError(f"one seed per prompt: got {len(prompts)} prompts and {len(seeds)} seeds")
        text = self.encode_text(prompts)
        negative = self.encode_text([settings.negative_prompt]) if scale > 1 else None
        with self._scheduler(wrap_scheduler, text):
            latents: Tensor = self.pipeline(
                prompt_embeds=text,
                negative_prompt_embeds=None if negative is None else negative.expand_as(text),
                latents=torch.stack([self.noise(seed) for seed in seeds]),
                num_frames=settings.num_frames,
                height=settings.height,
                width=settings.width,
                num_inference_steps=settings.num_steps,
                guidance_scale=scale,
                output_type="latent",
                callback_on_step_end=None if on_step is None else _each_step(on_step),
            ).frames
        return latents.float()

    def _asked(self, num_steps: int | None, guidance_scale: float | None) -> SamplingSettings:
        if (num_steps is not None and num_steps < 1) or (guidance_scale is not None and guidance_scale < 0):
            raise ConfigError(
                f"num_steps: got {num_steps}, guidance_scale: got {guidance_scale}; wanted at least 1 and 0."
            )
        return self.settings.changed({"num_steps": num_steps, "guidance_scale": guidance_scale})

    @contextmanager
    def _scheduler(self, wrap: SchedulerWrapper | None, text: Tensor) -> Iterator[None]:
        own = self.pipeline.scheduler
        try:
            if wrap is not None:
                self.pipeline.scheduler = wrap(own, text)
            yield
        finally:
            self.pipeline.scheduler = own

    def _latent_moments(self) -> tuple[Tensor, Tensor]:
        config, device = self.pipeline.vae.config, self.pipeline.vae.device
        mean, std = (torch.tensor(values, device=device) for values in (config.latents_mean, config.latents_std))
        return mean.reshape(1, -1, 1, 1, 1), std.reshape(1, -1, 1, 1, 1)


def _each_step(action: Callable[[], None]) -> Callable[..., dict[str, Any]]:
    def after(pipeline: WanPipeline, step: int, timestep: Tensor, state: dict[str, Any]) -> dict[str, Any]:
        action()
        return state

    return after
