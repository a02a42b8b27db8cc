"""videoalign: human preferences about videos in, a better video generator out."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from videoalign.recipes.generator.named import hunyuan15, ltx, ltx2, wan21_1_3b, wan22_5b, wan22_14b
    from videoalign.recipes.generator.reward_guidance import RewardGuidance

__version__ = "0.1.0"
__all__ = ["RewardGuidance", "__version__", "hunyuan15", "ltx", "ltx2", "wan21_1_3b", "wan22_5b", "wan22_14b"]


def __getattr__(name: str) -> Any:
    """What is public here is imported when it is asked for: it needs libraries that most commands do not."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module = "reward_guidance" if name == "RewardGuidance" else "named"
    return getattr(import_module(f"videoalign.recipes.generator.{module}"), name)
