"""What alignment starts from, what it measures and what it refuses to train on, with a small random WanPipeline."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from diffusers import FlowMatchEulerDiscreteScheduler
from safetensors.torch import load_file

from videoalign.data.dataset import Dataset
from videoalign.distributed import trackers
from videoalign.errors import ConfigError, DataError, ModelError, OutputError
from videoalign.models.generators.generator import PipelineGenerator
from videoalign.models.lora import LoraSettings, has_adapter, load_adapter, remove_adapter
from videoalign.models.small_wan import TINY_SIZES
from videoalign.recipes.generator import align as align_module
from videoalign.recipes.generator import align_methods
from videoalign.recipes.generator.align import align
from videoalign.recipes.generator.align_methods import AlignConfig, memory_advice, method_config
from videoalign.recipes.generator.encode import clips_of_pairs, encode, pair_examples
from videoalign.training import optimizers
from videoalign.training.loop import FitConfig
from videoalign.training.objectives.flow import PairReference, TimeSettings

TEXTS = ["a red circle moves left", "a blue square moves right"]
FIT = FitConfig(num_steps=6, batch_size=4, learning_rate=3e-3, warmup_steps=2, save_every_steps=2, seed=3)
METHODS = ("sft", "rwr", "dpo")


def config(method: str, **more: object) -> AlignConfig:
    values = {"fit": FIT, "lora": LoraSettings(rank=4), **more}
    return method_config(method)(**values)


def velocity(generator: PipelineGenerator, adapter: Path | None = None) -> torch.Tensor:
    x = torch.stack([generator.sampler.noise(seed) for seed in (1, 2)])
    if adapter is not None:
        load_adapter(generator.network.transformer, adapter, base=generator.identity())
    with torch.no_grad():
        found = generator.network(x, torch.tensor([0.3, 0.8]), generator.conditioner.encode(TEXTS[:2]))
    remove_adapter(generator.network.transformer)
    return found


def with_val(dataset: Dataset, folder: Path) -> Dataset:
    """A copy one of whose prompts is held out."""
    copy = shutil.copytree(dataset.path, folder)
    prompts = pq.read_table(copy / "prompts.parquet").to_pylist()
    prompts[1]["split"] = "val"
    pq.write_table(pa.Table.from_pylist(prompts), copy / "prompts.parquet")
    return Dataset.open(copy)


@pytest.mark.parametrize("draws", [0, 2])
def test_dpo_goes_on_from_what_sft_made_and_holds_it_as_its_reference(
    dataset: Dataset, generator: PipelineGenerator, tmp_path: Path, draws: int
) -> None:
    first = align("sft", dataset, generator, "p", tmp_path / "sft", config("sft"))
    settings = config("dpo", start=first.adapter, reference_draws=draws)
    run = align("dpo", dataset, generator, "p", tmp_path / "dpo", settings)
    assert abs(run.history[0]["margin"]) < 1e-3 and run.history[0]["loss"] == pytest.approx(np.log(2), abs=1e-3)
    base, started, gone_on = (velocity(generator, adapter) for adapter in (None, first.adapter, run.adapter))
    assert (started - base).abs().max() > 1e-3 and (gone_on - started).abs().max() > 1e-3
    none = settings.model_copy(update={"fit": FIT.model_copy(update={"num_steps": 1, "learning_rate": 1e-12})})
    still = align("dpo", dataset, generator, "p", tmp_path / "still", none)
    torch.testing.assert_close(velocity(generator, still.adapter), started, rtol=0, atol=1e-5)
    with pytest.raises(ConfigError, match=r"start: its adapter has rank 4; lora.rank is 8. Set lora.rank=4"):
        align(
            "dpo", dataset, generator, "p", tmp_path / "x", settings.model_copy(update={"lora": LoraSettings(rank=8)})
        )
    with pytest.raises(ModelError, match="holds no adapter"):
        align("dpo", dataset, generator, "p", tmp_path / "x", settings.model_copy(update={"start": tmp_path}))
    assert not (tmp_path / "x").exists(), "told before a folder is taken"
    with pytest.raises(OutputError, match="differs in start"):
        align("dpo", dataset, generator, "p", tmp_path / "dpo", settings.model_copy(update={"start": run.adapter}))
    load_adapter(generator.network.transformer, first.adapter)
    with pytest.raises(ModelError, match="carries one already; open it without, and give it as start="):
        align("dpo", dataset, generator, "p", tmp_path / "y", settings)
    assert has_adapter(generator.network.transformer)
    remove_adapter(generator.network.transformer)
    assert not (tmp_path / "y").exists()


@pytest.mark.parametrize("draws", [0, 3])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_an_untrained_policy_has_no_margin_in_any_precision_with_and_without_the_cache(
    dataset: Dataset, generator: PipelineGenerator, tmp_path: Path, dtype: str, draws: int
) -> None:
    fit = FIT.model_copy(update={"num_steps": 1, "dtype": dtype, "batch_size": 4})
    run = align(
        "dpo", dataset, generator, "p", tmp_path / "a", config("dpo", fit=fit, beta=500.0, reference_draws=draws)
    )
    assert abs(run.history[0]["margin"]) < 1e-3
    assert abs(run.history[0]["win_excess"]) < 4e-6 and abs(run.history[0]["lose_excess"]) < 4e-6


def test_stored_reference_errors_of_something_else_are_refused(
    dataset: Dataset, generator: PipelineGenerator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As when they were made under another precision, attention or library and only look the same."""
    settings = config("dpo", reference_draws=2, beta=500.0)
    made = align_module.encode_reference

    def off(*args: object, **options: object) -> list[PairReference]:
        right = made(*args, **options)  # type: ignore[arg-type]
        return [replace(one, errors_win=one.errors_win + 1e-4) for one in right]

    monkeypatch.setattr(align_module, "encode_reference", off)
    with pytest.raises(DataError, match=r"change margins by up to 0.025, wanted at most 0.01. Delete its reference-"):
        align("dpo", dataset, generator, "p", tmp_path / "a", settings)
    assert not has_adapter(generator.network.transformer)


