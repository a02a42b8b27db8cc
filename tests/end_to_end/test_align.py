"""From prompts to an adapter that changes the samples, with a small random WanPipeline; stops, resumes, mistakes."""

from __future__ import annotations

import json
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from videoalign.cli.main import main
from videoalign.contracts.holding import hold_folder
from videoalign.contracts.output import fingerprint
from videoalign.contracts.records import Prompt, WinLosePair
from videoalign.data.dataset import Dataset
from videoalign.data.lineage import Teacher, prompt_hash, read_lineage
from videoalign.data.rejected import read_rejected
from videoalign.errors import ConfigError, DataError, ModelError, OutputError, VideoError
from videoalign.flow.condition import join_conditions
from videoalign.models.generators.generator import PipelineGenerator
from videoalign.models.generators.wan import WanSampler
from videoalign.models.lora import LoraSettings, has_adapter, load_adapter
from videoalign.models.small_wan import TINY_SETTINGS, TINY_SIZES, small_wan_generator
from videoalign.recipes.generator.align import AlignResult, align
from videoalign.recipes.generator.align_methods import AlignConfig, method_config
from videoalign.recipes.generator.encode import clips_of_pairs, encode, encode_reference, pair_examples
from videoalign.recipes.generator.generate import RUNS_FOLDER, GenerateConfig, generate, open_generator, sample
from videoalign.training.loop import FitConfig
from videoalign.training.objectives.flow import TimeSettings, noise_of_seed, stack_references, velocity_errors

TEXTS = ["a red circle moves left", "a blue square moves right", "a red square moves left"]
FIT = FitConfig(num_steps=6, batch_size=4, learning_rate=3e-3, warmup_steps=2, save_every_steps=2, seed=3)
METHODS = ("sft", "rwr", "dpo")


def config(method: str, **more: object) -> AlignConfig:
    values = {"fit": FIT, "lora": LoraSettings(rank=4), **more}
    return method_config(method)(**values)


class StopAt:
    def __init__(self, step: int) -> None:
        self.step = step

    def after_step(self, step: int, row: dict[str, float]) -> None:
        if step == self.step:
            raise KeyboardInterrupt


Run = Callable[..., AlignResult]


@pytest.mark.parametrize("method", METHODS)
def test_stop_and_resume_give_the_adapter_of_the_unbroken_run_bit_for_bit(
    dataset: Dataset, generator: PipelineGenerator, tmp_path: Path, method: str
) -> None:
    settings = config(method, lora=LoraSettings(rank=4, dropout=0.1))
    whole = align(method, dataset, generator, "p", tmp_path / "whole", settings)
    with pytest.raises(KeyboardInterrupt):
        align(method, dataset, generator, "p", tmp_path / "broken", settings, callbacks=[StopAt(5)])
    assert not has_adapter(generator.network.transformer)
    assert not (tmp_path / "broken" / "adapter_model.safetensors").exists()
    steps: list[float] = []
    resumed = align(
        method, dataset, generator, "p", tmp_path / "broken", settings, on_step=lambda row: steps.append(row["step"])
    )
    assert steps == [5, 6]  # the checkpoint was of step 4
    one, other = (load_file(run.adapter / "adapter_model.safetensors") for run in (whole, resumed))
    assert one.keys() == other.keys()
    assert all(torch.equal(one[name], other[name]) for name in one)
    assert any(value.abs().max() > 1e-4 for name, value in one.items() if "lora_B" in name)
    assert [{**row, "seconds": 0} for row in whole.history] == [{**row, "seconds": 0} for row in resumed.history]


