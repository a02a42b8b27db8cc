from __future__ import annotations

import json
import math
from dataclasses import dataclass
from typing import NamedTuple

from videoalign.contracts.plain import plain


class Inner(NamedTuple):
    x: float
    y: tuple[int, ...]


@dataclass(frozen=True)
class Outer:
    name: str
    inner: Inner
    more: dict[str, list[Inner]]


def test_results_become_what_json_has() -> None:
    value = Outer("a", Inner(math.nan, (1, 2)), {"k": [Inner(0.5, ())]})
    expected = {"name": "a", "inner": {"x": None, "y": [1, 2]}, "more": {"k": [{"x": 0.5, "y": []}]}}
    assert plain(value) == expected
    assert json.loads(json.dumps(plain([value, None, True]), allow_nan=False)) == [expected, None, True]
