"""How a transformer is computed, which decides its outputs in the last digits."""

from __future__ import annotations

from collections.abc import Sequence

from diffusers.models.attention_dispatch import _AttentionBackendRegistry
from torch import nn


def attention_of(transformers: Sequence[nn.Module]) -> str:
    """Names of what computes the attention layers of some diffusers transformers, as ``native`` or ``native,compiled``.

    A layer has its own, as ``set_attention_backend`` sets it, or that of the whole process, which the environment's
    ``DIFFUSERS_ATTN_BACKEND`` names.
    """
    usual = _AttentionBackendRegistry.get_active_backend()[0]
    processors = [
        module.processor
        for transformer in transformers
        for module in transformer.modules()
        if hasattr(module, "processor")
    ]
    found = {getattr(processor, "_attention_backend", None) or usual for processor in processors} or {usual}
    compiled = any(module._compiled_call_impl for one in transformers for module in one.modules())
    return ",".join([*sorted(backend.value for backend in found), *(["compiled"] if compiled else [])])
