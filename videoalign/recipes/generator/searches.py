"""Ways to steer that try several noises for a clip, by name; the pull of a gradient is `generate.guide_wrapper`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from videoalign.contracts.generator import Generator, Steering
from videoalign.errors import ConfigError, did_you_mean
from videoalign.models.digest import folder_digest
from videoalign.recipes.generator.generate import GUIDE_FILES, open_guide
from videoalign.recipes.judges import open_judge
from videoalign.sampling.searches import BestOfN, EarlyBest, Particles

GRADIENT = "nrg"
"""Name of the way that pulls with the gradient of the reward."""
BY_JUDGE = "best-of-n"
BY_GUIDE = ("early-best", "particles")
WAYS = (GRADIENT, BY_JUDGE, *BY_GUIDE)


def require_way(way: str, *, guide: bool, judge: bool) -> None:
    """Checks that a way to steer is known and has the reward that it asks.

    Raises:
        ConfigError: unknown, or without its ``--guide`` or ``--judge``, or with one that it does not ask.
    """
    if way not in WAYS:
        raise ConfigError(f"--steer: there is no way '{way}'; wanted {', '.join(WAYS)}.{did_you_mean(way, WAYS)}")
    wanted, other = ("--judge", "--guide") if way == BY_JUDGE else ("--guide", "--judge")
    given = {"--judge": judge, "--guide": guide}
    if not given[wanted]:
        what = "the folder of a VideoReward, or 'oracle'" if wanted == "--judge" else "what guide train made"
        raise ConfigError(f"--steer {way}: asks a reward, but there is no {wanted}; give {what}.")
    if given[other]:
        raise ConfigError(f"--steer {way}: asks {wanted} alone; leave {other} out.")


def open_search(
    way: str,
    generator: Generator,
    reward: str | Path,
    weights: Mapping[str, float] | None,
    *,
    candidates: int = 4,
    strength: float = 1.0,
) -> Steering:
    """What `generate` takes to search among the noises of a clip.

    Args:
        way: ``best-of-n``, ``early-best`` or ``particles``.
        generator: that samples.
        reward: for ``best-of-n`` what `open_judge` takes, otherwise the folder of a noisy-latent reward.
        weights: by dimension; None weighs all the same, with a sum of 1.
        candidates: noises that are tried for each clip, at least 1.
        strength: of ``particles``, see there.

    Raises:
        ModelError: no reward there, or one of another generator.
        ConfigError: an unknown dimension, or a number out of range.
    """
    if way == BY_JUDGE:
        judge = open_judge(reward, device=str(generator.device))
        return BestOfN(judge, weights or _all(judge.dimensions), candidates)
    guide, digest = open_guide(generator, reward), folder_digest(reward, *GUIDE_FILES)
    weights = weights or _all(guide.dimensions)
    if way == "early-best":
        return EarlyBest(guide, weights, candidates, digest=digest)
    return Particles(guide, weights, candidates, strength, digest=digest)


def _all(dimensions: tuple[str, ...]) -> dict[str, float]:
    return {name: 1 / len(dimensions) for name in dimensions}
