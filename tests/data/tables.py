"""Small tables in the layouts of others, to import: every row is about clips c0 .. c5 of the folder ``videos``."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq


def write_table(path: Path, rows: list[dict[str, Any]]) -> Path:
    """The rows in the layout that the ending says."""
    if path.suffix == ".parquet":
        pq.write_table(pa.Table.from_pylist(rows), path)
    elif path.suffix == ".jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    elif path.suffix == ".json":
        path.write_text(json.dumps(rows, indent=1), encoding="utf-8")
    else:
        with path.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, list(rows[0]))
            writer.writeheader()
            writer.writerows(rows)
    return path


def clip(number: int) -> str:
    return f"videos/c{number}.mp4"


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

SETTINGS: dict[str, dict[str, Any]] = {"solireward": {"prompt": "a video"}}
