"""Verdicts however they are written: words that everybody uses, words of one format, and what the settings say."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from pydantic import field_validator

from videoalign.contracts.records import Label
from videoalign.data.formats.common import ImportOptions
from videoalign.errors import DataError

LABELS: dict[str, Label] = {
    "a": Label.A,
    "b": Label.B,
    "same": Label.TIE,
    "tie": Label.TIE,
    "equal": Label.TIE,
    "draw": Label.TIE,
    "both_bad": Label.BOTH_BAD,
    "both bad": Label.BOTH_BAD,
    "bothbad": Label.BOTH_BAD,
    "tie (bothbad)": Label.BOTH_BAD,
    "invalid": Label.INVALID,
}
"""How verdicts are written, in small letters."""

SIDES = {"left": Label.A, "right": Label.B}
"""Verdicts that say where a clip stood, where the first one stood on the left."""


class VerdictOptions(ImportOptions):
    """Settings of every importer of verdicts."""

    verdicts: dict[str, Label] = {}
    """What verdicts mean that are written in another way, as in ``verdicts.won=A`` or ``'verdicts={1: A, 0.5: tie, 0:
    B}'``; default: as the format writes them."""

    @field_validator("verdicts", mode="before")
    @classmethod
    def _as_labels(cls, given: Any) -> Any:
        if not isinstance(given, Mapping):
            return given
        return {str(word): LABELS.get(str(meaning).lower(), meaning) for word, meaning in given.items()}


def known_verdicts(options: VerdictOptions, usual: Mapping[str, Label] = LABELS) -> dict[str, Label]:
    """Labels by how they are written, for `normalise_label`; what the settings say goes first.

    Args:
        options: of the import.
        usual: how this format writes them, in small letters.
    """
    return {**usual, **{word_of(word): label for word, label in options.verdicts.items()}}


def normalise_label(text: str, column: str, known: Mapping[str, Label]) -> Label:
    """A verdict however it is written.

    Args:
        text: of the cell.
        column: for the message.
        known: see `known_verdicts`.

    Raises:
        DataError: it is none of them.
    """
    label = known.get(word_of(text))
    if label is None:
        wanted = "A, B, same, tie, both_bad or invalid" if known.keys() >= LABELS.keys() else ", ".join(known)
        raise DataError(f"column '{column}': '{text}' is not a verdict; wanted {wanted}{hint(text)}.")
    return label


def hint(text: str) -> str:
    """How to say what a word means."""
    return f", or say what it means with verdicts={{'{text[:20]}': A}} and the like"


@lru_cache(maxsize=4096)
def word_of(text: str) -> str:
    """A word without capitals; numbers that are equal, as 1 and 1.0, are one."""
    word = text.strip().lower()
    return f"{float(word):g}" if re.fullmatch(r"[+-]?[0-9]+(\.[0-9]*)?", word) else word
