"""A plain line in the log every so many steps."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping


def print_row(rank: int, every: int) -> Callable[[Mapping[str, float]], None]:
    """Prints the numbers of every ``every``-th step of the first process."""
    started = time.monotonic()

    def show(row: Mapping[str, float]) -> None:
        if rank == 0 and int(row["step"]) % every == 0:
            numbers = "  ".join(f"{name} {value:.4g}" for name, value in row.items() if name != "step")
            print(f"{int(row['step'])}  {time.monotonic() - started:.0f} s  {numbers}", flush=True)

    return show
