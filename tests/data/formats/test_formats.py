"""Other people's tables become the same records, whole or not at all."""

from __future__ import annotations

import csv
import json
from collections import Counter
from collections.abc import Callable
from itertools import combinations
from pathlib import Path
from typing import Any

import av
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.data.tables import write_table
from videoalign.contracts.records import Label
from videoalign.data.dataset import Dataset, flip
from videoalign.data.formats import export_data, import_data
from videoalign.errors import ConfigError, DataError, OutputError, VideoError


def official(a: int, b: int, labels: str = "A B same", prompt: str = "a cat", **more: Any) -> dict[str, Any]:
    """A row of the official table: clips c<a> and c<b>, labels of VQ, MQ and TA."""
    return {
        "path_A": f"videos/c{a}.mp4",
        "path_B": f"videos/c{b}.mp4",
        "prompt": prompt,
        **dict(zip(("VQ", "MQ", "TA"), labels.split(), strict=True)),
        **more,
    }


def test_official_table_of_real_pairs(shared: Path, tmp_path: Path) -> None:
    counts = import_data("videoalign", shared / "data" / "videoalign_pairs" / "pairs.csv", tmp_path / "d")
    assert (counts.prompts, counts.clips, counts.pairs, counts.judgements) == (3, 6, 3, 9)
    assert counts.labels == {
        "VQ": {"A": 1, "B": 1, "tie": 1, "both_bad": 0, "invalid": 0},
        "MQ": {"A": 0, "B": 1, "tie": 2, "both_bad": 0, "invalid": 0},
        "TA": {"A": 2, "B": 0, "tie": 1, "both_bad": 0, "invalid": 0},
    }
    assert counts.rejected == []
    dataset = Dataset.open(tmp_path / "d")
    assert sorted({clip.fps for clip in dataset.clips()}) == [16.0, 24.0, 30.0]
    assert [row.source_row for row in dataset.judgements()][::3] == ["pairs.csv:2", "pairs.csv:3", "pairs.csv:4"]
    assert [dimension.sees_prompt for dimension in dataset.info.dimensions] == [False, False, True]


def test_real_ratings_give_the_pairs_that_each_rater_implies(shared: Path, tmp_path: Path) -> None:
    source = shared / "data" / "fetv" / "ratings.csv"
    counts = import_data("ratings", source, tmp_path / "d")
    assert (counts.prompts, counts.clips, counts.pairs, counts.ratings, counts.raters) == (20, 80, 120, 720, 3)
    expected: Counter[tuple[str, str]] = Counter()
    with source.open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    for one, other in combinations(rows, 2):
        if (one["prompt"], one["rater"]) == (other["prompt"], other["rater"]):
            for name in ("static_quality", "temporal_quality", "alignment"):
                expected[name, "tie" if one[name] == other[name] else "decided"] += 1
    found = {name: (labels["A"] + labels["B"], labels["tie"]) for name, labels in counts.labels.items()}
    names = ("static_quality", "temporal_quality", "alignment")
    assert found == {name: (expected[name, "decided"], expected[name, "tie"]) for name in names}
    assert all(0.35 < labels["A"] / (labels["A"] + labels["B"]) < 0.65 for labels in counts.labels.values())
    dataset = Dataset.open(tmp_path / "d")
    assert [dimension.sees_prompt for dimension in dataset.info.dimensions] == [True, True, True]
    generators = {clip.clip_id: clip.generator for clip in dataset.clips()}
    sides = Counter(generators[row.clip_a] for row in dataset.judgements())
    assert min(sides.values()) > 0.3 * max(sides.values())  # no generator stands on one side only


def test_tie_band_decides_what_is_a_tie(tmp_path: Path, six_clips: Path) -> None:
    rows = [
        {"clip": f"c{k}.mp4", "prompt": "a cat", "rater": "r", "look": score}
        for k, score in enumerate([1.0, 2.0, 4.0, 4.0])
    ]
    source = write_table(six_clips / "ratings.csv", rows)
    decided = {}
    for band in (0.0, 1.0, 2.0, 3.0):
        counts = import_data("ratings", source, tmp_path / f"d{band}", options={"tie_band": band})
        decided[band] = counts.labels["look"]["A"] + counts.labels["look"]["B"]
    assert decided == {0.0: 5, 1.0: 4, 2.0: 2, 3.0: 0}  # differences 1 3 3 2 2 0
    dataset = Dataset.open(tmp_path / "d0.0")
    scores = {rating.clip_id: rating.score for rating in dataset.ratings()}
    for row in dataset.judgements():
        better = {Label.A: row.clip_a, Label.B: row.clip_b}.get(Label(row.label))
        assert better is None or scores[better] == max(scores[row.clip_a], scores[row.clip_b])


