"""VideoReward: a Qwen2-VL that scores a clip on named dimensions."""

from videoalign.models.videoreward.model import VideoReward

__all__ = ["VideoReward"]
