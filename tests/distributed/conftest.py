"""The small base and the judged clips that the recipes are tested on."""

from __future__ import annotations

import runpy
from pathlib import Path

_recipes = runpy.run_path(str(Path(__file__).parents[1] / "recipes" / "conftest.py"))
tiny_base, judged_dataset = _recipes["tiny_base"], _recipes["judged_dataset"]
