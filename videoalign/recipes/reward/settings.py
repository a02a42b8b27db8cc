"""How a reward is trained: the settings."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from videoalign.config import Config
from videoalign.contracts.records import Aggregation
from videoalign.errors import ConfigError, did_you_mean
from videoalign.losses.preference import LAWS, NU, THETA
from videoalign.models.videoreward.processing import ReadingLimits
from videoalign.models.videoreward.tuning import PARTS, Tuning
from videoalign.training.loop import FitConfig


def _known_loss(name: str) -> str:
    known = (*LAWS, "regression")
    if name not in known:
        raise ValueError(f"wanted one of {', '.join(known)}")
    return name


class RewardTrainConfig(Config):
    """How a reward is trained."""

    fit: FitConfig = FitConfig(
        num_steps=300, batch_size=4, learning_rate=3e-4, warmup_steps=20, schedule="cosine", weight_decay=0.01
    )
    """Length, rate and batch of the training; a batch counts groups of clips that share a prompt."""
    loss: Annotated[str, AfterValidator(_known_loss)] = "btt"
    """A law of `losses.preference.LAWS`: Bradley-Terry with ties after Rao and Kupper (btt) or Davidson (davidson),
    Thurstone's with ties (thurstone), Bradley-Terry on decided pairs alone (bt); or squared distance to mean ratings
    (regression)."""
    theta: float = Field(THETA, gt=1)
    """Width of the tie band of btt."""
    nu: float = Field(NU, gt=0)
    """Weight of the tie of davidson."""
    learn_ties: bool = False
    """Train the width of the tie band, one per dimension, from where it stands."""
    labels: Aggregation = Aggregation.ADJUDICATED
    """Each pair counts with the known answer or an adjudicator's last word where there is one. Else with the verdict of
    most raters (adjudicated), with the shares of the votes for A, tie and B (shares), or with their chances by Dawid
    and Skene, where reliable raters count for more (dawid_skene). With majority, votes alone count."""
    tuning: Tuning = Tuning()
    """What is trained."""
    gradient_checkpointing: bool = False
    """Compute activations twice instead of keeping them: for large models, the same result with less memory."""
    rates: dict[str, float] = {}
    """Learning rates of parts (language, vision, merger, tokens, head) that differ from the run's."""
    limits: ReadingLimits | None = None
    """Frames and pixels read; default: those of the base, 2 fps and 448 x 448 for a real one."""
    positions: Literal["plain", "mrope"] | None = None
    """Rotary positions: 0..L-1 on all axes, as the released reward, or time, height and width apart; default: plain for
    a Qwen2-VL, mrope for later ones."""
    system: str | None = None
    """Text of the system turn, empty for none; default: that of the base, none for the embedded one."""
    template: str | None = None
    """The whole chat turn; default: made from the system turn and the dataset's guidelines."""
    pooling: Literal["special", "last"] = "special"
    """Scores are read each at a token of its own, before the prompt where the dimension does not see it, or all at the
    last token of the turn."""
    shared_head: bool | None = None
    """One row of the head for all dimensions, or a row each; default: one, with pooling=last a row each."""
    max_clips: int = Field(8, ge=2)
    """Most clips of one prompt that are scored together."""
    shift_share: float = Field(0.0, ge=0, lt=1)
    """At every step each clip is moved by up to this share of its height and width, so that places are not learnt."""
    colour_jitter: float = Field(0.0, ge=0, lt=1)
    """At every step brightness, contrast and saturation of each clip are multiplied by up to 1 - x to 1 + x, so that
    colours are not learnt; a large x changes what raters of visual quality saw."""
    frame_shuffle: float = Field(0.0, ge=0, le=1)
    """Share of clips whose frames are put in random order at a step. Their verdicts stay, so this is for dimensions
    that look at single frames; on motion it teaches that the order of frames does not matter."""
    bucket_by_length: bool = False
    """Batches hold groups whose clips take nearly as many tokens, so that less is padded; they mix less."""
    normalise_on: Literal["val", "train"] = "val"
    """Split whose clips give the mean and deviation that scores are normalised with."""
    keep: Literal["last", "best"] = "last"
    """Weights of the last step, or of the validation with the lowest loss; fit.validate_every_steps says how often."""


def check_settings(config: RewardTrainConfig) -> None:
    """Checks that the settings fit each other.

    Raises:
        ConfigError: an unknown part in ``rates``, or a setting that could have no effect.
    """
    for part, rate in config.rates.items():
        if part not in PARTS:
            raise ConfigError(f"rates: unknown part '{part}'.{did_you_mean(part, PARTS)}")
        if not rate > 0:
            raise ConfigError(f"rates.{part}: must be above 0; got {rate}. Freeze it with tuning instead.")
    if config.keep == "best" and config.fit.validate_every_steps == 0:
        raise ConfigError("keep: best wants validations in between; set fit.validate_every_steps above 0.")
    if config.loss == "regression" and config.labels in (Aggregation.SHARES, Aggregation.DAWID_SKENE):
        raise ConfigError("labels: loss=regression reads ratings, not votes; use labels=adjudicated or another loss.")
