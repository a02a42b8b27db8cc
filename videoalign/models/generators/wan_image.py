"""Wan image-to-video models, 2.1 I2V, 2.2 I2V A14B and TI2V: the parts of a generator from a WanImageToVideoPipeline.

Beside the noisy latents the transformer reads those of the picture, as the first frame of an empty clip, and a mask
that says which frame is given; Wan 2.1 reads the states of a CLIP of it too. Both stand in the condition, as
``picture`` and ``image``. That of Wan 2.2 TI2V (``expand_timesteps``) reads the latents of the picture in the place of
the first frame of the noisy ones, at time 0: ``beginning`` of the condition. All are those that the pipeline itself
makes. The rest is as in `wan`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from videoalign.contracts.output import fingerprint
from videoalign.contracts.records import Asked, media_of, text_of
from videoalign.contracts.scheduler import WrappedScheduler
from videoalign.errors import DataError
from videoalign.flow.condition import BEGINNING, IMAGE, PICTURE, Condition
from videoalign.models.generators.identity import part_identity
from videoalign.models.generators.settings import SamplingSettings
from videoalign.models.generators.stock import WanImageToVideoPipeline
from videoalign.models.generators.wan import WEIGHED_PARTS as WAN_PARTS
from videoalign.models.generators.wan import WanConditioner, WanNetwork, WanPart, WanSampler
from videoalign.models.generators.weights import placed
from videoalign.video.pictures import read_picture

WEIGHED_PARTS = (*WAN_PARTS, "image_encoder")


class WanImageConditioner(WanPart, WanConditioner):
    """A `contracts.generator.Conditioner` over UMT5, the autoencoder and, where the model has one, CLIP."""

    @property
    def names(self) -> tuple[str, ...]:
        """Text, latents of the picture with a mask or alone, and CLIP's states of it where the transformer reads
        them."""
        states = (IMAGE,) if self._reads_states else ()
        return "text", BEGINNING if self._is_first_frame else PICTURE, *states

    @property
    def _is_first_frame(self) -> bool:
        return bool(self.pipeline.config.expand_timesteps)

    @property
    def _reads_states(self) -> bool:
        return self.pipeline.transformer.config.image_dim is not None

    def check_pictures(self, prompts: Sequence[Asked]) -> None:
        """See `PipelineConditioner.check`.

        Raises:
            DataError: a prompt without a picture.
            VideoError: one that cannot be read.
        """
        for prompt in prompts:
            if not media_of(prompt):
                raise DataError(
                    f"prompt: '{text_of(prompt)[:60]}' has no picture beside it; '{self.name}' makes clips that begin "
                    "from one. Give it with --image, or in a column 'media' of the table of prompts."
                )
        for place in dict.fromkeys(map(media_of, prompts)):
            read_picture(place)

    @torch.no_grad()
    def encode(self, prompts: Sequence[Asked]) -> Condition:
        """``text`` (B, L, text width); ``picture`` (B, T + C, F, H, W), a mask in as many channels as a latent frame
        has frames and the latents of the picture, or ``beginning`` (B, C, 1, H, W), these alone; ``image`` (B, tokens,
        width of CLIP) where it is read."""
        told = super().encode(prompts)
        parts = ("vae", "image_encoder") if self._reads_states else ("vae",)
        with placed(self.pipeline, *parts):
            known = {place: self._picture(place) for place in dict.fromkeys(map(media_of, prompts))}
        rows = [known[media_of(prompt)] for prompt in prompts]
        pictures = {name: torch.cat([row[name] for row in rows]) for name in self.names if name != "text"}
        return Condition({**told.tensors, **pictures}, self.lengths)

    def _picture(self, place: str) -> dict[str, Tensor]:
        pipeline, settings, shape = self.pipeline, self.settings, self.latent_shape
        shown, device = read_picture(place), pipeline._execution_device
        pixels = pipeline.video_processor.preprocess(shown, height=settings.height, width=settings.width)
        self.tiled_vae()
        _, known, *_ = pipeline.prepare_latents(
            pixels.to(device, torch.float32),
            batch_size=1,
            num_channels_latents=shape[0],
            height=settings.height,
            width=settings.width,
            num_frames=settings.num_frames,
            dtype=torch.float32,
            device=device,
            latents=torch.zeros(1, *shape),
        )
        states = {IMAGE: pipeline.encode_image(shown, device)} if self._reads_states else {}
        return {BEGINNING if self._is_first_frame else PICTURE: known, **states}

    def identity(self) -> str:
        """As of `wan`, the autoencoder, the size of a clip, and CLIP."""
        settings = self.settings
        size = settings.num_frames, settings.height, settings.width, bool(settings.vae_tiling)
        second = [part_identity(self.pipeline.image_encoder)] if self._reads_states else []
        return fingerprint([super().identity(), part_identity(self.pipeline.vae), *size, *second])


class WanImageNetwork(WanNetwork):
    """A `contracts.generator.VelocityNet` over the pipeline's WanTransformer3DModel."""

    def __init__(self, pipeline: WanImageToVideoPipeline, settings: SamplingSettings, name: str) -> None:
        super().__init__(pipeline, settings, name)
        self.constants["latent_channels"] = float(pipeline.vae.config.z_dim)

    @staticmethod
    def heard(told: Mapping[str, Any], constants: Mapping[str, float]) -> Condition:
        """Text and picture of a transformer's call; see `families.Family.heard`."""
        image, seen = told.get("encoder_hidden_states_image"), told["hidden_states"]
        beside = seen[:, int(constants["latent_channels"]) :]
        picture = {PICTURE: beside} if beside.shape[1] else {BEGINNING: seen[:, :, :1]}
        states = {} if image is None else {IMAGE: image}
        return Condition({"text": told["encoder_hidden_states"], **picture, **states})


