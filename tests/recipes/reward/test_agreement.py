"""A reward on datasets and tables: what is scored, what is left out, what is kept, what is written."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from videoalign.contracts.video import Video
from videoalign.data.dataset import Dataset
from videoalign.data.formats import import_data
from videoalign.errors import ConfigError, DataError, OutputError, VideoError
from videoalign.evaluation.reward import evaluate_reward
from videoalign.recipes.reward.agreement import Counting, eval_reward, eval_scores, evaluate_on
from videoalign.recipes.reward.benchmark import Target, benchmark
from videoalign.recipes.score import BATCH_SIZE
from videoalign.video.judge import FrameJudge

PAIRS = [(0, 1, "A B same A"), (2, 3, "B A A B"), (4, 5, "same A B A"), (0, 2, "A A B same"), (1, 4, "B B same B")]
ALL = Counting(split=None)
PROMPTS = ("a cat", "a dog", "a fox", "a cat", "a dog")


class Levels(FrameJudge):
    """A reward by pixels: how bright, how much it changes, how dark the first frame is."""

    name = "levels"

    def __init__(self, dimensions: tuple[str, ...] = ("VQ", "MQ", "TA"), stop_after: int = 1000) -> None:
        self.dimensions, self.stop_after, self.num_scored = dimensions, stop_after, 0

    def score_videos(self, videos: Sequence[Video], prompts: Sequence[str]) -> np.ndarray:
        rows = []
        for video in videos:
            if self.num_scored == self.stop_after:
                raise KeyboardInterrupt
            self.num_scored += 1
            frames = video.frames[:8, ::16, ::16].astype(float)
            row = [frames.mean() / 10, np.abs(np.diff(frames, axis=0)).mean() * len(frames), -frames[0].mean() / 7, 1.0]
            rows.append(row[: len(self.dimensions)])
        return np.array(rows)


@pytest.fixture
def clips(tmp_path: Path, make_clip: Callable[..., Path]) -> Path:
    """A folder with c0.mp4 .. c5.mp4, of different brightness and length."""
    for number in range(6):
        make_clip(tmp_path / "clips" / f"c{number}.mp4", tint=17 * number % 50, num_frames=4 + number % 3)
    return tmp_path / "clips"


def write_csv(path: Path, rows: list[dict[str, Any]]) -> Path:
    pd.DataFrame(rows).to_csv(path, index=False)
    return path


def bench_rows() -> list[dict[str, Any]]:
    """A table as of VideoGen-RewardBench."""
    return [
        {
            "path_A": f"c{a}.mp4",
            "path_B": f"c{b}.mp4",
            "A_model": f"m{a % 3}",
            "B_model": f"m{b % 3}",
            "prompt": prompt,
            **dict(zip(("VQ", "MQ", "TA", "Overall"), labels.split(), strict=True)),
        }
        for (a, b, labels), prompt in zip(PAIRS, PROMPTS, strict=True)
    ]


@pytest.fixture
def table(clips: Path, tmp_path: Path) -> Target:
    source = write_csv(tmp_path / "bench.csv", bench_rows())
    return Target(location=str(source), format="rewardbench", clips=clips)


def swapped(row: dict[str, Any]) -> dict[str, Any]:
    turned = {"A": "B", "B": "A", "same": "same"}
    exchanged = {"path_A": "path_B", "path_B": "path_A", "A_model": "B_model", "B_model": "A_model"}
    told = {name: row[exchanged.get(name, name)] for name in row}
    return {**told, **{name: turned[row[name]] for name in ("VQ", "MQ", "TA", "Overall")}}


def test_overall_meets_the_mean_of_the_scores_and_with_legacy_their_sum(table: Target, tmp_path: Path) -> None:
    import_data("rewardbench", table.location, tmp_path / "d", table.clips)
    dataset, reward = Dataset.open(tmp_path / "d"), Levels()
    rows = reward.score_videos([dataset.load(clip) for clip in dataset.clips()], [""] * 9)
    ids = [clip.clip_id for clip in dataset.clips()]
    for legacy, overall in ((False, rows.mean(1)), (True, rows.sum(1))):
        scores = dict(zip(ids, np.column_stack([rows, overall]).tolist(), strict=True))
        wanted = evaluate_reward(scores, dataset.judged_pairs(), dataset.dimensions, legacy=legacy)
        found = eval_reward(reward, dataset, split=None, legacy=legacy)
        for name in dataset.dimensions:
            for key in ("with_ties", "without_ties", "auc", "threshold", "n"):
                assert found[name][key] == pytest.approx(wanted[name][key]), (name, key)
    own = eval_reward(Levels(("VQ", "MQ", "TA", "Overall")), dataset, split=None)
    assert own["Overall"]["auc"] == 0.5  # the reward's own fourth score is always 1
    with pytest.raises(DataError, match="dimension 'TA' of .* is not scored by reward 'levels'"):
        eval_reward(Levels(("VQ", "MQ")), dataset, split=None)


def test_stored_scores_meet_overall_alike(table: Target, tmp_path: Path) -> None:
    import_data("rewardbench", table.location, tmp_path / "d", table.clips)
    dataset, reward = Dataset.open(tmp_path / "d"), Levels()
    rows = [
        {"clip_id": clip.clip_id, "raw": named, "normalised": named}
        for clip in dataset.clips()
        for row in reward.score_videos([dataset.load(clip)], [""])
        for named in [dict(zip(reward.dimensions, row, strict=True))]
    ]
    dataset.write_scores("kept", rows)
    assert eval_scores(dataset, "kept", split=None) == eval_reward(reward, dataset, split=None)
    dataset.write_scores("kept", rows[1:])
    with pytest.raises(DataError, match="scores 'kept': clip 'c0-.*' has none"):
        eval_scores(dataset, "kept", split=None)


def test_one_vote_meets_overall_or_the_dimension_that_it_is_named_after(clips: Path, tmp_path: Path) -> None:
    rows = [
        {
            "prompt": prompt,
            "left_model": "x",
            "left_video": f"c{a}.mp4",
            "right_model": "y",
            "right_video": f"c{b}.mp4",
            "vote_type": {"A": "leftvote", "B": "rightvote", "same": "bothbad_vote"}[labels.split()[2]],
        }
        for (a, b, labels), prompt in zip(PAIRS, PROMPTS, strict=True)
    ]
    location = str(write_csv(tmp_path / "genai.csv", rows))
    overall = benchmark(Levels(), Target(location=location, format="genai-bench", clips=clips), ALL)
    assert list(overall["figures"]) == ["Overall"]
    assert overall["dataset"]["pairs"] == 5
    named = Target(location=location, format="genai-bench", clips=clips, options={"rename": {"vote_type": "TA"}})
    alone = benchmark(Levels(), named, ALL)["figures"]["TA"]
    like = Target(location=str(write_csv(tmp_path / "b.csv", bench_rows())), format="videoalign", clips=clips)
    same = benchmark(Levels(), like, ALL)["figures"]["TA"]
    assert (alone["without_ties"], alone["auc"]) == (same["without_ties"], same["auc"])


def test_shuffled_rows_and_exchanged_sides_give_the_same_result(table: Target, clips: Path, tmp_path: Path) -> None:
    rows = bench_rows()
    turned = [swapped(rows[3]), rows[1], swapped(rows[4]), rows[0], swapped(rows[2])]
    other = Target(location=str(write_csv(tmp_path / "turned.csv", turned)), format="rewardbench", clips=clips)
    one, two = benchmark(Levels(), table, ALL), benchmark(Levels(), other, ALL)
    assert one["figures"] == two["figures"]
    assert one["dataset"]["fingerprint"] == two["dataset"]["fingerprint"]
    changed = [{**rows[0], "VQ": "B"}, *rows[1:]]
    third = Target(location=str(write_csv(tmp_path / "changed.csv", changed)), format="rewardbench", clips=clips)
    assert benchmark(Levels(), third, ALL)["dataset"]["fingerprint"] != one["dataset"]["fingerprint"]


def test_the_result_file_tells_figures_and_what_they_depend_on(table: Target, tmp_path: Path) -> None:
    result = benchmark(Levels(), table, replace(ALL, seed=3), out=tmp_path / "out")
    assert json.loads((tmp_path / "out" / "result.json").read_text(encoding="utf-8")) == result
    keys = {"reward", "dataset", "figures", "held_out", "left_out", "settings", "versions", "seconds", "finished"}
    assert set(result) == keys
    assert result["reward"] == {"name": "levels", "dimensions": ["VQ", "MQ", "TA"]}
    about = {key: result["dataset"][key] for key in ("name", "format", "split", "pairs", "clips", "prompts")}
    assert about == {
        "name": "bench.csv",
        "format": "rewardbench",
        "split": "all",
        "pairs": 5,
        "clips": 9,
        "prompts": 3,
    }
    assert result["settings"] == {"legacy": False, "seed": 3, "skip_broken": False}
    assert {"videoalign", "torch", "transformers"} <= set(result["versions"])
    assert result["left_out"] == {"pairs": 0, "repeated_rows": 0, "rows": [], "clips": []}
    page = (tmp_path / "out" / "result.md").read_text(encoding="utf-8")
    assert page.startswith("# levels on bench.csv\n")
    assert "| VQ | 0." in page and "## Overall by generators" in page and "| m0 and m1 |" in page
    assert result["dataset"]["fingerprint"] in page


def test_a_run_that_stopped_goes_on_and_ends_the_same(table: Target, tmp_path: Path) -> None:
    whole = benchmark(Levels(), table, ALL)
    out, stopped = tmp_path / "out", Levels(stop_after=5)
    with pytest.raises(KeyboardInterrupt):
        benchmark(stopped, table, ALL, out=out)
    assert not (out / "result.json").exists()
    rest = Levels()
    assert benchmark(rest, table, ALL, out=out)["figures"] == whole["figures"]
    assert rest.num_scored == 9 - BATCH_SIZE
    again = Levels()
    assert benchmark(again, table, replace(ALL, legacy=True, seed=1), out=out)["settings"]["legacy"] is True
    assert again.num_scored == 0
    with pytest.raises(OutputError, match="another run \\(differs in reward\\)"):
        benchmark(Levels(("VQ", "MQ", "TA", "Overall")), table, ALL, out=out)
    fresh = Levels()
    benchmark(fresh, table, ALL, out=out, fresh=True)
    assert fresh.num_scored == 9


def test_broken_rows_and_clips_are_an_error_or_left_out_and_counted(table: Target, clips: Path, tmp_path: Path) -> None:
    rows = [*bench_rows(), {**bench_rows()[0], "path_B": "absent.mp4"}, bench_rows()[0]]
    target = Target(location=str(write_csv(tmp_path / "more.csv", rows)), format="rewardbench", clips=clips)
    with pytest.raises(VideoError, match=r"more\.csv:7: .*absent\.mp4: no such file"):
        benchmark(Levels(), target, ALL, out=tmp_path / "out")
    found = benchmark(Levels(), target, replace(ALL, skip_broken=True), out=tmp_path / "out")
    left_out = found["left_out"]
    assert (left_out["pairs"], left_out["repeated_rows"], left_out["clips"]) == (1, 1, [])
    assert [row["row"] for row in left_out["rows"]] == ["more.csv:7"]
    assert {row["left_out"] for row in found["figures"].values()} == {1}
    plain = benchmark(Levels(), table, ALL)["figures"]
    assert [row["with_ties"] for row in found["figures"].values()] == [row["with_ties"] for row in plain.values()]
    with pytest.raises(VideoError, match="absent"):  # what was left out once is not left out unasked
        benchmark(Levels(), target, ALL, out=tmp_path / "out")


def test_clips_that_break_after_the_import_are_named_and_left_out_with_their_pairs(
    table: Target, clips: Path, tmp_path: Path
) -> None:
    import_data("rewardbench", table.location, tmp_path / "d", table.clips)
    dataset, reward = Dataset.open(tmp_path / "d"), Levels()
    (clips / "c5.mp4").write_bytes((clips / "c5.mp4").read_bytes()[:-300])
    with pytest.raises(VideoError, match=r"1 clips cannot be scored \(c5\.mp4\).*truncated.*--skip-broken"):
        eval_reward(reward, dataset, split=None)
    (clips / "c3.mp4").unlink()
    untouched = Levels()
    with pytest.raises(VideoError, match=r"1 clips cannot be scored \(c3\.mp4\).*no such file"):
        eval_reward(untouched, dataset, split=None)
    assert untouched.num_scored == 0
    target = Target(location=str(tmp_path / "d"))
    found = benchmark(reward, target, replace(ALL, skip_broken=True))
    assert [row["clip"][:2] for row in found["left_out"]["clips"]] == ["c3", "c5"]
    assert found["left_out"]["pairs"] == 2
    assert {name: (row["n"], row["left_out"]) for name, row in found["figures"].items()} == dict.fromkeys(
        ("VQ", "MQ", "TA", "Overall"), (3, 2)
    )
    how = Counting(split=None, skip_broken=True)
    compared = evaluate_on(Levels(), dataset, how, against=Levels()).figures
    assert compared["MQ"]["n_decided"] == 3 and compared["MQ"]["first"] == compared["MQ"]["second"]
    for path in clips.iterdir():
        path.unlink()
    with pytest.raises(DataError, match="no clips of any of them can be scored"):
        benchmark(Levels(), target, replace(ALL, skip_broken=True))


def test_a_mended_clip_is_scored_and_the_others_are_not_again(table: Target, clips: Path, tmp_path: Path) -> None:
    import_data("rewardbench", table.location, tmp_path / "d", table.clips)
    target, content = Target(location=str(tmp_path / "d")), (clips / "c5.mp4").read_bytes()
    (clips / "c5.mp4").write_bytes(content[:-300])
    with pytest.raises(VideoError, match="cannot be scored"):
        benchmark(Levels(), target, ALL, out=tmp_path / "out")
    (clips / "c5.mp4").write_bytes(content)
    reward = Levels()
    assert benchmark(reward, target, ALL, out=tmp_path / "out")["figures"]["VQ"]["n"] == 5
    assert reward.num_scored == 1


@pytest.mark.parametrize(("change", "says"), [
    ({"format": None}, "--format: missing; say what .*bench.csv is: videoalign"),
    ({"format": "rewardbensh"}, "Did you mean 'rewardbench'"),
    ({"format": None, "location": "absent"}, "--clips, KEY=VALUE: they are of a table"),
    ({"format": None, "location": "absent", "clips": None}, "absent: no dataset here"),
    ({"location": "absent.csv"}, "absent.csv: no such file"),
])  # fmt: skip
def test_a_target_that_is_neither_dataset_nor_known_table_is_told(
    table: Target, change: dict[str, Any], says: str
) -> None:
    with pytest.raises((ConfigError, DataError), match=says):
        benchmark(Levels(), Target(**{**vars(table), **change}), ALL)
