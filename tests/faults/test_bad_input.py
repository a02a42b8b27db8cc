"""A user's mistake ends in one line that says what to do, exit code 2, and nothing half-written."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from videoalign.cli.main import main
from videoalign.data.dataset import Dataset

Refused = Callable[..., str]


def test_missing_clip(table: Path, refused: Refused) -> None:
    (table.parent / "videos" / "c3.mp4").unlink()
    line = refused("data", "import", "videoalign", table, "--out", table.parent / "d")
    assert "pairs.csv:3: " in line
    assert "videos/c3.mp4: no such file" in line
    assert "--skip-broken" in line


@pytest.mark.parametrize("kept", [0.0, 0.5, 0.95])
def test_truncated_clip(table: Path, refused: Refused, kept: float) -> None:
    clip = table.parent / "videos" / "c5.mp4"
    content = clip.read_bytes()
    clip.write_bytes(content[: int(len(content) * kept)])
    line = refused("data", "import", "videoalign", table, "--out", table.parent / "d")
    assert "pairs.csv:4: " in line
    assert "videos/c5.mp4: truncated" in line


def test_clip_that_breaks_after_the_import(dataset: Path, refused: Refused) -> None:
    clip = dataset.parent / "videos" / "c0.mp4"
    clip.write_bytes(clip.read_bytes()[:-100])
    line = refused("data", "check", dataset)
    assert "1 problem(s) (broken_clip 1)" in line
    assert "truncated" in line


def test_skipping_broken_rows_lists_them(table: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (table.parent / "videos" / "c3.mp4").unlink()
    command = ["data", "import", "videoalign", str(table), "--out", str(table.parent / "d"), "--skip-broken", "--json"]
    assert main(command) == 0
    counts = json.loads(capsys.readouterr().out)
    assert (counts["pairs"], counts["clips"]) == (2, 4)
    assert [row["row"] for row in counts["rejected"]] == ["pairs.csv:3"]
    assert main(["data", "stats", str(table.parent / "d"), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["rejected"] == counts["rejected"]


def test_unknown_dimension(table: Path, refused: Refused) -> None:
    line = refused("data", "import", "videoalign", table, "--out", table.parent / "d", "--dimensions", "VQ,MQQ")
    assert "no column 'MQQ'. Did you mean 'MQ'?" in line


def test_unknown_dimension_in_the_weights(dataset: Path, refused: Refused) -> None:
    score_all(dataset, 0.0, 1.0)
    line = refused("pairs", dataset, "--reward", "oracle", "--name", "x", "--weights", "VQ=1,TAA=1")
    assert "--weights: unknown dimension 'TAA'. Did you mean 'TA'?" in line


def test_empty_pair_set(dataset: Path, refused: Refused) -> None:
    score_all(dataset, 1.0, 1.0)
    line = refused("pairs", dataset, "--reward", "oracle", "--name", "x")
    assert "no pairs: of 3 prompts, 0 have fewer than two clips, 3 have only clips of equal reward" in line


def test_pairs_that_nobody_made(dataset: Path, refused: Refused) -> None:
    line = refused("pairs", dataset, "--reward", "oracle", "--name", "x")
    assert "no scores 'oracle'" in line


def test_output_folder_of_another_run(dataset: Path, table: Path, refused: Refused) -> None:
    line = refused("data", "import", "videoalign", table, "--out", dataset)
    assert "holds a dataset already; give another folder, or --add to add to it." in line
    (dataset.parent / "thesis").mkdir()
    (dataset.parent / "thesis" / "chapter.txt").write_text("one")
    line = refused("data", "import", "videoalign", table, "--out", dataset.parent / "thesis", "--fresh")
    assert "holds files that are no dataset" in line


def test_output_folder_of_another_quickstart(tmp_path: Path, refused: Refused) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "run.json").write_text('{"command": "align"}')
    line = refused("quickstart", "--out", tmp_path / "run")
    assert "belongs to another run (differs in command" in line
    assert line.rstrip().endswith("give another folder.")


def test_misspelt_key_in_a_yaml_file(dataset: Path, table: Path, refused: Refused) -> None:
    settings = table.parent / "settings.yaml"
    settings.write_text("skip_brokn: true\n")
    line = refused("data", "import", "videoalign", table, "--out", table.parent / "e", "--config", settings)
    assert "settings.yaml: unknown setting 'skip_brokn'. Did you mean 'skip_broken'?" in line
    settings.write_text("min_margn: 0.5\n")
    line = refused("pairs", dataset, "--reward", "oracle", "--name", "x", "--config", settings)
    assert "unknown setting 'min_margn'. Did you mean 'min_margin'?" in line


def test_yaml_that_is_missing_or_broken(table: Path, refused: Refused) -> None:
    settings = table.parent / "settings.yaml"
    command = ("data", "import", "videoalign", table, "--out", table.parent / "d", "--config", settings)
    assert "cannot read" in refused(*command)
    settings.write_text("a: [1\nb: 2\n")
    assert "is not YAML" in refused(*command)


def test_names_that_no_file_can_have(table: Path, refused: Refused) -> None:
    long = table.parent / ("x" * 300)
    for command in (["--out", long], ["--out", table.parent / "d", "--config", long]):
        line = refused("data", "import", "videoalign", table, *command)
        assert "give a shorter one" in line or "File name too long" in line


def test_a_folder_in_the_place_of_a_table(dataset: Path, tmp_path: Path, refused: Refused) -> None:
    there = shutil.copytree(dataset, tmp_path / "there")
    (there / "judgements.parquet").unlink()
    (there / "judgements.parquet").mkdir()
    for command in ("stats", "check"):
        assert "judgements.parquet: cannot be read (" in refused("data", command, there)


def test_what_is_not_there(tmp_path: Path, table: Path, refused: Refused) -> None:
    assert "no dataset here" in refused("data", "stats", tmp_path / "nothing")
    assert "no such file" in refused("data", "import", "pairs", tmp_path / "nothing.csv", "--out", tmp_path / "d")
    assert "no importer 'videalign'. Did you mean 'videoalign'?" in refused(
        "data", "import", "videalign", table, "--out", tmp_path / "d"
    )


def test_export_of_what_is_not_known(dataset: Path, refused: Refused) -> None:
    line = refused("data", "export", "videoalgn", dataset, "--out", dataset.parent / "e.csv")
    assert "no exporter 'videoalgn'. Did you mean 'videoalign'?" in line


def score_all(folder: Path, even: float, odd: float) -> None:
    """Scores every first clip of a pair ``even`` and every second ``odd``, on each dimension."""
    dataset = Dataset.open(folder)
    rows = []
    for number, clip in enumerate(dataset.clips()):
        values = dict.fromkeys(dataset.dimensions, odd if number % 2 else even)
        rows.append({"clip_id": clip.clip_id, "raw": values, "normalised": values})
    dataset.write_scores("oracle", rows)
