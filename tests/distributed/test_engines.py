"""Engines by name; what has no use is refused."""

from __future__ import annotations

from importlib.util import find_spec

import pytest

from videoalign.contracts.engine import IN_PROCESS
from videoalign.distributed.engines import RayOptions, open_engine
from videoalign.errors import ConfigError


def test_without_a_word_work_runs_in_this_process_and_options_of_another_engine_are_refused() -> None:
    assert open_engine() is IN_PROCESS
    with pytest.raises(ConfigError, match="--address: needs --engine ray"):
        open_engine(address="auto")
    with pytest.raises(ConfigError, match="--ray: needs --engine ray"):
        open_engine(options=RayOptions())
    with pytest.raises(ConfigError, match="got 'spark', wanted local or ray"):
        open_engine("spark")
    if find_spec("ray") is None:
        with pytest.raises(ConfigError, match="pip install 'videoalign\\[cluster\\]'"):
            open_engine("ray")
