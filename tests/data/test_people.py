"""What people said is told from what can be had again."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from videoalign.cli.main import main
from videoalign.contracts.records import SIMULATED, Clip, DatasetInfo, Judgement, Prompt, Rating
from videoalign.data.dataset import Dataset
from videoalign.data.formats import export_data, import_data
from videoalign.data.people import said_only_in
from videoalign.errors import OutputError
from videoalign.worlds.sprites.annotators import judge_pairs

SHAPE = {"fps": 8.0, "num_frames": 5, "height": 16, "width": 16}


def verdict(source_row: str) -> Judgement:
    return Judgement(prompt_id="p", clip_a="a", clip_b="b", rater="r", dimension="VQ", label="A", source_row=source_row)


@pytest.fixture
def dataset(tmp_path: Path) -> Dataset:
    made = Dataset.create(tmp_path / "d", DatasetInfo())
    clips = [Clip(clip_id=name, prompt_id="p", path=f"{name}.mp4", **SHAPE) for name in "ab"]
    made.add(prompts=[Prompt(prompt_id="p", text="a dog")], clips=clips)
    return made


@pytest.fixture
def source(tmp_path: Path, make_clip: Callable[..., Path]) -> Path:
    """A table of one verdict, to be imported."""
    for tint, name in enumerate("ab"):
        make_clip(tmp_path / f"{name}.mp4", tint=40 * tint)
    table = tmp_path / "t.csv"
    table.write_text("clip_a,clip_b,prompt,VQ\na.mp4,b.mp4,a dog,A\n", encoding="utf-8")
    return table


def test_a_dataset_in_which_nobody_judged_holds_nothing(dataset: Dataset) -> None:
    assert said_only_in(dataset.path) is None


@pytest.mark.parametrize("source_row", ["", "annotate-0123:a", "t.csv:2"])
def test_judgements_and_ratings_that_no_table_repeats_are_counted(dataset: Dataset, source_row: str) -> None:
    dataset.add(judgements=[verdict(source_row)])
    assert "1 judgements of people" in str(said_only_in(dataset.path))
    assert "1 judgements of people" in str(said_only_in(dataset.path.parent)), "also from a folder above"
    (dataset.path / "judgements.parquet").unlink()
    dataset.add(ratings=[Rating(clip_id="a", rater="r", dimension="VQ", score=1.0, source_row=source_row)])
    assert "1 ratings of people" in str(said_only_in(dataset.path))


def test_a_table_that_cannot_be_read_counts_as_said(dataset: Dataset) -> None:
    (dataset.path / "judgements.parquet").write_bytes(b"half a table")
    assert "judgements of people" in str(said_only_in(dataset.path))


def test_simulated_raters_are_no_people(dataset: Dataset) -> None:
    import numpy as np

    scores = {"a": [0.5], "b": [0.4]}
    rows = judge_pairs([("p", "a", "b")], scores, ["VQ"], np.random.default_rng(0))
    assert all(row.source_row.startswith(SIMULATED) for row in rows)
    dataset.add(judgements=rows)
    assert said_only_in(dataset.path) is None


def test_an_import_can_be_had_again_as_long_as_its_table_is_there(tmp_path: Path, source: Path) -> None:
    out = tmp_path / "imported"
    import_data("pairs", source, out)
    assert said_only_in(out) is None
    import_data("pairs", source, out, fresh=True)
    Dataset.open(out).add(judgements=[])
    source.rename(tmp_path / "elsewhere.csv")
    assert "1 judgements of people that cannot be imported again" in str(said_only_in(out))


@pytest.mark.parametrize("file", ["annotate.sqlite", "annotate.json", "annotations.parquet"])
def test_an_import_replaces_no_dataset_that_people_judge(
    tmp_path: Path, source: Path, capsys: pytest.CaptureFixture[str], file: str
) -> None:
    out = tmp_path / "imported"
    import_data("pairs", source, out)
    (out / file).write_bytes(b"x")
    before = {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}
    assert main(["data", "import", "pairs", str(source), "--out", str(out), "--fresh"]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert "give another folder, or move this one away" in error
    assert {path: path.read_bytes() for path in out.rglob("*") if path.is_file()} == before


def test_an_import_does_not_replace_verdicts_that_were_added_to_an_import(tmp_path: Path, source: Path) -> None:
    out = tmp_path / "imported"
    import_data("pairs", source, out)
    made = Dataset.open(out)
    (first,) = made.judgements()
    made.write_judgements([first, verdict("annotate-0123:a")])
    with pytest.raises(OutputError, match="1 judgements of people"):
        import_data("pairs", source, out, fresh=True)
    assert len(made.judgements()) == 2


@pytest.mark.parametrize("table", ["judgements.parquet", "ratings.parquet", "annotations.parquet"])
def test_an_export_does_not_replace_the_tables_of_the_dataset(dataset: Dataset, table: str) -> None:
    dataset.add(judgements=[verdict("")])
    out = dataset.path / table
    out.write_bytes((dataset.path / "judgements.parquet").read_bytes())
    before = out.read_bytes()
    for layout in ("pairs", "aggregated", "arena"):
        with pytest.raises(OutputError, match="holds what people said; give another file"):
            export_data(layout, dataset, out)
    assert out.read_bytes() == before


@pytest.mark.parametrize("table", ["prompts.parquet", "clips.parquet", "dataset.json", "scores/r.parquet"])
@pytest.mark.parametrize("through_a_link", [False, True])
def test_an_export_does_not_replace_any_part_of_the_dataset(
    dataset: Dataset, table: str, through_a_link: bool, tmp_path: Path
) -> None:
    dataset.add(judgements=[verdict("")])
    (dataset.path / "scores").mkdir(exist_ok=True)
    (dataset.path / "scores" / "r.parquet").write_bytes(b"scores")
    (tmp_path / "link").symlink_to(dataset.path)
    before = (dataset.path / table).read_bytes()
    with pytest.raises(OutputError, match="is part of the dataset .*give another file"):
        export_data("pairs", dataset, (tmp_path / "link" if through_a_link else dataset.path) / table)
    assert (dataset.path / table).read_bytes() == before
    assert export_data("pairs", dataset, dataset.path / "mine.csv") == 1
    assert export_data("pairs", dataset, dataset.path / "mine.csv") == 1


def test_an_export_does_not_replace_the_table_that_was_imported(tmp_path: Path, source: Path) -> None:
    import_data("pairs", source, tmp_path / "d")
    before = source.read_bytes()
    with pytest.raises(OutputError, match="is the table that .* was imported from; give another file"):
        export_data("pairs", Dataset.open(tmp_path / "d"), source)
    assert source.read_bytes() == before
