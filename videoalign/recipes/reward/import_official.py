"""A reward from a checkpoint that other code trained."""

from __future__ import annotations

from pathlib import Path

from videoalign.contracts.output import claim_folder
from videoalign.models.videoreward import VideoReward
from videoalign.models.videoreward.checkpoint import MODEL_FOLDER
from videoalign.models.videoreward.official import read_official
from videoalign.stores.opening import as_given


def import_official_reward(
    checkpoint: str | Path, base: str | Path, template: str | Path, out: str | Path, *, fresh: bool = False
) -> VideoReward:
    """Converts an official checkpoint, see `models.videoreward.official.read_official`, and stores it in ``out``.

    Args:
        checkpoint: folder of the official code's output.
        base: folder or hub id of the Qwen2-VL that it was trained from.
        template: the official ``prompt_template.py``, or the text of its rubric.
        out: reward folder; whole in itself afterwards, so that base and checkpoint may go.
        fresh: start over where ``out`` holds another run of ours.

    Raises:
        ConfigError: the template does not fit.
        ModelError: a file is missing or damaged, or tensors do not fit.
        OutputError: ``out`` belongs to another run, or cannot be written.
    """
    reward = read_official(checkpoint, base, template)
    places = {"checkpoint": checkpoint, "base": base, "template": template}
    identity = {"command": "reward import-official", **{name: as_given(place) for name, place in places.items()}}
    folder = claim_folder(out, {name: str(value) for name, value in identity.items()}, fresh=fresh)
    reward.name = Path(out).resolve().name
    reward.save_pretrained(folder / MODEL_FOLDER)
    return reward
