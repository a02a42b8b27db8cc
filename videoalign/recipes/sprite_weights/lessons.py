"""What the base of the reward is taught: clips of the sprite world, questions about them and their answers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from videoalign.contracts.records import DEFAULT_DIMENSIONS
from videoalign.models.small_qwen import SmallTokenizer, small_tokenizer
from videoalign.models.videoreward.processing import Patches, VideoProcessor, sample_indices
from videoalign.models.videoreward.prompt import Chat, default_template
from videoalign.recipes.reward.base import SPRITES_LIMITS
from videoalign.worlds.sprites.prompts import ALL_SENTENCES, COLOURS, MOTIONS, SHAPES, TEMPLATES
from videoalign.worlds.sprites.renderer import FPS, NUM_FRAMES, SIZE_PX, Scene, trajectory
from videoalign.worlds.sprites.web import lie_about, sample_clip

FRAMES = sample_indices(NUM_FRAMES, FPS, SPRITES_LIMITS)
"""Sixteen of a clip's seventeen."""
NUM_PAIRS = len(FRAMES) // 2
"""Pairs of frames that one patch of the vision tower spans in time."""

WORDS: dict[str, tuple[str, ...]] = {"colour": tuple(COLOURS), "shape": SHAPES, "motion": tuple(MOTIONS)}
"""What each attribute may be."""
ATTRIBUTES = tuple(WORDS)
DESCRIBE = "Describe the clip."
CHECK = "Check the words."
COMPARE = "Prompt: {prompt}\nWhat differs?"
TRACE = "Where is it?"
NOTHING, YES, NO = "nothing", "yes", "no"
NUM_CHECKED = 6
"""Words checked in one lesson."""


class Clips(Sequence[tuple[np.ndarray, Scene]]):
    """Flawed clips of the web, the frames in `FRAMES` and the scene that was drawn; they depend on (seed, index) alone.

    Rendered clips are kept: 197 kB each.

    Args:
        num_clips: how many.
        seed: of the scenes.
        codec: what every second clip goes through, frames in and frames out, as clips of the web go through codecs.
    """

    def __init__(self, num_clips: int, seed: int, codec: Callable[[np.ndarray], np.ndarray] | None = None) -> None:
        self.num_clips, self.seed, self.codec = num_clips, seed, codec
        self._render = lru_cache(maxsize=None)(self._draw)

    def __len__(self) -> int:
        return self.num_clips

    def __getitem__(self, index: int) -> tuple[np.ndarray, Scene]:  # type: ignore[override]
        if not 0 <= index < self.num_clips:
            raise IndexError(index)
        return self._render(index)

    def _draw(self, index: int) -> tuple[np.ndarray, Scene]:
        frames, _, scene = sample_clip(np.random.default_rng((self.seed, index)))
        if self.codec is not None and index % 2:
            frames = self.codec(frames)
        return frames[FRAMES], scene


@dataclass(frozen=True, eq=False)
class Lesson:
    """One clip, one question, one answer."""

    clip: int
    """Index of the clip."""
    first_pair: int
    """The lesson shows the pairs of frames from this one on."""
    num_pairs: int
    question: str
    answer: tuple[tuple[str, bool], ...]
    """Words in order, and whether they are to be learnt."""


class Lessons(Sequence[Lesson]):
    """Each clip ``visits`` times, every visit with its own words; depends on (seed, index) alone.

    Args:
        clips: see `Clips`.
        seed: of the questions.
        visits: lessons per clip.
        num_pairs: pairs of frames shown, from 1 to `NUM_PAIRS`.
        shares: of the lessons that describe, check, compare and trace.
    """

    def __init__(
        self, clips: Clips, seed: int, *, visits: int, num_pairs: int, shares: tuple[float, float, float, float]
    ) -> None:
        self.clips, self.seed, self.visits = clips, seed, visits
        self.num_pairs, self.shares = num_pairs, shares

    def __len__(self) -> int:
        return len(self.clips) * self.visits

    def __getitem__(self, index: int) -> Lesson:  # type: ignore[override]
        rng = np.random.default_rng((self.seed, index, 1))
        clip = index % len(self.clips)
        first = int(rng.integers(NUM_PAIRS - self.num_pairs + 1))
        scene = self.clips[clip][1]
        ask = int(rng.choice(4, p=self.shares))
        turn = (describe, check, compare)[ask](scene, rng) if ask < 3 else trace(scene, first, self.num_pairs)
        return Lesson(clip, first, self.num_pairs, *turn)


Turn = tuple[str, tuple[tuple[str, bool], ...]]
"""A question and its answer."""


def describe(scene: Scene, rng: np.random.Generator) -> Turn:
    """Asks for the sentence that was drawn, in any of its wordings, whatever the web said."""
    return DESCRIBE, ((f" {scene.sentence.text(int(rng.integers(len(TEMPLATES))))}", True),)


