"""A prompt that is no text is reported at its index, whatever it is."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from videoalign.errors import DataError
from videoalign.models.videoreward.prompt import Chat


@pytest.mark.parametrize(("prompt", "says"), [
    (None, "it is NoneType"),
    (float("nan"), "it is float"),
    (5, "it is int"),
    (["a cat"], "it is list"),
    ("a face \ud83d", "holds half a character"),
    (" ", "it is empty"),
])  # fmt: skip
def test_a_prompt_that_is_no_text_is_refused(prompt: Any, says: str) -> None:
    chat = SimpleNamespace(tokenizer=SimpleNamespace(added_tokens_decoder={}))
    with pytest.raises(DataError, match=says):
        Chat.check_prompt(chat, prompt)
    Chat.check_prompt(chat, "a cat")
