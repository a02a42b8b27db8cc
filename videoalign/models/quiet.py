"""Keeps what transformers and diffusers show by themselves from breaking what the command line shows."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import transformers.utils.logging as transformers_logging


@contextmanager
def no_bars(logging: Any = transformers_logging) -> Iterator[None]:
    """Loading and saving show no bar inside the block, by transformers, or the library that this module is the
    ``utils.logging`` of."""
    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            logging.enable_progress_bar()


@contextmanager
def no_notes(logging: Any = transformers_logging) -> Iterator[None]:
    """Only errors of transformers, or of the library that this module is the ``utils.logging`` of, are told inside the
    block."""
    verbosity = logging.get_verbosity()
    logging.set_verbosity_error()
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)
