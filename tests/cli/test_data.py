"""``videoalign data``, from end to end on real judgements."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest

from videoalign.cli.main import main
from videoalign.data.dataset import Dataset


@pytest.fixture(scope="module")
def imported(shared: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The three real pairs as a dataset."""
    out = tmp_path_factory.mktemp("real") / "d"
    assert (
        main(["data", "import", "videoalign", str(shared / "data/videoalign_pairs/pairs.csv"), "--out", str(out)]) == 0
    )
    return out


def test_stats_prints_the_counts_for_machines_and_people(imported: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["data", "stats", str(imported), "--json"]) == 0
    counts = json.loads(capsys.readouterr().out)
    wanted = {"prompts": 3, "clips": 6, "pairs": 3, "judgements": 9, "rejected": []}
    assert {name: counts[name] for name in wanted} == wanted
    assert counts["labels"]["TA"] == {"A": 2, "B": 0, "tie": 1, "both_bad": 0, "invalid": 0}
    assert main(["data", "stats", str(imported)]) == 0
    assert "judgements" in capsys.readouterr().out


def test_check_export_and_split(imported: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["data", "check", str(imported)]) == 0
    assert "no problem found" in capsys.readouterr().out
    assert main(["data", "export", "videoalign", str(imported), "--out", str(tmp_path / "e.csv")]) == 0
    with (tmp_path / "e.csv").open(encoding="utf-8") as file:
        assert [(row["VQ"], row["MQ"], row["TA"]) for row in csv.DictReader(file)] == [
            ("B", "B", "A"),
            ("same", "same", "A"),
            ("A", "same", "same"),
        ]
    capsys.readouterr()
    assert main(["data", "split", str(imported), "--val", "0.34", "--seed", "3", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"train": 2, "val": 1}
    assert sorted(prompt.split for prompt in Dataset.open(imported).prompts()) == ["train", "train", "val"]


def test_real_ratings_import_with_the_names_of_the_paper(
    shared: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = tmp_path / "fetv.yaml"
    settings.write_text("rename: {static_quality: VQ, temporal_quality: MQ, alignment: TA}\n")
    source = str(shared / "data/fetv/ratings.csv")
    command = [
        "data",
        "import",
        "ratings",
        source,
        "tie_band=0",
        "--out",
        str(tmp_path / "d"),
        "--config",
        str(settings),
    ]
    assert main([*command, "--dimensions", "static_quality,alignment", "--json"]) == 2
    assert "rename: 'temporal_quality' is not a judged column" in capsys.readouterr().err
    assert main([*command, "--dimensions", "static_quality,temporal_quality,alignment", "--json"]) == 0
    counts = json.loads(capsys.readouterr().out)
    assert {name: sum(labels.values()) for name, labels in counts["labels"].items()} == {
        "VQ": 360,
        "MQ": 360,
        "TA": 360,
    }
    assert counts["labels"]["VQ"]["tie"] == 135
    assert [dimension.sees_prompt for dimension in Dataset.open(tmp_path / "d").info.dimensions] == [False, False, True]


def test_formats_are_listed_and_an_unknown_one_comes_with_the_nearest(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["data", "formats", "--json"]) == 0
    listed = json.loads(capsys.readouterr().out)
    assert {"rapidata", "arena", "label-studio", "folder"} <= set(listed["importers"])
    assert {"pairs", "rewardbench", "sharegpt", "dpo"} <= set(listed["exporters"])
    assert main(["data", "import", "rapidat", "x.csv", "--out", str(tmp_path / "d")]) == 2
    assert "no importer 'rapidat'. Did you mean 'rapidata'" in capsys.readouterr().err


def test_check_tells_prompts_of_a_benchmark_and_what_to_do(
    imported: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    prompt = Dataset.open(imported).prompts()[0]
    (tmp_path / "bench.txt").write_text(f"{prompt.text.upper()}!\n", encoding="utf-8")
    command = ["data", "check", str(imported), "--benchmark-prompts", str(tmp_path / "bench.txt"), "--json"]
    assert main(command) == 2
    (problem,) = json.loads(capsys.readouterr().out)
    assert (problem["kind"], problem["where"]) == ("benchmark", prompt.prompt_id)
    assert "Leave the prompt out of training" in problem["remedy"]


def test_card_is_written_into_the_folder(imported: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["data", "card", str(imported), "--license", "apache-2.0"]) == 0
    written, publish = capsys.readouterr().out.splitlines()
    assert written == str(imported / "README.md")
    assert publish.startswith(f"publish it with: hf upload NAME {imported} . --repo-type dataset --include README.md ")
    assert "annotate" not in publish and "judgements.parquet" in publish
    assert "license: apache-2.0" in (imported / "README.md").read_text(encoding="utf-8")
