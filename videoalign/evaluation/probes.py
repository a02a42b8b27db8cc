"""Probes of a reward: changes whose effect is known beforehand, so that a blind or gamed reward shows.

What a dimension is expected to do is said for its role; a change of at most ``band`` deviations counts as none.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from videoalign.contracts.video import Video
from videoalign.evaluation import probe_changes as changes
from videoalign.stats.resampling import bootstrap, of_sums, sum_by_cluster
from videoalign.stats.shares import share

Quality = Literal["visual_quality", "motion_quality", "text_alignment"]
Direction = Literal["down", "none", "not up", "fixed", "any"]
"""Falls by more than the band; stays within it; does not rise by more than it; does not move at all; may do anything,
and gets no verdict."""
Verdict = Literal["ok", "wrong", "unclear"]

DEFAULT_ROLES: dict[str, Quality] = {"VQ": "visual_quality", "MQ": "motion_quality", "TA": "text_alignment"}
BAND = 0.25
"""Deviations; a smaller change counts as none."""
MIN_CLIPS = 20
"""Fewest clips that a verdict is given on."""
MIN_PROMPTS = 5
"""Fewest prompts that a verdict is given on: clips of one prompt are not independent."""
EXACT = 1e-4
"""Deviations by which rounding may move what cannot see the change."""
CANNOT_SEE = "This dimension is read before the prompt, so another prompt cannot reach it."


@dataclass(frozen=True)
class Expectation:
    """What a change does to a role."""

    direction: Direction
    reason: str
    """Why, in one sentence."""


@dataclass(frozen=True, kw_only=True)
class Probe:
    """One change and what it should do."""

    name: str
    what: str
    """What is done to the clip, in words."""
    change: Callable[[Video, np.random.Generator], Video]
    expected: Mapping[Quality, Expectation]
    swaps_prompt: bool = False
    """Whether the clip is scored with another prompt."""


def _probe(
    name: str,
    what: str,
    change: Callable[[Video, np.random.Generator], Video],
    visual: tuple[Direction, str],
    motion: tuple[Direction, str],
    text: tuple[Direction, str],
    *,
    swaps_prompt: bool = False,
) -> Probe:
    expected: dict[Quality, Expectation] = {
        "visual_quality": Expectation(*visual),
        "motion_quality": Expectation(*motion),
        "text_alignment": Expectation(*text),
    }
    return Probe(name=name, what=what, change=change, expected=expected, swaps_prompt=swaps_prompt)


SAME_FRAMES = "Each frame is one of the clip's own."
PROBES: tuple[Probe, ...] = (
    _probe(
        "static frame",
        "the middle frame, repeated",
        changes.freeze,
        ("none", SAME_FRAMES),
        ("down", "Nothing moves, and motion quality counts how much really moves."),
        ("not up", "The subject stays and every action is lost."),
    ),
    _probe(
        "shuffled frames",
        "the frames in a random order",
        changes.shuffle,
        ("none", SAME_FRAMES),
        ("down", "What moves jumps to and fro."),
        ("not up", "The subject stays and every action is lost."),
    ),
    _probe(
        "reversed",
        "the last frame first",
        changes.reverse,
        ("none", SAME_FRAMES),
        ("not up", "It moves as much and as smoothly; what falls or breaks looks less plausible backwards."),
        ("not up", "A direction that the prompt names is now the wrong one."),
    ),
    _probe(
        "loop",
        "the first half, twice",
        changes.loop,
        ("none", SAME_FRAMES),
        ("not up", "It moves as smoothly but for a jump at the seam, and half as far."),
        ("not up", "What happens starts twice and is never finished."),
    ),
    _probe(
        "greyscale",
        "without colour",
        changes.grey,
        ("not up", "As sharp and as clean, and no richer."),
        ("none", "It moves as before."),
        ("not up", "Colours that the prompt names are lost."),
    ),
    _probe(
        "blur",
        "Gaussian, radius 1/50 of the shorter side",
        changes.blur,
        ("down", "Edges and detail are lost in every frame."),
        ("not up", "It moves as before, with edges less clear."),
        ("not up", "The same is shown, less clearly."),
    ),
    _probe(
        "noise",
        "deviation of 25 grey levels, new in every frame",
        changes.add_noise,
        ("down", "Grain covers every frame."),
        ("not up", "It moves as before, under a flicker."),
        ("not up", "The same is shown, less clearly."),
    ),
    _probe(
        "watermark",
        "half-transparent stripes over every frame",
        changes.overlay,
        ("down", "Stripes cover every frame."),
        ("not up", "It moves as before, under stripes that stand still."),
        ("not up", "The same is shown, under stripes that no prompt asks for."),
    ),
    _probe(
        "rate doubled",
        "the same frames, said to play twice as fast",
        changes.double_rate,
        ("none", SAME_FRAMES),
        ("any", "All moves twice as fast, which mends a slow clip and spoils a lively one."),
        ("none", "The same happens, faster."),
    ),
    _probe(
        "rate halved",
        "the same frames, said to play half as fast",
        changes.halve_rate,
        ("none", SAME_FRAMES),
        ("not up", "All moves half as fast, in longer steps."),
        ("none", "The same happens, slower."),
    ),
    _probe(
        "resized",
        "the whole picture at 3/4 of its size",
        changes.resize,
        ("none", "The same picture, and a clip is not judged by its number of pixels."),
        ("none", "It moves as before."),
        ("none", "The same is shown."),
    ),
    _probe(
        "prompt swapped",
        "the clip with another prompt of the split",
        changes.unchanged,
        ("none", "The clip is the same."),
        ("none", "The clip is the same."),
        ("down", "The clip was made for another text."),
        swaps_prompt=True,
    ),
)


def expectation(probe: Probe, role: Quality | None, *, sees_prompt: bool | None = None) -> Expectation | None:
    """What a dimension should do under a probe; None for a dimension without a role.

    Args:
        probe: one of `PROBES`.
        role: of the dimension, or None.
        sees_prompt: False where the dimension is judged without the prompt, so that a swap cannot reach it: a law,
            whatever the role, except for text alignment, which is nothing without the prompt. None when unknown.
    """
    if probe.swaps_prompt and sees_prompt is False and role != "text_alignment":
        return Expectation("fixed", CANNOT_SEE)
    return probe.expected[role] if role is not None else None


def expected_range(direction: Direction, band: float) -> tuple[float, float]:
    """Lowest and highest change, in deviations, that is as expected."""
    return {
        "down": (-math.inf, -band),
        "none": (-band, band),
        "not up": (-math.inf, band),
        "fixed": (-EXACT, EXACT),
        "any": (-math.inf, math.inf),
    }[direction]


def deviations(scores: np.ndarray) -> np.ndarray:
    """What changes are divided by, (D,): the deviation of the scores (N, D) of the untouched clips on each dimension,
    or 1 where all clips score the same."""
    spread = scores.std(axis=0)
    return np.where(spread > 1e-9, spread, 1.0)


def count_changes(
    change: np.ndarray,
    prompt_ids: Sequence[str],
    expected: Expectation | None,
    *,
    band: float = BAND,
    min_clips: int = MIN_CLIPS,
    seed: int = 0,
) -> dict[str, Any]:
    """What a probe did to one dimension.

    Args:
        change: score of the changed clip less that of the clip as it is, in deviations, (N,).
        prompt_ids: the prompt of each clip, (N,); clips of one prompt are resampled together.
        expected: what it should do; None gives no verdict.
        band: see `BAND`.
        min_clips: see `MIN_CLIPS`.
        seed: draws the bootstrap.

    Returns:
        ``expected`` (direction) and ``reason``; ``n`` clips of ``num_prompts``; ``change``, their mean, with ``low``
        and ``high`` of its 95% percentile bootstrap over prompts; ``largest``, the largest change of one clip, either
        way; ``share`` of the clips whose own change is as expected, with the ends of its interval; ``verdict``. What
        cannot be told is None.

        The verdict is ``ok`` where the whole interval is as expected, ``wrong`` where none of it is, ``unclear``
        between the two. Fixed is ``ok`` where no clip moved, else ``wrong``.
    """
    prompts = len(set(prompt_ids))
    told = "expected reason n num_prompts change low high largest share share_low share_high verdict"
    row: dict[str, Any] = dict.fromkeys(told.split())
    row |= {"n": len(change), "num_prompts": prompts}
    if expected is not None:
        row |= {"expected": expected.direction, "reason": expected.reason}
    if not len(change):
        return row
    sums = sum_by_cluster(np.stack([change, np.ones(len(change))], axis=1), prompt_ids)
    mean = of_sums(sums, lambda totals: totals[:, 0] / totals[:, 1])
    _, low, high = bootstrap(len(sums), mean, rng=np.random.default_rng(seed))
    row |= {"change": float(change.mean()), "largest": float(np.abs(change).max())}
    if prompts > 1:
        row |= {"low": low, "high": high}
    if expected is not None and expected.direction != "any":
        lowest, highest = expected_range(expected.direction, band)
        found = share((change >= lowest) & (change <= highest), prompt_ids)
        row |= {"share": found.value, "share_low": found.low, "share_high": found.high}
        if len(change) >= min_clips and prompts >= MIN_PROMPTS:
            if expected.direction == "fixed":
                low = high = row["largest"]
            row["verdict"] = _verdict(low, high, lowest, highest)
    return row


def wrong_ones(result: Mapping[str, Any]) -> list[tuple[str, str]]:
    """(probe, dimension) of every verdict ``wrong`` in the result of a run."""
    return [
        (probe["probe"], name)
        for probe in result["probes"]
        for name, row in probe["dimensions"].items()
        if row["verdict"] == "wrong"
    ]


def _verdict(low: float, high: float, lowest: float, highest: float) -> Verdict:
    if lowest <= low and high <= highest:
        return "ok"
    return "wrong" if high < lowest or low > highest else "unclear"
