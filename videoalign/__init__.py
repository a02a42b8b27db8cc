"""videoalign: human preferences about videos in, a better video generator out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from videoalign.recipes.generator.reward_guidance import RewardGuidance

__version__ = "0.1.0"
__all__ = ["RewardGuidance", "__version__"]


def __getattr__(name: str) -> Any:
    """What is public here is imported when it is asked for: it needs libraries that most commands do not."""
    if name != "RewardGuidance":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from videoalign.recipes.generator.reward_guidance import RewardGuidance

    return RewardGuidance
