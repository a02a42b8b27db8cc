"""Every published layout becomes the same records; a row that cannot be used is named with its line and a reason."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from videoalign.contracts.records import Judgement
from videoalign.data.dataset import Dataset
from videoalign.data.formats import import_data
from videoalign.errors import ConfigError, DataError, VideoError

from .tables import clip, write_table


def said(dataset: Dataset) -> list[tuple[str, str, str, str]]:
    """(first clip, second clip, dimension, label) of each judgement."""
    return [(row.clip_a[:2], row.clip_b[:2], row.dimension, str(row.label)) for row in dataset.judgements()]


def feedback(number: int, look: float, prompt: str = "a cat") -> dict[str, Any]:
    names = (
        "visual quality",
        "temporal consistency",
        "dynamic degree",
        "text-to-video alignment",
        "factual consistency",
    )
    return {"id": str(number), "text prompt": prompt, "video link": clip(number), **dict.fromkeys(names, look)}


def feedback2(number: int, *scores: float) -> dict[str, Any]:
    names = ("visual_score", "t2v_score", "phy_score")
    return {"video_name": f"c{number} [a b].mp4", "prompt": "a cat", **dict(zip(names, scores, strict=True))}


def rapidata(a: int, b: int, shares: tuple[float, float] = (0.6, 0.4), **more: Any) -> dict[str, Any]:
    return {
        "prompt": "a cat",
        "file_name1": clip(a),
        "file_name2": clip(b),
        "model1": f"m{a}",
        "model2": f"m{b}",
        "weighted_results1_Preference": shares[0],
        "weighted_results2_Preference": shares[1],
        **more,
    }


def mj(verdict: str = "Video 1 better", **more: str) -> dict[str, Any]:
    categories = {"Alignment": "Same", "Bias & Fairness": "Video 2 better", **more}
    return {
        "caption": "a cat",
        "video_0_path": clip(0),
        "video_1_path": clip(1),
        "overall_preference": verdict,
        "category_preference": categories,
    }


def vbench(**human_anno: Any) -> dict[str, Any]:
    return {
        "prompt_en": "a cat",
        "question_en": "which?",
        "videos": {f"m{k}": clip(k) for k in range(3)},
        "human_anno": human_anno,
    }


def world(**label: str) -> dict[str, Any]:
    sides = {side: {"video": clip(k), "model": f"m{k}"} for k, side in enumerate(("left", "right"))}
    return {"pair_id": "1", "input_caption": "a room", "actions": ["W", "A"], **sides, "label": label}


def arena(winner: str = "model_a", **more: str) -> dict[str, Any]:
    models = {"model_a": "m0", "model_b": "m1", "winner": winner}
    return {"prompt": "a cat", "video_a": clip(0), "video_b": clip(1), **models, **more}


def task(*results: dict[str, Any], **more: Any) -> dict[str, Any]:
    data = {"prompt": "a cat", "video_a": clip(0), "video_b": clip(1)}
    return {"id": 7, "data": data, "annotations": [{"completed_by": 3, "result": list(results), **more}]}


def pairwise(name: str, side: str) -> dict[str, Any]:
    return {"from_name": name, "type": "pairwise", "value": {"selected": side}}


def choices(name: str, *chosen: str) -> dict[str, Any]:
    return {"from_name": name, "type": "choices", "value": {"choices": list(chosen)}}


def potato(user: str = "u", **labels: Any) -> dict[str, Any]:
    return {"id": "i1", "user_id": user, "label_annotations": labels}


def uve(preference: str = "B is better", aspect: str = "static quality") -> dict[str, Any]:
    videos = {"video_a": "c0.mp4", "video_b": "c1.mp4", "dataset": "videos"}
    return {**videos, "prompt": "a cat", "preference": preference, "aspect": aspect, "subaspects": ["x"]}


def judger(answer: str = "video 2 is better") -> dict[str, Any]:
    paths = {"video_1_relative_path": clip(0), "video_2_relative_path": clip(1)}
    return {"case_id": "1", "text_prompt": "a cat", **paths, "human_preference_answer": answer}


VISION = {"prompt": "a cat", "video1_path": clip(0), "video2_path": clip(1), "standard_answer": "video2"}
DPO = {"id": 1, "caption": "a cat", "chosen": clip(0), "rejected": clip(1)}
SOLI = {"win": clip(0), "lose": clip(1), "meta": {"quality": 1}}

VERDICTS: list[tuple[str, str, dict[str, Any], list[tuple[str, str]]]] = [
    ("visionreward", "jsonl", VISION, [("Overall", "B")]),
    ("visionreward", "parquet", {**VISION, "standard_answer": "tie"}, [("Overall", "tie")]),
    ("videodpo", "json", DPO, [("Overall", "A")]),
    ("rapidata", "csv", rapidata(0, 1), [("Preference", "A")]),
    ("rapidata", "parquet", rapidata(0, 1, (0.2, 0.8)), [("Preference", "B")]),
    ("mj-bench", "json", mj(), [("Overall", "A"), ("Alignment", "tie"), ("Bias_Fairness", "B")]),
    ("worldreward-bench", "jsonl", world(action="left", appearance="right", motion="tie"),
     [("action", "A"), ("appearance", "B"), ("motion", "tie")]),
    ("arena", "jsonl", arena("tie (bothbad)"), [("Overall", "both_bad")]),
    ("arena", "jsonl", arena("model_b", dimension="motion"), [("motion", "B")]),
    ("label-studio", "json", task(pairwise("VQ", "left"), choices("MQ_choice", "tie")), [("VQ", "A"), ("MQ", "tie")]),
    ("uve-bench", "json", uve(), [("static_quality", "B")]),
    ("uve-bench", "json", uve("both bad"), [("static_quality", "both_bad")]),
    ("va-judger", "jsonl", judger(), [("Overall", "B")]),
    ("solireward", "json", SOLI, [("quality", "A")]),
]  # fmt: skip

SETTINGS: dict[str, dict[str, Any]] = {"solireward": {"prompt": "a video"}}


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


BAD_ROWS: list[tuple[str, str, dict[str, Any], str]] = [
    ("videofeedback", "jsonl", {**feedback(0, 3), "visual quality": "good"}, "must hold a number; got 'good'"),
    ("videofeedback2", "json", {**feedback2(0, 1, 2, 3), "video_name": ""}, "column 'video_name' is empty"),
    ("visionreward", "jsonl", {**VISION, "standard_answer": "video3"}, "'video3' is not a verdict; wanted video1"),
    ("videodpo", "json", {**DPO, "rejected": ""}, "column 'rejected' is empty"),
    ("rapidata", "csv", rapidata(0, 1, (0.0, 0.0)), "must not be negative, nor both 0"),
    ("mj-bench", "json", mj("Video 3 better"), "'Video 3 better' is not a verdict"),
    ("mj-bench", "json", mj(Alignment="worse"), "'worse' is not a verdict"),
    ("vbench-human", "json", vbench(m0={"m1": 2}), "human_anno of m0 against m1 is '2'; wanted 1, 0 or 0.5"),
    ("vbench-human", "json", vbench(m0={"m1": 1}, m1={"m0": 1}), "says two things of m1 against m0"),
    ("worldreward-bench", "jsonl", world(action="up"), "column 'action': 'up' is not a verdict"),
    ("arena", "jsonl", arena("model_c"), "'model_c' is not a verdict; wanted model_a, model_b"),
    ("label-studio", "json", task(pairwise("VQ", "middle")), "column 'VQ': 'middle' is not a verdict"),
    ("label-studio", "json", task(pairwise("VQ", "left"), choices("VQ", "tie")), "says both A and tie on VQ"),
    ("label-studio", "json", task(choices("VQ", "A", "B")), "VQ: 2 choices; wanted one"),
    ("uve-bench", "json", uve("C is better"), "'C is better' is not a verdict"),
    ("va-judger", "jsonl", judger("video 3 is better"), "'video 3 is better' is not a verdict"),
    ("solireward", "json", {**SOLI, "lose": ""}, "column 'lose' is empty"),
    ("potato", "jsonl", {**potato(VQ="C"), **DPO, "prompt": "p", "video_a": clip(0), "video_b": clip(1)},
     "column 'VQ': 'C' is not a verdict"),
    ("folder", "csv", {"clip": "c1.mp4", "prompt": ""}, "column 'prompt' is empty"),
    ("ratings", "csv", {"clip": clip(0), "prompt": "p", "look": "x"}, "must hold a number; got 'x'"),
    ("pairs", "csv", {"clip_a": clip(0), "clip_b": clip(1), "prompt": "p", "look": "C"}, "'C' is not a verdict"),
]  # fmt: skip

GOOD_ROWS: dict[str, dict[str, Any]] = {
    "videofeedback": feedback(2, 3),
    "videofeedback2": feedback2(2, 1, 2, 3),
    "vbench-human": vbench(m0={"m1": 1}),
    "mj-bench": mj("Same"),
    "worldreward-bench": world(action="left"),
    "arena": arena(),
    "label-studio": task(pairwise("VQ", "left")),
    "uve-bench": uve(),
    "va-judger": judger(),
    "solireward": SOLI,
    "potato": {**potato(VQ="A"), "prompt": "p", "video_a": clip(0), "video_b": clip(1)},
    "folder": {"clip": "c0.mp4", "prompt": "p"},
    "visionreward": VISION,
    "videodpo": DPO,
    "rapidata": rapidata(0, 1),
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


def test_scores_of_videofeedback_become_pairs_within_a_prompt(tmp_path: Path, six_clips: Path) -> None:
    rows = [feedback(0, 3), feedback(1, 2), feedback(2, 4, "a dog")]
    counts = import_data("videofeedback", write_table(tmp_path / "t.parquet", rows), tmp_path / "d")
    assert (counts.ratings, counts.pairs, counts.judgements) == (15, 1, 5)
    better = {row.label for row in Dataset.open(tmp_path / "d").judgements()}
    (pair,) = {(row.clip_a[:2], row.clip_b[:2]) for row in Dataset.open(tmp_path / "d").judgements()}
    assert better == {"A" if pair[0] == "c0" else "B"}
    assert counts.labels.keys() == {
        "visual_quality", "temporal_consistency", "dynamic_degree", "text_to_video_alignment", "factual_consistency"
    }  # fmt: skip


def test_names_with_brackets_and_spaces_are_read(tmp_path: Path, make_clip: Callable[..., Path]) -> None:
    rows = [feedback2(0, 1, 5, 3), feedback2(1, 2, 1, 3)]
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
        ((0.5, 1), "the number of a clip"),
    ):
        bad = [dict(zip(("video1", "video2"), numbers, strict=True))]
        with pytest.raises(DataError, match=says):
            import_data("videodpo", write_table(tmp_path / "bad.json", bad), tmp_path / "f")


@pytest.mark.parametrize("as_text", [False, True])
def test_each_vote_of_rapidata_is_a_judgement(tmp_path: Path, six_clips: Path, as_text: bool) -> None:
    votes = [{"votedFor": name, "userDetails": {"country": "CH"}} for name in ("c0.mp4", "videos/c1.mp4", "c0")]
    row = rapidata(0, 1, detailedResults_Preference=json.dumps(votes) if as_text else votes)
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
    bad = rapidata(0, 1, detailedResults_Preference=[{"votedFor": "c7.mp4"}])
    with pytest.raises(DataError, match=r"t\.parquet:1: a vote is for 'c7.mp4', which is neither"):
        import_data("rapidata", write_table(tmp_path / "t.parquet", [bad]), tmp_path / "f")


@pytest.mark.parametrize(("band", "labels"), [(0.0, "A B tie"), (0.1, "A tie tie"), (0.5, "tie tie tie")])
def test_shares_within_the_band_are_a_tie(tmp_path: Path, six_clips: Path, band: float, labels: str) -> None:
    shares = [(0.7, 0.3), (0.46, 0.54), (5.0, 5.0)]
    rows = [rapidata(2 * k, 2 * k + 1, pair) for k, pair in enumerate(shares)]
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
    source = write_table(tmp_path / "motion smoothness.json", [vbench(**anno)])
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
    rows = [potato("u", VQ="A", MQ="tie"), potato("v", scheme={"VQ": "B", "MQ": "A"}), potato("w", VQ={"B": True})]
    options = {"items": str(tmp_path / "items.jsonl")}
    import_data("potato", write_table(tmp_path / "t.jsonl", rows), tmp_path / "d", options=options)
    rows_of = [(row.rater, row.dimension, row.label) for row in Dataset.open(tmp_path / "d").judgements()]
    assert rows_of == [("u", "VQ", "A"), ("u", "MQ", "tie"), ("v", "VQ", "B"), ("v", "MQ", "A"), ("w", "VQ", "B")]
    write_table(tmp_path / "t.jsonl", [{**potato(VQ="A"), "id": "i2"}])
    with pytest.raises(DataError, match=r"t\.jsonl:1: instance 'i2' is not in .*items\.jsonl"):
        import_data("potato", tmp_path / "t.jsonl", tmp_path / "e", options=options)


def test_label_studio_keeps_raters_and_times_and_leaves_out_what_was_cancelled(tmp_path: Path, six_clips: Path) -> None:
    one = task(pairwise("VQ", "right"), completed_by={"email": "a@b.c"}, lead_time=4.5)
    one["annotations"].append({"completed_by": 4, "was_cancelled": True, "result": [pairwise("VQ", "left")]})
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
    rows = [world(action="left"), {**world(action="right"), "actions": "stop"}]
    import_data("worldreward-bench", write_table(tmp_path / "t.jsonl", rows), tmp_path / "d")
    texts = [one.text for one in Dataset.open(tmp_path / "d").prompts()]
    assert texts == ['a room Actions: ["W", "A"]', "a room Actions: stop"]


def test_pairs_of_any_prompt_need_something_in_its_place(tmp_path: Path, six_clips: Path) -> None:
    source = write_table(tmp_path / "t.json", [SOLI])
    with pytest.raises(ConfigError, match="setting 'prompt' is required"):
        import_data("solireward", source, tmp_path / "d")
    import_data("solireward", source, tmp_path / "d", options=SETTINGS["solireward"])
    (dimension,) = Dataset.open(tmp_path / "d").info.dimensions
    assert not dimension.sees_prompt


def test_aspects_that_are_not_wanted_are_passed_over(tmp_path: Path, six_clips: Path) -> None:
    source = write_table(tmp_path / "t.json", [uve(), uve("A is better", "motion")])
    counts = import_data("uve-bench", source, tmp_path / "d", options={"dimensions": ("motion",)})
    assert counts.labels == {"motion": {"A": 1, "B": 0, "tie": 0, "both_bad": 0, "invalid": 0}}


def test_a_clip_that_is_missing_is_told_by_every_layout(tmp_path: Path, six_clips: Path) -> None:
    (six_clips / "c1.mp4").unlink()
    for number, (name, kind, row, _) in enumerate(VERDICTS):
        source = write_table(tmp_path / f"t{number}.{kind}", [row])
        with pytest.raises(VideoError, match=rf"t{number}\.{kind}:\d.*c1\.mp4: no such file"):
            import_data(name, source, tmp_path / "d", options=SETTINGS.get(name))


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


def test_judgements_are_records_of_one_kind_whatever_the_layout(tmp_path: Path, six_clips: Path) -> None:
    import_data("arena", write_table(tmp_path / "t.jsonl", [arena(judge="r")]), tmp_path / "d")
    (row,) = Dataset.open(tmp_path / "d").judgements()
    assert row == Judgement(
        prompt_id=row.prompt_id,
        clip_a=row.clip_a,
        clip_b=row.clip_b,
        rater="r",
        dimension="Overall",
        label="A",
        source_row="t.jsonl:1",
    )
