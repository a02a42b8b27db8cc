"""The page of a dataset says what is in it, and names each table as the hub wants it."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import yaml
from huggingface_hub.utils import filter_repo_objects

from videoalign.cli.main import main
from videoalign.contracts.records import Clip, DatasetInfo, Judgement, Prompt
from videoalign.data.card import published, write_card
from videoalign.data.dataset import Dataset
from videoalign.data.formats import import_data
from videoalign.errors import OutputError


@pytest.fixture(scope="module")
def rated(shared: Path, tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    out = tmp_path_factory.mktemp("card") / "fetv"
    import_data("ratings", shared / "data" / "fetv" / "ratings.csv", out)
    return Dataset.open(out)


def test_the_header_names_every_table_and_each_is_there(rated: Dataset) -> None:
    text = write_card(rated, "cc-by-4.0").read_text(encoding="utf-8")
    header = yaml.safe_load(text.split("---\n")[1])
    assert (header["license"], header["size_categories"]) == ("cc-by-4.0", ["1K<n<10K"])
    files = {one["config_name"]: one["data_files"] for one in header["configs"]}
    assert list(files) == ["judgements", "prompts", "clips", "ratings"]
    assert [one.get("default", False) for one in header["configs"]] == [True, False, False, False]
    numbers = {name: pq.read_metadata(rated.path / rows[0]["path"]).num_rows for name, rows in files.items()}
    assert numbers == {"judgements": 1080, "prompts": 20, "clips": 80, "ratings": 720}


def test_the_page_has_counts_agreement_and_provenance(rated: Dataset) -> None:
    text = write_card(rated).read_text(encoding="utf-8")
    assert "license" not in yaml.safe_load(text.split("---\n")[1]) and "licence is not stated" in text
    assert "| pairs | 120 |" in text and "| raters | 3 |" in text
    assert "| format | ratings |" in text
    (line,) = [line for line in text.splitlines() if line.startswith("| alignment | 120 |")]
    value, low, high = (float(cell) for cell in line.split("|")[3:6])
    assert 0 < low < value < high < 1


def test_only_a_page_of_its_own_is_replaced(rated: Dataset) -> None:
    path = write_card(rated)
    first = path.read_text(encoding="utf-8")
    assert write_card(rated).read_text(encoding="utf-8") == first
    path.write_text("my own words", encoding="utf-8")
    with pytest.raises(OutputError, match="was written by somebody else"):
        write_card(rated)
    assert path.read_text(encoding="utf-8") == "my own words"
    path.unlink()


@pytest.fixture
def served(tmp_path: Path) -> Dataset:
    """A dataset with clips in folders and beside its tables, and with much that is nobody's business."""
    dataset = Dataset.create(tmp_path / "my prefs", DatasetInfo())
    shape = {"prompt_id": "p", "fps": 8.0, "num_frames": 5, "height": 16, "width": 16}
    paths = ["clips/a.mp4", "clips/deep/b.webm", "c.mp4", "odd [x]!/d.mp4", "/elsewhere/e.mp4"]
    clips = [Clip(clip_id=f"c{number}", path=path, **shape) for number, path in enumerate(paths)]
    verdict = Judgement(prompt_id="p", clip_a="c0", clip_b="c1", rater="eve@example.org", dimension="VQ", label="A")
    dataset.add(prompts=[Prompt(prompt_id="p", text="a dog")], clips=clips, judgements=[verdict])
    dataset.write_scores("r", [{"clip_id": "c0", "raw": {"VQ": 1.0}, "normalised": {"VQ": 1.0}}])
    private = [
        "annotate.sqlite",
        "annotate.sqlite-wal",
        "annotate.json",
        "annotations.parquet",
        "notes.txt",
        "clips/annotate.sqlite",
        "clips/deep/raters.csv",
        "scores/r.part/x.parquet",
        "latents/m/x.safetensors",
        "my prefs.annotations/annotate.sqlite",
        "backup.sqlite",
    ]
    for name in [*private, *paths[:4]]:
        (dataset.path / name).parent.mkdir(parents=True, exist_ok=True)
        (dataset.path / name).write_bytes(b"x")
    return dataset


PUBLISHED = {
    "README.md", ".gitignore", "dataset.json", "prompts.parquet", "clips.parquet", "judgements.parquet",
    "scores/r.parquet", "clips/a.mp4", "clips/deep/b.webm", "c.mp4", "odd [x]!/d.mp4",
}  # fmt: skip


def test_only_tables_and_clips_are_published_by_the_hub_and_by_git(served: Dataset) -> None:
    write_card(served)
    files = sorted(str(file.relative_to(served.path)) for file in served.path.rglob("*") if file.is_file())
    assert {*filter_repo_objects(files, allow_patterns=published(served))} == PUBLISHED
    subprocess.run(["git", "init", "-q"], cwd=served.path, check=True)
    command = ["git", "-c", "core.quotepath=off", "ls-files", "--others", "--exclude-standard", "-z"]
    listed = subprocess.run(command, cwd=served.path, check=True, capture_output=True, text=True).stdout
    assert {*listed.split("\0")} - {""} == PUBLISHED


def test_an_ignore_file_of_somebody_elses_stays(served: Dataset) -> None:
    (served.path / ".gitignore").write_text("*.tmp\n")
    with pytest.raises(OutputError, match=r"\.gitignore: was written by somebody else"):
        write_card(served)
    assert not (served.path / "README.md").exists()


def test_the_command_says_how_to_publish_and_who_would_be_named(
    served: Dataset, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["data", "card", str(served.path)]) == 0
    out = capsys.readouterr().out
    assert (
        "hf upload NAME" in out
        and " judgements.parquet " in out
        and "'clips/*.mp4'" in out
        and "annotations" not in out
    )
    assert "raters named by an e-mail address: 1;" in out
