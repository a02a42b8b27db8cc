"""Names that PEFT gives to modules that it saves whole."""

from __future__ import annotations

import torch

from videoalign.models.videoreward.official_state import LoraScale, merge_state


def test_a_module_that_was_saved_whole_takes_the_place_of_the_original() -> None:
    prefix, old, new = "base_model.model.", torch.ones(2, 2), 2 * torch.ones(2, 2)
    state = {
        f"{prefix}{module}.{kind}.weight": value
        for module in ("model.embed_tokens", "rm_head")
        for kind, value in (("modules_to_save.default", new), ("original_module", old))
    }
    merged = merge_state(state, {}, LoraScale(4, 8))
    assert {name: value.mean().item() for name, value in merged.items()} == {
        "language_model.embed_tokens.weight": 2.0,
        "rm_head.weight": 2.0,
    }
