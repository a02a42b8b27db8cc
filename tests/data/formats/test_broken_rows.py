"""In every layout a row that cannot be used is told with file, line and reason, or left out and listed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.data import tables as like
from tests.data.tables import SETTINGS, clip, write_table
from videoalign.data.formats import import_data
from videoalign.errors import DataError

BAD_ROWS: list[tuple[str, str, dict[str, Any], str]] = [
    ("videofeedback", "jsonl", {**like.feedback(0, 3), "visual quality": "good"}, "must hold a number; got 'good'"),
    ("videofeedback2", "json", {**like.feedback2(0, 1, 2, 3), "video_name": ""}, "column 'video_name' is empty"),
    ("visionreward", "jsonl", {**like.VISION, "standard_answer": "video3"}, "'video3' is not a verdict; wanted video1"),
    ("videodpo", "json", {**like.DPO, "rejected": ""}, "column 'rejected' is empty"),
    ("rapidata", "csv", like.rapidata(0, 1, (0.0, 0.0)), "must not be negative, nor both 0"),
    ("mj-bench", "json", like.mj("Video 3 better"), "'Video 3 better' is not a verdict"),
    ("mj-bench", "json", like.mj(Alignment="worse"), "'worse' is not a verdict"),
    ("vbench-human", "json", like.vbench(m0={"m1": 2}), "human_anno of m0 against m1 is '2'; wanted 1, 0 or 0.5"),
    ("vbench-human", "json", like.vbench(m0={"m1": 1}, m1={"m0": 1}), "says two things of m1 against m0"),
    ("worldreward-bench", "jsonl", like.world(action="up"), "column 'action': 'up' is not a verdict"),
    ("arena", "jsonl", like.arena("model_c"), "'model_c' is not a verdict; wanted model_a, model_b"),
    ("label-studio", "json", like.task(like.pairwise("VQ", "middle")), "column 'VQ': 'middle' is not a verdict"),
    ("label-studio", "json", like.task(like.pairwise("VQ", "left"), like.choices("VQ", "tie")),
     "says both A and tie on VQ"),
    ("label-studio", "json", like.task(like.choices("VQ", "A", "B")), "VQ: 2 choices; wanted one"),
    ("uve-bench", "json", like.uve("C is better"), "'C is better' is not a verdict"),
    ("va-judger", "jsonl", like.judger("video 3 is better"), "'video 3 is better' is not a verdict"),
    ("solireward", "json", {**like.SOLI, "lose": ""}, "column 'lose' is empty"),
    ("potato", "jsonl", {**like.potato(VQ="C"), **like.DPO, "prompt": "p", "video_a": clip(0), "video_b": clip(1)},
     "column 'VQ': 'C' is not a verdict"),
    ("folder", "csv", {"clip": "c1.mp4", "prompt": ""}, "column 'prompt' is empty"),
    ("ratings", "csv", {"clip": clip(0), "prompt": "p", "look": "x"}, "must hold a number; got 'x'"),
    ("pairs", "csv", {"clip_a": clip(0), "clip_b": clip(1), "prompt": "p", "look": "C"}, "'C' is not a verdict"),
]  # fmt: skip

GOOD_ROWS: dict[str, dict[str, Any]] = {
    "videofeedback": like.feedback(2, 3),
    "videofeedback2": like.feedback2(2, 1, 2, 3),
    "vbench-human": like.vbench(m0={"m1": 1}),
    "mj-bench": like.mj("Same"),
    "worldreward-bench": like.world(action="left"),
    "arena": like.arena(),
    "label-studio": like.task(like.pairwise("VQ", "left")),
    "uve-bench": like.uve(),
    "va-judger": like.judger(),
    "solireward": like.SOLI,
    "potato": {**like.potato(VQ="A"), "prompt": "p", "video_a": clip(0), "video_b": clip(1)},
    "folder": {"clip": "c0.mp4", "prompt": "p"},
    "visionreward": like.VISION,
    "videodpo": like.DPO,
    "rapidata": like.rapidata(0, 1),
    "ratings": {"clip": clip(0), "prompt": "p", "look": "3"},
    "pairs": {"clip_a": clip(0), "clip_b": clip(1), "prompt": "p", "look": "A"},
}


@pytest.mark.parametrize(("format", "kind", "row", "says"), BAD_ROWS)
def test_a_row_that_cannot_be_used_is_told_with_file_line_and_reason(
    tmp_path: Path,
    six_clips: Path,
    make_clip: Callable[..., Path],
    format: str,
    kind: str,
    row: dict[str, Any],
    says: str,
) -> None:
    make_clip(tmp_path / "c2 [a b].mp4")
    folder = six_clips if format == "folder" else tmp_path
    options = {**SETTINGS.get(format, {}), **({"need_all": False} if format == "folder" else {})}
    options |= {"dimensions": ("look",)} if format in ("ratings", "pairs") else {}
    source = write_table(folder / f"t.{kind}", [GOOD_ROWS[format], row])
    line = {"csv": "3", "jsonl": "2"}.get(kind) or f"2 (line {_line_of_second(source)})"
    with pytest.raises(DataError) as caught:
        import_data(format, source, tmp_path / "d", options=options)
    assert str(caught.value).startswith(f"t.{kind}:{line}: ")
    assert says in str(caught.value)
    assert not (tmp_path / "d").exists()
    counts = import_data(format, source, tmp_path / "d", options={**options, "skip_broken": True})
    assert [(one["row"], says in one["reason"]) for one in counts.rejected] == [(f"t.{kind}:{line}", True)]


def _line_of_second(source: Path) -> int:
    """Line of the second object of an indented list."""
    lines = source.read_text().splitlines()
    return [number for number, line in enumerate(lines, start=1) if line == " {"][1]


@pytest.mark.parametrize(("text", "says"), [
    ('[{"a": 1},\n{"a": }]', r"t\.json:2: is not JSON"),
    ('[{"a": 1}\n{"a": 2}]', r"t\.json:2: is not JSON \(a list cut off\)"),
    ('[{"a": 1}', r"t\.json:1: is not JSON"),
    ('[{"a": 1}] x', r"is not JSON \(more after the list\)"),
    ('[\n1]', r"t\.json:1 \(line 2\): must be an object"),
    ('{"a": 1}', "must hold a list of objects"),
    ('{"a": [], "b": []}', "must hold a list of objects"),
    ("[]", "the table has no rows"),
    ("\x00", "is not JSON"),
])  # fmt: skip
def test_malformed_json_is_told_with_its_line(tmp_path: Path, text: str, says: str) -> None:
    (tmp_path / "t.json").write_text(text)
    with pytest.raises(DataError, match=says):
        import_data("arena", tmp_path / "t.json", tmp_path / "d")
