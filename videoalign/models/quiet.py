"""Keeps the progress bars of transformers from breaking those of the command line."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import transformers.utils.logging as transformers_logging


@contextmanager
def no_bars() -> Iterator[None]:
    """Loading and saving show no bar inside the block."""
    shown = transformers_logging.is_progress_bar_enabled()
    transformers_logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            transformers_logging.enable_progress_bar()
