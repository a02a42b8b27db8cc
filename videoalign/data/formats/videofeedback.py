"""VideoFeedback and VideoScore-Bench: scores of single clips on five dimensions; pairs are made within a prompt.

Columns, with spaces in their names, ``text prompt, video link`` and ``visual quality, temporal consistency, dynamic
degree, text-to-video alignment, factual consistency``; scores go from 1 (bad) to 4 (perfect). ``images``, ``id`` and
``conversations`` are not read.
"""

from __future__ import annotations

from videoalign.data.formats.ratings import RatingsImporter, RatingsOptions

RENAMED = {
    "visual quality": "visual_quality",
    "temporal consistency": "temporal_consistency",
    "dynamic degree": "dynamic_degree",
    "text-to-video alignment": "text_to_video_alignment",
    "factual consistency": "factual_consistency",
}


class VideoFeedbackOptions(RatingsOptions):
    """Settings of ``data import videofeedback``."""

    clip: str = "video link"
    """Column with the path or address of the clip."""
    prompt: str = "text prompt"
    """Column with the prompt."""
    dimensions: tuple[str, ...] | None = tuple(RENAMED)
    """Columns that are judged."""
    rename: dict[str, str] = RENAMED
    """New names of dimensions."""
    unnamed_rater: str = "videofeedback"
    """Name under which the scores are kept; the table does not say who gave them."""


VideoFeedbackImporter = RatingsImporter
