"""Laws of the training recipe of a reward, on a few small clips of noise."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from videoalign.contracts.records import Clip, DatasetInfo, Dimension
from videoalign.data.dataset import Dataset
from videoalign.errors import ConfigError, DataError
from videoalign.losses.preference import LAWS, Law, davidson_log_probs
from videoalign.models.videoreward import VideoReward
from videoalign.models.videoreward.processing import ReadingLimits
from videoalign.models.videoreward.settings import Ties
from videoalign.randomness import Draws
from videoalign.recipes.reward.data import read_lessons
from videoalign.recipes.reward.train import RewardTrainConfig, start_reward, train_reward
from videoalign.recipes.score import clips_in, score_rows
from videoalign.training.objective import means
from videoalign.training.objectives.reward import RewardObjective, find_criterion
from videoalign.training.order import bucketed_order, example_order

LIMITS = {"fps": 4.0, "min_frame_pixels": 32 * 32, "max_frame_pixels": 32 * 32}
FIT = {"num_steps": 4, "batch_size": 2, "learning_rate": 3e-3, "warmup_steps": 1}


def settings(fit: dict[str, Any] | None = None, **values: Any) -> RewardTrainConfig:
    return RewardTrainConfig.model_validate({"limits": LIMITS, "fit": {**FIT, **(fit or {})}, **values})


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return {**load_file(folder / "model" / "model.safetensors"), **load_file(folder / "model" / "reward.safetensors")}


def same_weights(one: Path, other: Path) -> bool:
    first, second = weights(one), weights(other)
    return all(torch.equal(value, second[name]) for name, value in first.items()) and first.keys() == second.keys()


class Stop(Exception):
    pass


def train_with_a_stop(dataset: Dataset, base: Path, out: Path, config: RewardTrainConfig, after: int = 3) -> None:
    """Trains, is stopped after so many steps, and goes on."""

    def on_step(row: dict[str, float]) -> None:
        if row["step"] == after:
            raise Stop

    with pytest.raises(Stop):
        train_reward(dataset, str(base), out, config, on_step=on_step)
    train_reward(dataset, str(base), out, config)


def raw_scores(reward: VideoReward, dataset: Dataset, clips: list[Clip]) -> np.ndarray:
    return score_rows(reward, clips_in(dataset, clips), max_rejected=0.0)[0]


@pytest.mark.parametrize("loss", ["btt", "davidson", "bt"])
def test_votes_teach_something_else_than_their_majority(
    judged_dataset: Dataset, tiny_base: Path, tmp_path: Path, loss: str
) -> None:
    hard = train_reward(judged_dataset, str(tiny_base), tmp_path / "hard", settings(loss=loss, fit={"num_steps": 1}))
    soft = train_reward(
        judged_dataset, str(tiny_base), tmp_path / "soft", settings(loss=loss, labels="shares", fit={"num_steps": 1})
    )
    assert hard.history[0]["loss"] != soft.history[0]["loss"]
    assert soft.num_pairs == 18  # three pairs each of six prompts, those without a majority included


def test_votes_are_refused_where_ratings_are_read(judged_dataset: Dataset, tiny_base: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="labels: loss=regression reads ratings"):
        train_reward(judged_dataset, str(tiny_base), tmp_path / "r", settings(loss="regression", labels="shares"))
    train_reward(judged_dataset, str(tiny_base), tmp_path / "r", settings(loss="regression", fit={"num_steps": 1}))


def test_validation_is_loss_and_accuracy_over_all_held_out_pairs_together(
    judged_dataset: Dataset, tiny_base: Path, tmp_path: Path
) -> None:
    result = train_reward(judged_dataset, str(tiny_base), tmp_path / "r", settings(shift_share=0.3))
    last = result.history[-1]
    assert all("val/loss" not in row for row in result.history[:-1])
    reward = result.reward
    task = RewardObjective(reward, find_criterion("btt", 3), reward.dimensions, part_of=str, rates={})
    lessons = read_lessons(reward, task.criterion, judged_dataset, settings())
    groups, collate = lessons.unseen, lessons.reader.collate
    batch = collate(groups)
    with torch.no_grad():
        names, table = task.loss(batch, Draws(0, 0, range(len(groups)), len(groups))).sums()
    accuracy = means([(names, table.tolist())])
    loss = accuracy.pop("loss")
    assert last["val/loss"] == pytest.approx(loss, abs=1e-6)
    assert {name: last[f"val/{name}"] for name in accuracy} == pytest.approx(accuracy)
    single = task.measure(collate([group]) for group in groups)
    assert single == pytest.approx({"loss": loss, **accuracy}, abs=1e-6)  # however it is cut


def test_the_best_validation_is_kept_and_a_stop_changes_nothing(
    judged_dataset: Dataset, tiny_base: Path, tmp_path: Path
) -> None:
    fit = {"validate_every_steps": 1, "save_every_steps": 2, "learning_rate": 3e-2, "num_steps": 6}
    fit |= {"schedule": "constant"}  # so that a shorter run takes the same steps
    last = train_reward(judged_dataset, str(tiny_base), tmp_path / "last", settings(fit))
    losses = [row["val/loss"] for row in last.history]
    best = losses.index(min(losses)) + 1
    kept = train_reward(judged_dataset, str(tiny_base), tmp_path / "best", settings(fit, keep="best"))
    assert [row["val/loss"] for row in kept.history] == losses
    short = settings({**fit, "num_steps": best})
    train_reward(judged_dataset, str(tiny_base), tmp_path / "short", short)
    assert same_weights(tmp_path / "best", tmp_path / "short")
    assert same_weights(tmp_path / "best", tmp_path / "last") == (best == 6)  # seldom: the rate is that high
    for at in {min(best, 5), 5}:
        out = tmp_path / f"stopped{at}"
        train_with_a_stop(judged_dataset, tiny_base, out, settings(fit, keep="best"), after=at)
        assert same_weights(tmp_path / "best", out)


def test_the_best_wants_validations_and_held_out_pairs(
    judged_dataset: Dataset, tiny_base: Path, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match="keep: best wants validations"):
        train_reward(judged_dataset, str(tiny_base), tmp_path / "r", settings(keep="best"))
    copy = Dataset.create(tmp_path / "d", judged_dataset.info)
    copy.add(prompts=judged_dataset.prompts(), clips=judged_dataset.clips())
    copy.add(judgements=[row for row in judged_dataset.judgements() if row.prompt_id < "p6"])
    with pytest.raises(DataError, match="keep=best wants judged pairs in split 'val', got none"):
        train_reward(copy, str(tiny_base), tmp_path / "r", settings({"validate_every_steps": 1}, keep="best"))
    assert not (tmp_path / "r").exists()


@pytest.fixture(scope="module")
def trained(judged_dataset: Dataset, tiny_base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("trained") / "first"
    train_reward(judged_dataset, str(tiny_base), out, settings(positions="mrope", shared_head=False))
    return out


def judged_on(dataset: Dataset, folder: Path, *dimensions: Dimension) -> Dataset:
    """The same clips and judgements, those on VQ given to the first of other dimensions."""
    other = Dataset.create(folder, DatasetInfo(dimensions=dimensions))
    clips = [replace(clip, path=str(dataset.clip_path(clip))) for clip in dataset.clips()]
    said = [replace(row, dimension=dimensions[0].name) for row in dataset.judgements() if row.dimension == "VQ"]
    other.add(prompts=dataset.prompts(), clips=clips, judgements=said)
    return other


def test_training_goes_on_from_a_reward_and_adds_what_it_lacks(
    judged_dataset: Dataset, trained: Path, tmp_path: Path
) -> None:
    style = Dimension(name="Style", guideline="How well the style suits.", sees_prompt=True)
    dataset = judged_on(judged_dataset, tmp_path / "d", style)
    config = RewardTrainConfig.model_validate({"fit": {**FIT, "num_steps": 1, "learning_rate": 1e-12}})
    result = train_reward(dataset, str(trained), tmp_path / "r", config)
    parent, child = VideoReward.from_pretrained(trained), VideoReward.from_pretrained(tmp_path / "r")
    assert child.dimensions == ("VQ", "MQ", "TA", "Style")
    assert (child.settings.positions, child.settings.shared_head) == ("mrope", False)
    assert child.settings.limits == ReadingLimits(**LIMITS)
    assert child.settings.provenance == {**parent.settings.provenance, "parent": str(trained)}
    assert set(child.normalisation()) == {"VQ", "MQ", "TA", "Style"} == set(child.settings.ties.width)
    assert [name for name in result.history[0] if name.startswith("accuracy/")] == ["accuracy/Style"]
    before, after = (raw_scores(model, dataset, dataset.clips()) for model in (parent, child))
    assert np.abs(after[:, :3] - before).max() < 1e-5  # the rate is next to nothing
    raw = raw_scores(child, dataset, read_lessons(child, find_criterion("btt", 4), dataset, config).normalised_on)
    assert child.normalise(raw).mean(0) == pytest.approx(np.zeros(4), abs=1e-6)


def test_what_the_dataset_does_not_judge_is_left_out_of_the_loss(
    judged_dataset: Dataset, trained: Path, tmp_path: Path
) -> None:
    style = Dimension(name="Style", guideline="How well the style suits.")
    dataset = judged_on(judged_dataset, tmp_path / "d", style)
    reward = start_reward(dataset.info.dimensions, str(trained), RewardTrainConfig())
    task = RewardObjective(reward, find_criterion("btt", 4), reward.dimensions, part_of=str, rates={})
    lessons = read_lessons(reward, task.criterion, dataset, RewardTrainConfig())
    num = len(lessons.groups)
    task.loss(lessons.reader.collate(lessons.groups), Draws(0, 0, range(num), num)).value.sum().backward()
    assert reward.head.weight.grad.abs().amax(1).gt(0).tolist() == [False, False, False, True]


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"positions": "plain"}, "positions: the reward .* brings its own"),
        ({"shared_head": True}, "shared_head"),
        ({"template": "{video} <|VQ_reward|>"}, "template"),
        ({"system": ""}, "system"),
        ({"limits": {"fps": 1.0}}, "limits"),
    ],
)
def test_settings_that_contradict_the_reward_are_refused(
    judged_dataset: Dataset, trained: Path, tmp_path: Path, setting: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        train_reward(judged_dataset, str(trained), tmp_path / "r", RewardTrainConfig.model_validate(setting))
    agreed = RewardTrainConfig.model_validate({"positions": "mrope", "shared_head": False, "limits": LIMITS})
    assert start_reward(judged_dataset.info.dimensions, str(trained), agreed).settings.positions == "mrope"


def test_going_on_can_be_stopped_and_resumed(judged_dataset: Dataset, trained: Path, tmp_path: Path) -> None:
    config = RewardTrainConfig.model_validate({"fit": {**FIT, "save_every_steps": 2}, "tuning": {"language": "lora"}})
    train_reward(judged_dataset, str(trained), tmp_path / "whole", config)
    train_with_a_stop(judged_dataset, trained, tmp_path / "r", config)
    assert same_weights(tmp_path / "whole", tmp_path / "r")


def test_gradient_checkpointing_trains_to_the_same_weights(
    judged_dataset: Dataset, tiny_base: Path, tmp_path: Path
) -> None:
    for name, on in (("plain", False), ("saving", True)):
        result = train_reward(judged_dataset, str(tiny_base), tmp_path / name, settings(gradient_checkpointing=on))
        assert not any(getattr(module, "gradient_checkpointing", False) for module in result.reward.modules())
    for name, value in weights(tmp_path / "plain").items():
        torch.testing.assert_close(weights(tmp_path / "saving")[name], value, rtol=1e-3, atol=1e-5)


def test_lengths_are_those_of_the_batches_and_buckets_save_padding(
    judged_dataset: Dataset, tiny_base: Path, tmp_path: Path
) -> None:
    reward = VideoReward.from_base(tiny_base, limits=ReadingLimits.model_validate(LIMITS))
    config = settings(labels="shares", max_clips=2, bucket_by_length=True)
    lessons = read_lessons(reward, find_criterion("btt", 3), judged_dataset, config)
    told, num = lessons.lengths, len(lessons.groups)
    assert told is not None
    read = [lessons.reader.collate([group]).inputs.lengths for group in lessons.groups]
    assert len({int(lengths.max()) - count for lengths, count in zip(read, told, strict=True)}) == 1  # the rubric

    def padding(order: list[int]) -> float:
        batches = [torch.cat([read[n] for n in order[start : start + 2]]) for start in range(0, len(order), 2)]
        return 1 - sum(int(x.sum()) for x in batches) / sum(len(x) * int(x.max()) for x in batches)

    assert padding(bucketed_order(told, 2, seed=0)(0, num)) < 0.8 * padding(example_order(num, 0, num, seed=0))
    config = settings({"save_every_steps": 2}, bucket_by_length=True, max_clips=2)
    train_reward(judged_dataset, str(tiny_base), tmp_path / "whole", config)
    train_with_a_stop(judged_dataset, tiny_base, tmp_path / "r", config)
    assert same_weights(tmp_path / "whole", tmp_path / "r")


def test_all_scores_may_be_read_at_the_last_token_and_such_a_reward_goes_on_with_its_own_dimensions(
    judged_dataset: Dataset, tiny_base: Path, tmp_path: Path
) -> None:
    first = train_reward(judged_dataset, str(tiny_base), tmp_path / "first", settings(pooling="last"))
    assert (first.reward.settings.pooling, first.reward.settings.shared_head) == ("last", False)
    config = RewardTrainConfig.model_validate({"fit": {**FIT, "num_steps": 1}})
    assert train_reward(judged_dataset, str(tmp_path / "first"), tmp_path / "r", config).reward.dimensions == (
        "VQ",
        "MQ",
        "TA",
    )
    more = judged_on(judged_dataset, tmp_path / "d", Dimension(name="Style", guideline="How well the style suits."))
    with pytest.raises(ConfigError, match="has pooling=last and cannot take on Style"):
        train_reward(more, str(tmp_path / "first"), tmp_path / "s", config)


def test_a_law_in_the_table_is_a_loss_and_another_name_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigError, match="loss.*wanted one of bt, btt, davidson, thurstone, regression"):
        RewardTrainConfig.load(None, ["loss=davidsen"])
    with pytest.raises(ConfigError, match="law.*wanted one of btt, davidson, thurstone"):
        Ties.load(None, ["law=bt", "width={}"])
    monkeypatch.setitem(LAWS, "mine", Law(davidson_log_probs, 2.0))
    assert RewardTrainConfig.load(None, ["loss=mine"]).loss == Ties(law="mine", width={"VQ": 2.0}).law == "mine"
    assert find_criterion("mine", 3).law == "mine"
