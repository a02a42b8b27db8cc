"""Every published layout becomes the same records."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.data import tables as like
from tests.data.tables import SETTINGS, clip, write_table
from videoalign.contracts.records import Judgement
from videoalign.data.dataset import Dataset
from videoalign.data.formats import import_data
from videoalign.errors import ConfigError, DataError, VideoError


def said(dataset: Dataset) -> list[tuple[str, str, str, str]]:
    """(first clip, second clip, dimension, label) of each judgement."""
    return [(row.clip_a[:2], row.clip_b[:2], row.dimension, str(row.label)) for row in dataset.judgements()]


VERDICTS: list[tuple[str, str, dict[str, Any], list[tuple[str, str]]]] = [
    ("visionreward", "jsonl", like.VISION, [("Overall", "B")]),
    ("visionreward", "parquet", {**like.VISION, "standard_answer": "tie"}, [("Overall", "tie")]),
    ("videodpo", "json", like.DPO, [("Overall", "A")]),
    ("rapidata", "csv", like.rapidata(0, 1), [("Preference", "A")]),
    ("rapidata", "parquet", like.rapidata(0, 1, (0.2, 0.8)), [("Preference", "B")]),
    ("mj-bench", "json", like.mj(), [("Overall", "A"), ("Alignment", "tie"), ("Bias_Fairness", "B")]),
    ("worldreward-bench", "jsonl", like.world(action="left", appearance="right", motion="tie"),
     [("action", "A"), ("appearance", "B"), ("motion", "tie")]),
    ("arena", "jsonl", like.arena("tie (bothbad)"), [("Overall", "both_bad")]),
    ("arena", "jsonl", like.arena("model_b", dimension="motion"), [("motion", "B")]),
    ("label-studio", "json", like.task(like.pairwise("VQ", "left"), like.choices("MQ_choice", "tie")),
     [("VQ", "A"), ("MQ", "tie")]),
    ("uve-bench", "json", like.uve(), [("static_quality", "B")]),
    ("uve-bench", "json", like.uve("both bad"), [("static_quality", "both_bad")]),
    ("va-judger", "jsonl", like.judger(), [("Overall", "B")]),
    ("solireward", "json", like.SOLI, [("quality", "A")]),
]  # fmt: skip


@pytest.mark.parametrize(("format", "kind", "row", "expected"), VERDICTS)
def test_verdicts_of_each_layout_are_normalised(
    tmp_path: Path, six_clips: Path, format: str, kind: str, row: dict[str, Any], expected: list[tuple[str, str]]
) -> None:
    source = write_table(tmp_path / f"t.{kind}", [row])
    counts = import_data(format, source, tmp_path / "d", options=SETTINGS.get(format))
    assert (counts.clips, counts.pairs) == (2, 1)
    dataset = Dataset.open(tmp_path / "d")
    assert said(dataset) == [("c0", "c1", name, label) for name, label in expected]
    assert {one.source_row for one in dataset.judgements()} == {f"t.{kind}:{2 if kind == 'csv' else 1}"}
    assert {one.rater for one in dataset.judgements()} != {""}


def test_scores_of_videofeedback_become_pairs_within_a_prompt(tmp_path: Path, six_clips: Path) -> None:
    rows = [like.feedback(0, 3), like.feedback(1, 2), like.feedback(2, 4, "a dog")]
    counts = import_data("videofeedback", write_table(tmp_path / "t.parquet", rows), tmp_path / "d")
    assert (counts.ratings, counts.pairs, counts.judgements) == (15, 1, 5)
    better = {row.label for row in Dataset.open(tmp_path / "d").judgements()}
    (pair,) = {(row.clip_a[:2], row.clip_b[:2]) for row in Dataset.open(tmp_path / "d").judgements()}
    assert better == {"A" if pair[0] == "c0" else "B"}
    assert counts.labels.keys() == {
        "visual_quality", "temporal_consistency", "dynamic_degree", "text_to_video_alignment", "factual_consistency"
    }  # fmt: skip


def test_names_with_brackets_and_spaces_are_read(tmp_path: Path, make_clip: Callable[..., Path]) -> None:
    rows = [like.feedback2(0, 1, 5, 3), like.feedback2(1, 2, 1, 3)]
    for number in range(2):
        make_clip(tmp_path / "27k" / f"c{number} [a b].mp4", tint=10 * number)
    source = write_table(tmp_path / "t.json", rows)
    counts = import_data("videofeedback2", source, tmp_path / "d", tmp_path / "27k")
    assert counts.labels["phy_score"]["tie"] == 1
    assert [sum(counts.labels[name].values()) for name in ("visual_score", "t2v_score", "phy_score")] == [1, 1, 1]


def test_checklists_of_visionreward_become_ratings(tmp_path: Path, six_clips: Path) -> None:
    rows = [
        {"video_path": clip(k), "prompt": "a cat", "annotation": {"camera movement": k, "focus": 2, "unsafe type": 1}}
        for k in range(3)
    ]
    counts = import_data("visionreward", write_table(tmp_path / "t.parquet", rows), tmp_path / "d")
    assert (counts.ratings, counts.pairs) == (6, 3)
    assert counts.labels["camera_movement"]["tie"] == 0 and counts.labels["focus"]["tie"] == 3


def test_pairs_of_videodpo_are_named_by_even_and_odd_numbers(tmp_path: Path, make_clip: Callable[..., Path]) -> None:
    for number in range(2):
        for folder in ("winvideos", "losevideos"):
            make_clip(tmp_path / folder / f"{number:06d}.mp4", tint=number)
    pairs = [{"video1": 0, "video2": 1, "label": 1, "score": 0.5}, {"video1": 3, "video2": 2, "label": 0, "score": 1}]
    metadata = [{"basic": {"clip_path": "x"}, "misc": {"frame_caption": [f"caption {k // 2}"]}} for k in range(4)]
    write_table(tmp_path / "metadata.json", metadata)
    import_data("videodpo", write_table(tmp_path / "pair.json", pairs), tmp_path / "d")
    dataset = Dataset.open(tmp_path / "d")
    places = {one.clip_id: str(Path(one.path).relative_to(tmp_path)) for one in dataset.clips()}
    assert [(places[row.clip_a], places[row.clip_b], row.label) for row in dataset.judgements()] == [
        ("winvideos/000000.mp4", "losevideos/000000.mp4", "A"),
        ("losevideos/000001.mp4", "winvideos/000001.mp4", "B"),
    ]
    assert [one.text for one in dataset.prompts()] == ["caption 0", "caption 1"]
    own = [{**row, "frame_caption": "its own"} for row in pairs[:1]]
    import_data("videodpo", write_table(tmp_path / "own.json", own), tmp_path / "e")
    assert [one.text for one in Dataset.open(tmp_path / "e").prompts()] == ["its own"]
    for numbers, says in (
        ((0, 2), "both the better one"),
        ((0, 9), "9 is not|0.*no such|losevideos"),
        ((0.5, 1), "column 'video1' must hold a whole number"),
        (("", 1), "column 'video1' is empty"),
    ):
        bad = [dict(zip(("video1", "video2"), numbers, strict=True))]
        with pytest.raises(DataError, match=says):
            import_data("videodpo", write_table(tmp_path / "bad.json", bad), tmp_path / "f")


@pytest.mark.parametrize("as_text", [False, True])
def test_each_vote_of_rapidata_is_a_judgement(tmp_path: Path, six_clips: Path, as_text: bool) -> None:
    votes = [{"votedFor": name, "userDetails": {"country": "CH"}} for name in ("c0.mp4", "videos/c1.mp4", "c0")]
    row = like.rapidata(0, 1, detailedResults_Preference=json.dumps(votes) if as_text else votes)
    source = write_table(tmp_path / "t.parquet", [row])
    counts = import_data("rapidata", source, tmp_path / "d")
    assert counts.labels == {"Preference": {"A": 2, "B": 1, "tie": 0, "both_bad": 0, "invalid": 0}}
    assert [one.rater for one in Dataset.open(tmp_path / "d").judgements()] == [
        "rapidata-1",
        "rapidata-2",
        "rapidata-3",
    ]
    assert Dataset.open(tmp_path / "d").judged_pairs()[0].votes == {"Preference": (2, 0, 1)}
    assert counts.generators == {"m0": 1, "m1": 1}
    shares = import_data("rapidata", source, tmp_path / "e", options={"votes": False})
    assert shares.labels["Preference"]["A"] == shares.judgements == 1
    bad = like.rapidata(0, 1, detailedResults_Preference=[{"votedFor": "c7.mp4"}])
    with pytest.raises(DataError, match=r"t\.parquet:1: a vote is for 'c7.mp4', which is neither"):
        import_data("rapidata", write_table(tmp_path / "t.parquet", [bad]), tmp_path / "f")


@pytest.mark.parametrize(("band", "labels"), [(0.0, "A B tie"), (0.1, "A tie tie"), (0.5, "tie tie tie")])
def test_shares_within_the_band_are_a_tie(tmp_path: Path, six_clips: Path, band: float, labels: str) -> None:
    shares = [(0.7, 0.3), (0.46, 0.54), (5.0, 5.0)]
    rows = [like.rapidata(2 * k, 2 * k + 1, pair) for k, pair in enumerate(shares)]
    import_data("rapidata", write_table(tmp_path / "t.csv", rows), tmp_path / "d", options={"tie_band": band})
    assert [str(row.label) for row in Dataset.open(tmp_path / "d").judgements()] == labels.split()


def test_other_names_of_columns_of_rapidata_and_its_jobs_are_read(tmp_path: Path, six_clips: Path) -> None:
    row = {"prompt": "a cat", "video1": clip(0), "video2": clip(1), "source1": "x", "source2": "y",
           "weighted_results1_Coherence": 1, "weighted_results2_Coherence": 3}  # fmt: skip
    counts = import_data("rapidata", write_table(tmp_path / "t.csv", [row]), tmp_path / "d")
    assert counts.generators == {"x": 1, "y": 1} and counts.labels["Coherence"]["B"] == 1
    one = {"context": "a cat", "assetUrls": [clip(0), clip(1)], "detailedResults": [{"votedFor": "c1.mp4"}] * 2}
    other = {
        "context": "a cat",
        "assetUrls": [clip(2), clip(3)],
        "summedUserScoresRatios": {"c2.mp4": 0.9, "c3.mp4": 0.1},
    }
    job = {"info": {"name": "x"}, "results": [one, other], "summary": {"A_wins_total": 1, "B_wins_total": 1}}
    (tmp_path / "job.json").write_text(json.dumps(job))
    import_data("rapidata", tmp_path / "job.json", tmp_path / "e")
    assert [label for *_, label in said(Dataset.open(tmp_path / "e"))] == ["B", "B", "A"]


def test_human_labels_of_vbench_are_expanded_to_pairs_once(tmp_path: Path, six_clips: Path) -> None:
    anno = {"m0": {"m1": 1, "m2": 0.5}, "m1": {"m0": 0, "m2": 0}, "m2": {"m0": 0.5, "m1": 1}}
    source = write_table(tmp_path / "motion smoothness.json", [like.vbench(**anno)])
    counts = import_data("vbench-human", source, tmp_path / "d")
    assert said(Dataset.open(tmp_path / "d")) == [
        ("c0", "c1", "motion_smoothness", "A"),
        ("c0", "c2", "motion_smoothness", "tie"),
        ("c1", "c2", "motion_smoothness", "B"),
    ]
    assert counts.generators == {"m0": 1, "m1": 1, "m2": 1}
    (six_clips / "c2.mp4").unlink()
    counts = import_data("vbench-human", source, tmp_path / "e", options={"skip_broken": True, "dimension": "smooth"})
    assert (counts.pairs, list(counts.labels), len(counts.rejected)) == (1, ["smooth"], 1)


def test_potato_joins_the_instances_and_knows_schemes_and_buttons(tmp_path: Path, six_clips: Path) -> None:
    items = [{"id": "i1", "prompt": "a cat", "video_a": clip(0), "video_b": clip(1)}]
    write_table(tmp_path / "items.jsonl", items)
    rows = [
        like.potato("u", VQ="A", MQ="tie"),
        like.potato("v", scheme={"VQ": "B", "MQ": "A"}),
        like.potato("w", VQ={"B": True}),
    ]
    options = {"items": str(tmp_path / "items.jsonl")}
    import_data("potato", write_table(tmp_path / "t.jsonl", rows), tmp_path / "d", options=options)
    rows_of = [(row.rater, row.dimension, row.label) for row in Dataset.open(tmp_path / "d").judgements()]
    assert rows_of == [("u", "VQ", "A"), ("u", "MQ", "tie"), ("v", "VQ", "B"), ("v", "MQ", "A"), ("w", "VQ", "B")]
    write_table(tmp_path / "t.jsonl", [{**like.potato(VQ="A"), "id": "i2"}])
    with pytest.raises(DataError, match=r"t\.jsonl:1: instance 'i2' is not in .*items\.jsonl"):
        import_data("potato", tmp_path / "t.jsonl", tmp_path / "e", options=options)


def test_label_studio_keeps_raters_and_times_and_leaves_out_what_was_cancelled(tmp_path: Path, six_clips: Path) -> None:
    one = like.task(like.pairwise("VQ", "right"), completed_by={"email": "a@b.c"}, lead_time=4.5)
    one["annotations"].append({"completed_by": 4, "was_cancelled": True, "result": [like.pairwise("VQ", "left")]})
    import_data("label-studio", write_table(tmp_path / "t.json", [one]), tmp_path / "d")
    (row,) = Dataset.open(tmp_path / "d").judgements()
    assert (row.rater, row.label, row.seconds) == ("a@b.c", "B", 4.5)


def test_a_folder_of_clips_is_a_dataset_to_judge(tmp_path: Path, six_clips: Path) -> None:
    rows = [{"clip": f"c{k}.mp4", "prompt": f"p{k // 2}", "model": f"m{k % 2}", "seed": k, "look": k} for k in range(6)]
    write_table(six_clips / "clips.csv", rows)
    counts = import_data("folder", six_clips, tmp_path / "d")
    assert (counts.prompts, counts.clips, counts.judgements) == (3, 6, 0)
    dataset = Dataset.open(tmp_path / "d")
    assert [(one.generator, one.seed) for one in dataset.clips()] == [(f"m{k % 2}", k) for k in range(6)]
    assert dataset.dimensions == ("VQ", "MQ", "TA")
    assert import_data("folder", six_clips, tmp_path / "e", options={"dimensions": ("look",)}).judgements == 3
    write_table(six_clips / "clips.csv", rows[:4])
    with pytest.raises(DataError, match=r"has no row for c4\.mp4 and 1 more"):
        import_data("folder", six_clips, tmp_path / "f")
    assert import_data("folder", six_clips, tmp_path / "f", options={"need_all": False}).clips == 4
    write_table(six_clips / "more.csv", rows)
    with pytest.raises(DataError, match=r"holds 2 tables \(clips\.csv, more\.csv\)"):
        import_data("folder", six_clips, tmp_path / "g")


def test_prompts_of_other_actions_are_others(tmp_path: Path, six_clips: Path) -> None:
    rows = [like.world(action="left"), {**like.world(action="right"), "actions": "stop"}]
    import_data("worldreward-bench", write_table(tmp_path / "t.jsonl", rows), tmp_path / "d")
    texts = [one.text for one in Dataset.open(tmp_path / "d").prompts()]
    assert texts == ['a room Actions: ["W", "A"]', "a room Actions: stop"]


def test_pairs_of_any_prompt_need_something_in_its_place(tmp_path: Path, six_clips: Path) -> None:
    source = write_table(tmp_path / "t.json", [like.SOLI])
    with pytest.raises(ConfigError, match="setting 'prompt' is required"):
        import_data("solireward", source, tmp_path / "d")
    import_data("solireward", source, tmp_path / "d", options=SETTINGS["solireward"])
    (dimension,) = Dataset.open(tmp_path / "d").info.dimensions
    assert not dimension.sees_prompt


SOLI = SETTINGS["solireward"]


def chat(path: str) -> list[dict[str, Any]]:
    asked = [{"type": "text", "text": "is it good?"}, {"type": "video", "video": path}]
    return [{"role": "system", "content": "judge"}, {"role": "user", "content": asked}]


@pytest.mark.parametrize(("row", "label"), [
    ({"win": {"video_path": clip(0), "quality": 0.9}, "lose": {"video_path": clip(1), "quality": 0.1}}, "A"),
    ({"win": {"video_path": clip(0), "quality": 1}, "lose": {"video_path": clip(1), "quality": 1.0}}, "tie"),
    ({"win": chat(clip(0)), "lose": chat(clip(1)), "meta": {"win": {"quality": 1.0}, "lose": {"quality": 0}}}, "A"),
    ({"win": chat(clip(0)), "lose": chat(clip(1)), "meta": {"win": {"quality": 0}, "lose": {"quality": 0}}}, "tie"),
    ({"win": clip(0), "lose": clip(1), "meta": {"win": {"quality": 1.0}, "lose": {"quality": 1.0}}}, "tie"),
    ({"win": clip(0), "lose": clip(1), "meta": {"quality": {"win": 2, "lose": 2}}}, "tie"),
    ({"win": clip(0), "lose": clip(1), "meta": None}, "A"),
    ({"messages": chat("x"), "rejected_response": "no", "videos": [clip(0), clip(1)], "quality": [3, 1]}, "A"),
    ({"messages": chat("x"), "rejected_response": "no", "videos": [clip(0), {"video": clip(1)}], "quality": [3, 3]},
     "tie"),
])  # fmt: skip
def test_each_layout_of_solireward_is_read_and_equal_quality_is_a_tie(
    tmp_path: Path, six_clips: Path, row: dict[str, Any], label: str
) -> None:
    import_data("solireward", write_table(tmp_path / "t.json", [row]), tmp_path / "d", options=SETTINGS["solireward"])
    assert said(Dataset.open(tmp_path / "d")) == [("c0", "c1", "quality", label)]


@pytest.mark.parametrize(("row", "says"), [
    ({"win": {"video_path": clip(0), "quality": 0}, "lose": {"video_path": clip(1), "quality": 1}},
     "the winner's quality is 0, the loser's 1"),
    ({"win": chat(clip(0)) + chat(clip(2)), "lose": chat(clip(1))}, "column 'win' names 2 videos; wanted one"),
    ({"win": {"src": clip(0)}, "lose": clip(1)}, "column 'win' names 0 videos; wanted one"),
    ({"messages": [], "rejected_response": "", "videos": [clip(0)], "quality": [1]}, "wanted two videos"),
    ({"messages": [], "rejected_response": "", "videos": [clip(0), clip(1)], "quality": 1}, "must hold a list"),
    ({"chosen": clip(0), "rejected": clip(1)}, "no column 'win'"),
])  # fmt: skip
def test_what_solireward_does_not_write_is_refused(
    tmp_path: Path, six_clips: Path, row: dict[str, Any], says: str
) -> None:
    with pytest.raises(DataError, match=says):
        import_data(
            "solireward", write_table(tmp_path / "t.json", [row]), tmp_path / "d", options=SETTINGS["solireward"]
        )


def test_aspects_that_are_not_wanted_are_passed_over(tmp_path: Path, six_clips: Path) -> None:
    source = write_table(tmp_path / "t.json", [like.uve(), like.uve("A is better", "motion")])
    counts = import_data("uve-bench", source, tmp_path / "d", options={"dimensions": ("motion",)})
    assert counts.labels == {"motion": {"A": 1, "B": 0, "tie": 0, "both_bad": 0, "invalid": 0}}


def test_a_clip_that_is_missing_is_told_by_every_layout(tmp_path: Path, six_clips: Path) -> None:
    (six_clips / "c1.mp4").unlink()
    for number, (name, kind, row, _) in enumerate(VERDICTS):
        source = write_table(tmp_path / f"t{number}.{kind}", [row])
        with pytest.raises(VideoError, match=rf"t{number}\.{kind}:\d.*c1\.mp4: no such file"):
            import_data(name, source, tmp_path / "d", options=SETTINGS.get(name))


def test_judgements_are_records_of_one_kind_whatever_the_layout(tmp_path: Path, six_clips: Path) -> None:
    import_data("arena", write_table(tmp_path / "t.jsonl", [like.arena(judge="r")]), tmp_path / "d")
    (row,) = Dataset.open(tmp_path / "d").judgements()
    assert row == Judgement(
        prompt_id=row.prompt_id,
        clip_a=row.clip_a,
        clip_b=row.clip_b,
        rater="r",
        dimension="Overall",
        label="A",
        source_row="t.jsonl:1",
        content_a=row.content_a,
        content_b=row.content_b,
    )
