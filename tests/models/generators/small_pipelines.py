"""A small random pipeline of every family, from the classes of diffusers, and what its own call takes and hands on."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import (
    AutoencoderKL,
    AutoencoderKLHunyuanVideo,
    AutoencoderKLHunyuanVideo15,
    AutoencoderKLLTXVideo,
    AutoencoderKLMochi,
    ClassifierFreeGuidance,
    FlowMatchEulerDiscreteScheduler,
    FluxPipeline,
    FluxTransformer2DModel,
    HunyuanVideo15Pipeline,
    HunyuanVideo15Transformer3DModel,
    HunyuanVideoPipeline,
    HunyuanVideoTransformer3DModel,
    LTXPipeline,
    LTXVideoTransformer3DModel,
    MochiPipeline,
    MochiTransformer3DModel,
    SD3Transformer2DModel,
    StableDiffusion3Pipeline,
    WanImageToVideoPipeline,
    WanTransformer3DModel,
)
from diffusers.pipelines.hunyuan_video.pipeline_hunyuan_video import DEFAULT_PROMPT_TEMPLATE
from PIL import Image
from torch import Tensor
from transformers import (
    ByT5Tokenizer,
    CLIPImageProcessor,
    CLIPTextConfig,
    CLIPTextModel,
    CLIPTextModelWithProjection,
    CLIPVisionConfig,
    CLIPVisionModel,
    LlamaConfig,
    LlamaModel,
    Qwen2_5_VLTextConfig,
    Qwen2_5_VLTextModel,
    T5Config,
    T5EncoderModel,
)

from videoalign.contracts.records import Asked
from videoalign.data.prompts_file import beside_picture
from videoalign.models.generators.settings import NOTED_SETTINGS, SamplingSettings
from videoalign.models.small_wan import TINY_SETTINGS, TINY_SIZES, small_wan_pipeline, word_tokenizer

TEXTS = ["a red circle moves left", "a blue square moves right"]
MAX_TOKENS = 12


@dataclass(frozen=True)
class Small:
    """A family as its own pipeline knows it; nothing here is the package's arithmetic."""

    build: Callable[[], Any]
    settings: SamplingSettings
    call: dict[str, Any]
    """Arguments of the pipeline's own call besides prompts, latents and those that all take."""
    guidance: str | None = "guidance_scale"
    """Argument of the scale of classifier-free guidance; None where it is that of the pipeline's guider."""
    laid: Callable[[Tensor], Tensor] = lambda x: x
    """Latents (B, C, F, H, W) as the pipeline keeps them."""
    sign: float = 1.0
    """-1 where the transformer predicts data - noise."""
    told: Callable[[Tensor], Tensor] = lambda t: 1000 * t
    """What the transformer is told at t."""
    wrong_sizes: dict[str, tuple[int, str]] = field(default_factory=dict)
    """Values that the model cannot make, and the nearest that it can."""
    wrong_parts: tuple[dict[str, Any], str] | None = None
    """Settings of a transformer that the family refuses, and what it says."""
    defaults: dict[str, Any] = field(default_factory=dict)
    """What a hub id without settings of ours samples."""
    picture: bool = False
    """Clips begin from a picture."""
    still: bool = False
    """Clips are stills, of which the call is told no frames."""

    def size(self) -> dict[str, int]:
        """What the call is told of it."""
        told = {"height": self.settings.height, "width": self.settings.width}
        return told if self.still else {"num_frames": self.settings.num_frames, **told}

    def ask(self, folder: Path, texts: Sequence[str] = TEXTS, *, seed: int = 0) -> list[Asked]:
        """What our generator is asked for; the picture, where there is one, is in the folder."""
        return [beside_picture(text, str(picture_in(folder, seed))) for text in texts] if self.picture else list(texts)

    def shown(self, folder: Path) -> dict[str, Any]:
        """What the pipeline's own call is given for the picture of `ask`."""
        return {"image": Image.open(picture_in(folder))} if self.picture else {}


def picture_in(folder: Path, seed: int = 0) -> Path:
    """A file of coloured squares."""
    place = folder / f"picture-{seed}.png"
    if not place.is_file():
        squares = np.random.default_rng(seed).integers(0, 256, (3, 5, 3), dtype=np.uint8)
        Image.fromarray(squares.repeat(8, 0).repeat(8, 1)).save(place)
    return place


