"""The families of video generators, by the class of their pipeline; a new one is a file and a row here."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from diffusers import (
    DiffusionPipeline,
    FluxTransformer2DModel,
    HunyuanVideo15Pipeline,
    HunyuanVideo15Transformer3DModel,
    HunyuanVideoPipeline,
    HunyuanVideoTransformer3DModel,
    LTX2Pipeline,
    LTX2VideoTransformer3DModel,
    LTXPipeline,
    LTXVideoTransformer3DModel,
    MochiPipeline,
    MochiTransformer3DModel,
    SD3Transformer2DModel,
    WanPipeline,
    WanTransformer3DModel,
)
from torch import Tensor, nn

from videoalign.contracts.generator import Codec, VelocityNet
from videoalign.errors import ModelError
from videoalign.flow.condition import Condition
from videoalign.models.generators import (
    comfyui,
    flux,
    hunyuan,
    hunyuan15,
    ltx,
    ltx2,
    mochi,
    sd3,
    stills,
    wan,
    wan_image,
    wan_kinds,
)
from videoalign.models.generators.comfyui import ComfyName
from videoalign.models.generators.parts import PipelineConditioner, require_channels, require_whole
from videoalign.models.generators.pipeline_call import PipelineSampler
from videoalign.models.generators.settings import SamplingSettings, settings_of_call
from videoalign.models.generators.stock import FluxPipeline, StableDiffusion3Pipeline, WanImageToVideoPipeline

Configs = Mapping[str, Mapping[str, Any]]
"""Settings of the parts of a pipeline, by their name in it, and its own as ``pipeline``."""


@dataclass(frozen=True, kw_only=True)
class Trunk:
    """Where the first blocks of a transformer end, for what reads them; all names are of the transformer's own."""

    blocks: str
    """List of the blocks, which `depth` counts."""
    head: tuple[str, ...]
    """What has weights behind the last block."""
    channels: str = "in_channels"
    """Setting with the number of channels of the latents, or of a token of them."""
    latents: int = 1
    """Latents in a token."""
    depth: str = "num_layers"
    """Setting with the number of blocks."""
    text_width: str | Callable[[Mapping[str, Any]], str]
    """Setting with the width of ``text`` of a condition; or of all settings, which one that is."""
    tokens_at: int = 0
    """Which of the tensors that a block gives holds the tokens, where it gives several."""
    last_differs: bool = False
    """Whether the last block is built otherwise than those before it."""
    left_out: Mapping[str, int] = field(default_factory=dict)
    """Settings of what comes after the blocks, as they are without it."""
    idle: str | None = None
    """Regular expression that is found in the names of other weights that have no say in the tokens."""

    def text_setting(self, config: Mapping[str, Any]) -> str:
        """`text_width` of a transformer with these settings."""
        return self.text_width if isinstance(self.text_width, str) else self.text_width(config)

    def has_no_say(self, name: str) -> bool:
        """Whether the tokens that leave the blocks do not depend on the weight of this name."""
        return name.split(".")[0] in self.head or (self.idle is not None and re.search(self.idle, name) is not None)


