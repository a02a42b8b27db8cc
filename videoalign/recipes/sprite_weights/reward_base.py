"""Pretrains the small Qwen2-VL that a reward of the sprite world starts from.

Three stages on flawed clips, all answered from the scene that was drawn and never from the caption that the web gave:
the vision tower learns what is where and what it looks like (`look`); the language model, on the finished tower, learns
to describe pairs of frames (colour, shape, motion), to say of single words whether they fit and where the shape is,
then the same for whole clips and to name what a sentence gets wrong. Blur, grain, shaking and freezing are never
named, so no judgement of quality is given away. Every second clip passes through the generator's autoencoder first.

``python -m videoalign.recipes.sprite_weights.reward_base out=runs/pretrain/reward_base``
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

from videoalign.config import Config
from videoalign.contracts.output import claim_folder
from videoalign.models.generators.generator import PipelineGenerator
from videoalign.models.small_qwen import SmallQwen, SmallTokenizer, small_qwen2_vl, write_base
from videoalign.models.videoreward.backbone import plain_positions, use_frame_attention, video_features
from videoalign.models.videoreward.processing import VideoProcessor
from videoalign.models.videoreward.prompt import Chat
from videoalign.randomness import Draws
from videoalign.recipes.generator.generate import open_generator
from videoalign.recipes.reward.base import SPRITES_LIMITS
from videoalign.recipes.sprite_weights.lessons import (
    ATTRIBUTES,
    DESCRIBE,
    NUM_PAIRS,
    WORDS,
    Clips,
    Lesson,
    LessonBatch,
    LessonCollate,
    Lessons,
    base_tokenizer,
    check,
    compare,
    read_pairs,
)
from videoalign.recipes.sprite_weights.look import LookObjective
from videoalign.recipes.sprite_weights.progress import print_row
from videoalign.training.loop import FitConfig, fit
from videoalign.training.objective import Loss, per_group
from videoalign.worlds.sprites.prompts import Sentence


class RewardBaseConfig(Config):
    """Settings of this script."""

    out: str = "runs/pretrain/reward_base"
    """Folder of the checkpoints, the logs and, in ``base``, the finished model."""
    num_clips: int = Field(6000, gt=0)
    """Clips, rendered once; 197 kB of memory each."""
    generator: str = "sprites"
    """Whose autoencoder every second clip passes through: a folder, a hub id, or the one that ships."""
    look: FitConfig = FitConfig(num_steps=1200, batch_size=64)
    """The vision tower's stage; a batch counts pairs of frames."""
    describe: FitConfig = FitConfig(num_steps=300, batch_size=48)
    """Describing, checking and tracing pairs of frames; a batch counts lessons."""
    converse: FitConfig = FitConfig(num_steps=900, batch_size=48)
    """Describing, checking, comparing and tracing whole clips."""
    shares: tuple[float, float, float, float] = (0.15, 0.3, 0.35, 0.2)
    """Of the last stage's lessons, those that describe, check, compare and trace."""
    learning_rate: float = Field(2e-3, gt=0)
    """Peak rate of every stage."""
    num_test_clips: int = Field(600, gt=0)
    """Fresh clips that the accuracy is measured on."""
    seed: int = 0
    """Decides clips, lessons and first weights."""

    def stage(self, name: str) -> FitConfig:
        """Settings of a stage in full."""
        shared = {"learning_rate": self.learning_rate, "warmup_steps": 50, "schedule": "cosine", "seed": self.seed}
        return FitConfig(**{**getattr(self, name).model_dump(), **shared, "betas": (0.9, 0.98), "weight_decay": 0.02})


class AnswerObjective:
    """Next-token cross entropy on the answers, each lesson weighing the same; the vision tower stays as it is."""

    def __init__(self, model: SmallQwen) -> None:
        self.model = model

    def parameter_groups(self) -> list[dict[str, Any]]:
        """The language model; decay on matrices alone."""
        parameters = list(self.model.model.language_model.parameters())
        return [
            {"params": [p for p in parameters if p.ndim > 1]},
            {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0},
        ]

    def loss(self, batch: LessonBatch, draws: Draws) -> Loss:
        """Of each lesson, the mean over answer tokens of -log p(token), in nats."""
        logits, wanted, weights, rows = self.predict(batch)
        right = (logits.detach().argmax(-1) == wanted).float()
        losses = F.cross_entropy(logits, wanted, reduction="none")
        value, accuracy = per_group(torch.stack([losses, right], 1) * weights[:, None], rows, len(batch.input_ids)).T
        return Loss(value, torch.ones_like(value), metrics={"token_accuracy": accuracy})

    def predict(self, batch: LessonBatch) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Of all answer tokens: logits (N, V), the tokens (N,), their weights (N,) and their rows (N,)."""
        embeddings = self.model.get_input_embeddings()(batch.input_ids)
        is_video = (batch.input_ids == self.model.config.video_token_id)[..., None]
        states = self.model.model.language_model(
            inputs_embeds=embeddings.masked_scatter(is_video, batch.features),
            position_ids=plain_positions(batch.input_ids),
            use_cache=False,
        ).last_hidden_state
        rows, columns = batch.weights.nonzero(as_tuple=True)
        logits = self.model.lm_head(states[rows, columns - 1])
        return logits, batch.input_ids[rows, columns], batch.weights[rows, columns], rows

    def state_dict(self) -> Mapping[str, Tensor]:
        """The language model's weights."""
        return {name: p.detach() for name, p in self.model.model.language_model.named_parameters()}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """The inverse of `state_dict`."""
        self.model.model.language_model.load_state_dict(dict(state))


