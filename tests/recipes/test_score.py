"""Scoring that was stopped or killed goes on, scores nothing twice, and leaves the scores of an unbroken run."""

from __future__ import annotations

import os
import pickle
import shutil
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from videoalign.data.dataset import Dataset
from videoalign.data.pairs import PairsConfig, pairs_of_scores
from videoalign.data.rejected import read_rejected
from videoalign.errors import DataError, ModelError, VideoError
from videoalign.models.videoreward import VideoReward
from videoalign.models.videoreward.processing import Patches, ReadingLimits
from videoalign.models.videoreward.settings import Normalisation
from videoalign.recipes.reward.agreement import eval_scores
from videoalign.recipes.score import BATCH_SIZE, read_clip_table, score_dataset, score_dataset_rows, score_files

NUM_CLIPS = 24

DIES_IN_BETWEEN = """
import os, signal, sys
from videoalign.cli.main import main
from videoalign.data import tables
from videoalign.recipes import score

def write_and_die(path, columns, write=tables.write_columns):
    write(path, columns)
    if path.name == "00001.parquet":
        os.kill(os.getpid(), signal.SIGKILL)

score.CHUNK, tables.write_columns = score.BATCH_SIZE, write_and_die
main(sys.argv[1:])
"""


class Counted(VideoReward):
    """Counts what it scores, and is interrupted before it has scored more than ``most``."""

    num_scored, most = 0, 1000

    def score_patches(self, clips: Sequence[Patches], prompts: Sequence[str], **options: Any) -> np.ndarray:
        if self.num_scored + len(clips) > self.most:
            raise KeyboardInterrupt
        self.num_scored += len(clips)
        return super().score_patches(clips, prompts, **options)


