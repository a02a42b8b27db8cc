"""Known answers and the last words of adjudicators are the labels, wherever a label comes out."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from videoalign.cli.main import main
from videoalign.contracts.records import Clip, DatasetInfo, Dimension, Judgement, Prompt, Role
from videoalign.data.dataset import Dataset
from videoalign.data.formats import EXPORTS, VERDICTS_KEPT, export_data, import_data
from videoalign.data.judgements.agreement import measure_agreement
from videoalign.data.judgements.leaderboard import build_leaderboards

SIZE = {"fps": 8.0, "num_frames": 5, "height": 16, "width": 16}


def said(pair: int, role: str, *labels: str) -> list[Judgement]:
    row = Judgement(prompt_id=f"p{pair}", clip_a=f"a{pair}", clip_b=f"b{pair}", rater="", dimension="VQ", label="")
    return [replace(row, role=role, rater=f"{role}-{k}", label=label) for k, label in enumerate(labels)]


@pytest.fixture
def dataset(tmp_path: Path, six_clips: Path) -> Dataset:
    """Three pairs of which the first clip is better: by the word of an adjudicator, by the known answer, by votes."""
    made = Dataset.create(tmp_path / "d", DatasetInfo(dimensions=(Dimension(name="VQ", guideline="look."),)))
    made.write_prompts(Prompt(prompt_id=f"p{k}", text=f"prompt {k}") for k in range(3))
    made.write_clips(
        Clip(clip_id=f"{side}{k}", prompt_id=f"p{k}", path=str(six_clips / f"c{2 * k + place}.mp4"),
             generator=f"model {side}", **SIZE)
        for k in range(3)
        for place, side in enumerate("ab")
    )  # fmt: skip
    made.write_judgements([
        *said(0, Role.RATER, "A", "B", "both_bad"), *said(0, Role.ADJUDICATOR, "A"),
        *said(1, Role.QUALIFICATION, "B", "B"), *said(1, Role.HIDDEN_GOLD, "B"), *said(1, Role.GOLD, "A"),
        *said(2, Role.RATER, "A", "A", "B"), *said(2, Role.REPEAT, "B", "B"),
    ])  # fmt: skip
    return made


def winners(name: str, path: Path) -> list[str]:
    """The labels that a table holds, in the words of `Label`."""
    rows: list[dict[str, Any]] = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    if name == "dpo":
        return ["A" if Path(row["chosen"]).stem in ("c0", "c2", "c4") else "B" for row in rows]
    if name == "arena":
        return [row["winner"].removeprefix("model_").upper() for row in rows]
    if name == "label-studio":
        chosen = [[one for one in row["annotations"] if one["ground_truth"]] for row in rows]
        return ["AB"[one[-1]["result"][0]["value"]["selected"] == "right"] for one in chosen if one]
    if name.startswith("sharegpt"):
        return [(row["chosen"] if name == "sharegpt" else row["conversations"][1])["value"] for row in rows]
    if name == "visionreward":
        return [{"video1": "A", "video2": "B"}[row["standard_answer"]] for row in rows]
    return [row["VQ"] for row in rows]


@pytest.mark.parametrize("name", [name for name in EXPORTS if name not in VERDICTS_KEPT])
def test_every_export_of_labels_holds_last_words_and_no_test_of_a_rater(
    dataset: Dataset, tmp_path: Path, name: str
) -> None:
    out = tmp_path / "out.jsonl"
    export_data(name, dataset, out)
    assert winners(name, out) == ["A", "A", "A"]
    for rule in ("adjudicated", "shares", "dawid_skene"):
        assert main(["data", "export", name, str(dataset.path), "--out", str(out), "--aggregate", rule]) == 0
        assert winners(name, out) == ["A", "A", "A"], rule
    export_data(name, dataset, out, "majority")
    assert [label for label in winners(name, out) if label not in ("", "invalid")] == ["A"], "of the third pair"


def test_exports_of_verdicts_hold_what_counts_and_take_no_rule(
    dataset: Dataset, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out.jsonl"
    assert export_data("arena", dataset, out) == 5
    assert winners("arena", out) == ["A", "A", "A", "A", "B"]
    export_data("label-studio", dataset, out)
    assert winners("label-studio", out) == ["A", "A"]
    tasks = [json.loads(line) for line in out.read_text().splitlines()]
    assert [len(task["annotations"]) for task in tasks] == [4, 1, 3]
    for name in VERDICTS_KEPT:
        assert main(["data", "export", name, str(dataset.path), "--out", str(out), "--aggregate", "majority"]) == 2
        assert f"--aggregate: {name} holds single verdicts" in capsys.readouterr().err


@pytest.mark.parametrize("format", ["pairs", "label-studio", "arena"])
def test_labels_are_the_same_after_a_way_there_and_back(dataset: Dataset, tmp_path: Path, format: str) -> None:
    export_data(format, dataset, tmp_path / "out.json")
    import_data(format, tmp_path / "out.json", tmp_path / "again")
    again = Dataset.open(tmp_path / "again")
    assert [pair.labels for pair in again.judged_pairs()] == [{name: "A"} for name in again.dimensions] * 3
    if format == "pairs":
        assert [(row.role, row.label, row.rater) for row in again.judgements()] == [
            (row.role, row.label, row.rater) for row in dataset.judgements()
        ]


def test_agreement_counts_votes_alone_and_the_leaderboard_last_words_too(dataset: Dataset) -> None:
    (found,) = measure_agreement(dataset.judgements(), ["VQ"]).values()
    assert (found.pairs, found.votes, found.raters) == (2, 6, 3)
    generators = {clip.clip_id: clip.generator for clip in dataset.clips()}
    board = build_leaderboards(dataset.judged_pairs(aggregate="shares"), generators, ["VQ"])["VQ"]
    (duel,) = board.duels
    assert (duel.wins, duel.ties, duel.losses) == (pytest.approx(2 + 2 / 3), 0, pytest.approx(1 / 3))


def test_a_dimension_called_overall_keeps_its_own_leaderboard(dataset: Dataset) -> None:
    rows = [replace(row, dimension=name) for row in dataset.judgements() for name in ("VQ", "overall")]
    turned = [replace(row, label="B") if row.dimension == "overall" else row for row in rows if row.prompt_id == "p2"]
    named = Dataset.create(
        dataset.path.parent / "e",
        DatasetInfo(dimensions=tuple(Dimension(name=name, guideline="x") for name in ("VQ", "overall"))),
    )
    named.add(prompts=dataset.prompts(), clips=dataset.clips(), judgements=turned)
    generators = {clip.clip_id: clip.generator for clip in named.clips()}
    boards = build_leaderboards(named.judged_pairs(), generators, named.dimensions)
    assert list(boards) == ["VQ", "overall", "all dimensions"]
    assert [board.models[0].model for board in boards.values()][:2] == ["model a", "model b"]
    assert boards["all dimensions"].models[0].strength.value == pytest.approx(0)
    assert main(["annotate", "leaderboard", str(named.path)]) == 0


def test_a_table_without_roles_reads_as_votes(dataset: Dataset, tmp_path: Path) -> None:
    import pyarrow.parquet as pq

    path = dataset.table_path(Judgement)
    pq.write_table(pq.read_table(path).drop(["role", "left", "seconds"]), path)
    assert {row.role for row in dataset.judgements()} == {"rater"}
    assert [pair.votes["VQ"] for pair in dataset.judged_pairs()] == [(2, 1, 1), (1, 0, 3), (2, 0, 3)]
