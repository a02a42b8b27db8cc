"""The page of a dataset says what is in it, and names each table as the hub wants it."""

from __future__ import annotations

from pathlib import Path

import pyarrow.parquet as pq
import pytest
import yaml

from videoalign.data.card import write_card
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