@pytest.fixture(scope="module")
def folder(tiny_base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random reward called r, with a normalisation."""
    limits = ReadingLimits(fps=4.0, min_frame_pixels=32 * 32, max_frame_pixels=32 * 32)
    reward = VideoReward.from_base(tiny_base, limits=limits)
    normalisation = dict.fromkeys(reward.dimensions, Normalisation(mean=0.1, std=0.7))
    reward.settings = reward.settings.model_copy(update={"normalisation": normalisation})
    folder = tmp_path_factory.mktemp("reward") / "r"
    reward.save_pretrained(folder)
    return folder


@pytest.fixture
def dataset(judged_dataset: Dataset, tmp_path: Path) -> Dataset:
    """A copy with clips of different lengths."""
    shutil.copytree(judged_dataset.path, tmp_path / "d")
    return Dataset.open(tmp_path / "d")


@pytest.fixture
def table(dataset: Dataset, tmp_path: Path) -> Path:
    """The clips of the dataset, one of them absent."""
    rows = [f"{dataset.clip_path(clip)},a red circle {number}" for number, clip in enumerate(dataset.clips())]
    rows[2] = "absent.mp4,a cat"
    (tmp_path / "clips.csv").write_text("\n".join(["video,prompt", *rows]) + "\n")
    return tmp_path / "clips.csv"


def counted(folder: Path, most: int = 1000) -> Counted:
    reward = Counted.from_pretrained(folder)
    reward.most = most
    return reward


def test_a_stopped_dataset_ends_with_the_bytes_of_an_unbroken_run(folder: Path, dataset: Dataset) -> None:
    file = dataset.path / "scores" / "r.parquet"
    rows = score_dataset(counted(folder), dataset)
    assert dataset.scores_digest("r") == counted(folder).digest
    whole = file.read_bytes()
    file.unlink()
    with pytest.raises(KeyboardInterrupt):
        score_dataset(counted(folder, most=10), dataset)
    assert not file.exists()
    rest = counted(folder)
    assert score_dataset(rest, dataset) == rows
    assert rest.num_scored == NUM_CLIPS - 2 * BATCH_SIZE
    assert file.read_bytes() == whole
    assert os.listdir(file.parent) == ["r.parquet"]


def test_a_killed_table_ends_with_the_scores_of_an_unbroken_run(folder: Path, table: Path, tmp_path: Path) -> None:
    clips, out = read_clip_table(table), tmp_path / "out.parquet"
    score_files(counted(folder), clips, out=tmp_path / "whole.parquet")
    command = [
        sys.executable,
        "-c",
        DIES_IN_BETWEEN,
        "reward",
        "score",
        folder,
        "--table",
        table,
        "--out",
        out,
    ]
    died = subprocess.run(command, capture_output=True, check=False, timeout=120)
    assert died.returncode == -signal.SIGKILL, died.stderr
    assert not out.exists()
    rest = counted(folder)
    assert "absent.mp4: no such file" in score_files(rest, clips, out=out)[2]["error"]
    assert rest.num_scored == NUM_CLIPS - 3 * BATCH_SIZE
    one, whole = (pd.read_parquet(file) for file in (out, tmp_path / "whole.parquet"))
    pd.testing.assert_frame_equal(one, whole, rtol=0, atol=1e-5)  # another process may round otherwise


def test_old_scores_are_not_of_another_reward_nor_of_a_changed_clip(folder: Path, dataset: Dataset) -> None:
    with pytest.raises(KeyboardInterrupt):
        score_dataset(counted(folder, most=10), dataset)
    other = counted(folder)
    other.head.weight.data *= 1.5
    assert score_dataset(other, dataset) != score_dataset(counted(folder), dataset)
    assert other.num_scored == NUM_CLIPS
    with pytest.raises(KeyboardInterrupt):
        score_dataset(counted(folder, most=10), dataset)
    clips = [dataset.clip_path(clip) for clip in dataset.clips()]
    shutil.copy(clips[20], clips[1])
    rest = counted(folder)
    rows = score_dataset(rest, dataset)
    assert rest.num_scored == NUM_CLIPS - 2 * BATCH_SIZE + 1
    unbroken = score_dataset(counted(folder), dataset)
    for row, wanted in zip(rows, unbroken, strict=True):
        assert row["raw"] == pytest.approx(wanted["raw"], abs=1e-5)


def test_scores_of_a_replaced_clip_are_stale_until_it_is_scored_again(folder: Path, dataset: Dataset) -> None:
    rows = score_dataset(counted(folder), dataset)
    assert dataset.scores("r") == rows
    every, of_training = PairsConfig(split="all"), PairsConfig()
    before = pairs_of_scores(dataset, "r", config=every)
    contents = {row["clip_id"]: row["content"] for row in rows}
    assert [(p.content_win, p.content_lose) for p in before] == [
        (contents[p.clip_win], contents[p.clip_lose]) for p in before
    ]
    held_out = next(clip for clip in dataset.clips() if clip.prompt_id == "p7")
    shutil.copy(dataset.clip_path(dataset.clips()[0]), dataset.clip_path(held_out))
    assert pairs_of_scores(dataset, "r", config=of_training)  # none of them is of that clip
    stale = f"stale for 1 clips, whose files or prompts were replaced or removed since \\({held_out.clip_id}\\); score"
    with pytest.raises(DataError, match=stale):
        pairs_of_scores(dataset, "r", config=every)
    with pytest.raises(DataError, match=stale):
        eval_scores(dataset, "r")
    dataset.write_scores("older", [{name: row[name] for name in ("clip_id", "raw", "normalised")} for row in rows])
    assert len(pairs_of_scores(dataset, "older", config=every)) == len(before)  # does not tell what was scored
    again = score_dataset(counted(folder), dataset)
    changed = [new["clip_id"] for new, old in zip(again, rows, strict=True) if new["content"] != old["content"]]
    assert changed == [held_out.clip_id]
    assert pairs_of_scores(dataset, "r", config=every)
    dataset.clip_path(held_out).unlink()
    with pytest.raises(DataError, match=stale):
        pairs_of_scores(dataset, "r", config=every)


def test_broken_clips_leave_no_scores_but_those_of_the_others_are_kept(folder: Path, dataset: Dataset) -> None:
    clip = dataset.clip_path(dataset.clips()[5])
    content = clip.read_bytes()
    clip.write_bytes(content[:300])
    with pytest.raises(VideoError, match=rf"1 clips cannot be scored \({clip.name}\); the first: .*truncated"):
        score_dataset(counted(folder), dataset)
    assert dataset.names("scores") == []
    with pytest.raises(DataError, match="the name 'a/b' must be made of"):
        score_dataset(counted(folder, most=0), dataset, name="a/b")
    clip.write_bytes(content)
    rest = counted(folder)
    assert len(score_dataset(rest, dataset)) == NUM_CLIPS
    assert rest.num_scored == 1


def test_clips_that_may_be_rejected_are_listed_and_left_out_of_pairs(folder: Path, dataset: Dataset) -> None:
    broken = dataset.clips()[4]
    dataset.clip_path(broken).write_bytes(b"no video")
    with pytest.raises(VideoError, match="1 clips cannot be scored"):
        score_dataset(counted(folder), dataset)
    rest = counted(folder)
    with pytest.raises(DataError, match=r"1 of 24 clips cannot be scored, more than --max-rejected 0.01"):
        score_dataset(rest, dataset, max_rejected=0.01)
    rows = score_dataset(rest, dataset, max_rejected=0.05)
    assert rest.num_scored == 0, "the others were kept by the first run"
    assert len(rows) == NUM_CLIPS - 1
    (told,) = read_rejected(dataset.path)
    assert told["stage"] == "score r" and told["clip_id"] == broken.clip_id and broken.clip_id in told["reason"]
    made = pairs_of_scores(dataset, "r", config=PairsConfig(strategy="all", split="all"))
    assert made and broken.clip_id not in {clip for pair in made for clip in (pair.clip_win, pair.clip_lose)}


def test_rows_of_a_dataset_are_those_of_its_files_and_what_is_rejected_is_left_out(
    folder: Path, dataset: Dataset, tmp_path: Path
) -> None:
    clips, texts = dataset.clips(), {prompt.prompt_id: prompt.text for prompt in dataset.prompts()}
    dataset.clip_path(clips[4]).write_bytes(b"no video")
    rows = score_dataset_rows(counted(folder), dataset, max_rejected=0.05, out=tmp_path / "rows.parquet")
    pairs = [(dataset.clip_path(clip), texts[clip.prompt_id]) for clip in clips]
    files = score_files(counted(folder), [*pairs, ("absent.mp4", "half \ud83d")], out=tmp_path / "files.parquet")
    assert [place for place, row in enumerate(files) if "error" in row] == [4, NUM_CLIPS]
    assert files[-1]["scores"] is files[-1]["raw"] is None and files[-1]["prompt"] == "half \\ud83d"
    assert files.errors == [files[4]["error"], files[NUM_CLIPS]["error"]]
    whole = [row for row in files if "error" not in row]
    assert [row["prompt"] for row in rows] == [row["prompt"] for row in whole]
    assert [str(dataset.path / row["video"]) for row in rows] == [row["video"] for row in whole]
    for row, wanted in zip(rows, whole, strict=True):
        assert row["scores"] == pytest.approx(wanted["scores"], abs=1e-5)
        assert row["raw"] == pytest.approx(wanted["raw"], abs=1e-5)
    written = pd.read_parquet(tmp_path / "rows.parquet")
    assert list(written["raw_VQ"]) == [row["raw"]["VQ"] for row in rows] and written["error"].isna().all()
    assert list(pd.read_parquet(tmp_path / "files.parquet")["VQ"].isna().to_numpy().nonzero()[0]) == [4, NUM_CLIPS]


def test_a_reward_opens_again_as_it_was_and_not_as_another(folder: Path, tiny_base: Path) -> None:
    reward = counted(folder)
    again = pickle.loads(pickle.dumps(reward.reopener()))()
    assert type(again) is Counted and again is not reward and again.digest == reward.digest
    reader = pickle.loads(pickle.dumps(reward.reader))
    assert len(pickle.dumps(reader)) < 1e6, "without the weights"
    with torch.no_grad():
        reward.head.weight.mul_(2)
    with pytest.raises(ModelError, match="another one than was sent"):
        reward.reopener()()
    with pytest.raises(ModelError, match="in memory alone"):
        VideoReward.from_base(tiny_base).reopener()