def check(scene: Scene, rng: np.random.Generator) -> Turn:
    """Asks of single words, every second one right, whether they fit: ``red no , cross yes , moves left yes ,``."""
    parts: list[tuple[str, bool]] = []
    for _ in range(NUM_CHECKED):
        kind = str(rng.choice(ATTRIBUTES))
        fits = bool(rng.random() < 0.5)
        others = [word for word in WORDS[kind] if word != getattr(scene.sentence, kind)]
        word = getattr(scene.sentence, kind) if fits else str(rng.choice(others))
        parts += [(f" {word}", False), (f" {YES if fits else NO}", True), (" ,", False)]
    return CHECK, tuple(parts)


def compare(scene: Scene, rng: np.random.Generator) -> Turn:
    """Asks which attribute a sentence gets wrong; every second one is right."""
    told = lie_about(scene.sentence, rng) if rng.random() < 0.5 else scene.sentence
    wrong = [name for name in ATTRIBUTES if getattr(told, name) != getattr(scene.sentence, name)]
    question = COMPARE.format(prompt=told.text(int(rng.integers(len(TEMPLATES)))))
    return question, ((f" {wrong[0] if wrong else NOTHING}", True),)


def trace(scene: Scene, first_pair: int, num_pairs: int) -> Turn:
    """Asks where the centre is in each pair of frames, in whole pixels: ``20 31 , 24 31 ,``."""
    x, y, _ = np.stack(trajectory(scene))[:, FRAMES].reshape(3, -1, 2).mean(2)  # (NUM_PAIRS,) each
    parts: list[tuple[str, bool]] = []
    for pair in range(first_pair, first_pair + num_pairs):
        places = np.clip(np.rint([x[pair], y[pair]]), 0, SIZE_PX - 1).astype(int)
        parts += [*((f" {place}", True) for place in places), (" ,", False)]
    return TRACE, tuple(parts)


def base_tokenizer() -> SmallTokenizer:
    """Words of the sentences, of the questions and of the default guidelines, and bytes for all else."""
    sentences = [s.text(k) for s in ALL_SENTENCES for k in range(len(TEMPLATES))]
    words = [f" {name}" for name in (NOTHING, YES, NO, *ATTRIBUTES, *range(SIZE_PX))]
    questions = [default_template(DEFAULT_DIMENSIONS), DESCRIBE, CHECK, COMPARE, TRACE]
    return small_tokenizer([*sentences, *[*questions, *words] * 40])


@dataclass(frozen=True, eq=False)
class LessonBatch:
    """Tokens of whole turns with the clips' features."""

    input_ids: Tensor
    """int64 (B, L), padded on the right."""
    weights: Tensor
    """float32 (B, L), 1 / (tokens to be learnt) on those of the answer and 0 elsewhere."""
    features: Tensor
    """float32 (N, H) of all video places, row after row."""


class LessonCollate:
    """Batches lessons over features that the vision tower gave for every clip.

    Args:
        chat: tokens of the base.
        features: float16 (clips, pairs, tokens per pair, H).
    """

    def __init__(self, chat: Chat, features: Tensor) -> None:
        self.chat, self.features = chat, features

    def __call__(self, lessons: Sequence[Lesson]) -> LessonBatch:
        shown = [self.features[n.clip, n.first_pair : n.first_pair + n.num_pairs].flatten(0, 1) for n in lessons]
        rows = []
        for lesson, part in zip(lessons, shown, strict=True):
            tokens = self.chat.tokens(self.chat.turn(lesson.question), len(part))
            learnt = [False] * len(tokens)
            for text, counts in lesson.answer:
                words = self.chat.encode(text)
                tokens, learnt = tokens + words, learnt + [counts] * len(words)
            rows.append((tokens, learnt))
        length = max(len(tokens) for tokens, _ in rows)
        input_ids = torch.full((len(rows), length), self.chat.pad_id)
        weights = torch.zeros(len(rows), length)
        for row, (tokens, learnt) in enumerate(rows):
            input_ids[row, : len(tokens)] = torch.tensor(tokens)
            weights[row, : len(tokens)] = torch.tensor(learnt) / sum(learnt)
        return LessonBatch(input_ids, weights, torch.cat(shown).float())


def read_pairs(
    clips: Sequence[tuple[np.ndarray, Scene]], picks: Sequence[tuple[int, int]], processor: VideoProcessor
) -> tuple[Tensor, Tensor]:
    """Normalised patches and grids of single pairs of frames, named by (clip, pair)."""
    patches: list[Patches] = [processor.read_frames(clips[clip][0][2 * pair : 2 * pair + 2]) for clip, pair in picks]
    pixels = processor.normalise(torch.cat([item.values for item in patches]))
    return pixels, torch.tensor([item.grid for item in patches])
