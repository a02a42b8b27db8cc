"""A true diffusers WanPipeline in a small size, with random weights: for embedded worlds and for tests."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

import torch
from diffusers import AutoencoderKLWan, UniPCMultistepScheduler, WanPipeline, WanTransformer3DModel
from pydantic import Field
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast, UMT5Config, UMT5EncoderModel

from videoalign.config import Config
from videoalign.errors import ModelError
from videoalign.models.generators.generator import PipelineGenerator
from videoalign.models.generators.settings import NOTED_SETTINGS, SamplingSettings

PAD, EOS, UNK = "<pad>", "</s>", "<unk>"


class SmallWanConfig(Config):
    """Sizes of a small WanPipeline."""

    num_layers: int = Field(default=6, gt=0)
    """Transformer blocks."""
    num_heads: int = Field(default=4, gt=0)
    """Attention heads of a block."""
    head_width: int = Field(default=32, gt=0)
    """Channels of a head; even, and at least 12, for the rotary positions over time, height and width."""
    ffn_ratio: float = Field(default=4.0, gt=0)
    """Width of the feed-forward layer over the width of a block."""
    time_width: int = Field(default=64, gt=0)
    """Size of the sinusoidal time embedding; even."""
    text_width: int = Field(default=64, gt=0)
    """Width of the text states."""
    text_layers: int = Field(default=2, gt=0)
    """Layers of the text encoder."""
    text_heads: int = Field(default=4, gt=0)
    """Heads of the text encoder."""
    latent_channels: int = Field(default=12, gt=0)
    """Channels of the latents."""
    vae_width: int = Field(default=16, gt=0)
    """Channels of the autoencoder's first level."""
    vae_multipliers: tuple[int, ...] = (1, 2, 4)
    """Channels of each level, as multiples of `vae_width`; with the 2 x 2 pixel patch, three levels compress 8-fold in
    space and 4-fold in time."""
    vae_blocks: int = Field(default=1, gt=0)
    """Residual blocks of a level."""
    boundary: float | None = None
    """Of Wan 2.2 A14B: the time from which on the transformer serves, with a second one below; default: one alone."""
    is_second: bool = False
    """Built as Wan 2.2 TI2V: an autoencoder with residual levels, and a time for every token."""
    flow_shift: float = Field(default=3.0, gt=0)
    """Sigma shift of the sampling schedule, UniPC as in Wan's own pipelines; 3 is what Wan 2.1 takes at 480p."""


SMALL_SETTINGS = SamplingSettings(
    fps=8,
    num_frames=17,
    height=64,
    width=64,
    num_steps=20,
    guidance_scale=4.0,
    max_text_tokens=16,
    known_words_only=True,
)
"""What a small model samples when nothing else is said: 17 frames of 64 x 64 pixels at 8 per second."""


TINY_SIZES = SmallWanConfig(
    num_layers=2, num_heads=2, head_width=16, time_width=16, text_width=16, text_layers=1, text_heads=2, vae_width=4
)
"""The smallest sensible sizes, for tests and trials: a clip takes some hundredths of a second."""

TINY_SETTINGS = SamplingSettings(
    fps=8,
    num_frames=9,
    height=32,
    width=32,
    num_steps=4,
    guidance_scale=3.0,
    max_text_tokens=8,
    known_words_only=True,
)
"""9 frames of 32 x 32 pixels; latents (12, 3, 4, 4)."""


def word_tokenizer(texts: Iterable[str], max_tokens: int = 16) -> PreTrainedTokenizerFast:
    """A tokenizer with one token a word, lower-cased, an end token after each text and a token for unknown words.

    Args:
        texts: sentences or single words; every word and punctuation mark in them is known.
        max_tokens: longest text, the end token included.
    """
    words = sorted({word for text in texts for word in re.findall(r"\w+|[^\w\s]+", text.lower())})
    vocabulary = {word: index for index, word in enumerate([PAD, EOS, UNK, *words])}
    inner = Tokenizer(models.WordLevel(vocabulary, unk_token=UNK))
    inner.normalizer = normalizers.Lowercase()
    inner.pre_tokenizer = pre_tokenizers.Whitespace()
    inner.post_processor = processors.TemplateProcessing(single=f"$A {EOS}", special_tokens=[(EOS, vocabulary[EOS])])
    return PreTrainedTokenizerFast(
        tokenizer_object=inner, pad_token=PAD, eos_token=EOS, unk_token=UNK, model_max_length=max_tokens
    )


