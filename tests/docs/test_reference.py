from __future__ import annotations

import subprocess
import sys
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]


def test_reference_pages_say_what_the_code_says() -> None:
    done = subprocess.run(
        [sys.executable, "docs/reference.py", "--check"], cwd=REPOSITORY, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_every_decision_is_numbered_in_turn() -> None:
    numbers = sorted(int(file.name.split("-")[0]) for file in (REPOSITORY / "docs" / "decisions").glob("*.md"))
    assert numbers == list(range(1, len(numbers) + 1))
