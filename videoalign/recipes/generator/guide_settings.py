"""How a noisy-latent reward is trained: the settings."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from videoalign.contracts.records import Label
from videoalign.errors import ConfigError
from videoalign.losses.preference import LAWS
from videoalign.models.generators.settings import ModelSettings
from videoalign.models.lora import LoraSettings
from videoalign.recipes.generator.clip_fit import ClipSettings
from videoalign.training.loop import FitConfig
from videoalign.training.objectives.flow import TimeSettings


def _known_law(name: str) -> str:
    if name not in LAWS:
        raise ValueError(f"wanted one of {', '.join(LAWS)}")
    return name


class GuideTrainConfig(ModelSettings):
    """How a noisy-latent reward is trained."""

    fit: FitConfig = FitConfig(num_steps=300, batch_size=8, learning_rate=1e-3, warmup_steps=20, schedule="cosine")
    """Length, batch and rate of the training; an example is a group of clips of one prompt."""
    loss: Annotated[str, AfterValidator(_known_law)] = "bt"
    """Law of the verdicts, of `losses.preference.LAWS`. ``bt``, Bradley-Terry: ties teach nothing. With ties: ``btt``,
    after Rao and Kupper, ``davidson``, and ``thurstone``, which is normal and learns for each dimension and time how
    far a score may be off."""
    tie_width: float | None = None
    """Of the tie band: theta of btt, nu of davidson, least difference that is told of thurstone; default: 5, 4, 1."""
    learn_ties: bool = False
    """Train that width, one per dimension, from where it stands."""
    times: TimeSettings = TimeSettings()
    """How training times are drawn."""
    clean: bool = False
    """Train on clips without noise alone, to compare with: such a reward does not know noisy latents."""
    encode: ClipSettings = ClipSettings()
    """How clips become latents, where they have none yet."""
    num_blocks: int | None = Field(default=None, gt=0)
    """Blocks of the generator to copy; default: a quarter of its depth, at least 1."""
    train: Literal["full", "lora", "frozen"] = "full"
    """What is trained of the copied blocks beside the head: all, adapters that are then added to them, or nothing."""
    lora: LoraSettings = LoraSettings()
    """Size and place of the adapters."""
    gradient_checkpointing: bool = False
    """Compute activations of the blocks twice instead of keeping them: the same result with less memory."""
    learning_rate_head: float | None = Field(default=None, gt=0)
    """Peak rate of the queries and the head; default: that of the copied blocks."""
    contrast_weight: float = Field(default=1.0, ge=0)
    """Weight of the contrast term: on dimensions that see the prompt, a clip under its own prompt against the same clip
    under another; 0 leaves it out, and the batch costs half."""
    contrast_prompts: int = Field(default=8, gt=0)
    """The other prompt is drawn from so many of the training prompts, the nearest ones."""
    tie_band: float = Field(default=0.1, ge=0)
    """Differences of normalised scores up to this are ties."""
    max_clips: int = Field(default=8, ge=2)
    """Most clips of a group; a prompt with more clips gives several groups."""
    num_held_out: int = Field(default=30, ge=0)
    """Most prompts of the ``val`` split that the accuracy is measured on; 0 measures none."""

    def verdicts(self) -> tuple[Label, ...]:
        """Verdicts that teach something under the law."""
        return (Label.A, Label.B) if LAWS[self.loss].width is None else (Label.A, Label.B, Label.TIE)

    def check(self) -> None:
        """Checks that the settings fit each other.

        Raises:
            ConfigError: a setting that could have no effect, or a width out of range.
        """
        law = LAWS[self.loss]
        if law.width is None and (self.tie_width is not None or self.learn_ties):
            name = "learn_ties" if self.tie_width is None else "tie_width"
            raise ConfigError(f"{name}: loss={self.loss} knows no ties; use loss=btt, davidson or thurstone.")
        if self.tie_width is not None and not self.tie_width > law.above:
            raise ConfigError(f"tie_width: must be above {law.above:g} for loss={self.loss}; got {self.tie_width}.")
        if self.clean and self.times != TimeSettings():
            raise ConfigError("clean: trains at t = 0 alone, so that 'times' have no effect; leave one of them out.")
        if self.train != "lora" and self.lora != LoraSettings():
            raise ConfigError(f"lora: is for train=lora; got train={self.train}.")
        if self.train == "frozen" and self.gradient_checkpointing:
            raise ConfigError(
                "gradient_checkpointing: with train=frozen no block is kept for a gradient; leave it out."
            )
