"""What the training of a reward starts from."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

from videoalign.data.dataset import Dataset
from videoalign.errors import ConfigError, ModelError
from videoalign.models.videoreward import VideoReward
from videoalign.models.videoreward.checkpoint import MODEL_FOLDER, SETTINGS_FILE
from videoalign.models.videoreward.extend import extend_reward
from videoalign.models.videoreward.processing import ReadingLimits
from videoalign.models.videoreward.prompt import default_template
from videoalign.recipes.reward.settings import RewardTrainConfig
from videoalign.stores.opening import as_given
from videoalign.worlds.sprites.renderer import SIZE_PX

SPRITES = "sprites"
SPRITES_BASE = Path(str(files("videoalign") / "worlds" / "sprites" / "weights" / "reward_base"))
SPRITES_LIMITS = ReadingLimits(fps=8.0, max_frames=16, min_frame_pixels=SIZE_PX**2, max_frame_pixels=SIZE_PX**2)
"""What the shipped base was pretrained on; used for it when a run sets no limits of its own."""

KEPT = {"limits", "pooling", "positions", "system", "template", "shared_head"}
"""Settings that a trained reward brings along."""


def base_path(base: str) -> str | Path:
    """Where a base is: the embedded one by its name, anything else as given.

    Raises:
        ModelError: this installation lacks the embedded base.
    """
    if base != SPRITES:
        return base
    if not (SPRITES_BASE / "config.json").is_file():
        raise ModelError(f"--model sprites: {SPRITES_BASE} is missing; install the package again.")
    return SPRITES_BASE


def start_reward(dataset: Dataset, base: str, config: RewardTrainConfig) -> VideoReward:
    """The reward that a training starts from: untrained on a base, or a trained one with the dataset's dimensions.

    Raises:
        ConfigError: a template that does not fit, or settings that contradict the reward to go on from.
        DataError: a prompt with a special token.
        ModelError: the base cannot be loaded.
    """
    dimensions, embedded = dataset.info.dimensions, base == SPRITES
    if is_reward(base):
        parent = VideoReward.from_pretrained(base)
        for name in sorted(KEPT & config.model_fields_set):
            have, want = getattr(parent.settings, name, None), getattr(config, name)
            if want is not None and have != want:
                raise ConfigError(f"{name}: the reward {base} brings its own; got another one. Leave {name} out.")
        reward = extend_reward(parent, dimensions, seed=config.fit.seed)
        provenance = {**reward.settings.provenance, "parent": as_given(base)}
        reward.settings = reward.settings.model_copy(update={"provenance": provenance})
    else:
        template, system = config.template, "" if embedded and config.system is None else config.system
        if template is None and system is not None:
            template = default_template(dimensions, system=system, pooling=config.pooling)
        reward = VideoReward.from_base(
            base_path(base),
            dimensions=dimensions,
            limits=config.limits or (SPRITES_LIMITS if embedded else None),
            template=template,
            positions=config.positions,
            pooling=config.pooling,
            shared_head=config.shared_head,
            seed=config.fit.seed,
        )
    for prompt in dataset.prompts():
        reward.chat.check_prompt(prompt.text)
    return reward


def is_reward(base: str) -> bool:
    """Whether a base is a trained reward's folder."""
    return base != SPRITES and any((Path(base) / part / SETTINGS_FILE).is_file() for part in ("", MODEL_FOLDER))
