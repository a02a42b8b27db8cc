"""The tables of published benchmarks become the same records as any other."""

from __future__ import annotations

import csv
import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.data.tables import write_table
from videoalign.data.dataset import Dataset
from videoalign.data.formats import clips, import_data
from videoalign.errors import DataError, VideoError
from videoalign.video.files import probe

GENAI_VOTES = ("leftvote", "rightvote", "tievote", "bothbad_vote")
NAMES = ("v.mp4", "v.mp4", None, "w.mp4")


def bench_row(a: int, b: int, labels: str = "A B same A", prompt: str = "a cat", **more: Any) -> dict[str, Any]:
    """A row of VideoGen-RewardBench about clips c<a> and c<b>."""
    return {
        "path_A": f"videos/c{a}.mp4",
        "path_B": f"videos/c{b}.mp4",
        "A_model": f"m{a % 2}",
        "B_model": f"m{b % 2}",
        "prompt": prompt,
        **dict(zip(("VQ", "MQ", "TA", "Overall"), labels.split(), strict=True)),
        **dict.fromkeys(("fps_A", "fps_B"), "8.0"),
        **dict.fromkeys(("num_frames_A", "num_frames_B"), "5.0"),
        **more,
    }


def vote_row(left: Any, right: Any, vote: str, prompt: str = "a cat") -> dict[str, Any]:
    return {
        "prompt": prompt,
        "left_model": "x",
        "left_video": left,
        "right_model": "y",
        "right_video": right,
        "vote_type": vote,
    }


def test_a_benchmark_table_gives_verdicts_on_four_dimensions_and_both_generators(
    tmp_path: Path, six_clips: Path
) -> None:
    rows = [bench_row(0, 1), bench_row(2, 3, "same B A B", prompt="a dog"), bench_row(0, 3, "B B B B", prompt="a dog")]
    counts = import_data("rewardbench", write_table(tmp_path / "t.csv", rows), tmp_path / "d")
    assert (counts.prompts, counts.clips, counts.pairs, counts.judgements) == (2, 5, 3, 12)
    assert counts.generators == {"m0": 3, "m1": 2}
    assert counts.labels["Overall"] == {"A": 1, "B": 2, "tie": 0, "both_bad": 0, "invalid": 0}
    dataset = Dataset.open(tmp_path / "d")
    assert dataset.dimensions == ("VQ", "MQ", "TA", "Overall")
    assert [dimension.sees_prompt for dimension in dataset.info.dimensions] == [False, False, True, True]


def test_a_pair_is_known_by_both_paths(tmp_path: Path, six_clips: Path) -> None:
    rows = [bench_row(0, 1), bench_row(0, 2), bench_row(0, 1), bench_row(1, 0, "B A same B")]
    counts = import_data("rewardbench", write_table(tmp_path / "t.csv", rows), tmp_path / "d")
    assert counts.pairs == 2
    assert [row["row"] for row in counts.rejected] == ["t.csv:4", "t.csv:5"]


@pytest.mark.parametrize(("change", "says"), [
    ({"num_frames_B": "6"}, r"t\.csv:3: videos/c3\.mp4: is not the file .*5 frames, 8 fps; the table says 6 frames"),
    ({"fps_A": "8.2"}, r"t\.csv:3: videos/c2\.mp4: is not the file .* 8\.2 fps"),
    ({"fps_A": "fast"}, r"t\.csv:3: column 'fps_A' must hold a number; got 'fast'"),
    ({"Overall": "C"}, r"t\.csv:3: column 'Overall': 'C' is not a verdict"),
])  # fmt: skip
def test_a_row_that_contradicts_its_files_is_told_with_its_line(
    tmp_path: Path, six_clips: Path, change: dict[str, str], says: str
) -> None:
    source = write_table(tmp_path / "t.csv", [bench_row(0, 1, fps_A="8.05"), {**bench_row(2, 3), **change}])
    with pytest.raises(DataError, match=says):
        import_data("rewardbench", source, tmp_path / "d")
    assert not (tmp_path / "d").exists()
    if "is not the file" in says:
        assert import_data("rewardbench", source, tmp_path / "d", options={"check_stated": False}).pairs == 2
    else:
        assert import_data("rewardbench", source, tmp_path / "d", options={"skip_broken": True}).pairs == 1


