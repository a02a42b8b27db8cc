"""Small video-language models with their own tokenizer: the classes of the real ones, sized for two CPU cores."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any, TypeVar

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import (
    PreTrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerFast,
    Qwen2_5_VLConfig,
    Qwen2_5_VLForConditionalGeneration,
    Qwen2VLConfig,
    Qwen2VLForConditionalGeneration,
    Qwen3VLConfig,
    Qwen3VLForConditionalGeneration,
)

from videoalign.contracts.output import whole_folder
from videoalign.models.quiet import no_bars

CHAT_TOKENS = ("<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|vision_start|>", "<|vision_end|>", "<|video_pad|>")

SmallQwen = Qwen2VLForConditionalGeneration
"""What `small_qwen2_vl` makes."""

Model = TypeVar("Model", bound=PreTrainedModel)

SmallTokenizer = PreTrainedTokenizerFast
"""What `small_tokenizer` makes."""


def small_tokenizer(texts: Iterable[str], *, vocab_size: int = 640) -> PreTrainedTokenizerFast:
    """A byte-level BPE learnt from the texts: their frequent words become one token, other text still has tokens."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=list(CHAT_TOKENS),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        eos_token="<|im_end|>",
        pad_token="<|endoftext|>",
        extra_special_tokens=list(CHAT_TOKENS[1:]),
    )


def small_qwen2_vl(
    tokenizer: PreTrainedTokenizerFast,
    *,
    hidden_size: int = 128,
    num_layers: int = 4,
    num_heads: int = 4,
    vision_dim: int = 96,
    vision_depth: int = 3,
    vision_heads: int = 4,
    patch_size: int = 8,
    initializer_range: float = 0.05,
    seed: int = 0,
) -> Qwen2VLForConditionalGeneration:
    """A Qwen2-VL with random weights that depend on the seed alone, float32."""
    config = Qwen2VLConfig(
        text_config=_text(tokenizer, hidden_size, num_layers, num_heads, initializer_range),
        vision_config={
            "depth": vision_depth,
            "embed_dim": vision_dim,
            "hidden_size": hidden_size,
            "mlp_ratio": 2,
            "num_heads": vision_heads,
            "patch_size": patch_size,
            "initializer_range": initializer_range,
        },
        **_shared(tokenizer),
    )
    return _seeded(Qwen2VLForConditionalGeneration, config, seed)


def small_qwen2_5_vl(
    tokenizer: PreTrainedTokenizerFast,
    *,
    hidden_size: int = 32,
    num_layers: int = 2,
    num_heads: int = 2,
    vision_dim: int = 32,
    vision_depth: int = 3,
    vision_heads: int = 2,
    patch_size: int = 8,
    initializer_range: float = 0.05,
    seed: int = 0,
) -> Qwen2_5_VLForConditionalGeneration:
    """A Qwen2.5-VL with random weights that depend on the seed alone, float32; the second layer of its tower attends to
    whole frames, the others within windows of 4 x 4 patches."""
    config = Qwen2_5_VLConfig(
        text_config=_text(tokenizer, hidden_size, num_layers, num_heads, initializer_range),
        vision_config={
            "depth": vision_depth,
            "hidden_size": vision_dim,
            "intermediate_size": 2 * vision_dim,
            "out_hidden_size": hidden_size,
            "num_heads": vision_heads,
            "patch_size": patch_size,
            "window_size": 4 * patch_size,
            "fullatt_block_indexes": [1],
            "tokens_per_second": 2,
            "initializer_range": initializer_range,
        },
        **_shared(tokenizer),
    )
    return _seeded(Qwen2_5_VLForConditionalGeneration, config, seed)


def small_qwen3_vl(
    tokenizer: PreTrainedTokenizerFast,
    *,
    hidden_size: int = 32,
    num_layers: int = 3,
    num_heads: int = 2,
    vision_dim: int = 32,
    vision_depth: int = 3,
    vision_heads: int = 2,
    patch_size: int = 8,
    initializer_range: float = 0.05,
    seed: int = 0,
) -> Qwen3VLForConditionalGeneration:
    """A Qwen3-VL with random weights that depend on the seed alone, float32; features from the first two layers of its
    tower are added in the first two of its language model."""
    text = _text(tokenizer, hidden_size, num_layers, num_heads, initializer_range)
    text["rope_parameters"]["mrope_interleaved"] = True
    config = Qwen3VLConfig(
        text_config={**text, "head_dim": hidden_size // num_heads},
        vision_config={
            "depth": vision_depth,
            "hidden_size": vision_dim,
            "intermediate_size": 2 * vision_dim,
            "out_hidden_size": hidden_size,
            "num_heads": vision_heads,
            "patch_size": patch_size,
            "num_position_embeddings": 64,
            "deepstack_visual_indexes": [0, 1],
            "initializer_range": initializer_range,
        },
        **_shared(tokenizer),
    )
    return _seeded(Qwen3VLForConditionalGeneration, config, seed)


def _text(
    tokenizer: PreTrainedTokenizerFast, hidden_size: int, num_layers: int, num_heads: int, initializer_range: float
) -> dict[str, Any]:
    quarter = hidden_size // num_heads // 8
    return {
        "vocab_size": len(tokenizer),
        "hidden_size": hidden_size,
        "intermediate_size": 2 * hidden_size,
        "num_hidden_layers": num_layers,
        "num_attention_heads": num_heads,
        "num_key_value_heads": max(1, num_heads // 2),
        "max_position_embeddings": 8192,
        "initializer_range": initializer_range,
        "rope_parameters": {
            "rope_type": "default",
            "rope_theta": 1000.0,
            "mrope_section": [2 * quarter, quarter, quarter],
        },
        "bos_token_id": tokenizer.convert_tokens_to_ids("<|endoftext|>"),
        "eos_token_id": tokenizer.convert_tokens_to_ids("<|im_end|>"),
        "pad_token_id": None,
    }


def _shared(tokenizer: PreTrainedTokenizerFast) -> dict[str, Any]:
    ids = {token: tokenizer.convert_tokens_to_ids(token) for token in CHAT_TOKENS}
    return {
        "image_token_id": ids["<|video_pad|>"],
        "video_token_id": ids["<|video_pad|>"],
        "vision_start_token_id": ids["<|vision_start|>"],
        "vision_end_token_id": ids["<|vision_end|>"],
        "tie_word_embeddings": True,
    }


def _seeded(cls: type[Model], config: PreTrainedConfig, seed: int) -> Model:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return cls(config)


def write_base(folder: str | Path, model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast) -> None:
    """Writes model and tokenizer as one transformers folder, whole or not at all.

    Raises:
        OutputError: the disk is full or the place cannot be written.
    """
    with no_bars(), whole_folder(folder) as aside:
        model.save_pretrained(aside)
        tokenizer.save_pretrained(aside)
