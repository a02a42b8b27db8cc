"""videoalign: human preferences about videos in, a better video generator out."""

from __future__ import annotations

__version__ = "0.1.0"