@dataclass(frozen=True, kw_only=True)
class Family:
    """One way to make the parts of a `contracts.generator.Generator` from a diffusers pipeline."""

    pipeline: type[DiffusionPipeline]
    """Whose folders it opens."""
    weighed: tuple[str, ...]
    """Parts of the pipeline that have weights; a model may lack some of them."""
    unused: tuple[str, ...] = ()
    """Parts that a model of it may have and nothing here asks for; they are not opened."""
    require_index: Callable[[str | Path, Mapping[str, Any]], None]
    """Of a name and ``model_index.json``: raises `ModelError` for a kind of pipeline that is not supported."""
    require_parts: Callable[[str | Path, Configs], None]
    """Of a name and `Configs`: raises `ModelError` for parts that are not supported."""
    require_legal: Callable[[str, SamplingSettings, Configs], None]
    """Of a name, settings and `Configs`: raises `ConfigError` where the model cannot work in these settings."""
    codec: Callable[[Any, SamplingSettings, str], Codec]
    """Of the pipeline, the settings and the name, as those below."""
    conditioner: Callable[[Any, SamplingSettings, str], PipelineConditioner]
    network: Callable[[Any, SamplingSettings, str], VelocityNet]
    sampler: Callable[[Any, SamplingSettings, str], PipelineSampler]
    transformer: type[nn.Module]
    """What adapters go onto."""
    predict: Callable[[Any, Tensor, Tensor, Condition, Mapping[str, float]], Tensor]
    """Of a transformer, latents (B, C, F, H, W), times (B,), a condition and `VelocityNet.constants`: v, in the
    precision of the transformer."""
    heard: Callable[[Mapping[str, Any], Mapping[str, float]], Condition]
    """`predict` read backwards: of the arguments of the transformer's call by name and `VelocityNet.constants`, what it
    was told besides latents and time."""
    targets: Mapping[str, tuple[str, ...]]
    """Ends of the names of the linear layers that are adapted, by the values of ``lora.targets``."""
    trunk: Trunk | None
    """None where a noisy-latent reward cannot start from the transformer."""
    pack: Callable[[Tensor], Tensor] | None = None
    """Latents (B, C, F, H, W) as the pipeline keeps them, where that is otherwise."""
    unpack: Callable[[Tensor, Sequence[int]], Tensor] | None = None
    """The other way, of packed latents and (F, H, W)."""
    shape_told: Callable[[Mapping[str, Any]], Sequence[int]] = lambda told: [
        int(told[name]) for name in ("num_frames", "height", "width")
    ]
    """(F, H, W) of the latents of a transformer's call, of its arguments by name; asked where latents are packed."""
    defaults: SamplingSettings
    """What its pipeline samples when nothing is said, in a file beside it or by the user."""
    own_settings: Callable[[Configs], Mapping[str, Any]] = lambda configs: {}
    """Of `Configs`: what one model samples otherwise than ``defaults`` by its own settings."""
    gives_sigmas: bool = True
    """Whether its pipeline gives the scheduler the sigmas of its steps, which not every scheduler takes."""
    comfyui_name: Callable[[str], ComfyName] | None = None
    """Of a layer: what it is called in ComfyUI's adapters; None where that is not known."""


HEAD = ("scale_shift_table", "norm_out", "proj_out")
"""What diffusers calls the parts behind the blocks of most transformers."""

WAN_TRUNK = Trunk(blocks="blocks", head=HEAD, channels="out_channels", text_width="text_dim")