def tokens_of(x: Tensor) -> Tensor:
    """(B, C, F, H, W) as (B, F H W, C), frame after frame and row after row."""
    return x.flatten(2).transpose(1, 2)


def t5(width: int = 16) -> T5EncoderModel:
    """A T5 of one layer that knows the words of `TEXTS`."""
    return T5EncoderModel(
        T5Config(
            vocab_size=len(word_tokenizer(TEXTS)),
            d_model=width,
            d_kv=8,
            d_ff=32,
            num_layers=1,
            num_heads=2,
            dropout_rate=0.0,
            feed_forward_proj="gated-gelu",
        )
    ).eval()


CLIP_TEXT = CLIPTextConfig(
    vocab_size=len(word_tokenizer(TEXTS)),
    hidden_size=8,
    intermediate_size=16,
    num_hidden_layers=1,
    num_attention_heads=2,
    projection_dim=8,
    pad_token_id=0,
    bos_token_id=0,
    eos_token_id=1,
)
"""A CLIP that knows the words of `TEXTS`."""


def moments(channels: int) -> tuple[Tensor, Tensor]:
    """A mean and a deviation for each channel of the latents."""
    return torch.linspace(-0.5, 0.5, channels), torch.linspace(0.5, 2.0, channels)


def wan_image(boundary: float | None = None) -> WanImageToVideoPipeline:
    """Latents (12, 3, 4, 4) of 9 frames of 32 x 32 pixels; as Wan 2.1 I2V, or with a boundary as Wan 2.2 I2V A14B."""
    parts = small_wan_pipeline(TEXTS, TINY_SIZES, settings=TINY_SETTINGS).components
    clip = CLIPVisionConfig(
        hidden_size=16, intermediate_size=16, num_hidden_layers=2, num_attention_heads=2, image_size=8, patch_size=4
    )
    own = {name: value for name, value in parts["transformer"].config.items() if not name.startswith("_")}
    config = {**own, "in_channels": 28}
    if boundary is None:
        config |= {"image_dim": 16, "added_kv_proj_dim": 32}
    parts |= {"transformer": WanTransformer3DModel.from_config(config).eval(), "boundary_ratio": boundary}
    if boundary is not None:
        return WanImageToVideoPipeline(**{**parts, "transformer_2": WanTransformer3DModel.from_config(config).eval()})
    size = {"height": 8, "width": 8}
    processor = CLIPImageProcessor(size=size, crop_size=size)
    return WanImageToVideoPipeline(**parts, image_encoder=CLIPVisionModel(clip).eval(), image_processor=processor)


def ltx() -> LTXPipeline:
    """Latents (8, 2, 2, 2) of 9 frames of 64 x 64 pixels; an autoencoder that is told a time."""
    vae = AutoencoderKLLTXVideo(
        latent_channels=8,
        block_out_channels=(8, 8, 8, 8),
        decoder_block_out_channels=(8, 8, 8, 8),
        layers_per_block=(1, 1, 1, 1, 1),
        decoder_layers_per_block=(1, 1, 1, 1, 1),
        timestep_conditioning=True,
        scaling_factor=0.8,
    ).eval()
    for buffer, value in zip((vae.latents_mean, vae.latents_std), moments(8), strict=True):
        buffer.copy_(value)
    transformer = LTXVideoTransformer3DModel(
        in_channels=8,
        out_channels=8,
        num_attention_heads=2,
        attention_head_dim=16,
        cross_attention_dim=32,
        caption_channels=16,
        num_layers=2,
    ).eval()
    scheduler = FlowMatchEulerDiscreteScheduler(
        use_dynamic_shifting=True, base_shift=0.95, max_shift=2.05, base_image_seq_len=1024, shift_terminal=0.1
    )
    return LTXPipeline(
        scheduler=scheduler,
        vae=vae,
        text_encoder=t5(),
        tokenizer=word_tokenizer(TEXTS, MAX_TOKENS),
        transformer=transformer,
    )


