"""The judged clips that the recipes are tested on."""

from __future__ import annotations

import runpy
from pathlib import Path

judged_dataset = runpy.run_path(str(Path(__file__).parents[1] / "recipes" / "conftest.py"))["judged_dataset"]
