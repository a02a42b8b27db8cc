"""What the output of a Wan pipeline depends on, as short strings."""

from __future__ import annotations

import json
from typing import Any
from weakref import WeakKeyDictionary

from diffusers import WanPipeline

from videoalign.contracts.output import fingerprint
from videoalign.models.digest import adapter_digest, config_digest, weights_digest
from videoalign.models.generators.settings import SamplingSettings

_TOKENIZERS: WeakKeyDictionary[Any, tuple[int, str]] = WeakKeyDictionary()


def training_identity(pipeline: WanPipeline, settings: SamplingSettings) -> dict[str, str]:
    """What latents, text states and adapters depend on; adapters on the transformer are left out."""
    text = [_weighed(pipeline.text_encoder), _tokenizer(pipeline.tokenizer), settings.max_text_tokens]
    return {
        "transformer": _weighed(pipeline.transformer),
        "autoencoder": _weighed(pipeline.vae),
        "text_encoder": fingerprint(text),
        "size": fingerprint(settings.model_dump(include={"num_frames", "height", "width"})),
    }


def sampling_identity(pipeline: WanPipeline, settings: SamplingSettings) -> dict[str, Any]:
    """What a clip depends on besides its prompt, its seed and `training_identity`."""
    parts = (pipeline.transformer, pipeline.text_encoder, pipeline.vae)
    return {
        "scheduler": fingerprint([config_digest(pipeline.scheduler), getattr(pipeline.scheduler, "shift", None)]),
        "dtype": "/".join(str(part.dtype).removeprefix("torch.") for part in parts),
        "adapter": adapter_digest(pipeline.transformer),
        **settings.model_dump(exclude={"known_words_only", "max_text_tokens"}),
    }


def _weighed(part: Any) -> str:
    return fingerprint([weights_digest(part), config_digest(part)])


def _tokenizer(tokenizer: Any) -> str:
    known = _TOKENIZERS.get(tokenizer)
    if known is None or known[0] != len(tokenizer):
        backend = getattr(tokenizer, "backend_tokenizer", None)
        rules = json.loads(backend.to_str()) if backend is not None else tokenizer.get_vocab()
        for name in ("truncation", "padding"):  # as the last call left them
            rules.pop(name, None)
        special = {name: str(value) for name, value in tokenizer.special_tokens_map.items()}
        known = _TOKENIZERS[tokenizer] = len(tokenizer), fingerprint([rules, special, tokenizer.padding_side])
    return known[1]
