"""Held-out prompts stay held out."""

from __future__ import annotations

import unicodedata
from pathlib import Path

import pytest

from videoalign.contracts.records import Clip, DatasetInfo, Prompt
from videoalign.data.counts import count
from videoalign.data.dataset import Dataset
from videoalign.data.merging import merge_dataset
from videoalign.data.pairs import make_pairs
from videoalign.data.split import split_by_prompt, split_to_report
from videoalign.data.tables import read_table, write_table
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
    split_by_prompt(dataset, 0.25, seed=2, fresh=True)
    assert held_out(dataset) != first
    split_by_prompt(dataset, 0.25, seed=1, fresh=True)
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
    with pytest.raises(DataError, match="has 1 different prompts; this split needs 2"):
        split_by_prompt(build(tmp_path / "one", ["a", "A "]), 0.5)
    for val in (0.0, 1.0, -1.0, float("nan")):
        with pytest.raises(ConfigError, match="--val: must be above 0 and below 1"):
            split_by_prompt(build(tmp_path / f"v{val}", ["a", "b"]), val)


def test_a_third_share_is_left_for_the_report_and_the_choice_of_val_stays(tmp_path: Path) -> None:
    dataset = build(tmp_path, [f"prompt {k}" for k in range(40)])
    split_by_prompt(dataset, 0.25, seed=1)
    val = held_out(dataset)
    assert split_to_report(dataset) == "val"
    assert split_by_prompt(dataset, 0.25, test=0.1, seed=1, fresh=True) == {"train": 26, "val": 10, "test": 4}
    assert held_out(dataset) == val
    assert split_to_report(dataset) == "test"
    assert split_by_prompt(build(tmp_path / "three", ["a", "b", "c"]), 0.9, test=0.05) == {
        "train": 1,
        "val": 1,
        "test": 1,
    }
    with pytest.raises(DataError, match="has 2 different prompts; this split needs 3"):
        split_by_prompt(build(tmp_path / "two", ["a", "b"]), 0.4, test=0.4)
    for test in (-0.1, 0.75, 1.0, float("nan")):
        with pytest.raises(ConfigError, match="--test: must be at least 0 and, with --val 0.25, below 0.75"):
            split_by_prompt(dataset, 0.25, test=test)


def test_nothing_is_trained_or_chosen_on_what_is_left_for_the_report(tmp_path: Path) -> None:
    dataset = build(tmp_path, [f"prompt {k}" for k in range(12)])
    split_by_prompt(dataset, 0.25, test=0.25)
    clips = [
        Clip(clip_id=f"{p.prompt_id}{side}", prompt_id=p.prompt_id, path=side, fps=8.0, num_frames=8, height=2, width=2)
        for p in dataset.prompts()
        for side in "ab"
    ]
    dataset.add(clips=clips)
    scores = [{"clip_id": c.clip_id, "raw": {"VQ": k}, "normalised": {"VQ": k}} for k, c in enumerate(clips)]
    splits = {prompt.prompt_id: prompt.split for prompt in dataset.prompts()}
    assert {splits[pair.prompt_id] for pair in make_pairs(dataset, scores)} == {"train"}
    assert count(dataset).splits == {"test": 3, "train": 6, "val": 3}


def where(dataset: Dataset) -> dict[str, str]:
    return {prompt.text: prompt.split for prompt in dataset.prompts()}


def grow(dataset: Dataset, *texts: str) -> None:
    dataset.add(prompts=dataset.own_prompts(texts))


@pytest.mark.parametrize(("seed", "val"), [(1, 0.25), (2, 0.25), (1, 0.3)])
def test_what_was_dealt_stays_and_new_prompts_alone_are_dealt(tmp_path: Path, seed: int, val: float) -> None:
    dataset = build(tmp_path, [f"prompt {k}" for k in range(40)])
    split_by_prompt(dataset, 0.25, test=0.1, seed=1)
    before = where(dataset)
    assert split_by_prompt(dataset, 0.25, test=0.1, seed=seed) == {"train": 26, "val": 10, "test": 4}
    assert where(dataset) == before, "again, nothing is new"
    grow(dataset, *(f"another {k}" for k in range(40)), "prompt 3")
    sizes = split_by_prompt(dataset, val, test=0.1, seed=seed)
    assert sizes == {"train": 72 - round(80 * val), "val": round(80 * val), "test": 8}
    assert {text: where(dataset)[text] for text in before} == before
    grow(dataset, "one more")
    split_by_prompt(dataset, val, seed=seed)
    assert where(dataset)["one more"] == "train", "val has its share, and test keeps its prompts"
    assert {text: where(dataset)[text] for text in before} == before


def test_a_split_that_lacks_prompts_which_no_new_one_fills_is_told_and_one_without_any_refused(tmp_path: Path) -> None:
    dataset, notes = build(tmp_path, [f"prompt {k}" for k in range(10)]), list[str]()
    split_by_prompt(dataset, 0.2)
    before = where(dataset)
    assert split_by_prompt(dataset, 0.5, on_note=notes.append) == {"train": 8, "val": 2}
    (note,) = notes
    assert note.startswith("'val' has 2 of the 5 prompts of --val 0.5") and "--fresh" in note
    with pytest.raises(DataError, match="--test 0.2: all 10 prompts were dealt before and none of them to 'test'"):
        split_by_prompt(dataset, 0.2, test=0.2)
    assert where(dataset) == before
    assert split_by_prompt(dataset, 0.2, test=0.2, fresh=True) == {"train": 6, "val": 2, "test": 2}


def test_a_prompt_under_another_spelling_goes_where_the_first_one_stands(tmp_path: Path) -> None:
    dataset = build(tmp_path / "d", [f"a cat {k}" for k in range(10)])
    split_by_prompt(dataset, 0.3)
    (first, *_) = sorted(held_out(dataset))
    grow(dataset, first.upper())
    assert where(dataset)[first.upper()] == "val"
    other = build(tmp_path / "other", [first.title(), "a dog"])
    merge_dataset(dataset, other, new_ids=True)
    assert (where(dataset)[first.title()], where(dataset)["a dog"]) == ("val", "train")
    kept = held_out(dataset)
    split_by_prompt(dataset, 0.3)
    assert held_out(dataset) == kept, "11 texts, of which 3 are held out already"


def test_a_table_that_does_not_say_what_was_dealt_keeps_what_is_held_out(tmp_path: Path) -> None:
    dataset = build(tmp_path, [f"prompt {k}" for k in range(20)])
    split_by_prompt(dataset, 0.2, test=0.1, seed=4)
    before = {text: split for text, split in where(dataset).items() if split != "train"}
    table = read_table(tmp_path / "prompts.parquet")
    write_table(tmp_path / "prompts.parquet", table.drop_columns(["dealt"]))
    grow(dataset, *(f"another {k}" for k in range(20)))
    assert split_by_prompt(dataset, 0.2, test=0.1, seed=5) == {"train": 28, "val": 8, "test": 4}
    assert before.items() <= where(dataset).items()


def test_prompts_that_differ_in_how_an_accent_is_written_go_together(tmp_path: Path) -> None:
    texts = [f"caf\u00e9 {k}" for k in range(10)]
    dataset = build(tmp_path, [*texts, *(f"cafe\u0301 {k}" for k in range(10))])
    assert split_by_prompt(dataset, 0.2) == {"train": 16, "val": 4}
    assert len({unicodedata.normalize("NFC", text) for text in held_out(dataset)}) == 2
