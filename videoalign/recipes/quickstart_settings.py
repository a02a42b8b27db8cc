"""How large the quickstart is, and how its parts are trained."""

from __future__ import annotations

from collections.abc import Callable

from pydantic import Field

from videoalign.config import Config
from videoalign.data.pairs import PairsConfig
from videoalign.recipes.generator.align_methods import AlignConfig, DpoConfig, RwrConfig, SftConfig
from videoalign.recipes.generator.guide_settings import GuideTrainConfig
from videoalign.recipes.reward.train import RewardTrainConfig
from videoalign.training.loop import FitConfig
from videoalign.worlds.sprites.prompts import HELD_OUT_SENTENCES, TRAIN_SENTENCES

MODEL = "sprites"
REWARD_NAME = "videoreward"
PAIRS_NAME = "clearest"
GUIDE_NAME = "guide"

REWARD_TEMPLATE = (
    "<|im_start|>user\n<|vision_start|>{video}<|vision_end|><|VQ_reward|><|MQ_reward|>Prompt: {prompt}\n<|TA_reward|>"
)
"""No guidelines: so small a model learns what is asked from the judgements alone, and reads half as many tokens."""

ADAPTER_FIT = FitConfig(num_steps=56, batch_size=16, learning_rate=1e-3, warmup_steps=10, schedule="cosine")
"""The same budget for every method."""


class QuickstartConfig(Config):
    """How large the run is."""

    seed: int = 0
    """Decides every random draw."""
    num_prompts: int = Field(default=len(TRAIN_SENTENCES), ge=2, le=len(TRAIN_SENTENCES))
    """Training prompts."""
    num_held_out: int = Field(default=len(HELD_OUT_SENTENCES), ge=1, le=len(HELD_OUT_SENTENCES))
    """Held-out prompts that the arms are compared on."""
    per_prompt: int = Field(default=7, ge=2)
    """Clips of each training prompt."""
    val_share: float = Field(default=0.2, gt=0, lt=1)
    """Share of the training prompts that the reward is measured and normalised on."""
    judged_per_prompt: int = Field(default=2, gt=0)
    """Clips of each held-out prompt and arm in the evaluation."""
    reward: RewardTrainConfig = RewardTrainConfig(
        fit=FitConfig(
            num_steps=200,
            batch_size=2,
            learning_rate=1e-3,
            warmup_steps=20,
            schedule="cosine",
            betas=(0.9, 0.98),
            weight_decay=0.05,
        ),
        rates={"vision": 2e-4, "merger": 5e-4},
        template=REWARD_TEMPLATE,
        max_clips=7,
        shift_share=0.12,
    )
    """Training of VideoReward."""
    pairs: PairsConfig = PairsConfig(strategy="best_worst", max_per_prompt=2)
    """How scores become the win-lose pairs of Flow-DPO; SFT learns from their winners, all alike, so it wants none but
    the best, and Flow-RWR from all of their clips, by their rewards."""
    sft: SftConfig = SftConfig(fit=ADAPTER_FIT)
    """Supervised fine-tuning."""
    rwr: RwrConfig = RwrConfig(fit=ADAPTER_FIT, temperature=0.5)
    """Flow-RWR."""
    dpo: DpoConfig = DpoConfig(fit=ADAPTER_FIT, beta=100.0, reference_draws=4)
    """Flow-DPO with constant beta; ``dpo_t`` is the same with beta (1 - t)^2."""
    guide: GuideTrainConfig = GuideTrainConfig(
        fit=FitConfig(num_steps=100, batch_size=4, learning_rate=2.5e-4, warmup_steps=20, schedule="cosine"),
        learning_rate_head=2e-3,
        num_blocks=6,
        contrast_weight=3.0,
        max_clips=7,
    )
    """Training of the noisy-latent reward; so small a generator tells shapes apart in its last blocks only, and raters
    who call most pairs a tie on text alignment teach it less than the contrast with other prompts does. The copied
    blocks learn slowly, or a hundred steps undo what they knew; all clips of a prompt together give most pairs."""
    strength: float = Field(default=2.0, ge=0)
    """Strength of the guidance."""
    weightings: tuple[dict[str, float], ...] = (
        {"VQ": 1.0},
        {"VQ": 0.5, "MQ": 0.5},
        {"MQ": 1.0},
        {"TA": 1.0},
    )
    """Weights of the guidance table, a row each."""
    num_shown: int = Field(default=6, ge=0)
    """Prompts that the report shows clips of."""
    num_workers: int = Field(default=2, ge=1)
    """Processes for stages that need nothing of each other; they share the cores."""


SECONDS = {
    "generate": 99.0,
    "gather": 1.0,
    "annotate": 19.0,
    "reward": 226.0,
    "pairs": 1.0,
    "encode": 15.0,
    "guide": 155.0,
    "align": 37.0,
    "sample": 28.0,
}
"""What each kind of stage takes as a rule, on one core at the default settings."""

METHODS: dict[str, Callable[[QuickstartConfig], tuple[str, str, AlignConfig]]] = {
    "sft": lambda config: ("sft", PAIRS_NAME, config.sft),
    "rwr": lambda config: ("rwr", PAIRS_NAME, config.rwr),
    "dpo": lambda config: ("dpo", PAIRS_NAME, config.dpo),
    "dpo_t": lambda config: ("dpo", PAIRS_NAME, config.dpo.model_copy(update={"schedule": "squared"})),
}
"""Name in the results to method, pairs and settings."""
