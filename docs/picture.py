"""Draws the picture of the README: clips of the base and of Flow-DPO from the same noise, of a quickstart.

python docs/picture.py runs/quickstart
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from videoalign.contracts.records import Clip
from videoalign.data.dataset import Dataset

ARMS = {"base": "base", "dpo": "after Flow-DPO, same noise"}
ROWS, FRAMES, GAP = 6, 5, 2


def main(run: Path) -> None:
    """Six held-out prompts, spread over all of them, a row each; five frames a clip."""
    clips = {arm: _first_clips(Dataset.open(run / "arms" / arm)) for arm in ARMS}
    texts = list(clips["base"])
    shown = [texts[number * len(texts) // ROWS] for number in range(ROWS)]
    figure = Figure(figsize=(10.2, 7.9), facecolor="#fefefa", layout="constrained")
    columns: Any = figure.subfigures(1, len(ARMS))
    for column, (arm, name) in zip(columns, ARMS.items(), strict=True):
        column.suptitle(name, x=0.01, ha="left", fontsize=12, fontweight="bold")
        for number, text in enumerate(shown, 1):
            axes = column.add_subplot(ROWS, 1, number)
            axes.imshow(clips[arm][text])
            axes.axis("off")
            axes.set_title(f"“{text}”" if arm == "base" else " ", loc="left", fontsize=10, color="#234b3f")
    figure.savefig(Path(__file__).parent / "images" / "quickstart.png", dpi=100)


def _first_clips(dataset: Dataset) -> dict[str, np.ndarray]:
    """The strip of the first clip of each prompt, by its text."""
    texts = {prompt.prompt_id: prompt.text for prompt in dataset.prompts()}
    first: dict[str, Clip] = {}
    for clip in dataset.clips():
        first.setdefault(texts[clip.prompt_id], clip)
    return {text: _strip(dataset.load(clip).frames) for text, clip in first.items()}


def _strip(frames: np.ndarray) -> np.ndarray:
    """Some of the frames (T, H, W, 3) beside each other, (H', W', 3) uint8."""
    chosen = frames[np.linspace(0, len(frames) - 1, FRAMES).round().astype(int)].repeat(3, 1).repeat(3, 2)
    gap = np.full((chosen.shape[1], GAP, 3), 254, np.uint8)
    return np.concatenate([part for frame in chosen for part in (frame, gap)][:-1], 1)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
