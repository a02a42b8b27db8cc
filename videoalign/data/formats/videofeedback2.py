"""VideoFeedback2: scores of single clips for look, text and physics, from 1 to 5; pairs are made within a prompt.

Columns ``video_name, prompt, visual_score, t2v_score, phy_score``; ``video_name`` is a file below ``--clips`` (after
unpacking the archives), ``clip=video_url`` takes the addresses instead. The thinking texts are not read.
"""

from __future__ import annotations

from videoalign.data.formats.ratings import RatingsImporter, RatingsOptions


class VideoFeedback2Options(RatingsOptions):
    """Settings of ``data import videofeedback2``."""

    clip: str = "video_name"
    """Column with the path or address of the clip."""
    dimensions: tuple[str, ...] | None = ("visual_score", "t2v_score", "phy_score")
    """Columns that are judged."""
    unnamed_rater: str = "videofeedback2"
    """Name under which the scores are kept; the table does not say who gave them."""


VideoFeedback2Importer = RatingsImporter
