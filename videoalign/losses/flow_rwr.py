"""Flow-RWR: flow matching in which better clips count for more."""

from __future__ import annotations

from torch import Tensor


def rwr_weights(rewards: Tensor, *, temperature: float = 1.0, clip_quantile: float = 0.99) -> Tensor:
    """Weight of each clip, (N,), mean 1: exp(reward / temperature), clipped from above, over its mean in the data set.

    Equations 8 and 9 of "Improving Video Generation with Human Feedback" (arXiv 2501.13918); the loss is the weighted
    flow-matching error. Dividing by the mean leaves the learning rate its usual meaning, and the clip keeps a few clips
    from carrying the whole data set: no weight is above the one at ``clip_quantile`` before the division.

    Args:
        rewards: of the whole data set, (N,); their mean does not matter, their scale does. Those of pairs are weighted
            means over D dimensions of scores whose deviation within a prompt is 1 each (``units=within_prompt``), or of
            z-scores (``normalised``). A mean varies less than what it is the mean of: for equal weights and dimensions
            that do not agree its deviation is 1 / sqrt(D), 0.58 for three, and 1 only where all agree.
        temperature: above 0, in units of the rewards: a clip whose reward is higher by ``temperature`` weighs e times
            as much, so 1 is milder than it reads; large makes all weights alike, small leaves only the best.
        clip_quantile: in (0, 1]; 1 clips nothing.

    Raises:
        ValueError: rewards that are not finite numbers of shape (N,), N at least 1, or a setting out of its range.
    """
    if rewards.ndim != 1 or not len(rewards) or not rewards.isfinite().all():
        raise ValueError(f"rewards must be finite, of shape (N,) with N at least 1; got shape {tuple(rewards.shape)}")
    if not temperature > 0:
        raise ValueError(f"temperature must be above 0; got {temperature}")
    if not 0 < clip_quantile <= 1:
        raise ValueError(f"clip_quantile must be in (0, 1]; got {clip_quantile}")
    scaled = rewards / temperature
    weights = (scaled - scaled.max()).exp()
    ceiling = weights.sort().values[round(clip_quantile * (len(weights) - 1))]
    weights = weights.clamp(max=ceiling)
    return weights / weights.mean()
