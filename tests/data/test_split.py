"""Held-out prompts stay held out."""

from __future__ import annotations

from pathlib import Path

import pytest

from videoalign.contracts.records import DatasetInfo, Prompt
from videoalign.data.dataset import Dataset
from videoalign.data.split import split_by_prompt
from videoalign.errors import ConfigError, DataError


def build(folder: Path, texts: list[str]) -> Dataset:
    dataset = Dataset.create(folder, DatasetInfo())
    dataset.write_prompts([Prompt(prompt_id=f"p{k}", text=text) for k, text in enumerate(texts)])
    return dataset


def held_out(dataset: Dataset) -> set[str]:
    return {prompt.text for prompt in dataset.prompts() if prompt.split == "val"}


def test_share_is_kept_and_the_seed_decides(tmp_path: Path) -> None:
    dataset = build(tmp_path, [f"prompt {k}" for k in range(40)])
    assert split_by_prompt(dataset, 0.25, seed=1) == {"train": 30, "val": 10}
    first = held_out(dataset)
    split_by_prompt(dataset, 0.25, seed=2)
    assert held_out(dataset) != first
    split_by_prompt(dataset, 0.25, seed=1)
    assert held_out(dataset) == first


def test_order_of_the_table_does_not_matter(tmp_path: Path) -> None:
    texts = [f"prompt {k}" for k in range(20)]
    one, other = build(tmp_path / "a", texts), build(tmp_path / "b", texts[::-1])
    split_by_prompt(one, 0.3, seed=5)
    split_by_prompt(other, 0.3, seed=5)
    assert held_out(one) == held_out(other)


def test_prompts_that_differ_in_capitals_and_spacing_go_together(tmp_path: Path) -> None:
    texts = [f"A cat number {k}" for k in range(10)]
    dataset = build(tmp_path, [*texts, *(f"a  cat number {k} " for k in range(10))])
    assert split_by_prompt(dataset, 0.2) == {"train": 16, "val": 4}
    assert len({text.lower().replace("  ", " ").strip() for text in held_out(dataset)}) == 2


def test_both_sides_get_a_prompt_or_it_is_an_error(tmp_path: Path) -> None:
    assert split_by_prompt(build(tmp_path / "two", ["a", "b"]), 0.01) == {"train": 1, "val": 1}
    assert split_by_prompt(build(tmp_path / "too", ["a", "b"]), 0.99) == {"train": 1, "val": 1}
    with pytest.raises(DataError, match="has 1 different prompts; a split needs two"):
        split_by_prompt(build(tmp_path / "one", ["a", "A "]), 0.5)
    for val in (0.0, 1.0, -1.0, float("nan")):
        with pytest.raises(ConfigError, match="--val: must be above 0 and below 1"):
            split_by_prompt(build(tmp_path / f"v{val}", ["a", "b"]), val)
