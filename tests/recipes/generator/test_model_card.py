"""The page of an adapter says how its own pipeline is opened, and every line of it can be run."""

from __future__ import annotations

import json
import re
from pathlib import Path

import diffusers
import pytest

from videoalign.models.generators.families import FAMILIES
from videoalign.recipes.generator.model_card import write_model_card


@pytest.mark.parametrize("name", FAMILIES)
def test_the_page_loads_the_adapter_by_methods_that_the_pipeline_has(name: str, tmp_path: Path) -> None:
    base = {"name": "tiny", "transformer": "0", "source": "acme/tiny", "pipeline": name}
    (tmp_path / "base.json").write_text(json.dumps(base))
    (tmp_path / "run.json").write_text(json.dumps({"command": "align sft"}))
    page = write_model_card(tmp_path).read_text()
    assert f'pipe = {name}.from_pretrained("acme/tiny")' in page
    kind = getattr(diffusers, name)
    parts = {"pipe": kind, "pipe.transformer": FAMILIES[name].transformer}
    calls = re.findall(r"^(pipe(?:\.transformer)?)\.(\w+)\(", page, flags=re.MULTILINE)
    assert calls and all(hasattr(parts[whole], method) for whole, method in calls)
    task = "text-to-image" if name[:4] in ("Stab", "Flux") else "image-to-video" if "Image" in name else "text-to-video"
    assert f"pipeline_tag: {task}" in page