@pytest.mark.parametrize("method", METHODS)
def test_validation_measures_pairs_of_held_out_prompts_which_are_not_trained_on(
    dataset: Dataset, generator: PipelineGenerator, tmp_path: Path, method: str
) -> None:
    fit = FIT.model_copy(update={"num_steps": 4, "validate_every_steps": 2})
    with pytest.raises(ConfigError, match=r"pairs 'p' hold 6 pairs to train on and 0 of 'val' prompts .* split=all"):
        align(method, dataset, generator, "p", tmp_path / "a", config(method, fit=fit))
    split = with_val(dataset, tmp_path / "d")
    prompt = next(prompt for prompt in split.prompts() if prompt.split == "val")
    run = align(method, split, generator, "p", tmp_path / "b", config(method, fit=fit))
    assert run.num_pairs == 4
    rows = {row["step"]: row for row in run.history}
    numbers = {"sft": "error_win", "rwr": "error", "dpo": "implicit_accuracy"}
    for step in (1, 2, 3, 4):
        assert (f"val/{numbers[method]}" in rows[step]) == (step % 2 == 0) == ("val/loss" in rows[step])
    assert not any("/t" in name for name in rows[2] if name.startswith("val/"))
    split.write_pairs("kept", [row for row in split.pairs("p") if row.prompt_id != prompt.prompt_id])
    other = align(
        method, split, generator, "kept", tmp_path / "c", config(method, fit=FIT.model_copy(update={"num_steps": 4}))
    )
    one, same = (load_file(made.adapter / "adapter_model.safetensors") for made in (run, other))
    assert all(torch.equal(one[name], same[name]) for name in one)


def test_times_follow_the_shift_that_the_model_samples_with(
    dataset: Dataset, generator: PipelineGenerator, tmp_path: Path
) -> None:
    fit = FIT.model_copy(update={"num_steps": 1})
    assert generator.sampler.time_shift == TINY_SIZES.flow_shift == 3.0
    runs = {
        shift: align(
            "sft",
            dataset,
            generator,
            "p",
            tmp_path / str(shift),
            config("sft", fit=fit, times=TimeSettings(shift=shift)),
        )
        for shift in ("model", 3.0, 1.0)
    }
    losses = {shift: run.history[0]["loss"] for shift, run in runs.items()}
    assert losses["model"] == losses[3.0] != losses[1.0]
    assert method_config("dpo").load(None, ["times.law=logit_normal"]).times.shift == "model"
    own = generator.pipeline.scheduler
    try:
        for scheduler, shift in (
            (FlowMatchEulerDiscreteScheduler(shift=5.0), 5.0),
            (FlowMatchEulerDiscreteScheduler(use_dynamic_shifting=True), None),
            (FlowMatchEulerDiscreteScheduler(shift_terminal=0.1), None),
        ):
            generator.pipeline.scheduler = scheduler
            if shift is not None:
                assert generator.sampler.time_shift == shift
                continue
            with pytest.raises(ConfigError, match="times.shift: the scheduler of .* set times.shift to a number"):
                align("sft", dataset, generator, "p", tmp_path / "e", config("sft"))
    finally:
        generator.pipeline.scheduler = own


