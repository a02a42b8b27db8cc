"""What trainings in several processes do alike."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from videoalign.contracts.output import claim_folder
from videoalign.distributed import Processes


def claim_together(out: str | Path, identity: Mapping[str, Any], processes: Processes, *, fresh: bool = False) -> Path:
    """`claim_folder` by the first process; the others find it made, or refuse it for the same reason.

    Raises:
        OutputError: see `claim_folder`.
    """
    return processes.first_then_all(lambda: claim_folder(out, identity, fresh=fresh and processes.is_first))
