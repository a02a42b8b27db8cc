"""The sentences of the sprite world."""

from __future__ import annotations

from collections import Counter
from itertools import product

import pytest

from videoalign.worlds.sprites.prompts import (
    ALL_SENTENCES,
    COLOURS,
    HELD_OUT_SENTENCES,
    MOTIONS,
    SHAPES,
    TEMPLATES,
    TRAIN_SENTENCES,
    Sentence,
    is_held_out,
    parse,
)

ATTRIBUTES = {"colour": tuple(COLOURS), "shape": SHAPES, "motion": tuple(MOTIONS)}


def test_every_combination_is_a_sentence_once() -> None:
    assert len(ALL_SENTENCES) == len(set(ALL_SENTENCES)) == len(COLOURS) * len(SHAPES) * len(MOTIONS) == 144


@pytest.mark.parametrize("template", range(len(TEMPLATES)))
def test_parse_inverts_text_in_every_template(template: int) -> None:
    assert [parse(sentence.text(template)) for sentence in ALL_SENTENCES] == list(ALL_SENTENCES)
    assert len({sentence.text(template) for sentence in ALL_SENTENCES}) == 144


def test_templates_count_round() -> None:
    sentence = ALL_SENTENCES[0]
    assert sentence.text(len(TEMPLATES)) == sentence.text(0) != sentence.text(1)


def test_parse_reads_capitals_and_commas() -> None:
    assert parse("One Red, CIRCLE that moves  left") == Sentence("red", "circle", "moves left")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "a red circle",
        "a circle moves left",
        "a red thing moves left",
        "a red blue circle moves left",
        "a red circle moves left and grows",
        "a cat on a sofa",
    ],
)
def test_parse_refuses_what_does_not_name_one_of_each(text: str) -> None:
    with pytest.raises(ValueError, match="one colour, one shape and one motion"):
        parse(text)


def test_a_quarter_is_held_out_and_the_two_parts_share_nothing() -> None:
    assert len(HELD_OUT_SENTENCES) * 4 == len(ALL_SENTENCES)
    assert set(TRAIN_SENTENCES) | set(HELD_OUT_SENTENCES) == set(ALL_SENTENCES)
    assert not set(TRAIN_SENTENCES) & set(HELD_OUT_SENTENCES)
    assert all(is_held_out(sentence) for sentence in HELD_OUT_SENTENCES)


@pytest.mark.parametrize("attribute", ATTRIBUTES)
def test_held_out_sentences_are_spread_evenly(attribute: str) -> None:
    values = ATTRIBUTES[attribute]
    counts = Counter(getattr(sentence, attribute) for sentence in HELD_OUT_SENTENCES)
    assert all(abs(counts[value] - 36 / len(values)) <= 1 for value in values)


@pytest.mark.parametrize(("first", "second"), [("colour", "shape"), ("colour", "motion"), ("shape", "motion")])
def test_every_two_attributes_are_seen_together_in_training(first: str, second: str) -> None:
    """What is held out are combinations of three; nothing in them is new two by two."""
    seen = {(getattr(sentence, first), getattr(sentence, second)) for sentence in TRAIN_SENTENCES}
    assert seen == set(product(ATTRIBUTES[first], ATTRIBUTES[second]))