def test_ratings_of_different_prompts_or_raters_are_not_compared(tmp_path: Path, six_clips: Path) -> None:
    rows = [
        {"clip": f"c{k}.mp4", "prompt": prompt, "rater": rater, "look": k}
        for k, (prompt, rater) in enumerate([("a", "r"), ("b", "r"), ("a", "s"), ("a", "r"), ("b", "s")])
    ]
    import_data("ratings", write_table(six_clips / "ratings.csv", rows), tmp_path / "d")
    (row,) = Dataset.open(tmp_path / "d").judgements()
    assert {row.clip_a[:2], row.clip_b[:2]} == {"c0", "c3"}
    assert row.source_row in ("ratings.csv:2+5", "ratings.csv:5+2")


def test_columns_may_be_called_otherwise(tmp_path: Path, six_clips: Path) -> None:
    rows = [{"file": f"c{k}.mp4", "text": "a cat", "who": "r", "visual quality": k, "seed": k} for k in range(2)]
    columns = {"clip": "file", "prompt": "text", "rater": "who", "rename": {"visual quality": "VQ"}}
    counts = import_data("ratings", write_table(six_clips / "r.csv", rows), tmp_path / "d", options=columns)
    assert list(counts.labels) == ["VQ"]
    with pytest.raises(DataError, match="no column 'fle'"):
        import_data("ratings", six_clips / "r.csv", tmp_path / "e", options={**columns, "clip": "fle"})
    with pytest.raises(DataError, match="'visual quality' must be made of letters"):
        import_data("ratings", six_clips / "r.csv", tmp_path / "e", options={**columns, "rename": {}})
    with pytest.raises(DataError, match="no column 'model'"):
        import_data("ratings", six_clips / "r.csv", tmp_path / "e", options={**columns, "model": "model"})
    with pytest.raises(ConfigError, match="rename: 'x' is not a judged column"):
        import_data("ratings", six_clips / "r.csv", tmp_path / "e", options={**columns, "rename": {"x": "VQ"}})


@pytest.mark.parametrize("kind", ["csv", "jsonl", "parquet"])
def test_plain_pairs_read_alike_from_every_kind_of_table(tmp_path: Path, six_clips: Path, kind: str) -> None:
    rows = [
        {"clip_a": "c0.mp4", "clip_b": "c1.mp4", "prompt": "a cat", "rater": "x", "look": "A", "feel": "tie"},
        {"clip_a": "c1.mp4", "clip_b": "c0.mp4", "prompt": "a cat", "rater": "y", "look": "both_bad", "feel": ""},
    ]
    source = six_clips / f"pairs.{kind}"
    if kind == "csv":
        write_table(source, rows)
    elif kind == "jsonl":
        source.write_text("\n".join(json.dumps(row) for row in rows))
    else:
        pq.write_table(pa.Table.from_pylist(rows), source)
    counts = import_data("pairs", source, tmp_path / "d")
    assert (counts.pairs, counts.judgements, counts.raters) == (1, 3, 2)
    assert counts.labels["look"] == {"A": 1, "B": 0, "tie": 0, "both_bad": 1, "invalid": 0}
    assert counts.labels["feel"] == {"A": 0, "B": 0, "tie": 1, "both_bad": 0, "invalid": 0}
    first = 1 if kind != "csv" else 2
    rows_of = [row.source_row for row in Dataset.open(tmp_path / "d").judgements()]
    assert rows_of == [f"pairs.{kind}:{first}"] * 2 + [f"pairs.{kind}:{first + 1}"]


def test_row_with_a_line_break_is_named_by_its_first_line(tmp_path: Path, six_clips: Path) -> None:
    source = six_clips / "pairs.csv"
    source.write_text(
        'clip_a,clip_b,prompt,look\nc0.mp4,c1.mp4,"two\nlines",A\nc0.mp4,c1.mp4,one line,C\n', encoding="utf-8"
    )
    with pytest.raises(DataError, match=r"pairs\.csv:4: column 'look': 'C' is not a verdict"):
        import_data("pairs", source, tmp_path / "d")


