"""The pairs of VideoScore-Bench stand in two rows each, known by the beginning of their ids."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.data.tables import clip, write_table
from videoalign.data.dataset import Dataset
from videoalign.data.formats import import_data
from videoalign.errors import DataError


def half(name: str, number: int, preference: Any, prompt: str = "a cat") -> dict[str, Any]:
    return {"id": name, "text prompt": prompt, "video link": clip(number), "preference": preference}


def test_halves_meet_by_id_and_the_higher_preference_wins(tmp_path: Path, six_clips: Path) -> None:
    rows = [
        half("0000_left", 0, 1),
        half("0001_right", 3, 0),
        half("0000_right", 1, 0),
        half("0001_left", 2, 0),
        half("0002_right", 5, 1),
        half("0002_left", 4, 0),
    ]
    counts = import_data("videofeedback", write_table(tmp_path / "t.jsonl", rows), tmp_path / "d")
    assert (counts.pairs, counts.judgements, counts.ratings) == (3, 3, 0)
    said = [(row.clip_a[:2], row.clip_b[:2], str(row.label)) for row in Dataset.open(tmp_path / "d").judgements()]
    assert said == [("c0", "c1", "A"), ("c2", "c3", "tie"), ("c4", "c5", "B")]


@pytest.mark.parametrize(("second", "says"), [
    (half("0001_right", 1, 0), "t.jsonl:1: the other clip of the pair, '0000_right', is not in the table"),
    (half("0000_up", 1, 0), "t.jsonl:1: the other clip"),
    (half("0000_right", 1, None), "t.jsonl:2: column 'preference' is empty"),
    (half("0000_right", 1, 0, "a dog"), "t.jsonl:2: the prompts of '0000_left' and '0000_right' differ"),
])  # fmt: skip
def test_a_half_without_its_other_is_told(tmp_path: Path, six_clips: Path, second: dict[str, Any], says: str) -> None:
    source = write_table(tmp_path / "t.jsonl", [half("0000_left", 0, 1), second])
    with pytest.raises(DataError) as caught:
        import_data("videofeedback", source, tmp_path / "d")
    assert str(caught.value).startswith(says) and not (tmp_path / "d").exists()
