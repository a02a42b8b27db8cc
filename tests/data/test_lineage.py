"""What taught a model is recorded beside it, and read back."""

from __future__ import annotations

from pathlib import Path

import pyarrow.parquet as pq
import pytest

from videoalign.contracts.records import Clip, DatasetInfo, Prompt, WinLosePair
from videoalign.data.dataset import Dataset
from videoalign.data.lineage import (
    LINEAGE_FILE,
    Teacher,
    prompt_hash,
    prompt_hashes,
    read_lineage,
    teachers_of,
    write_lineage,
)
from videoalign.data.pairs import make_pairs, pairs_of_scores
from videoalign.errors import ModelError


def scored(folder: Path, digest: str = "") -> Dataset:
    dataset = Dataset.create(folder, DatasetInfo())
    dataset.write_prompts([Prompt(prompt_id="p", text="A red circle")])
    clips = [Clip(clip_id=c, prompt_id="p", path=c, fps=8.0, num_frames=1, height=2, width=2) for c in "ab"]
    dataset.write_clips(clips)
    values = {"a": {"VQ": 0.0, "MQ": 1.0}, "b": {"VQ": 2.0, "MQ": 1.5}}
    dataset.write_scores("mine", [{"clip_id": c, "raw": v, "normalised": v} for c, v in values.items()], digest=digest)
    return dataset


def test_pairs_carry_the_reward_its_digest_and_the_weights(tmp_path: Path) -> None:
    dataset = scored(tmp_path, "0123456789abcdef")
    assert dataset.scores_digest("mine") == "0123456789abcdef"
    dataset.write_pairs("q", pairs_of_scores(dataset, "mine", {"VQ": 1.0, "MQ": 0.5}))
    (pair,) = dataset.pairs("q")
    assert (pair.reward, pair.reward_digest, pair.weights) == ("mine", "0123456789abcdef", "VQ=1,MQ=0.5")
    assert pairs_of_scores(dataset, "mine")[0].weights == "VQ=1,MQ=1"
    assert pairs_of_scores(dataset, "mine", {"VQ": 3.0, "MQ": 0.0})[0].weights == "VQ=3"
    assert teachers_of([pair, pair]) == (Teacher(name="mine", digest=pair.reward_digest, weights="VQ=1,MQ=0.5"),)


def test_scores_and_pairs_of_earlier_versions_are_read_and_their_teacher_is_unknown(tmp_path: Path) -> None:
    dataset = scored(tmp_path)
    assert dataset.scores_digest("mine") == ""
    dataset.write_pairs("q", make_pairs(dataset, dataset.scores("mine")))
    file = tmp_path / "pairs" / "q.parquet"
    pq.write_table(pq.read_table(file).drop_columns(["reward", "reward_digest", "weights"]), file)
    (pair,) = dataset.pairs("q")
    assert (pair.clip_win, pair.reward, pair.reward_digest, pair.weights) == ("b", "", "", "")
    assert [str(teacher) for teacher in teachers_of([pair])] == ["not recorded"]


def test_hashes_are_of_the_wording_alone() -> None:
    assert prompt_hash("A red circle, moving left.") == prompt_hash("a red  circle moving LEFT")
    assert prompt_hash("a red circle") != prompt_hash("a red square")
    assert "red" not in prompt_hash("a red circle")


def test_lineage_comes_back_as_it_was_written(tmp_path: Path) -> None:
    dataset = scored(tmp_path / "d")
    teacher, hashes = (
        Teacher(name="mine", digest="abc", weights="VQ=1"),
        prompt_hashes(dataset, pairs_of_scores(dataset, "mine")),
    )
    assert hashes == (prompt_hash("a red circle"),)
    assert read_lineage(tmp_path) is None
    write_lineage(tmp_path, "align dpo", [teacher], hashes)
    found = read_lineage(tmp_path)
    assert found is not None
    assert (found.method, found.teachers, found.prompts) == ("align dpo", (teacher,), hashes)
    (tmp_path / LINEAGE_FILE).write_text('{"method": "align dpo"}')
    with pytest.raises(ModelError, match="is damaged"):
        read_lineage(tmp_path)


def test_a_pair_can_be_made_without_a_reward() -> None:
    pair = WinLosePair(prompt_id="p", clip_win="a", clip_lose="b", reward_win=1.0, reward_lose=0.0)
    assert teachers_of([pair]) == (Teacher(name=""),)