def test_stated_rates_and_lengths_of_real_clips_are_those_of_the_files(shared: Path, tmp_path: Path) -> None:
    folder = shared / "data" / "videoalign_pairs"
    with (folder / "pairs.csv").open(encoding="utf-8") as file:
        rows = [{**row, "A_model": "x", "B_model": "y", "Overall": row["TA"]} for row in csv.DictReader(file)]
    counts = import_data("rewardbench", write_table(tmp_path / "t.csv", rows), tmp_path / "d", folder)
    assert (counts.pairs, counts.labels["Overall"]) == (3, counts.labels["TA"])
    (wrong,) = [row for row in rows if row["path_B"] == "example_3_B.mp4"]
    wrong["fps_B"] = "24.0"
    with pytest.raises(VideoError, match=r"t\.csv:4: example_3_B\.mp4: .*60 frames, 16 fps; the table says"):
        import_data("rewardbench", write_table(tmp_path / "t.csv", rows), tmp_path / "e", folder)


def test_every_missing_clip_is_counted_and_named_in_one_line(tmp_path: Path, six_clips: Path) -> None:
    rows = [bench_row(0, 1), bench_row(0, 7), bench_row(1, 7), bench_row(8, 2), bench_row(9, 3)]
    with pytest.raises(VideoError) as caught:
        import_data("rewardbench", write_table(tmp_path / "t.csv", rows), tmp_path / "d")
    said = str(caught.value)
    assert said.startswith("t.csv:3: ") and "\n" not in said
    assert "c7.mp4: no such file" in said and "and 2 other clips (" in said and "c8.mp4" in said and "c9.mp4" in said


def test_a_clip_of_many_rows_is_opened_once(tmp_path: Path, six_clips: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: Counter[str] = Counter()

    def counted(clip: str) -> Any:
        seen[clip] += 1
        return probe(clip)

    monkeypatch.setattr(clips, "probe", counted)
    rows = [bench_row(a, b) for a in range(6) for b in range(a)] + [bench_row(a, 7) for a in range(6)]
    import_data("rewardbench", write_table(tmp_path / "t.csv", rows), tmp_path / "d", options={"skip_broken": True})
    assert len(seen) == 7 and set(seen.values()) == {1}


@pytest.mark.parametrize("kind", ["csv", "jsonl", "parquet"])
def test_votes_read_alike_from_every_kind_of_table(tmp_path: Path, six_clips: Path, kind: str) -> None:
    rows = [vote_row(f"videos/c{2 * (k % 3)}.mp4", f"videos/c{2 * (k % 3) + 1}.mp4", vote, f"prompt {k}")
            for k, vote in enumerate(GENAI_VOTES)]  # fmt: skip
    source = tmp_path / f"t.{kind}"
    if kind == "csv":
        write_table(source, rows)
    elif kind == "jsonl":
        source.write_text("\n".join(json.dumps(row) for row in rows))
    else:
        pq.write_table(pa.Table.from_pylist(rows), source)
    counts = import_data("genai-bench", source, tmp_path / "d")
    assert counts.labels == {"Overall": {"A": 1, "B": 1, "tie": 1, "both_bad": 1, "invalid": 0}}
    assert counts.generators == {"x": 4, "y": 4}
    assert [pair.labels["Overall"] for pair in Dataset.open(tmp_path / "d").judged_pairs()] == ["A", "B", "tie", "tie"]


def test_videos_may_be_bytes_in_parquet(tmp_path: Path, six_clips: Path) -> None:
    files = [(six_clips / f"c{k}.mp4").read_bytes() for k in range(4)]
    cells = [{"path": name, "bytes": content} for name, content in zip(NAMES, files, strict=True)]
    rows = [vote_row(cells[0], cells[1], "leftvote"), vote_row(cells[2], cells[3], "tievote", "a dog")]
    rows.append(vote_row(cells[0], cells[3], "tievote", "a dog"))
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "t.parquet")
    counts = import_data("genai-bench", tmp_path / "t.parquet", tmp_path / "d", options={"copy_clips": True})
    assert (counts.clips, counts.pairs) == (5, 3)
    dataset = Dataset.open(tmp_path / "d")
    clips = {clip.clip_id: clip for clip in dataset.clips()}
    first = Dataset.open(tmp_path / "d").judged_pairs()[0]
    stored = [dataset.clip_path(clips[clip_id]) for clip_id in (first.clip_a, first.clip_b)]
    assert [path.read_bytes() for path in stored] == files[:2]
    assert all(path.parent == tmp_path / "d" / "clips" for path in stored)
    plain = [vote_row(files[0], files[1], "leftvote")]
    pq.write_table(pa.Table.from_pylist(plain), tmp_path / "u.parquet")
    assert import_data("genai-bench", tmp_path / "u.parquet", tmp_path / "e").clips == 2