def test_a_pair_said_twice_either_way_round_is_taken_once(tmp_path: Path, six_clips: Path) -> None:
    rows = [
        official(0, 1, "A B same"),
        official(1, 0, "B A same"),
        official(0, 1, "A B same"),
        official(1, 0, "A A same"),
    ]
    counts = import_data("videoalign", write_table(six_clips.parent / "t.csv", rows), tmp_path / "d")
    assert counts.rejected == [
        {"row": "t.csv:3", "reason": "says the same as row 2."},
        {"row": "t.csv:4", "reason": "says the same as row 2."},
    ]
    assert (counts.pairs, counts.judgements) == (1, 6)  # row 5 contradicts, and is kept


def test_one_file_under_two_prompts_is_two_clips(tmp_path: Path, six_clips: Path) -> None:
    rows = [official(0, 1, prompt="a cat"), official(0, 1, prompt="a dog")]
    counts = import_data("videoalign", write_table(six_clips.parent / "t.csv", rows), tmp_path / "d")
    assert (counts.prompts, counts.clips, counts.pairs) == (2, 4, 2)


def test_opinion_scores_beside_the_verdicts_become_ratings(tmp_path: Path, six_clips: Path) -> None:
    rows = [
        official(0, 1, MOS_A_VQ=4, MOS_B_VQ=2.5),
        official(0, 2, MOS_A_VQ=4, MOS_B_VQ=0),
        official(1, 2, MOS_A_VQ="", MOS_B_VQ=3),
    ]
    import_data("videoalign", write_table(six_clips.parent / "t.csv", rows), tmp_path / "d")
    found = [(row.clip_id[:2], row.dimension, row.score) for row in Dataset.open(tmp_path / "d").ratings()]
    assert found == [("c0", "VQ", 4.0), ("c1", "VQ", 2.5), ("c2", "VQ", 3.0)]


def test_export_reads_back_as_the_same_pairs(tmp_path: Path, six_clips: Path) -> None:
    rows = [
        official(0, 1, "A B same", A_model="m", B_model="n", MOS_A_VQ=4, MOS_B_VQ=2),
        official(2, 3, "invalid same B", prompt="a dog", A_model="m", B_model="n", MOS_A_VQ=1, MOS_B_VQ=5),
    ]
    import_data(
        "videoalign", write_table(six_clips.parent / "t.csv", rows), tmp_path / "d", options={"copy_clips": True}
    )
    assert export_data("videoalign", Dataset.open(tmp_path / "d"), tmp_path / "out" / "e.csv") == 2
    with (tmp_path / "out" / "e.csv").open(encoding="utf-8") as file:
        written = list(csv.DictReader(file))
    names = ["path_A", "path_B", "prompt", "VQ", "MQ", "TA", "fps_A", "num_frames_A", "fps_B", "num_frames_B"]
    assert set(names) <= set(written[0])
    assert [written[1][name] for name in ("VQ", "MQ", "TA", "fps_A", "num_frames_B")] == [
        "invalid",
        "same",
        "B",
        "8.0",
        "5.0",
    ]
    import_data("videoalign", tmp_path / "out" / "e.csv", tmp_path / "again")
    one, other = Dataset.open(tmp_path / "d"), Dataset.open(tmp_path / "again")
    assert [pair.labels for pair in one.judged_pairs()] == [pair.labels for pair in other.judged_pairs()]
    assert [clip.generator for clip in one.clips()] == [clip.generator for clip in other.clips()]
    assert (
        [rating.score for rating in one.ratings()]
        == [rating.score for rating in other.ratings()]
        == [4.0, 2.0, 1.0, 5.0]
    )


def test_clips_stay_or_are_copied_as_asked(tmp_path: Path, six_clips: Path) -> None:
    source = write_table(six_clips.parent / "t.csv", [official(0, 1)])
    for name, options in {"stay": {}, "copy": {"copy_clips": True}}.items():
        import_data("videoalign", source, tmp_path / name, options=options)
        dataset = Dataset.open(tmp_path / name)
        clips = dataset.clips()
        inside = [not Path(clip.path).is_absolute() for clip in clips]
        assert inside == [name == "copy"] * 2
        assert dataset.load(clips[0]).frames.shape == (5, 16, 16, 3)


def test_clips_folder_may_be_elsewhere(tmp_path: Path, six_clips: Path) -> None:
    source = write_table(
        tmp_path / "t.csv", [{**official(0, 1), "path_A": "c0.mp4", "path_B": str(six_clips / "c1.mp4")}]
    )
    assert import_data("videoalign", source, tmp_path / "d", six_clips).clips == 2


