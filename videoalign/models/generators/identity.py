"""What the output of a pipeline's parts depends on, as short strings."""

from __future__ import annotations

import json
from typing import Any
from weakref import WeakKeyDictionary

from videoalign.contracts.output import fingerprint
from videoalign.models.digest import config_digest, weights_digest

_TOKENIZERS: WeakKeyDictionary[Any, tuple[int, str]] = WeakKeyDictionary()


def part_identity(part: Any) -> str:
    """Of a part with weights: they and its settings; adapters are left out."""
    return fingerprint([weights_digest(part), config_digest(part)])


def scheduler_identity(scheduler: Any) -> str:
    """Of a scheduler: its class, its settings and its shift."""
    return fingerprint([config_digest(scheduler), getattr(scheduler, "shift", None)])


def tokenizer_identity(tokenizer: Any) -> str:
    """Of a tokenizer: its rules and words, whatever it was last asked for."""
    known = _TOKENIZERS.get(tokenizer)
    if known is None or known[0] != len(tokenizer):
        backend = getattr(tokenizer, "backend_tokenizer", None)
        rules = json.loads(backend.to_str()) if backend is not None else tokenizer.get_vocab()
        for name in ("truncation", "padding"):  # as the last call left them
            rules.pop(name, None)
        special = {name: str(value) for name, value in tokenizer.special_tokens_map.items()}
        known = _TOKENIZERS[tokenizer] = len(tokenizer), fingerprint([rules, special, tokenizer.padding_side])
    return known[1]
