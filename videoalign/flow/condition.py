"""What a velocity is asked for besides latents and time: the text, and whatever else a model reads."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

PICTURE, IMAGE, BEGINNING = "picture", "image", "beginning"
"""Tensors of a picture that is asked with beside a text: what is read beside latents, states of an encoder, and latents
(B, C, frames, H, W) that stand in the place of the first ones, whatever noise is there."""

OF_PICTURES = frozenset({PICTURE, IMAGE, BEGINNING})
"""All of them."""


@dataclass(frozen=True, eq=False)
class Condition:
    """Named tensors with a row for each clip of a batch, as ``text`` (B, L, D), ``text_mask`` (B, L) or ``image``.

    Rows of texts differ in length. They are kept and strung together at their own lengths, and what a model reads is
    filled up with zeros: to ``lengths`` where the model wants every text at one length, as Wan does, and else to the
    longest of the batch, of which a mask then tells.
    """

    tensors: Mapping[str, Tensor]
    """(B, ...) each, of one B."""
    lengths: Mapping[str, int] = field(default_factory=dict)
    """Size of dimension 1 that a tensor is read at, by its name; the other tensors are read as they are."""

    def __len__(self) -> int:
        return len(next(iter(self.tensors.values())))

    def __getitem__(self, name: str) -> Tensor:
        """A tensor as the model reads it, zeros at the end included."""
        value = self.tensors[name]
        return _filled(value, self.lengths.get(name, value.shape[1] if value.ndim > 1 else 0))

    @property
    def given_frames(self) -> int:
        """Latent frames that a clip begins with whatever the network says: their velocity is no prediction."""
        return self.tensors[BEGINNING].shape[2] if BEGINNING in self.tensors else 0

    def rows(self, chosen: slice | Sequence[int] | Tensor) -> Condition:
        """Some of the rows, or some of them several times."""
        return self._each(lambda value: value[chosen])

    def split(self) -> list[Condition]:
        """The rows one by one, each without the zeros that ``lengths`` adds again."""
        return [
            Condition(
                {name: _trimmed(value[row : row + 1], name in self.lengths) for name, value in self.tensors.items()},
                self.lengths,
            )
            for row in range(len(self))
        ]

    def chunk(self, num: int) -> list[Condition]:
        """The rows in ``num`` equal parts."""
        size = len(self) // num
        return [self.rows(slice(begin, begin + size)) for begin in range(0, size * num, size)]

    def repeat(self, times: int) -> Condition:
        """All rows, and all of them again, ``times`` in all."""
        return self._each(lambda value: value.repeat(times, *[1] * (value.ndim - 1)))

    def expand(self, num: int) -> Condition:
        """The one row for each of ``num`` clips, or the ``num`` rows as they are.

        Raises:
            ValueError: neither 1 nor ``num`` rows.
        """
        if len(self) not in (1, num):
            raise ValueError(f"a condition of {len(self)} rows cannot serve {num} clips")
        return self._each(lambda value: value.expand(num, *value.shape[1:]))

    def beside(self, other: Condition) -> Condition:
        """This text beside the picture of ``other``, where there is one."""
        pictures = {name: value for name, value in other.tensors.items() if name in OF_PICTURES}
        return Condition({**self.tensors, **pictures}, self.lengths)

    def to(self, *target: Any, **options: Any) -> Condition:
        """As `torch.Tensor.to`, for each tensor."""
        return self._each(lambda value: value.to(*target, **options))

    def detach(self) -> Condition:
        """The same values, with no gradient into them and of no inference mode."""
        return self._each(lambda value: value.detach().clone())

    def _each(self, change: Any) -> Condition:
        return Condition({name: change(value) for name, value in self.tensors.items()}, self.lengths)


def join_conditions(parts: Iterable[Condition]) -> Condition:
    """The rows of all parts, in order, at the length of the longest.

    Raises:
        ValueError: no parts, or parts with other tensors or lengths than the first.
    """
    parts = list(parts)
    if not parts:
        raise ValueError("no conditions to join")
    first = parts[0]
    if any(part.tensors.keys() != first.tensors.keys() or part.lengths != first.lengths for part in parts):
        raise ValueError("conditions of other tensors or lengths cannot be joined")
    return Condition({name: _joined([part.tensors[name] for part in parts]) for name in first.tensors}, first.lengths)


def _joined(values: Sequence[Tensor]) -> Tensor:
    longest = max(value.shape[1] if value.ndim > 1 else 0 for value in values)
    return torch.cat([_filled(value, longest) for value in values])


def _filled(value: Tensor, length: int) -> Tensor:
    """Zeros at the end of dimension 1 up to a length; as it is where it is longer, or has no such dimension."""
    missing = length - value.shape[1] if value.ndim > 1 else 0
    return value if missing <= 0 else F.pad(value, [0, 0] * (value.ndim - 2) + [0, missing])


def _trimmed(value: Tensor, is_filled: bool) -> Tensor:
    """A row (1, L, ...) without the zeros at the end of dimension 1; one of zeros alone keeps one."""
    if not is_filled:
        return value
    used = value[0].reshape(value.shape[1], -1).any(1).nonzero()
    return value[:, : int(used[-1]) + 1 if len(used) else 1]
