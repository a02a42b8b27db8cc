"""First stage of the reward's base: its vision tower learns what is where, as towers are trained before they join a
language model.

From every 16 x 16 px place of two frames, a linear layer that is thrown away afterwards tells whether the shape is
near, which shape and colour it has, where its centre lies from there, how large it is and how it moves; and another
paints what is seen there, so that the tower keeps the look of a place as well as its meaning.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from videoalign.losses.flow_matching import per_sample_mse
from videoalign.models.videoreward.backbone import video_features
from videoalign.models.videoreward.processing import VideoProcessor
from videoalign.randomness import Draws
from videoalign.recipes.sprite_weights.lessons import FRAMES, NUM_PAIRS, Clips, read_pairs
from videoalign.training.objective import Loss, require_names
from videoalign.worlds.sprites.prompts import COLOURS, SHAPES
from videoalign.worlds.sprites.renderer import SIZE_PX, Scene, trajectory

PLACE_PX = 16
NUM_CHANNELS = 3
MEASURES = ("x", "y", "move_x", "move_y", "growth", "size")
UNITS = np.array([1 / 2, 1 / 2, 1.0, 1.0, 20.0, 10.0], dtype=np.float32)
"""Of the measures, in px and in logarithms of a ratio: an error of a pixel counts."""
DETAIL = 8.0
"""What is painted is asinh(DETAIL (pixel - mean of its place and channel)): faint detail counts beside strong edges."""
NUM_OUTPUTS = 1 + len(SHAPES) + len(COLOURS) + len(MEASURES)


def place_targets(scene: Scene, pair: int) -> np.ndarray:
    """What each place of a pair of frames should tell, float32 (places, 3 + 6): near, shape, colour, `MEASURES`.

    Places in rows from the top left. Near is a place whose middle is within the radius and 8 px of the centre.
    """
    tracks = np.stack(trajectory(scene), axis=1)[FRAMES]  # (8, 3): x, y, radius
    first, second = tracks[2 * pair], tracks[2 * pair + 1]
    x, y, radius = (first + second) / 2
    middles = np.arange(PLACE_PX / 2, SIZE_PX, PLACE_PX)
    right, down = (grid.ravel() for grid in np.meshgrid(middles, middles))
    near = np.hypot(x - right, y - down) < radius + PLACE_PX / 2
    growth, size = np.log(second[2] / first[2]), np.log(radius / 10)
    moved = second - first
    measures = np.stack([x - right, y - down, *(np.full(len(right), v) for v in (moved[0], moved[1], growth, size))], 1)
    names = (SHAPES.index(scene.sentence.shape), list(COLOURS).index(scene.sentence.colour))
    return np.concatenate([near[:, None], np.tile(names, (len(right), 1)), measures * UNITS], 1).astype(np.float32)


class LookObjective:
    """Teaches a vision tower what is where; examples are (clip, pair)."""

    def __init__(self, visual: nn.Module, hidden_size: int, clips: Clips, processor: VideoProcessor) -> None:
        self.visual, self.clips, self.processor = visual, clips, processor
        self.head = nn.Linear(hidden_size, NUM_OUTPUTS)
        self.paint = nn.Linear(hidden_size, processor.temporal * NUM_CHANNELS * PLACE_PX**2)
        for layer in (self.head, self.paint):
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias)

    def examples(self) -> list[tuple[int, int]]:
        """Every pair of frames of every clip."""
        return [(clip, pair) for clip in range(len(self.clips)) for pair in range(NUM_PAIRS)]

    def collate(self, picks: Sequence[tuple[int, int]]) -> tuple[Tensor, Tensor, Tensor]:
        """Patches, grids and targets (B * places, 9)."""
        targets = [place_targets(self.clips[clip][1], pair) for clip, pair in picks]
        return *read_pairs(self.clips, picks, self.processor), torch.from_numpy(np.concatenate(targets))

    def parameter_groups(self) -> list[dict[str, Any]]:
        """Tower and the passing layers."""
        return [{"params": list(self._named().values())}]

    def loss(self, batch: tuple[Tensor, Tensor, Tensor], draws: Draws) -> Loss:
        """Of each pair of frames, the sum of the mean losses of what is told, names and measures over near places."""
        pixels, grids, targets = batch
        num = len(grids)
        features = video_features(self.visual, pixels, grids)
        told = self.head(features)
        near, shape, colour, measures = told.split([1, len(SHAPES), len(COLOURS), len(MEASURES)], dim=1)
        here = targets[:, 0].view(num, -1)  # (B, places)
        losses = {
            "near": F.binary_cross_entropy_with_logits(near[:, 0], targets[:, 0], reduction="none")
            .view(num, -1)
            .mean(1),
            "shape": _mean_over(F.cross_entropy(shape, targets[:, 1].long(), reduction="none"), here),
            "colour": _mean_over(F.cross_entropy(colour, targets[:, 2].long(), reduction="none"), here),
            "measures": _mean_over(F.smooth_l1_loss(measures, targets[:, 3:], reduction="none").sum(1), here),
            "paint": per_sample_mse(self.paint(features).view(num, -1), detail(pixels).view(num, -1)),
        }
        value = torch.stack(list(losses.values())).sum(0)
        right = _mean_over((shape.argmax(1) == targets[:, 1]).float(), here)
        return Loss(value, torch.ones_like(value), metrics={**losses, "shape_accuracy": right})

    def state_dict(self) -> Mapping[str, Tensor]:
        """Tower and passing layers."""
        return {name: parameter.detach() for name, parameter in self._named().items()}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """The inverse of `state_dict`."""
        require_names(state, self._named())
        with torch.no_grad():
            for name, parameter in self._named().items():
                parameter.copy_(state[name])

    def _named(self) -> dict[str, nn.Parameter]:
        named = {f"visual.{name}": p for name, p in self.visual.named_parameters()}
        passing = {"head": self.head, "paint": self.paint}
        return named | {f"{part}.{name}": p for part, layer in passing.items() for name, p in layer.named_parameters()}


def detail(pixels: Tensor) -> Tensor:
    """What `DETAIL` says of normalised patches (places * 4, channels * frames * 8 * 8), (places, values of a place)."""
    values = pixels.view(-1, (PLACE_PX // 8) ** 2, NUM_CHANNELS, pixels.shape[1] // NUM_CHANNELS)
    return torch.asinh(DETAIL * (values - values.mean((1, 3), keepdim=True))).flatten(1)


def _mean_over(values: Tensor, here: Tensor) -> Tensor:
    """Of each pair of frames, the mean of values (B * places,) over the places that are here, (B,)."""
    return (values.view(here.shape) * here).sum(1) / here.sum(1).clamp_min(1)
