"""The flawed clips that the base models are pretrained on, as web video is flawed."""

from __future__ import annotations

import numpy as np

from videoalign.worlds.sprites.prompts import ALL_SENTENCES, COLOURS, MOTIONS, SHAPES, TEMPLATES, Sentence
from videoalign.worlds.sprites.renderer import Flaws, Scene, render, sample_scene

LYING_SHARE = 0.24
"""Share of captions in which one of colour, shape and motion is wrong."""


def sample_flaws(rng: np.random.Generator) -> Flaws:
    """Look and motion are each clean in four clips of ten; flawed ones carry one flaw of the kind, of any strength."""
    look, motion = rng.choice(3, p=(0.4, 0.3, 0.3)), rng.choice(3, p=(0.4, 0.3, 0.3))
    return Flaws(
        blur_px=float(rng.uniform(1.8, 4.0)) if look == 1 else 0.0,
        grain=float(rng.uniform(10.0, 20.0)) if look == 2 else 0.0,
        jitter_px=float(rng.uniform(1.5, 3.5)) if motion == 1 else 0.0,
        frozen_share=float(rng.uniform(0.3, 1.0)) if motion == 2 else 0.0,
    )


def lie_about(sentence: Sentence, rng: np.random.Generator) -> Sentence:
    """The sentence with one of its three attributes replaced by another."""
    names = {"colour": list(COLOURS), "shape": list(SHAPES), "motion": list(MOTIONS)}
    attribute = str(rng.choice(list(names)))
    others = [name for name in names[attribute] if name != getattr(sentence, attribute)]
    return Sentence(**{**vars(sentence), attribute: str(rng.choice(others))})


def sample_clip(rng: np.random.Generator, lying_share: float = LYING_SHARE) -> tuple[np.ndarray, str, Scene]:
    """One clip (uint8 (F, H, W, 3)), its caption and the scene that was drawn."""
    sentence = ALL_SENTENCES[int(rng.integers(len(ALL_SENTENCES)))]
    scene = sample_scene(sentence, rng, sample_flaws(rng))
    told = lie_about(sentence, rng) if rng.random() < lying_share else sentence
    return render(scene), told.text(int(rng.integers(len(TEMPLATES)))), scene
