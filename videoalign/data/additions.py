"""Rows that come into tables that are there: one writer at a time, nothing twice, nothing that contradicts what is
there."""

from __future__ import annotations

import dataclasses
import unicodedata
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from filelock import FileLock

from videoalign.contracts.output import plain_errors
from videoalign.contracts.records import HELD_OUT, Clip, Judgement, Prompt, Rating
from videoalign.data.known import require_words
from videoalign.errors import DataError

Record = TypeVar("Record", Prompt, Clip)

LOCK_FILE = ".lock"
"""In a dataset's folder; the operating system lets go of it when its holder ends."""


def plain_text(text: str) -> str:
    """A prompt without what does not make it another prompt: capitals, spacing, and whether an accent is part of its
    letter or a sign of its own."""
    return " ".join(unicodedata.normalize("NFC", text.lower()).split())


class Splits:
    """Where prompts stand that are there already; one that differs in capitals and spacing alone goes with them."""

    def __init__(self, prompts: Iterable[Prompt]) -> None:
        held_out_last = sorted(prompts, key=lambda prompt: prompt.split in HELD_OUT)
        self._by_text = {plain_text(prompt.text): prompt for prompt in held_out_last}

    def joined(self, prompt: Prompt) -> Prompt:
        """A prompt that is new, in the split of those that it goes with; as it is where there are none."""
        near = self._by_text.get(plain_text(prompt.text), prompt)
        return dataclasses.replace(prompt, split=near.split, dealt=near.dealt)


@contextmanager
def alone(folder: Path) -> Iterator[None]:
    """Waits until nobody else is between reading tables of a dataset and writing them anew; not to be nested.

    Raises:
        OutputError: the folder cannot be written.
    """
    file = folder / LOCK_FILE
    lock = FileLock(file)
    with plain_errors(file):
        lock.acquire()
    try:
        yield
    finally:
        file.unlink(missing_ok=True)  # whoever waits for this very file sees that it is gone and makes another
        lock.release()


def joined(
    have: list[Record], more: Iterable[Record], key: Callable[[Record], str], kept: Collection[str] = ()
) -> list[Record]:
    """What is there and, behind it, what is new.

    Args:
        have: is there and stays.
        more: may be there already.
        key: of a row.
        kept: columns in which what is there holds, whatever the other says.

    Raises:
        DataError: the same key with another value in one of the other columns.
    """
    rows = {key(row): row for row in have}
    for row in more:
        old = rows.setdefault(key(row), row)
        for field in dataclasses.fields(row):
            was, now = getattr(old, field.name), getattr(row, field.name)
            if was != now and field.name not in kept:
                raise DataError(
                    f"'{key(row)}' is in the dataset with {field.name} '{was}'; got '{now}'. Give it another id."
                )
    return list(rows.values())


def require_known(
    prompts: Iterable[Prompt],
    clips: Iterable[Clip],
    said: Iterable[Judgement | Rating],
    require_dimension: Callable[[str, str], Any],
) -> None:
    """Checks rows that are to be added.

    Args:
        prompts: all of the dataset.
        clips: all of the dataset.
        said: what is to be added.
        require_dimension: see `Dataset.require_dimension`.

    Raises:
        DataError: a clip of an unknown prompt, a judgement or rating of an unknown clip, dimension, label or role.
    """
    prompt_ids, clip_ids = {row.prompt_id for row in prompts}, set()
    for clip in clips:
        clip_ids.add(clip.clip_id)
        if clip.prompt_id not in prompt_ids:
            raise DataError(
                f"clip '{clip.clip_id}': its prompt '{clip.prompt_id}' is not in the dataset; add it first."
            )
    for row in said:
        named = (row.clip_a, row.clip_b) if isinstance(row, Judgement) else (row.clip_id,)
        for clip_id in named:
            if clip_id not in clip_ids:
                raise DataError(f"{row.source_row or row}: clip '{clip_id}' is not in the dataset; add it first.")
        require_dimension(row.dimension, row.source_row or "judgement")
        if isinstance(row, Judgement):
            require_words(row)