def test_an_import_says_how_many_clips_do_not_play_in_every_browser(tmp_path: Path, six_clips: Path) -> None:
    picture = av.VideoFrame.from_ndarray(np.zeros((32, 32, 3), np.uint8), format="rgb24")
    for name, pixel_format in (("c1.mp4", "yuv444p"), ("c4.avi", "yuv420p")):
        with av.open(str(six_clips / name), "w") as container:
            stream = container.add_stream("libx264", rate=8)
            stream.height, stream.width, stream.pix_fmt = 32, 32, pixel_format
            for frame in (*[picture] * 5, None):
                container.mux(stream.encode(frame))
    rows = [official(0, 1), official(2, 3), {**official(5, 4), "path_B": "videos/c4.avi"}]
    source, notes = write_table(six_clips.parent / "t.csv", rows), list[str]()
    assert import_data("videoalign", source, tmp_path / "d", on_note=notes.append).clips == 6
    assert len(notes) == 1
    assert notes[0].startswith(
        "2 of 6 clips do not play in every browser; the first: videos/c1.mp4: is h264 in yuv444p"
    )
    import_data("videoalign", write_table(six_clips.parent / "t.csv", rows[1:2]), tmp_path / "e", on_note=notes.append)
    assert len(notes) == 1


@pytest.mark.parametrize(("change", "message"), [
    ({"path_B": "videos/absent.mp4"}, r"t\.csv:3: .*absent\.mp4: no such file"),
    ({"path_B": "videos/cut.mp4"}, r"t\.csv:3: .*cut\.mp4: truncated"),
    ({"path_B": "videos/c2.mp4"}, r"t\.csv:3: both sides are the same clip, videos/c2\.mp4"),
    ({"path_B": ""}, r"t\.csv:3: column 'path_B' is empty"),
    ({"prompt": " "}, r"t\.csv:3: column 'prompt' is empty"),
    ({"VQ": "C"}, r"t\.csv:3: column 'VQ': 'C' is not a verdict; wanted A, B, same, tie, both_bad or invalid"),
    ({"VQ": "", "MQ": "", "TA": ""}, r"t\.csv:3: no dimension is judged"),
    ({"MOS_A_VQ": "good"}, r"t\.csv:3: column 'MOS_A_VQ' must hold a number; got 'good'"),
    ({"A_model": "other", "path_A": "videos/c0.mp4"}, r"t\.csv:3: .*was by 'm' before, here by 'other'"),
])  # fmt: skip
def test_bad_row_stops_the_import_or_is_listed(
    tmp_path: Path, six_clips: Path, change: dict[str, str], message: str
) -> None:
    (six_clips / "cut.mp4").write_bytes((six_clips / "c3.mp4").read_bytes()[:-200])
    more = {"A_model": "m", "MOS_A_VQ": "3"}
    rows = [official(0, 1, **more), {**official(2, 3, **more), **change}, official(4, 5, **more)]
    source = write_table(six_clips.parent / "t.csv", rows)
    with pytest.raises(DataError, match=message):
        import_data("videoalign", source, tmp_path / "d")
    assert not (tmp_path / "d").exists()
    counts = import_data("videoalign", source, tmp_path / "d", options={"skip_broken": True})
    assert counts.pairs == 2
    assert [row["row"] for row in counts.rejected] == ["t.csv:3"]
    assert message.endswith("file") or counts.rejected[0]["reason"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["d", "t.csv", "videos"]


def test_ratings_that_contradict_are_refused_and_repeated_ones_listed(tmp_path: Path, six_clips: Path) -> None:
    row = {"clip": "c0.mp4", "prompt": "a", "rater": "r", "look": 3}
    source = write_table(six_clips / "r.csv", [row, {**row, "clip": "c1.mp4"}, row])
    assert import_data("ratings", source, tmp_path / "d").rejected == [
        {"row": "r.csv:4", "reason": "says the same as row 2."}
    ]
    write_table(source, [row, {**row, "look": 4}])
    with pytest.raises(DataError, match=r"r\.csv:3: rater 'r' gave c0\.mp4 3 for look in row 2, here 4"):
        import_data("ratings", source, tmp_path / "e")


def test_nothing_usable_is_an_error_even_when_rows_may_be_left_out(tmp_path: Path, six_clips: Path) -> None:
    source = write_table(six_clips / "t.csv", [official(7, 8)])
    with pytest.raises(DataError, match=r"no row can be used; the first one: .*no such file"):
        import_data("videoalign", source, tmp_path / "d", options={"skip_broken": True})
    assert not (tmp_path / "d").exists()


@pytest.mark.parametrize(("content", "message"), [
    (b"", "the table has no rows"),
    (b"path_A,path_B,prompt,VQ,MQ,TA\n", "the table has no rows"),
    (b"path_A,path_B,promt,VQ,MQ,TA\na,b,c,A,A,A\n", "no column 'prompt'. Did you mean 'promt'"),
    (b"path_A,path_A,prompt\na,b,c\n", "a column name stands twice"),
    (b"path_A,path_B,prompt,VQ,MQ,TA\na,b\n", "t.csv:2: has 2 cells; the heading has 6"),
    (b'path_A,path_B\n"a,b\n', "is not CSV"),
    (b"path_A,path_B\n\xff\xfe,b\n", "is not UTF-8"),
])  # fmt: skip
def test_malformed_tables_are_refused(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "t.csv").write_bytes(content)
    with pytest.raises(DataError, match=message.replace(".", r"\.").replace("?", r"\?")):
        import_data("videoalign", tmp_path / "t.csv", tmp_path / "d")


def test_a_place_that_is_taken_is_left_alone_unless_told_otherwise(tmp_path: Path, six_clips: Path) -> None:
    source = write_table(six_clips.parent / "t.csv", [official(0, 1)])
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "thesis.txt").write_text("x")
    with pytest.raises(OutputError, match="holds files that are no dataset"):
        import_data("videoalign", source, tmp_path / "other", fresh=True)
    import_data("videoalign", source, tmp_path / "d")
    with pytest.raises(OutputError, match="holds a dataset already"):
        import_data("videoalign", source, tmp_path / "d")
    write_table(source, [official(0, 1), official(2, 3)])
    assert import_data("videoalign", source, tmp_path / "d", fresh=True).pairs == 2