def hunyuan() -> HunyuanVideoPipeline:
    """Latents (4, 3, 4, 4) of 9 frames of 32 x 32 pixels; a transformer that is told a guidance scale."""
    words = [*TEXTS, DEFAULT_PROMPT_TEMPLATE["template"]]
    tokenizer = word_tokenizer(words, 512)
    blocks = {"layers_per_block": 1, "block_out_channels": (8, 8, 8, 8), "norm_num_groups": 4}
    llama = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=3,
        num_attention_heads=2,
        num_key_value_heads=2,
        pad_token_id=0,
        bos_token_id=None,
        eos_token_id=1,
    )
    transformer = HunyuanVideoTransformer3DModel(
        in_channels=4,
        out_channels=4,
        num_attention_heads=2,
        attention_head_dim=10,
        num_layers=2,
        num_single_layers=1,
        num_refiner_layers=1,
        patch_size=2,
        text_embed_dim=16,
        pooled_projection_dim=8,
        rope_axes_dim=(2, 4, 4),
    ).eval()
    return HunyuanVideoPipeline(
        text_encoder=LlamaModel(llama).eval(),
        tokenizer=tokenizer,
        transformer=transformer,
        vae=AutoencoderKLHunyuanVideo(latent_channels=4, **blocks).eval(),
        scheduler=FlowMatchEulerDiscreteScheduler(shift=7.0),
        text_encoder_2=CLIPTextModel(CLIP_TEXT).eval(),
        tokenizer_2=word_tokenizer(TEXTS, 77),
    )


def hunyuan15() -> HunyuanVideo15Pipeline:
    """Latents (4, 3, 4, 4) of 5 frames of 16 x 16 pixels; guidance by a part of the pipeline."""
    tokenizer = word_tokenizer(TEXTS, 2000)
    tokenizer.chat_template = (
        "{% for turn in messages %}{% for again in range(2 if turn.role == 'system' else 1) %}"
        "{{ turn.content }} {% endfor %}{% endfor %}"
    )
    qwen = Qwen2_5_VLTextConfig(
        vocab_size=len(tokenizer),
        hidden_size=16,
        intermediate_size=16,
        num_hidden_layers=3,
        num_attention_heads=2,
        num_key_value_heads=2,
        rope_parameters={"rope_type": "default", "rope_theta": 1e6, "mrope_section": [1, 1, 2]},
        pad_token_id=0,
        bos_token_id=None,
        eos_token_id=1,
    )
    byt5 = T5Config(vocab_size=384, d_model=32, d_kv=8, d_ff=32, num_layers=1, num_heads=2, dropout_rate=0.0)
    vae = AutoencoderKLHunyuanVideo15(
        latent_channels=4,
        block_out_channels=(16, 16),
        layers_per_block=1,
        spatial_compression_ratio=4,
        temporal_compression_ratio=2,
        downsample_match_channel=False,
        upsample_match_channel=False,
    ).eval()
    transformer = HunyuanVideo15Transformer3DModel(
        in_channels=9,
        out_channels=4,
        num_attention_heads=2,
        attention_head_dim=16,
        num_layers=2,
        num_refiner_layers=1,
        text_embed_dim=16,
        text_embed_2_dim=32,
        image_embed_dim=12,
        rope_axes_dim=(4, 6, 6),
        target_size=64,
        task_type="t2v",
    ).eval()
    return HunyuanVideo15Pipeline(
        text_encoder=Qwen2_5_VLTextModel(qwen).eval(),
        tokenizer=tokenizer,
        transformer=transformer,
        vae=vae,
        scheduler=FlowMatchEulerDiscreteScheduler(shift=5.0),
        text_encoder_2=T5EncoderModel(byt5).eval(),
        tokenizer_2=ByT5Tokenizer(),
        guider=ClassifierFreeGuidance(guidance_scale=3.0),
    )


def mochi() -> MochiPipeline:
    """Latents (12, 2, 4, 4) of 7 frames of 32 x 32 pixels; time and velocity run the other way."""
    wide = (32, 32, 32, 32)
    vae = AutoencoderKLMochi(
        encoder_block_out_channels=wide, decoder_block_out_channels=wide, layers_per_block=(1, 1, 1, 1, 1)
    ).eval()
    transformer = MochiTransformer3DModel(
        num_attention_heads=2,
        attention_head_dim=16,
        num_layers=3,
        pooled_projection_dim=16,
        text_embed_dim=32,
        time_embed_dim=16,
        max_sequence_length=MAX_TOKENS,
    ).eval()
    torch.nn.init.normal_(transformer.pos_frequencies)
    return MochiPipeline(
        scheduler=FlowMatchEulerDiscreteScheduler(invert_sigmas=True),
        vae=vae,
        text_encoder=t5(32),
        tokenizer=word_tokenizer(TEXTS, MAX_TOKENS),
        transformer=transformer,
        force_zeros_for_empty_prompt=True,
    )