def test_videos_may_be_addresses(tmp_path: Path, six_clips: Path) -> None:
    import fsspec

    memory = fsspec.filesystem("memory")
    for number in range(2):
        memory.pipe(f"/genai/c{number}.mp4", (six_clips / f"c{number}.mp4").read_bytes())
    row = vote_row("memory://genai/c0.mp4", "memory://genai/c1.mp4", "leftvote")
    assert import_data("genai-bench", write_table(tmp_path / "t.csv", [row]), tmp_path / "d").pairs == 1
    row = vote_row("nowhere://genai/c0.mp4", "memory://genai/c1.mp4", "leftvote")
    with pytest.raises(VideoError, match=r"t\.csv:2: nowhere://genai/c0\.mp4: cannot be fetched"):
        import_data("genai-bench", write_table(tmp_path / "t.csv", [row]), tmp_path / "e")
    with pytest.raises(DataError, match=r"nowhere://t\.csv: cannot be fetched"):
        import_data("genai-bench", "nowhere://t.csv", tmp_path / "e")


@pytest.mark.parametrize(("change", "says"), [
    ({"vote_type": "left"}, r"t\.jsonl:1: column 'vote_type': 'left' is not a verdict; wanted leftvote, rightvote"),
    ({"vote_type": ""}, r"t\.jsonl:1: column 'vote_type' is empty"),
    ({"left_video": None}, r"t\.jsonl:1: column 'left_video' holds no video"),
    ({"left_video": {"path": None, "bytes": None}}, r"t\.jsonl:1: column 'left_video' holds no video"),
    ({"left_video": {"path": "x", "bytes": "AAAA"}}, r"t\.jsonl:1: column 'left_video': its bytes are str"),
    ({"left_video": {"path": "videos/absent.mp4"}}, r"t\.jsonl:1: .*absent\.mp4: no such file"),
    ({"prompt": ""}, r"t\.jsonl:1: column 'prompt' is empty"),
])  # fmt: skip
def test_a_vote_that_cannot_be_used_is_told_with_its_line(
    tmp_path: Path, six_clips: Path, change: dict[str, Any], says: str
) -> None:
    row = {**vote_row("videos/c0.mp4", "videos/c1.mp4", "leftvote"), **change}
    (tmp_path / "t.jsonl").write_text(json.dumps(row))
    with pytest.raises(DataError, match=says):
        import_data("genai-bench", tmp_path / "t.jsonl", tmp_path / "d")


@pytest.mark.parametrize(("format", "column"), [("rewardbench", "A_model"), ("genai-bench", "right_model")])
def test_a_missing_column_is_named(
    tmp_path: Path, six_clips: Path, make_clip: Callable[..., Path], format: str, column: str
) -> None:
    row = bench_row(0, 1) if format == "rewardbench" else vote_row("videos/c0.mp4", "videos/c1.mp4", "leftvote")
    row.pop(column)
    with pytest.raises(DataError, match=rf"t\.csv: no column '{column}'"):
        import_data(format, write_table(tmp_path / "t.csv", [row]), tmp_path / "d")


def test_the_vote_may_be_compared_with_one_dimension(tmp_path: Path, six_clips: Path) -> None:
    source = write_table(tmp_path / "t.csv", [vote_row("videos/c0.mp4", "videos/c1.mp4", "leftvote")])
    import_data("genai-bench", source, tmp_path / "d", options={"rename": {"vote_type": "TA"}})
    assert Dataset.open(tmp_path / "d").dimensions == ("TA",)