def test_pairs_and_settings_that_teach_nothing_are_refused_and_leave_nothing(
    dataset: Dataset, generator: PipelineGenerator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(optimizers, "find_spec", lambda name: None)
    own = Dataset.open(shutil.copytree(dataset.path, tmp_path / "d"))
    pair = own.pairs("p")[0]
    by_margin, eight_bits = {"weight_by_margin": True}, {"fit": FIT.model_copy(update={"optimizer": "adamw8bit"})}
    cases: tuple[tuple[str, dict[str, Any], dict[str, Any], str], ...] = (
        ("dpo", {"clip_lose": pair.clip_win}, {}, "is compared with itself"),
        ("rwr", {"reward_win": float("nan")}, {}, "have the rewards nan and .*; wanted finite numbers"),
        ("sft", {"preference": 7.0}, {}, "has the preference 7.0 over .*; wanted a chance from 0 to 1"),
        ("dpo", {"preference": float("nan")}, {}, "has the preference nan over"),
        ("rwr", {"differences": "VQ=x"}, {}, "have the differences 'VQ=x'; wanted as in VQ=0.5,MQ=-1"),
        ("dpo", {"differences": "VQ"}, {}, "have the differences 'VQ'; wanted as in"),
        ("dpo", {"reward_lose": pair.reward_win}, by_margin, "weight_by_margin: got true, but .* differ by 0 to 0"),
        ("dpo", {"reward_lose": pair.reward_win + 1}, by_margin, "weight_by_margin: got true, but .* differ by -1 to"),
        ("sft", {}, eight_bits, "fit.optimizer: adamw8bit wants the package bitsandbytes"),
    )
    for method, changes, settings, says in cases:
        own.write_pairs("odd", [replace(pair, **changes)])
        with pytest.raises((ConfigError, DataError), match=says):
            align(method, own, generator, "odd", tmp_path / "a", config(method, **settings))
        assert not (tmp_path / "a").exists()


def test_sft_learns_from_winners_alone_and_rwr_from_one_reward_of_a_clip(
    dataset: Dataset, generator: PipelineGenerator, tmp_path: Path
) -> None:
    own = Dataset.open(shutil.copytree(dataset.path, tmp_path / "d"))
    first, *others = own.pairs("p")
    ties = [replace(pair, preference=0.5) for pair in others]
    for name, rows in {"one": [first], "with": [first, *ties], "ties": ties}.items():
        own.write_pairs(name, rows)
    runs = [align("sft", own, generator, name, tmp_path / name, config("sft")) for name in ("one", "with")]
    one, other = (load_file(run.adapter / "adapter_model.safetensors") for run in runs)
    assert all(torch.equal(value, other[name]) for name, value in one.items()) and runs[1].num_pairs == 1
    with pytest.raises(DataError, match="pairs: all 5 are ties, and sft wants winners"):
        align("sft", own, generator, "ties", tmp_path / "x", config("sft"))
    own.write_pairs("two", [first, replace(first, reward_win=first.reward_win + 1)])
    with pytest.raises(DataError, match=f"clip '{first.clip_win}' has the reward 1 in one pair and 2 in another"):
        align("rwr", own, generator, "two", tmp_path / "x", config("rwr"))
    assert not (tmp_path / "x").exists()


def test_a_clip_that_breaks_the_loss_is_named(dataset: Dataset, generator: PipelineGenerator, tmp_path: Path) -> None:
    rows = dataset.pairs("p")
    cache = encode(dataset, generator, clips_of_pairs(dataset, rows))
    broken = list(pair_examples(cache, rows))
    broken[2].win[0, 0, 0, 0] = torch.inf
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(align_methods, "pair_examples", lambda cache, rows: broken)
        fit = FIT.model_copy(update={"batch_size": 6})
        told = f"with clips {rows[2].clip_win} and {rows[2].clip_lose}; wanted finite numbers"
        with pytest.raises(ConfigError, match=told):
            align("sft", dataset, generator, "p", tmp_path / "a", config("sft", fit=fit))


OPTIONS = ("beta=auto", "gradient_target=0.3", "utility=poly", "poly_alpha=0.5", "label_smoothing=0.1", "safeguard=0.6")


def test_options_of_dpo_train_from_the_cache_and_go_on_after_a_stop_bit_for_bit(
    dataset: Dataset, generator: PipelineGenerator, tmp_path: Path
) -> None:
    chosen = method_config("dpo").load(None, [*OPTIONS, "frame_weights=[1, 3]", "reference_draws=2", "lora.rank=4"])
    whole = align("dpo", dataset, generator, "p", tmp_path / "whole", chosen.model_copy(update={"fit": FIT}))
    short = chosen.model_copy(update={"fit": FIT.model_copy(update={"num_steps": 3})})
    align("dpo", dataset, generator, "p", tmp_path / "cut", short)
    cut = align("dpo", dataset, generator, "p", tmp_path / "cut", chosen.model_copy(update={"fit": FIT}))
    one, other = (load_file(run.adapter / "adapter_model.safetensors") for run in (whole, cut))
    assert all(torch.equal(value, other[name]) for name, value in one.items())
    assert whole.history[0]["beta"] == 500.0 != whole.history[-1]["beta"] == cut.history[-1]["beta"]
    assert {"loser_share", "gradient_factor"} <= set(whole.history[-1])
    with pytest.raises(ConfigError, match="frame_weights: got 9, but a clip has"):
        align("sft", dataset, generator, "p", tmp_path / "x", config("sft", frame_weights=(1.0,) * 9))
    assert not (tmp_path / "x").exists()


@pytest.mark.parametrize(
    ("given", "says"),
    [
        (["gradient_target=0.3"], "gradient_target: got 0.3, which takes effect with beta=auto"),
        (["poly_alpha=1"], "poly_alpha: got 1.0, which takes effect with utility=poly"),
        (["linear_floor=0.1"], "linear_floor: got 0.1, which takes effect with utility=linear"),
        (["utility=linear"], "linear_floor: got nothing, but utility=linear needs a number"),
        (["utility=poly"], "poly_alpha: got nothing, but utility=poly needs a number"),
        (["utility=hinge"], "setting 'utility' got 'hinge'"),
        (["safeguard=1.5"], "setting 'safeguard' got 1.5"),
        (["frame_weights=[0, 0]"], r"frame_weights: got \[0.0, 0.0\]; wanted at least one above 0"),
        (["frame_weights=[]"], "frame_weights: got"),
    ],
)
def test_settings_that_cannot_take_effect_are_refused(given: list[str], says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        method_config("dpo").load(None, given)


def test_the_best_on_held_out_pairs_is_kept_and_clips_are_made_along_the_way(
    dataset: Dataset, generator: PipelineGenerator, tmp_path: Path
) -> None:
    split = with_val(dataset, tmp_path / "d")
    rows = [replace(row, differences="VQ=0.5,MQ=-0.25,TA=0") for row in split.pairs("p")]
    split.write_pairs("p", rows)
    watch = {"keep": "best", "patience": 2, "sample_every_steps": 2, "sample_prompts": 1}
    fit = FIT.model_copy(update={"validate_every_steps": 1, "num_steps": 30, "learning_rate": 0.03})
    chosen = method_config("dpo")(fit=fit, lora=LoraSettings(rank=4), watch=watch, reference_draws=2, ema=0.5)
    run = align("dpo", split, generator, "p", tmp_path / "a", chosen)
    losses = [row["val/loss"] for row in run.history]
    last = run.history[-1]
    assert last["margin_of_VQ"] == last["margin"] == -last["margin_of_MQ"] and "margin_of_TA" not in last
    assert len(losses) < 30 and min(losses[:-2]) <= min(losses[-2:])
    best = load_file(run.adapter / "best.safetensors")
    kept = load_file(run.adapter / "adapter_model.safetensors")
    assert {value.sum().item() for value in kept.values()} == {value.sum().item() for value in best.values()}
    assert {file.name for file in (run.adapter / "samples").rglob("*.mp4")} == {"0.mp4"}
    assert len(list((run.adapter / "samples").iterdir())) == len(losses) // 2
    again = align("dpo", split, generator, "p", tmp_path / "a", chosen)
    assert len(again.history) == len(losses)
    assert load_file(run.adapter / "adapter_model.safetensors").keys() == kept.keys()
    for name, value in load_file(run.adapter / "adapter_model.safetensors").items():
        assert torch.equal(value, kept[name])
    none = chosen.model_copy(update={"fit": FIT})
    with pytest.raises(ConfigError, match="watch.keep: got best, which needs validations"):
        align("dpo", split, generator, "p", tmp_path / "b", none)


def test_a_loss_on_other_held_out_pairs_is_not_told_of_a_run_that_was_done_before(
    dataset: Dataset, generator: PipelineGenerator, tmp_path: Path
) -> None:
    split = with_val(dataset, tmp_path / "d")
    chosen = config("dpo", fit=FIT.model_copy(update={"validate_every_steps": 6}))
    align("dpo", split, generator, "p", tmp_path / "a", chosen)
    held_out = split.prompts()[1].prompt_id
    turned = [
        replace(row, clip_win=row.clip_lose, clip_lose=row.clip_win) if row.prompt_id == held_out else row
        for row in split.pairs("p")
    ]
    split.write_pairs("p", turned)
    with pytest.raises(OutputError, match="differs in held_out"):
        align("dpo", split, generator, "p", tmp_path / "a", chosen)


def test_the_best_weights_are_refused_of_a_run_that_kept_none(
    dataset: Dataset, generator: PipelineGenerator, tmp_path: Path
) -> None:
    split, fit = with_val(dataset, tmp_path / "d"), FIT.model_copy(update={"validate_every_steps": 2})
    last, best = (config("sft", fit=fit, watch={"keep": keep}) for keep in ("last", "best"))
    align("sft", split, generator, "p", tmp_path / "a", last)
    made = (tmp_path / "a" / "adapter_model.safetensors").read_bytes()
    with pytest.raises(ConfigError, match="watch.keep: got best, but .* has kept no weights of its 3 validations"):
        align("sft", split, generator, "p", tmp_path / "a", best)
    assert (tmp_path / "a" / "adapter_model.safetensors").read_bytes() == made
    align("sft", split, generator, "p", tmp_path / "b", best)
    align("sft", split, generator, "p", tmp_path / "b", last)
    assert (tmp_path / "b" / "adapter_model.safetensors").read_bytes() == made


def test_memory_is_saved_first_by_what_changes_no_step() -> None:
    savers = ["gradient_checkpointing=true", "one_by_one=true", "fit.dtype=bfloat16"]
    for number, saver in enumerate(savers):
        assert memory_advice(method_config("dpo").load(None, savers[:number])).startswith(f"set {saver}")
    assert "num_frames" in memory_advice(method_config("dpo").load(None, savers))
    assert "fit.dtype" in memory_advice(method_config("sft").load(None, savers[:1]))


def test_recomputing_blocks_changes_no_step_and_is_taken_off_again(
    dataset: Dataset, generator: PipelineGenerator, tmp_path: Path
) -> None:
    made = [
        align("dpo", dataset, generator, "p", tmp_path / str(on), config("dpo", gradient_checkpointing=on))
        for on in (False, True)
    ]
    assert not generator.network.transformer.is_gradient_checkpointing
    one, other = (load_file(run.adapter / "adapter_model.safetensors") for run in made)
    for name, value in one.items():
        torch.testing.assert_close(other[name], value, rtol=0, atol=1e-5)


def test_trackers_get_every_step_and_one_that_is_not_there_is_told(
    dataset: Dataset, generator: PipelineGenerator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[tuple[int, dict[str, float]]] = []

    class Fake:
        def __init__(self, project: str, **options: object) -> None:
            assert (project, options["name"]) == ("videoalign", "a")

        def log(self, values: dict[str, float], step: int) -> None:
            seen.append((step, values))

        def finish(self) -> None:
            seen.append((-1, {}))

    monkeypatch.setitem(trackers.LOGGER_TYPE_TO_CLASS, "wandb", Fake)
    monkeypatch.setitem(trackers.INSTALLED, "wandb", lambda: True)
    monkeypatch.setitem(trackers.INSTALLED, "trackio", lambda: False)
    align("sft", dataset, generator, "p", tmp_path / "a", config("sft", watch={"tracker": "wandb"}))
    assert [step for step, _ in seen] == [1, 2, 3, 4, 5, 6, -1]
    assert "loss" in seen[0][1] and "step" not in seen[0][1]
    with pytest.raises(ConfigError, match=r"watch.tracker: trackio is not installed; pip install trackio"):
        align("sft", dataset, generator, "p", tmp_path / "b", config("sft", watch={"tracker": "trackio"}))
    assert not has_adapter(generator.network.transformer)
