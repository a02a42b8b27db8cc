"""What Label Studio writes: paths of its own server, ratings, and exports other than JSON."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import pytest

from tests.data.tables import choices, pairwise, task, write_table
from videoalign.data.dataset import Dataset
from videoalign.data.formats import import_data
from videoalign.errors import DataError


def said(folder: Path) -> list[tuple[str, str, str, str]]:
    return [(row.clip_a[:2], row.clip_b[:2], row.dimension, row.label) for row in Dataset.open(folder).judgements()]


def rating(name: str, tag: str, value: Any, kind: str = "rating") -> dict[str, Any]:
    return {"from_name": name, "to_name": tag, "type": kind, "value": {kind: value}}


def shown(one: dict[str, Any], a: str, b: str) -> dict[str, Any]:
    return {**one, "data": {**one["data"], "video_a": a, "video_b": b}}


VERDICT = task(pairwise("VQ", "left"))


@pytest.mark.parametrize(("a", "b"), [
    ("/data/local-files/?d=videos/c0.mp4", "/data/local-files/?d=videos%2Fc1.mp4"),
    ("http://localhost:8080/data/local-files/?d=videos/c0.mp4", "/studio/data/local-files/?d=videos/c1.mp4"),
    ("/data/upload/7/0a1b2c3d-c0.mp4", "/data/upload/7/ffffffff-c1.mp4"),
    ("https://studio.example/data/upload/7/0a1b2c3d-c0.mp4?x=1", "/data/upload/7/c1.mp4"),
])  # fmt: skip
def test_paths_of_its_server_are_found_below_the_folder_of_clips(
    tmp_path: Path, six_clips: Path, a: str, b: str
) -> None:
    source = write_table(tmp_path / "t.json", [shown(VERDICT, a, b)])
    clips = tmp_path if "local-files" in a else six_clips
    import_data("label-studio", source, tmp_path / "d", clips)
    assert said(tmp_path / "d") == [("c0", "c1", "VQ", "A")]
    assert [Path(one.path) for one in Dataset.open(tmp_path / "d").clips()] == [
        six_clips / "c0.mp4",
        six_clips / "c1.mp4",
    ]


@pytest.mark.parametrize("place", ["upload/7/0a1b2c3d-c 0.mp4", "0a1b2c3d-c 0.mp4", "c 0.mp4"])
def test_an_upload_is_found_under_each_of_its_names(tmp_path: Path, six_clips: Path, place: str) -> None:
    (six_clips / place).parent.mkdir(parents=True, exist_ok=True)
    (six_clips / "c0.mp4").rename(six_clips / place)
    source = write_table(six_clips / "t.json", [shown(VERDICT, "/data/upload/7/0a1b2c3d-c%200.mp4", "c1.mp4")])
    import_data("label-studio", source, tmp_path / "d")
    assert Path(Dataset.open(tmp_path / "d").clips()[0].path) == six_clips / place


def test_two_uploads_of_one_name_are_not_taken_for_each_other(tmp_path: Path, six_clips: Path) -> None:
    uploads = "/data/upload/7/0a1b2c3d-c0.mp4", "/data/upload/8/ffffffff-c0.mp4"
    rows = [shown(VERDICT, uploads[0], "c1.mp4"), shown(VERDICT, uploads[1], "c2.mp4")]
    with pytest.raises(
        DataError, match=r"t\.json:2 .*: upload/7/0a1b2c3d-c0.mp4 and upload/8/ffffffff-c0.mp4 could both"
    ):
        import_data("label-studio", write_table(six_clips / "t.json", rows), tmp_path / "d")


def test_ratings_are_of_the_clip_that_they_name_and_compare_the_two(tmp_path: Path, six_clips: Path) -> None:
    numbers = rating("MQ-video_a", "video_a", 2.5, "number"), rating("MQ-video_b", "video_b", 3, "number")
    one = task(rating("VQ_a", "video_a", 4), rating("VQ_b", "video_b", 2), *numbers, pairwise("TA", "right"))
    import_data("label-studio", write_table(tmp_path / "t.json", [one]), tmp_path / "d")
    assert said(tmp_path / "d") == [("c0", "c1", "VQ", "A"), ("c0", "c1", "MQ", "B"), ("c0", "c1", "TA", "B")]
    ratings = [(row.clip_id[:2], row.dimension, row.score) for row in Dataset.open(tmp_path / "d").ratings()]
    assert ratings == [("c0", "VQ", 4.0), ("c1", "VQ", 2.0), ("c0", "MQ", 2.5), ("c1", "MQ", 3.0)]
    import_data("label-studio", tmp_path / "t.json", tmp_path / "e", options={"tie_band": 2})
    assert [label for *_, label in said(tmp_path / "e")] == ["tie", "tie", "B"]


def test_a_verdict_goes_before_what_two_ratings_say(tmp_path: Path, six_clips: Path) -> None:
    one = task(rating("VQ_a", "video_a", 4), rating("VQ_b", "video_b", 2), choices("VQ", "tie"))
    import_data("label-studio", write_table(tmp_path / "t.json", [one]), tmp_path / "d")
    assert said(tmp_path / "d") == [("c0", "c1", "VQ", "tie")]
    assert len(Dataset.open(tmp_path / "d").ratings()) == 2


def test_a_rating_of_one_clip_alone_is_kept(tmp_path: Path, six_clips: Path) -> None:
    one = task(rating("VQ", "video_b", 2))
    counts = import_data("label-studio", write_table(tmp_path / "t.json", [one]), tmp_path / "d")
    assert (counts.ratings, counts.judgements, list(counts.labels)) == (1, 0, ["VQ"])


def test_tags_of_another_name_are_told_or_compared(tmp_path: Path, six_clips: Path) -> None:
    one = task(rating("VQ_a", "va", 4), rating("VQ_b", "vb", 2))
    source = write_table(tmp_path / "t.json", [one])
    with pytest.raises(DataError, match=r"t\.json:1 .*: 'VQ_a' rates 'va'; say which clip that is, as in tag_a=va"):
        import_data("label-studio", source, tmp_path / "d")
    import_data("label-studio", source, tmp_path / "d", options={"tag_a": "va", "tag_b": "vb"})
    assert said(tmp_path / "d") == [("c0", "c1", "VQ", "A")]
    one["annotations"][0]["result"].append({**pairwise("TA", "left"), "to_name": "va,vb"})
    import_data("label-studio", write_table(tmp_path / "u.json", [one]), tmp_path / "e")
    assert said(tmp_path / "e") == [("c0", "c1", "VQ", "A"), ("c0", "c1", "TA", "A")]
    one["annotations"][0]["result"].append({**pairwise("MQ", "left"), "to_name": "vb,va"})
    with pytest.raises(DataError, match=r"u\.json: tags on both sides \(va, vb\)"):
        import_data("label-studio", write_table(tmp_path / "u.json", [one]), tmp_path / "f")


@pytest.mark.parametrize("kind", ["json", "csv"])
def test_json_min_and_csv_are_read_by_their_columns(tmp_path: Path, six_clips: Path, kind: str) -> None:
    rows = [
        {"prompt": "a cat", "video_a": "/data/local-files/?d=c0.mp4", "video_b": "c1.mp4", "VQ": verdict,
         "MQ_choice": "tie", "note": "nice", "id": 1, "annotator": rater, "annotation_id": 9 + rater,
         "created_at": "2024", "updated_at": "2024", "lead_time": 3.25}
        for rater, verdict in ((4, "left"), (5, "right"), (6, ""))
    ]  # fmt: skip
    source = six_clips / f"t.{kind}"
    if kind == "json":
        write_table(source, rows)
    else:
        with source.open("w", newline="") as file:
            writer = csv.DictWriter(file, list(rows[0]))
            writer.writeheader()
            writer.writerows(rows)
    counts = import_data("label-studio", source, tmp_path / "d")
    judged = [(row.rater, row.dimension, row.label, row.seconds) for row in Dataset.open(tmp_path / "d").judgements()]
    assert judged == [
        ("4", "VQ", "A", 3.25),
        ("4", "MQ", "tie", 3.25),
        ("5", "VQ", "B", 3.25),
        ("5", "MQ", "tie", 3.25),
        ("6", "MQ", "tie", 3.25),
    ]
    assert counts.not_read == {"note": "nice", "created_at": "2024", "updated_at": "2024"}