FAMILIES: dict[str, Family] = {
    "WanPipeline": Family(
        pipeline=WanPipeline,
        weighed=wan.WEIGHED_PARTS,
        require_index=wan_kinds.require_index,
        require_parts=wan_kinds.require_parts,
        require_legal=wan_kinds.require_legal,
        codec=wan.WanCodec,
        conditioner=wan.WanConditioner,
        network=wan.WanNetwork,
        sampler=wan.WanSampler,
        transformer=WanTransformer3DModel,
        predict=wan.predict,
        heard=wan.WanNetwork.heard,
        targets=wan.TARGETS,
        trunk=WAN_TRUNK,
        defaults=settings_of_call(WanPipeline),
        gives_sigmas=False,
        comfyui_name=wan.comfyui_name,
    ),
    "LTXPipeline": Family(
        pipeline=LTXPipeline,
        weighed=ltx.WEIGHED_PARTS,
        require_index=partial(require_whole, parts=ltx.WEIGHED_PARTS),
        require_parts=ltx.require_ltx_parts,
        require_legal=ltx.require_ltx_sizes,
        codec=ltx.LtxCodec,
        conditioner=ltx.LtxConditioner,
        network=ltx.LtxNetwork,
        sampler=ltx.LtxSampler,
        transformer=LTXVideoTransformer3DModel,
        predict=ltx.LtxNetwork.predict,
        heard=ltx.LtxNetwork.heard,
        pack=ltx.pack,
        unpack=ltx.unpack,
        targets=ltx.TARGETS,
        trunk=Trunk(blocks="transformer_blocks", head=HEAD, text_width="caption_channels"),
        defaults=ltx.DEFAULTS,
        comfyui_name=comfyui.ltx_name,
    ),
    "LTX2Pipeline": Family(
        pipeline=LTX2Pipeline,
        weighed=ltx2.WEIGHED_PARTS,
        unused=ltx2.LEFT_OUT,
        require_index=partial(require_whole, parts=ltx2.WEIGHED_PARTS),
        require_parts=ltx2.require_ltx2_parts,
        require_legal=ltx2.require_ltx2_legal,
        codec=ltx.LtxCodec,
        conditioner=ltx2.Ltx2Conditioner,
        network=ltx2.Ltx2Network,
        sampler=ltx2.Ltx2Sampler,
        transformer=LTX2VideoTransformer3DModel,
        predict=ltx2.Ltx2Network.predict,
        heard=ltx2.Ltx2Network.heard,
        pack=ltx.pack,
        unpack=ltx.unpack,
        targets=ltx2.TARGETS,
        trunk=Trunk(blocks="transformer_blocks", head=HEAD, text_width=ltx2.text_width, idle=ltx2.AUDIO),
        defaults=ltx2.DEFAULTS,
        comfyui_name=comfyui.ltx_name,
    ),
    "HunyuanVideoPipeline": Family(
        pipeline=HunyuanVideoPipeline,
        weighed=hunyuan.WEIGHED_PARTS,
        require_index=partial(require_whole, parts=hunyuan.WEIGHED_PARTS),
        require_parts=hunyuan.require_hunyuan_parts,
        require_legal=partial(hunyuan.require_hunyuan_sizes, step=hunyuan.PIPELINE_STEP),
        codec=hunyuan.HunyuanCodec,
        conditioner=hunyuan.HunyuanConditioner,
        network=hunyuan.HunyuanNetwork,
        sampler=hunyuan.HunyuanSampler,
        transformer=HunyuanVideoTransformer3DModel,
        predict=hunyuan.HunyuanNetwork.predict,
        heard=hunyuan.HunyuanNetwork.heard,
        targets=hunyuan.TARGETS,
        trunk=Trunk(
            blocks="transformer_blocks", head=HEAD, text_width="text_embed_dim", left_out={"num_single_layers": 0}
        ),
        defaults=hunyuan.DEFAULTS,
        comfyui_name=comfyui.hunyuan_name,
    ),
    "HunyuanVideo15Pipeline": Family(
        pipeline=HunyuanVideo15Pipeline,
        weighed=hunyuan.WEIGHED_PARTS,
        require_index=partial(require_whole, parts=hunyuan.WEIGHED_PARTS),
        require_parts=hunyuan15.require_hunyuan15_parts,
        require_legal=hunyuan.require_hunyuan_sizes,
        codec=hunyuan15.Hunyuan15Codec,
        conditioner=hunyuan15.Hunyuan15Conditioner,
        network=hunyuan15.Hunyuan15Network,
        sampler=hunyuan15.Hunyuan15Sampler,
        transformer=HunyuanVideo15Transformer3DModel,
        predict=hunyuan15.Hunyuan15Network.predict,
        heard=hunyuan15.Hunyuan15Network.heard,
        targets=hunyuan15.TARGETS,
        trunk=Trunk(blocks="transformer_blocks", head=HEAD, text_width="text_embed_dim", channels="out_channels"),
        defaults=hunyuan15.DEFAULTS,
        comfyui_name=comfyui.hunyuan_name,
        own_settings=hunyuan15.hunyuan15_settings,
    ),
    "MochiPipeline": Family(
        pipeline=MochiPipeline,
        weighed=mochi.WEIGHED_PARTS,
        require_index=partial(require_whole, parts=mochi.WEIGHED_PARTS),
        require_parts=partial(require_channels, wanted="a text-to-video model, such as Mochi 1"),
        require_legal=mochi.require_mochi_sizes,
        codec=mochi.MochiCodec,
        conditioner=mochi.MochiConditioner,
        network=mochi.MochiNetwork,
        sampler=mochi.MochiSampler,
        transformer=MochiTransformer3DModel,
        predict=mochi.MochiNetwork.predict,
        heard=mochi.MochiNetwork.heard,
        targets=mochi.TARGETS,
        trunk=Trunk(blocks="transformer_blocks", head=HEAD, text_width="text_embed_dim", last_differs=True),
        defaults=mochi.DEFAULTS,
        comfyui_name=comfyui.mochi_name,
    ),
    "WanImageToVideoPipeline": Family(
        pipeline=WanImageToVideoPipeline,
        weighed=wan_image.WEIGHED_PARTS,
        require_index=wan_kinds.require_index,
        require_parts=wan_kinds.require_image_parts,
        require_legal=wan_kinds.require_legal,
        codec=wan.WanCodec,
        conditioner=wan_image.WanImageConditioner,
        network=wan_image.WanImageNetwork,
        sampler=wan_image.WanImageSampler,
        transformer=WanTransformer3DModel,
        predict=wan.predict,
        heard=wan_image.WanImageNetwork.heard,
        targets=wan.TARGETS,
        trunk=WAN_TRUNK,
        defaults=settings_of_call(WanImageToVideoPipeline),
        gives_sigmas=False,
        comfyui_name=wan.comfyui_name,
    ),
    "StableDiffusion3Pipeline": Family(
        pipeline=StableDiffusion3Pipeline,
        weighed=sd3.WEIGHED_PARTS,
        require_index=partial(require_whole, parts=sd3.WEIGHED_PARTS[:-1]),
        require_parts=partial(require_channels, wanted="a text-to-image model, such as Stable Diffusion 3.5"),
        require_legal=sd3.require_sd3_sizes,
        codec=stills.StillCodec,
        conditioner=sd3.Sd3Conditioner,
        network=sd3.Sd3Network,
        sampler=sd3.Sd3Sampler,
        transformer=SD3Transformer2DModel,
        predict=sd3.Sd3Network.predict,
        heard=sd3.Sd3Network.heard,
        pack=stills.pack_still,
        unpack=stills.unpack_still,
        shape_told=lambda told: (1, *told["hidden_states"].shape[2:]),
        targets=sd3.TARGETS,
        trunk=Trunk(
            blocks="transformer_blocks", head=HEAD, text_width="joint_attention_dim", tokens_at=1, last_differs=True
        ),
        defaults=sd3.DEFAULTS,
        gives_sigmas=False,
        own_settings=sd3.sd3_settings,
    ),
    "FluxPipeline": Family(
        pipeline=FluxPipeline,
        weighed=flux.WEIGHED_PARTS,
        require_index=partial(require_whole, parts=flux.WEIGHED_PARTS),
        require_parts=flux.require_flux_parts,
        require_legal=partial(stills.require_still_sizes, patch=flux.PATCH),
        codec=stills.StillCodec,
        conditioner=flux.FluxConditioner,
        network=flux.FluxNetwork,
        sampler=flux.FluxSampler,
        transformer=FluxTransformer2DModel,
        predict=flux.FluxNetwork.predict,
        heard=flux.FluxNetwork.heard,
        pack=flux.pack_squares,
        unpack=flux.unpack_squares,
        shape_told=flux.shape_told,
        targets=flux.TARGETS,
        trunk=Trunk(
            blocks="transformer_blocks",
            head=HEAD,
            latents=flux.PATCH**2,
            text_width="joint_attention_dim",
            tokens_at=1,
            left_out={"num_single_layers": 0},
        ),
        defaults=flux.DEFAULTS,
        comfyui_name=comfyui.hunyuan_name,
        own_settings=flux.flux_settings,
    ),
}
"""By the class name that ``model_index.json`` tells."""


def family_of(name: str | Path, pipeline_class: str) -> Family:
    """The family of a pipeline.

    Args:
        name: of the model, for the message.
        pipeline_class: name of the pipeline's class.

    Raises:
        ModelError: there is none for it.
    """
    if pipeline_class not in FAMILIES:
        raise ModelError(
            f"--model: {name} is {_article(pipeline_class)} {pipeline_class}; wanted a {' or '.join(FAMILIES)}, a "
            "text-to-video model such as Wan 2.1."
        )
    return FAMILIES[pipeline_class]


def family_of_transformer(transformer: str) -> Family | None:
    """The family whose transformer is of the class of this name; of several, whose rows then say the same of it, the
    first."""
    return next((family for family in FAMILIES.values() if family.transformer.__name__ == transformer), None)


def _article(name: str) -> str:
    spelt = name[:2].isupper() or name[1:2].isdigit()
    return "an" if name[0] in ("AEFHILMNORSX" if spelt else "AEIO") else "a"
