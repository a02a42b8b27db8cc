"""What cannot be used is listed with its reason, and too much of it stops the work."""

from __future__ import annotations

from pathlib import Path

import pytest

from videoalign.data.rejected import REJECTED_FILE, Rejections, read_rejected, write_rejected
from videoalign.errors import ConfigError, DataError, VideoError


def test_a_share_may_be_rejected_and_one_more_stops_the_work() -> None:
    some = Rejections("scored", 10, 0.2)
    some.add({"a": VideoError("a: damaged."), "b": VideoError("b: damaged.")})
    with pytest.raises(DataError, match="3 of 10 clips cannot be scored, more than --max-rejected 0.2 .*first: a: dam"):
        some.add({"c": VideoError("c: damaged.")})
    none = Rejections("scored", 10, 0.0)
    none.add({"a": VideoError("a: damaged.")})  # the others are done before it is refused
    assert list(none.reasons) == ["a"]
    for share in (-0.1, 1.1, float("nan")):
        with pytest.raises(ConfigError, match="--max-rejected"):
            Rejections("scored", 10, share)


def test_each_kind_of_work_replaces_its_own_rows(tmp_path: Path) -> None:
    write_rejected(tmp_path, "score r", {})
    assert not (tmp_path / REJECTED_FILE).exists()
    write_rejected(tmp_path, "score r", {"a": "damaged", "b": "half \ud83d"})
    write_rejected(tmp_path, "encode m", {"a": "missing"})
    write_rejected(tmp_path, "score r", {"b": "short"})
    assert read_rejected(tmp_path) == [
        {"stage": "encode m", "clip_id": "a", "reason": "missing"},
        {"stage": "score r", "clip_id": "b", "reason": "short"},
    ]
    for stage in ("score r", "encode m"):
        write_rejected(tmp_path, stage, {})
    assert read_rejected(tmp_path) == []
