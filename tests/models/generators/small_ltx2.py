"""A pipeline of LTX-2 from the classes of diffusers, small and with random weights."""

from __future__ import annotations

from diffusers import (
    AutoencoderKLLTX2Audio,
    AutoencoderKLLTX2Video,
    FlowMatchEulerDiscreteScheduler,
    LTX2Pipeline,
    LTX2VideoTransformer3DModel,
)
from diffusers.pipelines.ltx2 import LTX2TextConnectors, LTX2Vocoder
from transformers import Gemma3Config, Gemma3ForConditionalGeneration

from tests.models.generators.small_builds import MAX_TOKENS, TEXTS, moments
from videoalign.models.small_wan import word_tokenizer


def ltx2(*, first: bool = False) -> LTX2Pipeline:
    """Latents (4, 3, 4, 4) of 5 frames of 32 x 32 pixels, with sound; as LTX-2.3, or as the first LTX-2, whose
    transformer projects texts, and none of whose blocks can be skipped."""
    vae = AutoencoderKLLTX2Video(
        latent_channels=4,
        block_out_channels=(8,),
        down_block_types=("LTX2VideoDownBlock3D",),
        decoder_block_out_channels=(8,),
        layers_per_block=(1, 1),
        decoder_layers_per_block=(1, 1),
        spatio_temporal_scaling=(True,),
        decoder_spatio_temporal_scaling=(True,),
        decoder_inject_noise=(False, False),
        downsample_type=("spatiotemporal",),
        upsample_type=("spatiotemporal",),
        upsample_residual=(True,),
        upsample_factor=(1,),
        scaling_factor=0.8,
    ).eval()
    for buffer, value in zip((vae.latents_mean, vae.latents_std), moments(4), strict=True):
        buffer.copy_(value)
    sound = AutoencoderKLLTX2Audio(
        base_channels=4, ch_mult=(1,), num_res_blocks=1, resolution=32, latent_channels=2, mel_bins=8
    ).eval()
    tokenizer = word_tokenizer(TEXTS, MAX_TOKENS)
    tokenizer.padding_side = "left"
    gemma = {
        "vocab_size": len(tokenizer),
        "hidden_size": 16,
        "intermediate_size": 16,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "num_key_value_heads": 1,
        "head_dim": 8,
        "query_pre_attn_scalar": 8,
    }
    siglip = {"hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 1, "num_attention_heads": 1}
    tokens = {f"{name}_token_index": 2 for name in ("boi", "eoi", "image")}
    config = Gemma3Config(text_config=gemma, vision_config={**siglip, "image_size": 8, "patch_size": 4}, **tokens)
    widths = {"video_hidden_dim": 32, "audio_hidden_dim": 16}
    heads = {"video_connector_num_attention_heads": 2, "audio_connector_num_attention_heads": 2}
    connectors = LTX2TextConnectors(
        caption_channels=16,
        text_proj_in_factor=3,
        video_connector_attention_head_dim=8 if first else 16,
        video_connector_num_layers=1,
        video_connector_num_learnable_registers=4,
        audio_connector_attention_head_dim=8,
        audio_connector_num_layers=1,
        audio_connector_num_learnable_registers=4,
        connector_rope_base_seq_len=32,
        rope_type="split",
        per_modality_projections=not first,
        **heads,
        **widths,
    ).eval()
    transformer = LTX2VideoTransformer3DModel(
        in_channels=4,
        out_channels=4,
        num_attention_heads=2,
        attention_head_dim=16,
        cross_attention_dim=32,
        vae_scale_factors=(2, 8, 8),
        audio_in_channels=4,
        audio_out_channels=4,
        audio_num_attention_heads=2,
        audio_attention_head_dim=8,
        audio_cross_attention_dim=16,
        num_layers=2,
        caption_channels=16,
        rope_type="split",
        use_prompt_embeddings=first,
        gated_attn=not first,
        audio_gated_attn=not first,
        cross_attn_mod=not first,
        audio_cross_attn_mod=not first,
        perturbed_attn=not first,
    ).eval()
    return LTX2Pipeline(
        scheduler=FlowMatchEulerDiscreteScheduler(
            use_dynamic_shifting=True, base_shift=0.95, max_shift=2.05, base_image_seq_len=1024, shift_terminal=0.1
        ),
        vae=vae,
        audio_vae=sound,
        text_encoder=Gemma3ForConditionalGeneration(config).eval(),
        tokenizer=tokenizer,
        connectors=connectors,
        transformer=transformer,
        vocoder=LTX2Vocoder(
            in_channels=16,
            hidden_channels=8,
            upsample_kernel_sizes=[4, 4],
            upsample_factors=[2, 2],
            resnet_kernel_sizes=[3],
            resnet_dilations=[[1, 3, 5]],
        ).eval(),
    )
