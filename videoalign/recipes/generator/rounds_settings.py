"""How many rounds of alignment, and what is done in each."""

from __future__ import annotations

from typing import Any, Literal, Self

from pydantic import Field, model_validator

from videoalign.data.pairs import PairsConfig
from videoalign.errors import ConfigError
from videoalign.models.generators.settings import ModelSettings
from videoalign.recipes.generator.align_methods import AlignConfig, DpoConfig, RwrConfig, SftConfig
from videoalign.recipes.generator.evaluate import EvaluateConfig
from videoalign.recipes.generator.generate import GenerateConfig
from videoalign.video.addresses import LocalPath

FREE = {"watch", "gradient_checkpointing", "one_by_one", "compile"}
"""Settings of an alignment that may change when the rounds go on."""

FREE_OF_FIT = {"save_every_steps", "log_every_steps", "batch_size", "accumulate_steps"}
"""The same of its loop, as long as their product stays."""


class RoundsConfig(ModelSettings):
    """Rounds in each of which the model so far makes clips, and is then trained on them."""

    num_rounds: int = Field(default=2, gt=0)
    """Rounds; those that are done are not done again where more are asked for."""
    method: Literal["sft", "rwr", "dpo"] = "dpo"
    """How a round aligns; its settings stand in the group of its name."""
    reference: Literal["base", "last"] = "base"
    """Of Flow-DPO: what the policy is pulled towards. ``base`` is the model without any adapter in every round, so that
    all rounds together stay near it; ``last`` is what the round starts from, so that each round may go as far again."""
    start: LocalPath | None = None
    """Adapter that the first round starts from, as one that SFT made; every later round starts from the one before."""
    per_prompt: int = Field(default=8, ge=2)
    """Clips of each training prompt in a round."""
    batch_size: int = Field(default=8, gt=0)
    """Clips made at once."""
    seed: int = 0
    """Decides the noise of every clip; each round makes its clips from noise of its own."""
    weights: dict[str, float] | None = None
    """Weights of the reward's dimensions, as in ``{VQ: 1, MQ: 0.5}``; default: all alike."""
    pairs: PairsConfig = PairsConfig(max_per_prompt=2)
    """How the clips of a round become pairs."""
    sft: SftConfig = SftConfig()
    """Of ``method=sft``."""
    rwr: RwrConfig = RwrConfig()
    """Of ``method=rwr``."""
    dpo: DpoConfig = DpoConfig()
    """Of ``method=dpo``; its seed is counted up from round to round."""
    judged_per_prompt: int = Field(default=4, gt=0)
    """Clips of each held-out prompt and round in the evaluation."""
    num_shown: int = Field(default=6, ge=0)
    """Prompts whose first clips stand in the report."""
    allow_teacher_judge: bool = False
    """Let the judge be the reward that labels the pairs; every table then says so."""
    allow_trained_prompts: bool = False
    """Let held-out prompts say what a training prompt says; every table then says so."""

    @model_validator(mode="after")
    def _all_take_effect(self) -> Self:
        for name in {"sft", "rwr", "dpo"} - {self.method}:
            if getattr(self, name) != type(self).model_fields[name].default:
                raise ConfigError(f"{name}: takes effect with method={name}; got method={self.method}.")
        if self.reference != "base" and self.method != "dpo":
            raise ConfigError(f"reference: got {self.reference}, but method={self.method} has none; leave it out.")
        chosen: AlignConfig = getattr(self, self.method)
        for name in (*ModelSettings.model_fields, "start", "reference"):
            field = type(chosen).model_fields.get(name)
            if field is not None and getattr(chosen, name) != field.default:
                raise ConfigError(f"{self.method}.{name}: set {name} itself, which all steps of a round share.")
        if chosen.train == "full":
            raise ConfigError(f"{self.method}.train: got full, but rounds go on with one adapter; leave it out.")
        if chosen.fit.validate_every_steps:
            raise ConfigError(
                f"{self.method}.fit.validate_every_steps: a round makes clips of training prompts alone, so there are "
                "no held-out pairs; leave it out."
            )
        return self

    def of_clips(self, seed: int) -> GenerateConfig:
        """How the clips of a round are made."""
        return GenerateConfig(per_prompt=self.per_prompt, seed=seed, batch_size=self.batch_size, check_steps=False)

    def of_training(self, number: int, start: LocalPath | None) -> AlignConfig:
        """How the round of this number, from 1, is trained, beginning at an adapter where there is one."""
        chosen: AlignConfig = getattr(self, self.method)
        changed: dict[str, Any] = {
            "fit": chosen.fit.model_copy(update={"seed": chosen.fit.seed + number - 1}),
            "start": start,
        }
        if start is not None and self.method == "dpo":
            changed["reference"] = "base" if self.reference == "base" else "start"
        return chosen.model_copy(update=changed)

    def of_evaluation(self) -> EvaluateConfig:
        """How the rounds are compared with the base."""
        shared = self.model_dump(include={"seed", "batch_size", "num_shown", "allow_teacher_judge"})
        return EvaluateConfig(
            per_prompt=self.judged_per_prompt, allow_trained_prompts=self.allow_trained_prompts, **shared
        )

    def identity(self) -> dict[str, Any]:
        """What decides the adapters of the rounds, however many there are."""
        shared = {"method", "reference", "per_prompt", "seed", "weights", "pairs"}
        chosen: AlignConfig = getattr(self, self.method)
        training = chosen.model_dump(mode="json", exclude={*FREE, *ModelSettings.model_fields, "start"})
        fitting = chosen.fit.model_dump(mode="json", exclude=FREE_OF_FIT)
        fitting["examples_per_step"] = chosen.fit.batch_size * chosen.fit.accumulate_steps
        return {**self.model_dump(mode="json", include=shared), self.method: {**training, "fit": fitting}}