def new_base(seed: int = 0) -> tuple[SmallQwen, SmallTokenizer]:
    """The untrained base and its tokenizer."""
    tokenizer = base_tokenizer()
    model = small_qwen2_vl(tokenizer, seed=seed)
    use_frame_attention(model.model)
    return model, tokenizer


def base_processor(model: SmallQwen) -> VideoProcessor:
    """Cuts sprite clips for this base."""
    vision = model.config.vision_config
    return VideoProcessor(
        SPRITES_LIMITS, patch=vision.patch_size, merge=vision.spatial_merge_size, temporal=vision.temporal_patch_size
    )


def autoencoded(generator: PipelineGenerator) -> Callable[[np.ndarray], np.ndarray]:
    """Frames in, the same frames as the generator's autoencoder gives them back out, uint8 (F, H, W, 3)."""

    def codec(frames: np.ndarray) -> np.ndarray:
        (video,) = generator.codec.decode(generator.codec.encode_frames(frames[None]))
        return video.frames

    return codec


@torch.no_grad()
def clip_features(model: SmallQwen, clips: Clips, *, batch_size: int = 32) -> Tensor:
    """What the tower gives for every clip, float16 (clips, pairs, tokens per pair, H)."""
    processor, parts = base_processor(model), []
    for start in range(0, len(clips), batch_size):
        chunk = range(start, min(start + batch_size, len(clips)))
        pixels, grids = read_pairs(clips, [(clip, pair) for clip in chunk for pair in range(NUM_PAIRS)], processor)
        parts.append(video_features(model.model.visual, pixels, grids).half().unflatten(0, (len(chunk), NUM_PAIRS, -1)))
    return torch.cat(parts)


@torch.no_grad()
def word_accuracy(
    model: SmallQwen, chat: Chat, *, num_clips: int = 600, seed: int = 10**6, batch_size: int = 50
) -> dict[str, float]:
    """Shares of right answers about fresh clips.

    ``colour``, ``shape`` and ``motion``: of the words that the attribute may have, the true one is the likeliest at its
    place in a description (the wording around it is a matter of taste); 'moves left' counts when both words are
    right. ``check``: whether a single word fits is predicted correctly. ``compare``: the attribute that a sentence
    gets wrong, or ``nothing``, is named.
    """
    clips = Clips(num_clips, seed)
    collate, objective = LessonCollate(chat, clip_features(model, clips)), AnswerObjective(model)
    right: dict[str, list[bool]] = {}
    for start in range(0, num_clips, batch_size):
        chunk = range(start, min(start + batch_size, num_clips))
        for name in ATTRIBUTES:
            hits = _hits(objective, collate([_blank(n, clips[n][1].sentence, name) for n in chunk]), _words(chat, name))
            right.setdefault(name, []).extend(all(row) for row in hits)
        for name, ask in (("check", check), ("compare", compare)):
            asked = [Lesson(n, 0, NUM_PAIRS, *ask(clips[n][1], np.random.default_rng((seed, n, 2)))) for n in chunk]
            right.setdefault(name, []).extend(hit for row in _hits(objective, collate(asked)) for hit in row)
    return {name: float(np.mean(values)) for name, values in right.items()}


def _blank(clip: int, sentence: Sentence, attribute: str) -> Lesson:
    """A description of which only the words of one attribute count."""
    words = [(" a", False)] + [(f" {getattr(sentence, name)}", name == attribute) for name in ATTRIBUTES]
    return Lesson(clip, 0, NUM_PAIRS, DESCRIBE, tuple(words))


def _words(chat: Chat, attribute: str) -> Tensor:
    """Tokens of all words that an attribute may have."""
    return torch.tensor(sorted({token for word in WORDS[attribute] for token in chat.encode(f" {word}")}))


def _hits(objective: AnswerObjective, batch: LessonBatch, among: Tensor | None = None) -> list[list[bool]]:
    """Whether each learnt token of each lesson is the likeliest, of all or of those in ``among``."""
    logits, wanted, _, rows = objective.predict(batch)
    if among is not None:
        logits = logits.new_full(logits.shape, -torch.inf).index_copy(1, among, logits[:, among])
    right = logits.argmax(-1) == wanted
    return [right[rows == row].tolist() for row in range(len(batch.input_ids))]


def train_reward_base(config: RewardBaseConfig) -> dict[str, float]:
    """Trains all stages, writes ``<out>/base`` in float16 and gives its word accuracy; a stopped run goes on.

    Raises:
        OutputError: ``out`` belongs to a run with other settings.
    """
    folder = claim_folder(config.out, {"command": "pretrain reward_base", **config.model_dump(exclude={"out"})})
    model, tokenizer = new_base(config.seed)
    chat, clips = Chat(tokenizer), Clips(config.num_clips, config.seed, autoencoded(open_generator(config.generator)))
    look = LookObjective(model.model.visual, model.config.text_config.hidden_size, clips, base_processor(model))
    show = print_row(0, every=50)
    fit(look, look.examples(), look.collate, config.stage("look"), folder / "look", on_step=show)
    collate, answers = LessonCollate(chat, clip_features(model, clips)), AnswerObjective(model)
    for name, num_pairs, shares in (("describe", 1, (0.4, 0.3, 0.0, 0.3)), ("converse", NUM_PAIRS, config.shares)):
        lessons: Sequence[Lesson] = Lessons(clips, config.seed, visits=8, num_pairs=num_pairs, shares=shares)
        fit(answers, lessons, collate, config.stage(name), folder / name, on_step=show)
    write_base(folder / "base", model.half(), tokenizer)
    return word_accuracy(model.float(), chat, num_clips=config.num_test_clips)


if __name__ == "__main__":
    print(train_reward_base(RewardBaseConfig.load(None, sys.argv[1:])))