def still_vae() -> AutoencoderKL:
    """Latents (4, 8, 8) of 16 x 16 pixels, shifted and scaled."""
    return AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * 2,
        up_block_types=("UpDecoderBlock2D",) * 2,
        block_out_channels=(8, 8),
        latent_channels=4,
        norm_num_groups=4,
        scaling_factor=0.7,
        shift_factor=0.2,
        use_quant_conv=False,
        use_post_quant_conv=False,
    ).eval()


def sd3() -> StableDiffusion3Pipeline:
    """Stills of 16 x 16 pixels; two CLIPs and a T5."""
    transformer = SD3Transformer2DModel(
        sample_size=8,
        in_channels=4,
        out_channels=4,
        num_layers=3,
        attention_head_dim=16,
        num_attention_heads=2,
        joint_attention_dim=32,
        caption_projection_dim=32,
        pooled_projection_dim=16,
        pos_embed_max_size=16,
    ).eval()
    tokenizer = word_tokenizer(TEXTS, MAX_TOKENS)
    return StableDiffusion3Pipeline(
        transformer=transformer,
        scheduler=FlowMatchEulerDiscreteScheduler(shift=3.0),
        vae=still_vae(),
        text_encoder=CLIPTextModelWithProjection(CLIP_TEXT).eval(),
        tokenizer=tokenizer,
        text_encoder_2=CLIPTextModelWithProjection(CLIP_TEXT).eval(),
        tokenizer_2=tokenizer,
        text_encoder_3=t5(32),
        tokenizer_3=tokenizer,
    )


def flux() -> FluxPipeline:
    """Stills of 16 x 16 pixels; a transformer that is told the time itself and a guidance scale."""
    transformer = FluxTransformer2DModel(
        in_channels=16,
        num_layers=2,
        num_single_layers=1,
        attention_head_dim=16,
        num_attention_heads=2,
        joint_attention_dim=16,
        pooled_projection_dim=8,
        guidance_embeds=True,
        axes_dims_rope=(4, 6, 6),
    ).eval()
    return FluxPipeline(
        transformer=transformer,
        scheduler=FlowMatchEulerDiscreteScheduler(shift=3.0, use_dynamic_shifting=True),
        vae=still_vae(),
        text_encoder=CLIPTextModel(CLIP_TEXT).eval(),
        tokenizer=word_tokenizer(TEXTS, MAX_TOKENS),
        text_encoder_2=t5(),
        tokenizer_2=word_tokenizer(TEXTS, MAX_TOKENS),
    )