def test_unknown_formats_and_settings_come_with_the_nearest_known_one(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"no importer 'ratngs'\. Did you mean 'ratings'"):
        import_data("ratngs", "x.csv", tmp_path / "d")
    with pytest.raises(ConfigError, match=r"unknown setting 'tieband'\. Did you mean 'tie_band'"):
        import_data("ratings", "x.csv", tmp_path / "d", options={"tieband": 1})
    with pytest.raises(ConfigError, match="'tie_band' got -1"):
        import_data("ratings", "x.csv", tmp_path / "d", options={"tie_band": -1})


def test_addresses_go_through_fsspec(tmp_path: Path, six_clips: Path) -> None:
    import fsspec

    memory = fsspec.filesystem("memory")
    for number in range(2):
        memory.pipe(f"/bucket/videos/c{number}.mp4", (six_clips / f"c{number}.mp4").read_bytes())
    memory.pipe("/bucket/t.csv", write_table(tmp_path / "t.csv", [official(0, 1)]).read_bytes())
    import_data("videoalign", "memory://bucket/t.csv", tmp_path / "d")
    dataset = Dataset.open(tmp_path / "d")
    assert [clip.path for clip in dataset.clips()] == ["memory://bucket/videos/c0.mp4", "memory://bucket/videos/c1.mp4"]
    assert dataset.load(dataset.clips()[0]).frames.shape == (5, 16, 16, 3)
    memory.pipe("/bucket/bad.csv", write_table(tmp_path / "t.csv", [official(0, 7)]).read_bytes())
    with pytest.raises(VideoError, match=r"bad\.csv:2: memory://bucket/videos/c7\.mp4: no such file"):
        import_data("videoalign", "memory://bucket/bad.csv", tmp_path / "e")


def test_import_depends_on_the_table_alone(tmp_path: Path, six_clips: Path, make_clip: Callable[..., Path]) -> None:
    source = write_table(six_clips.parent / "t.csv", [official(0, 1), official(2, 3, "B A A", prompt="a dog")])
    for name in ("one", "two"):
        import_data("videoalign", source, tmp_path / name)
    for table in ("prompts", "clips", "judgements"):
        assert (tmp_path / "one" / f"{table}.parquet").read_bytes() == (
            tmp_path / "two" / f"{table}.parquet"
        ).read_bytes()
    assert flip(Dataset.open(tmp_path / "one").judgements()[0].label) == Label.B
