"""Real clips and real judgements through the library calls behind the commands; short, so no figure is a claim."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from videoalign.data.dataset import Dataset
from videoalign.data.formats import import_data
from videoalign.data.formats.ratings import RatingsOptions
from videoalign.data.formats.videoalign import VideoAlignOptions
from videoalign.data.split import split_by_prompt
from videoalign.errors import DataError
from videoalign.models.videoreward import VideoReward
from videoalign.models.videoreward.processing import ReadingLimits
from videoalign.recipes.reward.agreement import eval_reward
from videoalign.recipes.reward.train import RewardTrainConfig, train_reward
from videoalign.recipes.score import score_dataset
from videoalign.training.loop import FitConfig

LIMITS = ReadingLimits(fps=2.0, min_frame_pixels=32 * 32, max_frame_pixels=32 * 32)
CONFIG = RewardTrainConfig(
    fit=FitConfig(num_steps=4, batch_size=4, learning_rate=1e-3, warmup_steps=1), limits=LIMITS, max_clips=4
)


@pytest.fixture(scope="module")
def fetv(shared: Path, tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    folder = tmp_path_factory.mktemp("fetv") / "data"
    options = RatingsOptions(
        dimensions=("static_quality", "temporal_quality", "alignment"),
        rename={"static_quality": "VQ", "temporal_quality": "MQ", "alignment": "TA"},
    )
    import_data("ratings", shared / "data" / "fetv" / "ratings.csv", folder, options=options)
    dataset = Dataset.open(folder)
    split_by_prompt(dataset, 0.3)
    return dataset


@pytest.fixture(scope="module")
def trained(fetv: Dataset, tiny_base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("reward") / "fetv"
    result = train_reward(fetv, str(tiny_base), out, CONFIG)
    assert [row["step"] for row in result.history] == [1, 2, 3, 4]
    assert all(math.isfinite(row["loss"]) for row in result.history)
    assert result.num_pairs == 14 * 6  # four generators a prompt, fourteen prompts to train on
    return out


def test_fetv_figures_stand_beside_knowing_the_generator(fetv: Dataset, trained: Path) -> None:
    figures = eval_reward(VideoReward.from_pretrained(trained), fetv)
    assert list(figures) == ["VQ", "MQ", "TA"]
    for row in figures.values():
        assert row["n"] <= 6 * 6
        assert 0 <= row["low"] <= row["without_ties"] <= row["high"] <= 1
        assert 0 <= row["with_ties"] <= 1
        assert 1 / 3 < row["random"] < 0.7
        assert row["always_tie"] == row["tie_share"]
        assert 0.2 < row["rater_agreement"] < 1
    everything = eval_reward(VideoReward.from_pretrained(trained), fetv, split=None)
    identity = {name: row["generator_identity"] for name, row in everything.items()}
    assert identity["MQ"] > 0.7  # on this data, which generator it was tells most of what there is to tell
    assert min(identity["VQ"], identity["TA"]) > 0.5


def test_a_finished_training_is_only_read_and_other_settings_are_refused(
    fetv: Dataset, trained: Path, tiny_base: Path
) -> None:
    before = (trained / "model" / "reward.safetensors").read_bytes()
    again = train_reward(fetv, str(tiny_base), trained, CONFIG)
    assert (trained / "model" / "reward.safetensors").read_bytes() == before
    assert len(again.history) == 4


def test_a_stopped_training_ends_with_the_weights_of_the_unbroken_one(
    fetv: Dataset, trained: Path, tiny_base: Path, tmp_path: Path
) -> None:
    class Stop(Exception):
        pass

    def stop(row: dict[str, float]) -> None:
        if row["step"] == 3:
            raise Stop

    saving = CONFIG.model_copy(update={"fit": CONFIG.fit.model_copy(update={"save_every_steps": 2})})
    with pytest.raises(Stop):
        train_reward(fetv, str(tiny_base), tmp_path / "r", saving, on_step=stop)
    train_reward(fetv, str(tiny_base), tmp_path / "r", saving)
    for name in ("model.safetensors", "reward.safetensors"):
        assert (tmp_path / "r" / "model" / name).read_bytes() == (trained / "model" / name).read_bytes()


def test_the_six_real_clips_are_scored(shared: Path, trained: Path) -> None:
    files = sorted((shared / "data" / "videoalign_pairs").glob("*.mp4"))
    assert len(files) == 6
    rows = VideoReward.from_pretrained(trained).score(files, "a girl sits down")
    assert all(math.isfinite(value) for row in rows for value in [*row.scores.values(), *row.raw.values()])
    assert len({row.raw["VQ"] for row in rows}) == 6


def test_official_pairs_are_imported_scored_and_evaluated(shared: Path, trained: Path, tmp_path: Path) -> None:
    source = shared / "data" / "videoalign_pairs" / "pairs.csv"
    import_data("videoalign", source, tmp_path / "d", options=VideoAlignOptions())
    dataset = Dataset.open(tmp_path / "d")
    reward = VideoReward.from_pretrained(trained)
    rows = score_dataset(reward, dataset)
    assert dataset.scores("fetv") == rows
    assert len(rows) == 6
    figures = eval_reward(reward, dataset, split=None)
    assert {name: row["n"] for name, row in figures.items()} == {"VQ": 3, "MQ": 3, "TA": 3}
    assert figures["VQ"]["n_decided"] == 2


def test_what_cannot_be_scored_is_an_error_and_leaves_nothing(
    shared: Path, trained: Path, fetv: Dataset, tmp_path: Path
) -> None:
    reward = VideoReward.from_pretrained(trained)
    file = next((shared / "data" / "videoalign_pairs").glob("*.mp4"))
    cut = tmp_path / "cut.mp4"
    cut.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    prompts = ["a <|TA_reward|> girl", "a girl", "a girl", "a girl"]
    rows = reward.score([file, tmp_path / "absent.mp4", cut, file], prompts)
    for row, reason in zip(rows, ["<|TA_reward|>", "absent.mp4: no such file", "cut.mp4: truncated"], strict=False):
        assert reason in row.error
        assert row.scores is None
        assert row.raw is None
    assert rows[3].error is None
    with pytest.raises(DataError, match="2 for 1 videos"):
        reward.score([file], ["a girl"] * 2)
    empty = Dataset.create(tmp_path / "empty", fetv.info)
    with pytest.raises(DataError, match="no judged pair"):
        train_reward(empty, "sprites", tmp_path / "r", CONFIG)
    assert not (tmp_path / "r").exists()
