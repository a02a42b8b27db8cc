"""Commands that are killed at random moments end with what an unbroken run leaves; more of it: tests/faults/kill.py."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

SCRIPT = Path(__file__).parent / "kill.py"


def test_ten_kills_change_nothing() -> None:
    command = [sys.executable, SCRIPT, "--kills", "10", "--only", "generate", "encode"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=600)
    assert done.returncode == 0, done.stderr[-3000:]
    assert sum(map(int, re.findall(r"killed (\d+) times", done.stdout))) >= 10, done.stdout
