from __future__ import annotations

import runpy
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]


def test_reference_pages_say_what_the_code_says() -> None:
    pages = runpy.run_path(str(REPOSITORY / "docs" / "reference.py"))
    for name, page in pages["made"]().items():
        assert (pages["PAGES"] / name).read_text(encoding="utf-8") == page, f"{name} is out of step; run make docs"


def test_every_decision_is_numbered_in_turn() -> None:
    numbers = sorted(int(file.name.split("-")[0]) for file in (REPOSITORY / "docs" / "decisions").glob("*.md"))
    assert numbers == list(range(1, len(numbers) + 1))
