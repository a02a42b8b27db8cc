"""Imports go down, and each third-party library enters through one folder."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

RANKS = {
    "": 10,
    "errors": 0,
    "ties": 0,
    "config": 1,
    "randomness": 1,
    "flow": 1,
    "losses": 1,
    "stats": 1,
    "contracts": 2,
    "stores": 3,
    "video": 4,
    "data": 5,
    "models": 5,
    "worlds": 5,
    "sampling": 5,
    "distributed": 5,
    "training": 6,
    "evaluation": 6,
    "recipes": 7,
    "web": 8,
    "cli": 9,
}
"""Folder or module right below the package -> rank. A module imports lower ranks and its own folder."""

FLOORS = {
    "data": ({"tables"}, {"rows"}, {"readers"}, {"source_table"}, {"judgements"}, {"dataset"}, {"formats"}),
    "recipes": ({"score", "stages"}, {"judges"}, {"reward"}, {"generator"}, {"sprite_weights", "quickstart"}),
    "web.annotate": ({"storage"}, {"programme"}, {"http"}),
}
"""Folder -> what stands in it, floor by floor: none of it imports anything of its own floor but itself, or of a higher
one. What is not named is free."""

NEVER = {"training": {"models"}, "evaluation": {"models"}}
"""What a folder must not import although its rank would allow it: they meet models through the contracts."""

MATH = {"flow", "losses", "stats"}
"""Folders that see nothing of ours but the laws that they share, `ties`."""

PURE = {
    "errors": set(),
    "ties": set(),
    "config": {"pydantic", "yaml"},
    "randomness": {"torch"},
    "flow": {"torch"},
    "losses": {"torch"},
    "stats": {"numpy", "scipy"},
}
"""Folders and modules that see nothing of ours but errors (math not even them), and the libraries that they may see."""

DOORS = {
    "diffusers": {"models"},
    "transformers": {"models"},
    "peft": {"models"},
    "tokenizers": {"models"},
    "huggingface_hub": {"models"},
    "accelerate": {"distributed", "models"},
    "av": {"video"},
    "torchcodec": {"video"},
    "pyarrow": {"data"},
    "typer": {"cli"},
    "rich": {"cli", "recipes"},
    "fastapi": {"web"},
    "starlette": {"web"},
    "uvicorn": {"web"},
    "python_multipart": {"web"},
    "pyrate_limiter": {"web"},
    "prometheus_client": {"distributed", "web"},
    "httpx": {"web"},
    "sqlalchemy": {"web"},
    "alembic": {"web"},
    "fsspec": {"stores"},
    "tenacity": {"stores"},
    "ray": {"distributed"},
    "matplotlib": {"evaluation"},
    "jinja2": {"evaluation", "web"},
    "markupsafe": {"evaluation", "web"},
    "torchvision": set(),
    "decord": set(),
    "krippendorff": set(),
}
"""Third-party library -> folders that may import it; an empty set bans it."""

DISTRIBUTIONS = {
    "PIL": "pillow",
    "prometheus_client": "prometheus-client",
    "pyrate_limiter": "pyrate-limiter",
    "python_multipart": "python-multipart",
    "yaml": "pyyaml",
}
"""Imported name -> what it is called in pyproject.toml, where that differs."""

OPTIONAL = {"web": "web", "distributed": "cluster", "training": "quantise"}
"""Folder -> the extra that it may need besides the core dependencies."""


def imported_unit(target: str) -> str:
    parts = target.split(".")
    return parts[1] if len(parts) > 1 and parts[1] in RANKS else ""


def broken_ranks(module: Any) -> list[str]:
    broken = []
    for one in module.imports:
        if one.top != "videoalign":
            continue
        other = imported_unit(one.target)
        if other == module.unit or not other:
            continue
        allowed = RANKS[other] < RANKS[module.unit] and other not in NEVER.get(module.unit, ())
        if module.unit in MATH:
            allowed = other == "ties"
        if not allowed:
            broken.append(f"{module.at(one.line)} imports {one.target}")
    return broken


def room(folder: str, target: str) -> tuple[int, str] | None:
    """Floor and name of what a dotted name means within a folder; None outside of it, and of what is free."""
    parts, inside = target.split("."), ["videoalign", *folder.split(".")]
    name = parts[len(inside)] if parts[: len(inside)] == inside and len(parts) > len(inside) else ""
    return next(((number, name) for number, floor in enumerate(FLOORS[folder]) if name in floor), None)


def broken_floors(module: Any) -> list[str]:
    broken = []
    for folder in FLOORS:
        here = room(folder, module.name)
        for one in module.imports:
            there = room(folder, one.target)
            if here and there and there[1] != here[1] and there[0] >= here[0]:
                broken.append(f"{module.at(one.line)} imports {one.target}")
    return broken


def closed_doors(module: Any) -> list[str]:
    broken = []
    for one in module.imports:
        doors = DOORS.get(one.top)
        outside = doors is not None and module.unit not in doors
        impure = module.unit in PURE and one.is_third_party and one.top not in PURE[module.unit]
        if outside or impure:
            broken.append(f"{module.at(one.line)} imports {one.target}")
    return broken


def test_every_folder_has_a_rank(modules: list[Any]) -> None:
    assert {module.unit for module in modules} <= set(RANKS)


def test_imports_go_down(modules: list[Any]) -> None:
    broken = [line for module in modules for line in broken_ranks(module)]
    assert not broken, "\n".join(broken)


def test_imports_go_down_within_a_folder_too(modules: list[Any]) -> None:
    broken = [line for module in modules for line in broken_floors(module)]
    assert not broken, "\n".join(broken)
    named = {f"videoalign.{folder}.{name}" for folder, floors in FLOORS.items() for floor in floors for name in floor}
    assert all(any((module.name + ".").startswith(name + ".") for module in modules) for name in named)


def test_third_party_libraries_come_in_through_their_doors(modules: list[Any]) -> None:
    broken = [line for module in modules for line in closed_doors(module)]
    assert not broken, "\n".join(broken)


def test_contracts_load_no_torch(modules: list[Any]) -> None:
    found = [
        module.at(one.line)
        for module in modules
        if module.unit == "contracts"
        for one in module.imports
        if one.top == "torch" and one.at_run_time
    ]
    assert not found, "\n".join(found)


def test_what_is_imported_is_declared(modules: list[Any], repository: Path) -> None:
    project = tomllib.loads((repository / "pyproject.toml").read_text())["project"]

    def names(requirements: list[str]) -> set[str]:
        return {re.split(r"[\[<>=!~; ]", requirement)[0].lower() for requirement in requirements}

    core = names(project["dependencies"])
    extras = {extra: names(requirements) for extra, requirements in project["optional-dependencies"].items()}
    undeclared = []
    for module in modules:
        allowed = core | extras.get(OPTIONAL.get(module.unit, ""), set())
        undeclared += [
            f"{module.at(one.line)} imports {one.top}"
            for one in module.imports
            if one.is_third_party and DISTRIBUTIONS.get(one.top, one.top).lower() not in allowed
        ]
    assert not undeclared, "\n".join(undeclared)


def test_the_rules_catch_what_they_are_for(parse_module: Any) -> None:
    upward = parse_module("videoalign.losses.x", "def f():\n    from videoalign.models.lora import add_lora\n")
    assert broken_ranks(upward) == ["videoalign/losses/x.py:2 imports videoalign.models.lora.add_lora"]
    assert broken_ranks(parse_module("videoalign.training.x", "import videoalign.models.lora\n"))
    assert broken_ranks(parse_module("videoalign.evaluation.x", "from videoalign import models\n"))
    assert broken_ranks(parse_module("videoalign.data.x", "from ..worlds.sprites import oracle\n"))
    assert broken_ranks(parse_module("videoalign.stats.x", "from videoalign.errors import DataError\n"))
    assert broken_ranks(parse_module("videoalign.stats.x", "from videoalign.losses import preference\n"))
    assert not broken_ranks(parse_module("videoalign.stats.x", "from videoalign.ties import davidson\n"))
    dynamic = "import importlib\nimportlib.import_module('videoalign.cli.main')\n"
    assert broken_ranks(parse_module("videoalign.web.x", dynamic))
    assert not broken_ranks(parse_module("videoalign.data.x", "from . import video\nfrom videoalign import errors\n"))
    source = "from videoalign.web.annotate.programme import people\nfrom videoalign.web.annotate.settings import x\n"
    assert len(broken_floors(parse_module("videoalign.web.annotate.storage.x", source))) == 1
    assert not broken_floors(parse_module("videoalign.web.annotate.http.x", source))
    assert broken_floors(parse_module("videoalign.recipes.score", "import videoalign.recipes.judges\n"))
    assert closed_doors(parse_module("videoalign.training.x", "def f():\n    import peft.utils\n"))
    assert closed_doors(parse_module("videoalign.flow.x", "import numpy as np\n"))
    assert not closed_doors(parse_module("videoalign.flow.x", "import math, torch\n"))
