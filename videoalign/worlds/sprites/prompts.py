"""The sentences of the sprite world: one colour, one shape, one motion."""

from __future__ import annotations

import itertools
from dataclasses import dataclass

COLOURS: dict[str, tuple[int, int, int]] = {
    "red": (226, 62, 52),
    "yellow": (238, 208, 58),
    "green": (66, 184, 88),
    "cyan": (62, 200, 214),
    "blue": (66, 98, 236),
    "purple": (186, 76, 214),
}
"""Name to sRGB; hues at least 40 degrees apart."""

SHAPES: tuple[str, ...] = ("circle", "square", "triangle", "cross")

MOTIONS: dict[str, tuple[float, float, float]] = {
    "moves left": (-1.0, 0.0, 0.0),
    "moves right": (1.0, 0.0, 0.0),
    "moves up": (0.0, -1.0, 0.0),
    "moves down": (0.0, 1.0, 0.0),
    "grows": (0.0, 0.0, 1.0),
    "shrinks": (0.0, 0.0, -1.0),
}
"""Phrase to its direction (x, y, log size); y points down as in images."""

TEMPLATES: tuple[str, ...] = (
    "a {colour} {shape} {motion}",
    "the {colour} {shape} {motion}",
    "a clip of a {colour} {shape} that {motion}",
    "one {shape} , {colour} , {motion}",
)

HELD_OUT_SHARE = 0.25
"""Share of the combinations that no alignment stage may see."""


@dataclass(frozen=True)
class Sentence:
    """What a prompt asks for."""

    colour: str
    shape: str
    motion: str

    def text(self, template: int = 0) -> str:
        """The sentence in words; ``template`` counts through `TEMPLATES`."""
        pattern = TEMPLATES[template % len(TEMPLATES)]
        return pattern.format(colour=self.colour, shape=self.shape, motion=self.motion)


ALL_SENTENCES: tuple[Sentence, ...] = tuple(Sentence(*parts) for parts in itertools.product(COLOURS, SHAPES, MOTIONS))


def is_held_out(sentence: Sentence) -> bool:
    """True for a quarter of the combinations, spread evenly over colours, shapes and motions."""
    colour = list(COLOURS).index(sentence.colour)
    shape = SHAPES.index(sentence.shape)
    motion = list(MOTIONS).index(sentence.motion)
    return (colour + shape + motion) % round(1 / HELD_OUT_SHARE) == 0


TRAIN_SENTENCES: tuple[Sentence, ...] = tuple(s for s in ALL_SENTENCES if not is_held_out(s))
HELD_OUT_SENTENCES: tuple[Sentence, ...] = tuple(s for s in ALL_SENTENCES if is_held_out(s))


def parse(text: str) -> Sentence:
    """The sentence behind a prompt in any of the templates.

    Raises:
        ValueError: when the text does not name exactly one colour, shape and motion.
    """
    words = text.lower().replace(",", " ").split()
    joined = " ".join(words)
    found = [
        [c for c in COLOURS if c in words],
        [s for s in SHAPES if s in words],
        [m for m in MOTIONS if m in joined],
    ]
    if any(len(names) != 1 for names in found):
        raise ValueError(
            f"not a sentence of this world: {text!r}; wanted one colour, one shape and one motion, "
            "as in 'a red circle moves left'"
        )
    return Sentence(*(names[0] for names in found))
