"""A judged column is read, refused or told of, never dropped; words that could mean two things need a setting."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.data import tables as like
from tests.data.tables import SETTINGS, write_table
from videoalign.contracts.records import Label
from videoalign.data.dataset import Dataset
from videoalign.data.formats import import_data
from videoalign.data.formats.verdicts import LABELS, VerdictOptions, known_verdicts, normalise_label
from videoalign.errors import ConfigError, DataError


def pair(number: int, **more: Any) -> dict[str, Any]:
    return {"clip_a": f"c{2 * number}.mp4", "clip_b": f"c{2 * number + 1}.mp4", "prompt": f"p{number}", **more}


def labels(folder: Path, source: Path, **options: Any) -> dict[str, list[str]]:
    """The labels of each dimension, in order."""
    import_data("pairs", source, folder / "d", options=options, fresh=(folder / "d").exists())
    found: dict[str, list[str]] = {}
    for row in Dataset.open(folder / "d").judgements():
        found.setdefault(row.dimension, []).append(str(row.label))
    return found


def test_left_and_right_are_the_sides_where_the_clips_stood(tmp_path: Path, six_clips: Path) -> None:
    rows = [pair(0, VQ="left", MQ="A"), pair(1, VQ="Right", MQ="B"), pair(2, VQ="equal", MQ="clip_b")]
    assert labels(tmp_path, write_table(six_clips / "t.csv", rows)) == {"VQ": ["A", "B", "tie"], "MQ": ["A", "B", "B"]}
    told = [row | {"left": side} for row, side in zip(rows, ("B", "B", "A"), strict=True)]
    assert labels(tmp_path, write_table(six_clips / "t.csv", told))["VQ"] == ["B", "A", "tie"]
    with pytest.raises(DataError, match=r"t\.csv:2: column 'VQ' says 'left', but column 'left' does not say which"):
        labels(tmp_path, write_table(six_clips / "t.csv", [row | {"left": ""} for row in rows]))


@pytest.mark.parametrize(("words", "verdicts"), [
    (["1", "0", "1.0"], {1: "A", 0: "B"}),
    (["1.0", "0.0", "1"], {"1": "A", "0": "B"}),
    (["win", "lose", "WIN"], {"win": "A", "lose": "B"}),
    (["0", "1", "0"], {"0": "A", "1": "B"}),
])  # fmt: skip
def test_words_that_could_mean_two_things_are_read_with_a_setting_alone(
    tmp_path: Path, six_clips: Path, words: list[str], verdicts: dict[Any, str]
) -> None:
    rows = [pair(number, VQ=word, MQ="A") for number, word in enumerate(words)]
    source = write_table(six_clips / "t.csv", rows)
    with pytest.raises(DataError, match=rf"t\.csv: column 'VQ' holds '{words[0]}', which is no judgement .*verdicts="):
        import_data("pairs", source, tmp_path / "d")
    assert labels(tmp_path, source, verdicts=verdicts) == {"VQ": ["A", "B", "A"], "MQ": ["A"] * 3}


def test_a_score_of_the_first_clip_may_be_a_half(tmp_path: Path, six_clips: Path) -> None:
    source = write_table(six_clips / "t.csv", [pair(0, VQ=1.0), pair(1, VQ=0.5), pair(2, VQ=0.0)])
    assert labels(tmp_path, source, verdicts={1: "A", 0.5: "same", 0: "B"}) == {"VQ": ["A", "tie", "B"]}


def test_a_word_that_is_told_goes_before_what_it_usually_means(tmp_path: Path, six_clips: Path) -> None:
    source = write_table(six_clips / "t.csv", [pair(0, VQ="left", left="B"), pair(1, VQ="tie", left="B")])
    told = {"left": "A", "tie": "invalid"}
    assert labels(tmp_path, source, verdicts=told) == {"VQ": ["A", "invalid"]}


def test_what_a_word_means_must_be_a_verdict() -> None:
    with pytest.raises(ConfigError, match=r"setting 'verdicts\.won' got 'first'"):
        VerdictOptions.build_from({"verdicts": {"won": "first"}})
    with pytest.raises(DataError, match=r"'2' is not a verdict; wanted A, B, .* verdicts=\{'2': A\}"):
        normalise_label("2", "VQ", known_verdicts(VerdictOptions()))
    assert normalise_label("1", "VQ", known_verdicts(VerdictOptions.load(None, ["verdicts.1=b"]))) == Label.B
    assert set(LABELS.values()) == set(Label)


@pytest.mark.parametrize(("format", "kind", "row", "column", "word"), [
    ("arena", "jsonl", like.arena("first"), "winner", "first"),
    ("genai-bench", "csv", {"prompt": "p", "left_video": "videos/c0.mp4", "right_video": "videos/c1.mp4",
                            "left_model": "m", "right_model": "n", "vote_type": "first"}, "vote_type", "first"),
    ("mj-bench", "json", like.mj("first"), "Overall", "first"),
    ("uve-bench", "json", like.uve("first"), "preference", "first"),
    ("va-judger", "jsonl", like.judger("first"), "human_preference_answer", "first"),
    ("visionreward", "jsonl", {**like.VISION, "standard_answer": "first"}, "standard_answer", "first"),
    ("worldreward-bench", "jsonl", like.world(action="first"), "action", "first"),
    ("label-studio", "json", like.task(like.choices("VQ", "first")), "VQ", "first"),
    ("videoalign", "csv", {"path_A": "videos/c0.mp4", "path_B": "videos/c1.mp4", "prompt": "p", "VQ": "first", "MQ": "",
                           "TA": ""}, "VQ", "first"),
])  # fmt: skip
def test_every_layout_may_be_told_what_a_word_means(
    tmp_path: Path, six_clips: Path, format: str, kind: str, row: dict[str, Any], column: str, word: str
) -> None:
    source, options = write_table(tmp_path / f"t.{kind}", [row]), SETTINGS.get(format, {})
    with pytest.raises(DataError, match=rf"column '{column}': '{word}' is not a verdict; .*verdicts="):
        import_data(format, source, tmp_path / "d", options=options)
    import_data(format, source, tmp_path / "d", options={**options, "verdicts": {word: "A"}})
    assert Dataset.open(tmp_path / "d").judgements()[0].label == "A"


def test_a_column_that_everybody_judges_is_not_dropped(tmp_path: Path, six_clips: Path) -> None:
    rows = [{"clip": f"c{k}.mp4", "prompt": "p", "VQ": "good", "MQ": str(k)} for k in range(2)]
    with pytest.raises(DataError, match=r"column 'VQ' holds 'good', which is no judgement that is known here"):
        import_data("ratings", write_table(six_clips / "t.csv", rows), tmp_path / "d")
    counts = import_data("ratings", six_clips / "t.csv", tmp_path / "d", options={"dimensions": ("MQ",)})
    assert (list(counts.labels), counts.not_read) == (["MQ"], {"VQ": "good"})


def test_columns_that_were_not_read_are_told_with_a_cell(tmp_path: Path, six_clips: Path) -> None:
    rows = [pair(k, VQ="A", motion=f"{k}.5", note="" if k == 0 else "nice", fps_a="8", pair_id="7") for k in range(3)]
    counts = import_data("pairs", write_table(six_clips / "t.csv", rows), tmp_path / "d")
    assert counts.not_read == {"motion": "0.5", "note": "nice"}
    rows = [{"clip": f"c{k}.mp4", "prompt": "p", "VQ": k} for k in range(6)]
    (six_clips / "t.csv").unlink()
    counts = import_data("folder", write_table(six_clips / "t.csv", rows).parent, tmp_path / "e")
    assert (counts.ratings, counts.not_read) == (0, {"VQ": "0"})