def test_one_batch_of_eight_trains_like_eight_of_one(
    dataset: Dataset, generator: PipelineGenerator, tmp_path: Path
) -> None:
    adapters = []
    for name, batch_size, accumulate in (("wide", 8, 1), ("narrow", 1, 8)):
        fit = FIT.model_copy(update={"batch_size": batch_size, "accumulate_steps": accumulate, "num_steps": 3})
        settings = config("dpo", fit=fit, beta=50.0)
        run = align("dpo", dataset, generator, "p", tmp_path / name, settings)
        adapters.append((load_file(run.adapter / "adapter_model.safetensors"), run.history))
    (wide, one), (narrow, other) = adapters
    for before, after in zip(one, other, strict=True):
        assert before["loss"] == pytest.approx(after["loss"], rel=1e-3, abs=1e-5)
        assert before["gradient_norm"] == pytest.approx(after["gradient_norm"], rel=2e-2)
    gap = torch.cat([(wide[name] - narrow[name]).flatten() for name in wide]).norm()
    moved = torch.cat([wide[name].flatten() for name in wide if "lora_B" in name]).norm()
    assert gap < 0.02 * moved


def test_dpo_tells_its_training_pairs_apart_and_its_adapter_changes_the_samples(
    folder: Path, dataset: Dataset, generator: PipelineGenerator, tmp_path: Path
) -> None:
    before = generator.sample(TEXTS, [1, 2, 3])
    fit = FIT.model_copy(update={"num_steps": 40, "batch_size": 6, "learning_rate": 1e-2})
    run = align("dpo", dataset, generator, "p", tmp_path / "adapter", config("dpo", fit=fit))
    assert run.num_pairs == 6
    assert run.history[0]["loss"] == pytest.approx(0.6931, abs=1e-3)
    last = run.history[-10:]
    assert np.mean([row["implicit_accuracy"] for row in last]) > 0.8
    assert np.mean([row["margin"] for row in last]) > 0.2
    assert np.mean([row["gradient_factor"] for row in last]) < 0.5
    for one, other in zip(before, generator.sample(TEXTS, [1, 2, 3]), strict=True):
        assert np.array_equal(one.frames, other.frames)  # align gave the generator back as it was
    adapted = open_generator(folder / "model", run.adapter)
    for one, other in zip(before, adapted.sample(TEXTS, [1, 2, 3]), strict=True):
        assert np.abs(one.frames.astype(int) - other.frames).mean() > 0.05
    load_adapter(generator.network.transformer, run.adapter, base=generator.identity(), scale=0.0)
    for one, other in zip(before, generator.sample(TEXTS, [1, 2, 3]), strict=True):
        assert np.array_equal(one.frames, other.frames)


def test_reference_errors_from_the_cache_equal_live_ones_and_are_made_once(
    dataset: Dataset, generator: PipelineGenerator, tmp_path: Path
) -> None:
    rows = dataset.pairs("p")
    cache = encode(dataset, generator, clips_of_pairs(dataset, rows))
    stored = stack_references(encode_reference(generator, cache, rows, num_draws=2, times=TimeSettings(shift="model")))
    examples = pair_examples(cache, rows)
    conditions = join_conditions(example.condition for example in examples)
    for k in range(2):
        noise = torch.stack(
            [noise_of_seed(int(seed), generator.codec.latent_shape) for seed in stored.noise_seeds[:, k]]
        )
        for side in ("win", "lose"):
            latents = torch.stack([getattr(example, side) for example in examples])
            with torch.no_grad():
                live = velocity_errors(generator.network, latents, conditions, stored.times[:, k], noise)
            torch.testing.assert_close(getattr(stored, f"errors_{side}")[:, k], live, rtol=1e-4, atol=1e-5)
    files = {file: file.stat().st_mtime_ns for file in cache.folder.iterdir()}
    run = align("dpo", dataset, generator, "p", tmp_path / "a", config("dpo", reference_draws=2))
    assert run.history[0]["loss"] == pytest.approx(0.6931, abs=1e-3)
    assert {file: file.stat().st_mtime_ns for file in cache.folder.iterdir()} == files