def squares(x: Tensor) -> Tensor:
    """(B, C, 1, H, W) as (B, H W / 4, 4 C), each token two by two latents of every channel."""
    size, channels, _, height, width = x.shape
    parts = x.reshape(size, channels, height // 2, 2, width // 2, 2)
    return parts.permute(0, 2, 4, 1, 3, 5).reshape(size, height * width // 4, 4 * channels)


def settings(**own: Any) -> SamplingSettings:
    """Nine frames of 64 x 64 pixels in three steps with guidance, but for what is told."""
    values = {"fps": 8, "num_frames": 9, "height": 64, "width": 64, "num_steps": 3, "guidance_scale": 3.0}
    return SamplingSettings(**{**values, "max_text_tokens": MAX_TOKENS, **own})


SMALL: dict[str, Small] = {
    "WanPipeline": Small(
        build=lambda: small_wan_pipeline(TEXTS, TINY_SIZES, settings=TINY_SETTINGS),
        settings=TINY_SETTINGS,
        call={"max_sequence_length": 8},
        wrong_sizes={"num_frames": (12, "num_frames=9 or num_frames=13"), "height": (40, "height=32 or height=48")},
        wrong_parts=({"in_channels": 28}, "reads 28 channels where the autoencoder makes 12"),
        defaults={"num_frames": 81, "height": 480, "width": 832, "num_steps": 50, "guidance_scale": 5.0, "fps": 16.0},
    ),
    "WanImageToVideoPipeline": Small(
        build=wan_image,
        settings=TINY_SETTINGS,
        call={"max_sequence_length": 8},
        picture=True,
        wrong_sizes={"num_frames": (12, "num_frames=9 or num_frames=13"), "height": (40, "height=32 or height=48")},
        wrong_parts=({"in_channels": 12}, "reads 12 channels where the autoencoder makes 12, or 28 with a picture"),
        defaults={"num_frames": 81, "height": 480, "width": 832, "num_steps": 50, "guidance_scale": 5.0},
    ),
    "LTXPipeline": Small(
        build=ltx,
        settings=settings(decode_timestep=0.4, decode_noise_scale=0.25),
        call={"frame_rate": 8, "max_sequence_length": MAX_TOKENS, "decode_timestep": 0.4, "decode_noise_scale": 0.25},
        laid=tokens_of,
        wrong_sizes={"num_frames": (12, "num_frames=9 or num_frames=17"), "width": (80, "width=64 or width=96")},
        wrong_parts=({"in_channels": 16}, "reads 16 channels in patches of 1 and 1; wanted the 8"),
        defaults={"num_frames": 161, "height": 512, "width": 704, "num_steps": 50, "guidance_scale": 3.0, "fps": 25.0},
    ),
    "HunyuanVideoPipeline": Small(
        build=hunyuan,
        settings=settings(height=32, width=32, embedded_guidance=4.0, max_text_tokens=80),
        call={"guidance_scale": 4.0, "max_sequence_length": 80},
        guidance="true_cfg_scale",
        wrong_sizes={"num_frames": (12, "num_frames=9 or num_frames=13"), "height": (40, "height=32 or height=48")},
        wrong_parts=({"image_condition_type": "latent_concat"}, "or a picture; wanted a text-to-video model"),
        defaults={
            "num_frames": 129,
            "height": 720,
            "width": 1280,
            "num_steps": 50,
            "guidance_scale": 1.0,
            "embedded_guidance": 6.0,
            "max_text_tokens": 256,
        },
    ),
    "HunyuanVideo15Pipeline": Small(
        build=hunyuan15,
        settings=settings(num_frames=5, height=16, width=16, num_steps=2, max_text_tokens=100),
        call={},
        guidance=None,
        wrong_sizes={"num_frames": (12, "num_frames=11 or num_frames=13"), "height": (30, "height=28 or height=32")},
        wrong_parts=({"in_channels": 4}, "reads 4 channels where the autoencoder makes 4, or two times"),
        defaults={"num_frames": 121, "num_steps": 50, "guidance_scale": 7.5, "max_text_tokens": 1000},
    ),
    "MochiPipeline": Small(
        build=mochi,
        settings=settings(num_frames=7, height=32, width=32),
        call={"max_sequence_length": MAX_TOKENS},
        sign=-1.0,
        told=lambda t: 1000 * (1 - t),
        wrong_sizes={"num_frames": (9, "num_frames=7 or num_frames=13"), "height": (40, "height=32 or height=48")},
        wrong_parts=({"in_channels": 16}, "reads 16 channels where the autoencoder makes 12"),
        defaults={"num_frames": 19, "height": 480, "width": 848, "num_steps": 64, "guidance_scale": 4.5},
    ),
    "StableDiffusion3Pipeline": Small(
        build=sd3,
        settings=settings(num_frames=2, height=16, width=16),
        call={"max_sequence_length": MAX_TOKENS},
        laid=lambda x: x[:, :, 0],
        still=True,
        wrong_sizes={
            "num_frames": (9, "num_frames=2"),
            "height": (18, "height=16 or height=20"),
            "width": (68, "width=64"),
        },
        wrong_parts=({"in_channels": 9}, "reads 9 channels where the autoencoder makes 4"),
        defaults={"num_frames": 2, "height": 1024, "width": 1024, "num_steps": 28, "guidance_scale": 7.0},
    ),
    "FluxPipeline": Small(
        build=flux,
        settings=settings(num_frames=2, height=16, width=16, embedded_guidance=4.0),
        call={"guidance_scale": 4.0, "max_sequence_length": MAX_TOKENS},
        guidance="true_cfg_scale",
        laid=squares,
        told=lambda t: t,
        still=True,
        wrong_sizes={"num_frames": (1, "num_frames=2"), "width": (18, "width=16 or width=20")},
        wrong_parts=({"in_channels": 24}, "reads 24 channels where 2 x 2 latents of the autoencoder have 16"),
        defaults={
            "height": 1024,
            "num_steps": 28,
            "guidance_scale": 1.0,
            "embedded_guidance": 3.5,
            "max_text_tokens": 512,
        },
    ),
}


def build(name: str, seed: int = 1) -> Any:
    """The small pipeline of a family, its weights drawn from the seed."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        pipeline = SMALL[name].build()
    pipeline.set_progress_bar_config(disable=True)
    setattr(pipeline, NOTED_SETTINGS, SMALL[name].settings)
    return pipeline
