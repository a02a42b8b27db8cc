"""The annotators' export of VideoFeedback2, as its published files have it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from videoalign.data.dataset import Dataset
from videoalign.data.formats import import_data
from videoalign.errors import DataError

QUESTIONS = ("视觉质量", "文本符合度", "物理符合度")


def item(clip: str, values: tuple[Any, ...], prompt: str = "A fisherman pulls a rod. ") -> dict[str, Any]:
    told = f"English Prompt: {prompt}\n翻译为中文的Prompt:\n一个渔民从水中拉出钓竿。"
    parts = [
        ("TITLE", "生成视频使用的PROMPT"),
        ("TEXT", told),
        ("VIDEO", f"https://example.org/VideoScore/0000_0499/mochi1_preview/{clip}"),
        ("TEXT", "src_id: 07a8  src: story"),
    ]
    labels = [
        {"label": f"1_{question}{kind}", "value": value}
        for question, score in zip(QUESTIONS, values, strict=True)
        for kind, value in (("评分", score), ("描述", "画面 3-dim"))
    ]
    return {
        "_id": "67ff",
        "batchId": "67fe",
        "info": {"data": [{"content": content, "type": kind} for kind, content in parts]},
        "labels": [{"_id": "6806", "sys_status": 1, "data": {"id": k, **label}} for k, label in enumerate(labels)],
    }


def write(path: Path, items: list[dict[str, Any]]) -> str:
    path.write_text(json.dumps(items, ensure_ascii=False, indent=4), encoding="utf-8")
    return str(path)


def test_answers_of_every_way_of_writing_are_scores_and_make_pairs(tmp_path: Path, six_clips: Path) -> None:
    names = sorted(file.name for file in six_clips.iterdir())[:3]
    items = [
        item(names[0], ("2-Relatively Poor", 4, "5-Very good")),
        item(names[1], (3, "Medium", "1-Very Poor")),
        item(names[2], ("Very Good", "4-Relatively Good", "3")),
    ]
    out = tmp_path / "d"
    counts = import_data("videofeedback2", write(tmp_path / "9.json", items), out, clips=six_clips)
    dataset = Dataset.open(out)
    assert dataset.dimensions == ("visual_score", "t2v_score", "phy_score")
    scores = [row.score for row in dataset.ratings()]
    assert scores == [2, 4, 5, 3, 3, 1, 5, 4, 3]
    assert (counts.prompts, counts.clips, counts.pairs, counts.ratings) == (1, 3, 3, 9)
    assert [prompt.text for prompt in dataset.prompts()] == ["A fisherman pulls a rod."]
    assert {clip.generator for clip in dataset.clips()} == {"mochi1_preview"}
    of_text = [str(row.label) for row in dataset.judgements() if row.dimension == "t2v_score"]
    assert of_text.count("tie") == 1


def test_one_dimension_may_be_taken_and_renamed(tmp_path: Path, six_clips: Path) -> None:
    names = sorted(file.name for file in six_clips.iterdir())[:2]
    items = [item(name, (value, value, value)) for name, value in zip(names, (1, 2), strict=True)]
    options = {"dimensions": ["t2v_score"], "rename": {"t2v_score": "TA"}}
    import_data("videofeedback2", write(tmp_path / "9.json", items), tmp_path / "d", clips=six_clips, options=options)
    assert [row.score for row in Dataset.open(tmp_path / "d").ratings()] == [1, 2]
    assert Dataset.open(tmp_path / "d").dimensions == ("TA",)


@pytest.mark.parametrize(("change", "says"), [
    ({"values": ("6-Superb", 3, 3)}, "'视觉质量评分' must be answered by 1 to 5, as in 3 or 3-Medium"),
    ({"values": ("", 3, 3)}, "must be answered by 1 to 5"),
    ({"prompt": ""}, "nothing stands behind 'English Prompt'"),
])  # fmt: skip
def test_an_item_that_says_something_else_is_told(
    tmp_path: Path, six_clips: Path, change: dict[str, Any], says: str
) -> None:
    name = sorted(file.name for file in six_clips.iterdir())[0]
    source = write(tmp_path / "9.json", [item(name, **{"values": (3, 3, 3), **change})])
    with pytest.raises(DataError, match=r"9\.json:1.*") as told:
        import_data("videofeedback2", source, tmp_path / "d", clips=six_clips)
    assert says in str(told.value)
    assert not (tmp_path / "d").exists()


def test_two_answers_to_one_question_must_agree(tmp_path: Path, six_clips: Path) -> None:
    name = sorted(file.name for file in six_clips.iterdir())[0]
    twice = item(name, (3, 3, 3))
    twice["labels"].append({"data": {"label": "1_视觉质量评分", "value": "4-Relatively Good"}})
    with pytest.raises(DataError, match="'视觉质量评分' is answered twice"):
        import_data("videofeedback2", write(tmp_path / "9.json", [twice]), tmp_path / "d", clips=six_clips)
    silent = item(name, (3, 3, 3))
    silent["info"]["data"].pop(2)
    with pytest.raises(DataError, match="holds 0 parts of type VIDEO"):
        import_data("videofeedback2", write(tmp_path / "9.json", [silent]), tmp_path / "d", clips=six_clips)