def test_generate_resumes_after_a_stop_and_makes_nothing_twice(
    generator: PipelineGenerator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = GenerateConfig(per_prompt=2, num_steps=1, batch_size=2, check_steps=False)
    prompts = [Prompt(prompt_id=f"p{place}", text=text, split="val") for place, text in enumerate(TEXTS)]
    calls = 0

    def latents(self: WanSampler, *args: Any, **kwargs: Any) -> torch.Tensor:
        nonlocal calls
        calls += 1
        if calls == 3:
            raise KeyboardInterrupt
        return plain(self, *args, **kwargs)

    plain = WanSampler.latents
    monkeypatch.setattr(WanSampler, "latents", latents)
    with pytest.raises(KeyboardInterrupt):
        generate(generator, prompts, tmp_path / "d", settings)
    dataset = Dataset.open(tmp_path / "d")
    assert len(dataset.clips()) == 4
    assert {prompt.split for prompt in dataset.prompts()} == {"val"}
    generate(generator, prompts, tmp_path / "d", settings)
    assert calls == 4
    clips = dataset.clips()
    assert len(clips) == 6
    assert (clips[0].num_frames, clips[0].height, clips[0].fps, clips[0].generator) == (9, 32, 8.0, "model")
    generate(generator, prompts, dataset, settings)
    assert calls == 4
    generate(generator, prompts[:1], dataset, settings.model_copy(update={"guidance_scale": 1.0}))
    assert len(dataset.clips()) == 8  # other settings make other clips, from the same seeds
    assert len({clip.seed for clip in dataset.clips()}) == 6


def test_sample_writes_named_files_and_refuses_a_folder_of_other_settings(
    generator: PipelineGenerator, tmp_path: Path
) -> None:
    settings = GenerateConfig(per_prompt=2, num_steps=1)
    paths = sample(generator, TEXTS[:1], tmp_path / "out", settings)
    assert [path.name.startswith("a-red-circle-moves-left-") for path in paths] == [True, True]
    assert all(path.stat().st_size > 0 for path in paths)
    with pytest.raises(OutputError, match=r"differs in settings"):
        sample(generator, TEXTS[:1], tmp_path / "out", settings.model_copy(update={"num_steps": 2}))


def test_encoding_resumes_and_names_what_does_not_fit(
    dataset: Dataset, generator: PipelineGenerator, tmp_path: Path
) -> None:
    rows = dataset.pairs("p")
    copy = generate(generator, TEXTS[:1], tmp_path / "d", GenerateConfig(per_prompt=2, num_steps=1))
    first, second = copy.clips()
    pair = WinLosePair(
        prompt_id=first.prompt_id, clip_win=first.clip_id, clip_lose=second.clip_id, reward_win=1, reward_lose=0
    )
    with pytest.raises(DataError, match="got 0 pairs"):
        encode(copy, generator, clips_of_pairs(copy, []))
    with pytest.raises(DataError, match=r"is not in .*; make the pairs again"):
        encode(copy, generator, clips_of_pairs(copy, rows[-1:]))
    copy.clip_path(second).rename(tmp_path / "away.mp4")
    with pytest.raises(VideoError, match="no such file"):
        encode(copy, generator, clips_of_pairs(copy, [pair]))
    (tmp_path / "away.mp4").rename(copy.clip_path(second))
    assert encode(copy, generator, clips_of_pairs(copy, [pair])).clip_ids == {first.clip_id, second.clip_id}
    small = small_wan_generator(
        TEXTS, TINY_SIZES, settings=TINY_SETTINGS.model_copy(update={"num_frames": 5}), name="other"
    )
    with pytest.raises(DataError, match=r"has \(frames, height, width\) \(9, 32, 32\); 'other' works in \(5, 32, 32\)"):
        encode(copy, small, clips_of_pairs(copy, [pair]))


def test_align_refuses_what_cannot_be_meant(dataset: Dataset, generator: PipelineGenerator, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"no method 'dop'. Did you mean 'dpo'\?"):
        align("dop", dataset, generator, "p", tmp_path / "a")
    with pytest.raises(ConfigError, match="got SftConfig; method 'dpo' wants DpoConfig"):
        align("dpo", dataset, generator, "p", tmp_path / "a", config("sft"))
    with pytest.raises(DataError, match="no pairs 'q'"):
        align("sft", dataset, generator, "q", tmp_path / "a")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("keep me")
    with pytest.raises(OutputError, match="no run of videoalign"):
        align("sft", dataset, generator, "p", tmp_path / "mine", config("sft"), fresh=True)
    assert (tmp_path / "mine" / "thesis.txt").read_text() == "keep me"
    quick = config("sft", fit=FIT.model_copy(update={"num_steps": 1}))
    align("sft", dataset, generator, "p", tmp_path / "run", quick)
    with pytest.raises(OutputError, match="differs in lora"):
        align("sft", dataset, generator, "p", tmp_path / "run", quick.model_copy(update={"lora": LoraSettings(rank=2)}))
    assert not has_adapter(generator.network.transformer)


def test_the_commands_run_the_whole_way_and_mistakes_are_one_line(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model, data, prompts = str(folder / "model"), str(tmp_path / "d"), str(folder / "prompts.txt")
    assert (
        main(["generate", "--model", model, "--prompts", prompts, "--out", data, "--per-prompt", "2", "num_steps=1"])
        == 0
    )
    dataset = Dataset.open(data)
    rows = [
        {"clip_id": clip.clip_id, "raw": {"VQ": float(place)}, "normalised": {"VQ": float(place)}}
        for place, clip in enumerate(dataset.clips())
    ]
    dataset.write_scores("judge", rows)
    assert main(["pairs", data, "--reward", "judge", "--name", "q"]) == 0
    assert {(pair.reward, pair.weights) for pair in dataset.pairs("q")} == {("judge", "VQ=1")}
    assert "3 pairs, median margin 1.414" in capsys.readouterr().out
    encoding = ["encode", data, "--model", model, "--pairs", "q", "--reference-draws", "2"]
    with hold_folder(Path(data, RUNS_FOLDER, f"encode-{fingerprint(['model', 'q'])[:8]}")):
        assert main(encoding) == 2
    assert "is in use by another run (process " in capsys.readouterr().err
    assert main(encoding) == 0
    adapter = str(tmp_path / "adapter")
    steps = ["fit.num_steps=2", "fit.batch_size=2", "lora.rank=2", "reference_draws=2"]
    command = ["align", "dpo", data, "--model", model, "--pairs", "q", "--out", adapter]
    before = sorted(Path(data).rglob("*"))
    capsys.readouterr()
    assert main([*command, *steps, "--dry-run"]) == 0
    told = capsys.readouterr().out
    assert "\nlora.rank=2\n" in told and "\n3 pairs; memory " in told and "nothing was written" in told
    assert main([*command, *steps, "--dry-run", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["settings"]["fit"]["num_steps"] == 2 and found["operations_per_step"] > 0
    assert found["memory_gib"] == pytest.approx(
        found["weights_gib"] + found["optimizer_gib"] + found["activations_gib"]
    )
    assert sorted(Path(data).rglob("*")) == before and not Path(adapter).exists()
    assert main([*command, *steps]) == 0
    told = capsys.readouterr().out
    assert "2 steps" in told and "labels by: judge" in told
    assert "do not record what reward labelled them" in told  # its scores have no digest
    lineage = read_lineage(adapter)
    assert lineage is not None
    assert lineage.teachers == (Teacher(name="judge", weights="VQ=1"),)
    assert lineage.prompts == tuple(sorted(map(prompt_hash, TEXTS)))
    made = ["sample", "--model", model, "--adapter", adapter, "--prompt", TEXTS[0], "--out", str(tmp_path / "s")]
    assert main([*made, "--seed", "1", "num_steps=1"]) == 0
    assert Path(capsys.readouterr().out.strip()).is_file()
    stock, comfyui = Path(adapter, "pytorch_lora_weights.safetensors"), tmp_path / "comfyui.safetensors"
    assert main(["adapter", "export", adapter, "--out", str(comfyui)]) == 0
    for number, words in enumerate(([str(stock)], [str(comfyui)], [adapter, "--adapter-strength", "0.5"])):
        out = str(tmp_path / f"by{number}")
        assert (
            main(["sample", "--model", model, "--prompt", TEXTS[0], "--out", out, "num_steps=1", "--adapter", *words])
            == 0
        )
    capsys.readouterr()
    for bad, told in (
        (["adapter", "export", data, "--out", str(comfyui)], "holds no adapter"),
        ([*made[:3], *made[5:], "--adapter-strength", "2"], "--adapter-strength: got 2, but there is no adapter"),
        ([*command, "betta=3"], "Did you mean 'beta'?"),
        ([*command, *steps, "beta=3"], "belongs to another run (differs in beta)"),
        (["align", "dpi", *command[2:]], "Did you mean 'dpo'?"),
        ([*made, "--weights", "VQ=1"], "there is no --guide"),
        (["sample", "--model", "nowhere", "--prompt", "x", "--out", str(tmp_path / "t")], "holds no model_index.json"),
        ([*made[:4], str(tmp_path), *made[5:]], "holds no adapter"),
        (["encode", data, "--model", model, "--pairs", "nope"], "no pairs 'nope'"),
        (["sample", "--model", model, "--prompt", "a red dog", "--out", str(tmp_path / "t")], "reads 'a red ?'"),
    ):
        assert main(bad) == 2
        error = capsys.readouterr().err.strip()
        assert told in error, error
        assert len(error.splitlines()) == 1
    assert not (tmp_path / "t").exists()


def test_a_generator_opens_again_with_its_settings_and_adapter_and_not_as_another(
    dataset: Dataset, folder: Path, generator: PipelineGenerator, tmp_path: Path
) -> None:
    settings = config("sft", fit=FIT.model_copy(update={"num_steps": 1, "warmup_steps": 0}))
    run = align("sft", dataset, generator, "p", tmp_path / "adapter", settings)
    adapted = open_generator(folder / "model", run.adapter, scale=0.5).changed({"num_steps": 3})
    again = pickle.loads(pickle.dumps(adapted.reopener()))()
    assert again is not adapted and again.clip_identity() == adapted.clip_identity()
    again.opened = open_generator(folder / "model").opened
    with pytest.raises(ModelError, match=r"another one here than was sent \(differs in adapter of transformer\)"):
        again.reopener()()
    with pytest.raises(ModelError, match="in memory alone"):
        small_wan_generator(TEXTS, TINY_SIZES).reopener()


def test_damaged_clips_may_be_left_out_of_what_is_encoded(
    dataset: Dataset, generator: PipelineGenerator, tmp_path: Path
) -> None:
    shutil.copytree(dataset.path, tmp_path / "d", ignore=shutil.ignore_patterns("latents"))
    copy, ids = Dataset.open(tmp_path / "d"), clips_of_pairs(dataset, dataset.pairs("p"))
    broken = next(clip for clip in copy.clips() if clip.clip_id == ids[1])
    copy.clip_path(broken).write_bytes(b"no video")
    with pytest.raises(VideoError):
        encode(copy, generator, ids)
    cache = encode(copy, generator, ids, max_rejected=0.5)
    assert cache.clip_ids == {*ids} - {broken.clip_id}
    assert [(row["stage"], row["clip_id"]) for row in read_rejected(copy.path)] == [("encode model", broken.clip_id)]
    with pytest.raises(DataError, match="clip_id|are not encoded"):
        cache.clip(broken.clip_id)