def small_wan_pipeline(
    texts: Iterable[str],
    sizes: SmallWanConfig | None = None,
    *,
    vae: AutoencoderKLWan | None = None,
    settings: SamplingSettings = SMALL_SETTINGS,
    seed: int = 0,
) -> WanPipeline:
    """A WanPipeline with random weights that depend on ``seed`` alone; the global generator is left as it was.

    Latents of F x H x W pixels are (latent_channels, 1 + (F - 1) / 4, H / 8, W / 8) for three autoencoder levels.

    Args:
        texts: sentences whose words the tokenizer knows.
        sizes: see `SmallWanConfig`.
        vae: a trained autoencoder to use instead of a random one; its latents must have ``sizes.latent_channels``.
        settings: sizes and sampling that a `PipelineGenerator` over it takes over.
        seed: draws the weights.
    """
    sizes = sizes or SmallWanConfig()
    tokenizer = word_tokenizer(texts, settings.max_text_tokens)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        pipeline = WanPipeline(
            tokenizer=tokenizer,
            text_encoder=_text_encoder(sizes, len(tokenizer)),
            vae=_autoencoder(sizes) if vae is None else vae,
            scheduler=UniPCMultistepScheduler(
                prediction_type="flow_prediction", use_flow_sigmas=True, flow_shift=sizes.flow_shift
            ),
            transformer=_transformer(sizes),
            transformer_2=None if sizes.boundary is None else _transformer(sizes),
            boundary_ratio=sizes.boundary,
            expand_timesteps=sizes.is_second,
        )
    setattr(pipeline, NOTED_SETTINGS, settings)
    return pipeline


def small_wan_generator(
    texts: Iterable[str],
    sizes: SmallWanConfig | None = None,
    *,
    settings: SamplingSettings = SMALL_SETTINGS,
    vae: AutoencoderKLWan | None = None,
    name: str = "small",
    seed: int = 0,
) -> PipelineGenerator:
    """A generator over `small_wan_pipeline` that samples what ``settings`` say."""
    return PipelineGenerator(small_wan_pipeline(texts, sizes, vae=vae, settings=settings, seed=seed), settings, name)


def small_autoencoder(sizes: SmallWanConfig | None = None, *, seed: int = 0) -> AutoencoderKLWan:
    """The autoencoder of `small_wan_pipeline` alone, with random weights, for its pretraining."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return _autoencoder(sizes or SmallWanConfig())


def load_autoencoder(folder: str | Path) -> AutoencoderKLWan:
    """The AutoencoderKLWan that ``save_pretrained`` wrote into ``folder``, in float32.

    Raises:
        ModelError: there is none.
    """
    if not (Path(folder) / "config.json").is_file():
        raise ModelError(f"vae: {folder} holds no autoencoder (config.json); pretrain one first.")
    return AutoencoderKLWan.from_pretrained(folder, dtype=torch.float32).eval()


def _text_encoder(sizes: SmallWanConfig, num_words: int) -> UMT5EncoderModel:
    config = UMT5Config(
        vocab_size=num_words,
        d_model=sizes.text_width,
        d_kv=sizes.text_width // sizes.text_heads,
        d_ff=2 * sizes.text_width,
        num_layers=sizes.text_layers,
        num_heads=sizes.text_heads,
        dropout_rate=0.0,
        pad_token_id=0,
        eos_token_id=1,
        decoder_start_token_id=0,
        is_encoder_decoder=False,
    )
    return UMT5EncoderModel(config).eval()


def _autoencoder(sizes: SmallWanConfig) -> AutoencoderKLWan:
    levels = len(sizes.vae_multipliers)
    return AutoencoderKLWan(
        base_dim=sizes.vae_width,
        z_dim=sizes.latent_channels,
        dim_mult=list(sizes.vae_multipliers),
        num_res_blocks=sizes.vae_blocks,
        temperal_downsample=[False] * (levels - 3) + [True] * min(2, levels - 1),
        patch_size=2,
        is_residual=sizes.is_second,
        in_channels=12,
        out_channels=12,
        scale_factor_temporal=2 ** min(2, levels - 1),
        scale_factor_spatial=2**levels,
        latents_mean=[0.0] * sizes.latent_channels,
        latents_std=[1.0] * sizes.latent_channels,
    ).eval()


def _transformer(sizes: SmallWanConfig) -> WanTransformer3DModel:
    return WanTransformer3DModel(
        patch_size=(1, 2, 2),
        num_attention_heads=sizes.num_heads,
        attention_head_dim=sizes.head_width,
        in_channels=sizes.latent_channels,
        out_channels=sizes.latent_channels,
        text_dim=sizes.text_width,
        freq_dim=sizes.time_width,
        ffn_dim=int(sizes.num_heads * sizes.head_width * sizes.ffn_ratio),
        num_layers=sizes.num_layers,
        rope_max_seq_len=64,
    ).eval()
