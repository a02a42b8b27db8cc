"""Rewards and their bases by folder or hub id."""

from __future__ import annotations

from pathlib import Path

from huggingface_hub import HfApi, snapshot_download

from videoalign.errors import ModelError, OutputError
from videoalign.models.quiet import no_bars
from videoalign.models.videoreward.settings import RewardSettings

CARD_FILE = "README.md"
PATTERNS = ("*.json", "*.safetensors", "*.txt", "*.jinja", "*.model")
"""Files that are fetched: settings, weights, tokenizer."""


def local_folder(name: str | Path, what: str, *, revision: str | None = None) -> Path:
    """The folder itself, or the downloaded files of a hub id.

    Args:
        name: a folder or a hub id.
        what: how the error begins.
        revision: branch, tag or commit of the hub id.

    Raises:
        ModelError: neither a folder nor on the hub, or the hub cannot be reached.
    """
    if Path(name).is_dir():
        if revision is not None:
            raise ModelError(f"{name}: {what}: it is a folder, and revision={revision} is for hub ids; leave it out.")
        return Path(name)
    try:
        with no_bars():
            return Path(snapshot_download(str(name), revision=revision, allow_patterns=list(PATTERNS)))
    except (OSError, ValueError) as error:
        reason = " ".join(str(error).split())[:160]
        raise ModelError(
            f"{name}: {what}: no such folder, and nothing from the hub under this id ({reason}); "
            "give the folder or the hub id."
        ) from None


def upload(folder: str | Path, repo_id: str, *, private: bool, token: str | None) -> str:
    """Puts the files of a folder into a model repository of the hub, made when absent; gives its address.

    Raises:
        OutputError: the hub cannot be reached or does not let us.
    """
    api = HfApi(token=token)
    try:
        with no_bars():
            url = api.create_repo(repo_id, private=private, exist_ok=True)
            api.upload_folder(repo_id=repo_id, folder_path=folder, commit_message="Upload reward")
    except (OSError, ValueError) as error:
        reason = " ".join(str(error).split())[:200]
        raise OutputError(
            f"{repo_id}: cannot be put on the hub ({reason}); check the name and the token, or run 'hf auth login'."
        ) from None
    return str(url)


def model_card(name: str, title: str, settings: RewardSettings) -> str:
    """The text that the hub shows of a reward, in Markdown.

    Args:
        name: of the reward.
        title: of its backbone's family.
        settings: of the reward.
    """
    limits, mean = settings.limits, settings.normalisation
    rows = [
        f"| {d.name} | {d.guideline} | {'yes' if d.sees_prompt else 'no'} | "
        + (f"{mean[d.name].mean:.4f} | {mean[d.name].std:.4f} |" if mean else "- | - |")
        for d in settings.dimensions
    ]
    origin = [f"- {key}: {value}" for key, value in settings.provenance.items()] or ["- not stored"]
    parts = [
        "---\nlibrary_name: videoalign\ntags:\n- reward-model\n- video\n---",
        f"# {name}",
        f"A video reward on a {title}: given a clip and its prompt, a score per dimension, higher is better.",
        "```python\nfrom videoalign.models.videoreward import VideoReward\n\n"
        f'reward = VideoReward.from_pretrained("{name}")\nreward.score(["clip.mp4"], "its prompt")\n```',
        "## Dimensions",
        "| name | guideline | sees the prompt | mean | deviation |\n|---|---|---|---|---|\n" + "\n".join(rows),
        "Mean and deviation are those of the raw scores of the clips that scores are normalised on.",
        "## What it reads",
        f"{limits.fps:g} frames per second, {limits.min_frames} to {limits.max_frames} frames, each resized to between "
        f"{limits.min_frame_pixels} and {limits.max_frame_pixels} pixels. Rotary positions: {settings.positions}. "
        f"Scores are read at {'a token per dimension' if settings.pooling == 'special' else 'the last token'}.",
        "## What it was trained on",
        _used(settings),
        "## Where it comes from",
        "\n".join(origin),
    ]
    return "\n\n".join(parts) + "\n"


def _used(settings: RewardSettings) -> str:
    used = settings.used_prompts
    if used is None:
        return "Which prompts it was trained, chosen and normalised on is not recorded."
    chosen = f"The weights were chosen on {len(used.selected)} others, so accuracies on those are not held out."
    if not used.selected:
        chosen = "The weights are those of the last step, chosen on none."
    unknown = "" if used.complete else " What the reward that it goes on from used is not recorded."
    return (
        f"Pairs of {len(used.trained)} prompts. {chosen} Scores are normalised on the clips of {len(used.normalised)} "
        f"prompts.{unknown} Hashes of the prompts stand in `reward.json`."
    )
