"""Pipelines of every family from the classes of diffusers, small and with random weights."""

from __future__ import annotations

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

from videoalign.models.small_wan import TINY_SETTINGS, TINY_SIZES, small_wan_pipeline, word_tokenizer

TEXTS = ["a red circle moves left", "a blue square moves right"]


MAX_TOKENS = 12


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


def wan_beginning() -> WanImageToVideoPipeline:
    """As Wan 2.2 TI2V from a picture; latents (12, 3, 4, 4) of 9 frames of 32 x 32 pixels."""
    sizes = TINY_SIZES.model_copy(update={"is_second": True, "vae_multipliers": (1, 2, 2)})
    return WanImageToVideoPipeline(
        **small_wan_pipeline(TEXTS, sizes, settings=TINY_SETTINGS).components, expand_timesteps=True
    )


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
