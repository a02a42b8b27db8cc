"""Running a backbone of transformers over clips and text: vision tower, positions, language model."""

from __future__ import annotations

from dataclasses import dataclass, replace
from types import MethodType
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from videoalign.models.videoreward.families import find_family

FRAME_ATTENTION = "sdpa_frames"


@dataclass(frozen=True, eq=False)
class ModelInputs:
    """A padded batch for the backbone."""

    input_ids: Tensor
    """int64 (B, L), padded on the right."""
    lengths: Tensor
    """int64 (B,), tokens before the padding."""
    pixels: Tensor
    """float32 (N, 3 * K), patches of all clips one after the other."""
    grids: Tensor
    """int64 (B, 3), each clip's (gt, gh, gw)."""
    seconds_per_patch: Tensor | None = None
    """float32 (B,), how much of its clip a temporal patch stands for; None where that is not known."""

    def to(self, device: torch.device | str) -> ModelInputs:
        """The same batch on another device."""
        moved = {name: value.to(device) for name, value in vars(self).items() if value is not None}
        return replace(self, **moved)


def hidden_states(model: Any, inputs: ModelInputs, embeddings: Tensor, positions: str) -> Tensor:
    """Last hidden states (B, L, H) of token embeddings (B, L, H) whose video places take the clips' features.

    No padding mask is needed: attention is causal and padding stands on the right, so no real token sees it.

    Args:
        model: a backbone of one of the `families`, without language-model head.
        inputs: a batch.
        embeddings: of its tokens.
        positions: see `families.POSITIONS`.

    Raises:
        VideoError: the positions need the seconds of the clips, and these are not known.
    """
    features, deeper = _tower(model.visual, inputs.pixels, inputs.grids)
    is_video = inputs.input_ids == model.config.video_token_id
    embeddings = embeddings.masked_scatter(is_video[..., None], features.to(embeddings.dtype))
    rows = position_ids(model, inputs) if positions == "mrope" else plain_positions(inputs.input_ids)
    added = {"visual_pos_masks": is_video, "deepstack_visual_embeds": deeper} if deeper else {}
    output = model.language_model(inputs_embeds=embeddings, position_ids=rows, use_cache=False, **added)
    return output.last_hidden_state


def plain_positions(input_ids: Tensor) -> Tensor:
    """0..L-1 on each of the three axes, (3, B, L)."""
    num_rows, length = input_ids.shape
    return torch.arange(length, device=input_ids.device).expand(3, num_rows, length)


def position_ids(model: Any, inputs: ModelInputs) -> Tensor:
    """M-RoPE positions (3, B, L), as transformers computes them."""
    kinds = 2 * (inputs.input_ids == model.config.video_token_id).int()
    real = torch.arange(inputs.input_ids.shape[1], device=inputs.input_ids.device) < inputs.lengths[:, None]
    pace = find_family(model.config.model_type).pace(inputs.seconds_per_patch)
    rows, _ = model.get_rope_index(
        inputs.input_ids, mm_token_type_ids=kinds, video_grid_thw=inputs.grids, attention_mask=real.long(), **pace
    )
    return rows


def video_features(visual: Any, pixels: Tensor, grids: Tensor) -> Tensor:
    """Merged features (N / merge^2, H) of patches (N, 3 * K) with grids (B, 3)."""
    return _tower(visual, pixels, grids)[0]


def _tower(visual: Any, pixels: Tensor, grids: Tensor) -> tuple[Tensor, list[Tensor]]:
    """Merged features, and those from inside the tower that the first layers of some language models add.

    No frame attends to another. When all frames of the batch have one size, layers that attend to whole frames run them
    as one batched attention, otherwise one after the other, with the same result.
    """
    frame_sizes = (grids[:, 1] * grids[:, 2]).unique()
    pixels, together = pixels.to(visual.dtype), {}
    if len(frame_sizes) == 1 and visual.config._attn_implementation == FRAME_ATTENTION:
        whole = torch.tensor([0, len(pixels)], dtype=torch.int32, device=pixels.device)
        together = {"cu_seqlens": whole, "frame_size": int(frame_sizes)}
    output = visual(pixels, grid_thw=grids, **together)
    return output.pooler_output, getattr(output, "deepstack_features", None) or []


def _frame_attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float,
    frame_size: int | None = None,
    **_: object,
) -> tuple[Tensor, None]:
    """Attention of (1, heads, N, d) within blocks of ``frame_size``, or over all N where that is a window of a frame;
    gives (1, N, heads, d)."""
    heads, length, width = query.shape[1:]
    size = frame_size if frame_size and length % frame_size == 0 else length
    split = (heads, length // size, size, width)
    query, key, value = (x[0].reshape(split).transpose(0, 1) for x in (query, key, value))
    out = F.scaled_dot_product_attention(query, key, value, scale=scaling)  # (frames, heads, size, d)
    return out.transpose(1, 2).reshape(1, length, heads, width), None


ALL_ATTENTION_FUNCTIONS.register(FRAME_ATTENTION, _frame_attention)


def use_frame_attention(model: Any) -> None:
    """Lets the vision tower run equal frames together; only where it would run sdpa anyway."""
    if model.visual.config._attn_implementation == "sdpa":
        model.visual.config._attn_implementation = FRAME_ATTENTION


def use_patch_products(model: Any) -> None:
    """Lets the vision tower take in patches as one matrix product while nothing is learnt.

    A convolution whose stride is its kernel is the same sum, and slower.
    """
    embed = model.visual.patch_embed
    embed.forward = MethodType(_embed_patches, embed)


def _embed_patches(embed: Any, pixels: Tensor) -> Tensor:
    if torch.is_grad_enabled():
        return type(embed).forward(embed, pixels)
    weight = embed.proj.weight
    return F.linear(pixels.to(weight.dtype), weight.flatten(1), embed.proj.bias)
