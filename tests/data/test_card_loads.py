"""A dataset folder with its page is what `datasets.load_dataset` loads, table by table, as it stands."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import datasets
import pytest

from tests.data.tables import clip, write_table
from videoalign.data.card import write_card
from videoalign.data.dataset import Dataset
from videoalign.data.formats import import_data


@pytest.fixture
def folder(tmp_path: Path, six_clips: Path) -> Callable[..., Dataset]:
    def make(**options: bool) -> Dataset:
        rows = [{"clip_a": clip(0), "clip_b": clip(1), "prompt": "p", "rater": rater, "VQ": "A"} for rater in "xy"]
        out = tmp_path / f"d{len(options)}"
        import_data("pairs", write_table(tmp_path / "t.csv", rows), out, options=options)
        return Dataset.open(out)

    return make


def test_every_table_loads_by_its_name(folder: Callable[..., Dataset], tmp_path: Path) -> None:
    dataset = folder()
    write_card(dataset)
    cache = str(tmp_path / "cache")
    assert set(datasets.get_dataset_config_names(str(dataset.path))) == {"judgements", "prompts", "clips"}
    loaded = datasets.load_dataset(str(dataset.path), "judgements", split="train", cache_dir=cache)
    assert loaded["rater"] == ["x", "y"] and loaded["label"] == ["A", "A"]
    assert datasets.load_dataset(str(dataset.path), "clips", split="train", cache_dir=cache).num_rows == 2
    assert datasets.load_dataset(str(dataset.path), cache_dir=cache)["train"].num_rows == 2  # the one that is shown


def test_the_page_tells_no_folder_of_the_machine_and_says_where_the_clips_are(
    folder: Callable[..., Dataset], tmp_path: Path
) -> None:
    text = write_card(folder()).read_text(encoding="utf-8")
    assert "| source | t.csv |" in text and str(tmp_path) not in text
    assert "2 of the 2 clips are not in this folder" in text
    assert "are not in this folder" not in write_card(folder(copy_clips=True)).read_text(encoding="utf-8")