@dataclass(frozen=True, eq=False)
class WanImageSampler(WanSampler):
    """A `contracts.generator.Sampler`: the pipeline's own call, which takes one picture."""

    picture: Image.Image | None = None
    """Of the clips of a call."""

    def conditioner(self, settings: SamplingSettings) -> WanImageConditioner:
        """UMT5, the autoencoder, and CLIP where it is read."""
        return WanImageConditioner(self.pipeline, settings, self.name)

    def latents(self, prompts: Sequence[Asked], seeds: Sequence[int], **options: Any) -> Tensor:
        """Latents float32 (B, C, F, H, W); neighbours with one picture are made together. See `PipelineSampler`."""
        self.conditioner(self.settings).check(prompts)
        made, places = [], list(map(media_of, prompts))
        for place, group in groupby(range(len(prompts)), key=places.__getitem__):
            rows, one = list(group), replace(self, picture=read_picture(place))
            mine = [prompts[row] for row in rows], [seeds[row] for row in rows]
            made.append(super(WanImageSampler, one).latents(*mine, **options))
        return torch.cat(made)

    def call(
        self, condition: Condition, negative: Condition | None, noise: Tensor, settings: SamplingSettings, **common: Any
    ) -> Tensor:
        """Latents as the pipeline's own call leaves them."""
        self.tiled_vae()
        self.pipeline.scheduler = _FromTheFirst(self.pipeline.scheduler)  # `latents` puts the own one back
        return super().call(condition, negative, noise, settings, image=self.picture, **common)


class _FromTheFirst(WrappedScheduler):
    """Begins at its first step. The pipeline, unlike its siblings, lets a scheduler look for its place by the timestep;
    UniPC rounds several of the first steps to one where they are many or the shift is large."""

    def step(self, *args: Any, **kwargs: Any) -> Any:
        """The wrapped scheduler's step."""
        if self._inner.step_index is None and self._inner.begin_index is None:
            self._inner.set_begin_index(0)
        return self._inner.step(*args, **kwargs)
