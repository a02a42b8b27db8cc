"""Texts that people and programs send: what may be stored, shown to others and sent back."""

from __future__ import annotations

import re
import unicodedata
from typing import Annotated

from pydantic import AfterValidator, StringConstraints

# Halves of surrogate pairs cannot be encoded, PostgreSQL stores no NUL, other control characters act on a terminal, and
# marks of direction (U+202A to U+202E, U+2066 to U+2069) make what stands beside them read as something else.
_UNFIT = "\0-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff\u202a-\u202e\u2066-\u2069"
_IN_LINES = re.compile(f"[{_UNFIT}]")
_IN_A_LINE = re.compile(f"[{_UNFIT}\t\n\r\u2028\u2029]")
_INVISIBLE = {"Zs", "Cf"}


def require_lines(text: str) -> str:
    """The text, which may have several lines.

    Raises:
        ValueError: it holds a character that must not be stored.
    """
    return _require_none(_IN_LINES, text)


def require_line(text: str) -> str:
    """The text, where it fits on one line.

    Raises:
        ValueError: it holds a line break, a tab, or a character that must not be stored.
    """
    return _require_none(_IN_A_LINE, text)


def require_visible(text: str) -> str:
    """The text, where there is something to be seen in it.

    Raises:
        ValueError: it consists of spaces and invisible characters.
    """
    if all(unicodedata.category(character) in _INVISIBLE for character in text):
        raise ValueError("must hold a letter, a digit or a sign that can be seen")
    return text


def _require_none(unfit: re.Pattern[str], text: str) -> str:
    found = unfit.search(text)
    if found is not None:
        raise ValueError(f"must not hold the character U+{ord(found[0]):04X}; leave it out")
    return text


Lines = Annotated[str, AfterValidator(require_lines)]
"""A text of any number of lines; may be empty."""
Line = Annotated[str, AfterValidator(require_line)]
"""A text on one line; may be empty."""
Name = Annotated[
    str,
    StringConstraints(strip_whitespace=True, min_length=1),
    AfterValidator(require_line),
    AfterValidator(require_visible),
]
"""What somebody or something is called."""
