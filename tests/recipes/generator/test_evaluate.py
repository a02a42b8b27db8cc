from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from videoalign.cli.main import main
from videoalign.contracts.versions import library_versions
from videoalign.data.dataset import Dataset
from videoalign.data.lineage import Teacher, prompt_hash, write_lineage
from videoalign.errors import ConfigError, DataError, OutputError
from videoalign.evaluation.compare import compare
from videoalign.models.lora import LoraSettings, add_lora, save_adapter
from videoalign.models.small_wan import SMALL_SETTINGS, SmallWanConfig, small_wan_generator
from videoalign.recipes.generator.evaluate import (
    EvaluateConfig,
    compare_arms,
    evaluate,
    shown_rows,
)
from videoalign.recipes.generator.makers import split_model
from videoalign.recipes.judges import JudgedClips, judge_dataset
from videoalign.worlds.sprites.oracle import Oracle
from videoalign.worlds.sprites.prompts import ALL_SENTENCES, HELD_OUT_SENTENCES

CONFIG = EvaluateConfig(per_prompt=2, num_steps=1, num_shown=2, seed=5)
TEXTS = [sentence.text() for sentence in HELD_OUT_SENTENCES[:3]]


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A small model with random weights, and an adapter that changes what it draws."""
    folder = tmp_path_factory.mktemp("models")
    sizes = SmallWanConfig(num_layers=1, num_heads=2, head_width=16, text_width=16, text_layers=1, vae_width=4)
    settings = SMALL_SETTINGS.model_copy(update={"num_steps": 1, "guidance_scale": 1.0})
    generator = small_wan_generator([s.text() for s in ALL_SENTENCES], sizes, settings=settings)
    generator.save_pretrained(folder / "model")
    draws = torch.Generator().manual_seed(0)
    for value in add_lora(generator.network.transformer, LoraSettings(rank=2)).values():
        value.data = torch.randn(value.shape, generator=draws)
    save_adapter(generator.network.transformer, folder / "adapter", generator.identity())
    (folder / "prompts.txt").write_text("\n".join(TEXTS), encoding="utf-8")
    return {name: folder / name for name in ("model", "adapter", "prompts.txt")}


@pytest.fixture(scope="module")
def against_itself(models: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    out, model = tmp_path_factory.mktemp("same") / "out", str(models["model"])
    return out, evaluate(model, model, models["prompts.txt"], "oracle", out, CONFIG)


def test_a_model_against_itself_is_exactly_one_half(against_itself: tuple[Path, dict[str, Any]]) -> None:
    out, results = against_itself
    for row in results["alignment"]["candidate"].values():
        assert (row["win_rate"], row["ties"], row["n"]) == (0.5, 6, 6)
        assert row["low"] == pytest.approx(1 - row["high"], abs=1e-12)
    clips = [sorted((out / arm).glob("clips/*.mp4")) for arm in ("base", "candidate")]
    assert [file.read_bytes() for file in clips[0]] == [file.read_bytes() for file in clips[1]]
    assert json.loads((out / "results.json").read_text()) == results
    assert (out / "report.html").stat().st_size > 10_000
    assert len(list((out / "base" / "clips").glob("*.mp4"))) == len(TEXTS) * CONFIG.per_prompt


def test_a_second_run_makes_no_clip_again_and_another_run_is_refused(
    models: dict[str, Path], against_itself: tuple[Path, dict[str, Any]]
) -> None:
    (out, first), model = against_itself, str(models["model"])
    made = {path: path.stat().st_mtime_ns for path in out.rglob("*.mp4")}
    again = evaluate(model, model, models["prompts.txt"], "oracle", out, CONFIG)
    assert again["alignment"] == first["alignment"]
    assert {path: path.stat().st_mtime_ns for path in out.rglob("*.mp4")} == made
    with pytest.raises(OutputError, match="differs in candidate"):
        evaluate(model, f"{model}:{models['adapter']}", models["prompts.txt"], "oracle", out, CONFIG)


def test_an_adapter_is_judged_on_the_same_prompts_and_seeds(models: dict[str, Path], tmp_path: Path) -> None:
    model = str(models["model"])
    results = evaluate(model, f"{model}:{models['adapter']}", models["prompts.txt"], "oracle", tmp_path / "out", CONFIG)
    rows = json.loads((tmp_path / "out" / "scores.json").read_text())
    assert [row["prompt"] for row in rows] == [text for text in TEXTS for _ in range(2)]
    arms = [np.array([list(row[arm].values()) for row in rows]) for arm in ("base", "candidate")]
    assert np.abs(arms[0] - arms[1]).max() > 0
    names = Oracle.dimensions
    assert results["alignment"]["candidate"] == compare(*arms, [row["prompt"] for row in rows], names)
    assert results["seconds"].keys() == {"base clips", "base judging", "candidate clips", "candidate judging"}


def test_an_adapter_counts_as_much_as_is_asked_for(models: dict[str, Path], tmp_path: Path) -> None:
    model, out = str(models["model"]), tmp_path / "out"
    words = [
        "evaluate",
        "--base",
        model,
        "--prompts",
        str(models["prompts.txt"]),
        "--judge",
        "oracle",
        "--out",
        str(out),
    ]
    given = ["per_prompt=1", "num_steps=1", "num_shown=0"]
    candidate = f"{model}:{models['adapter']}"
    assert main([*words, "--candidate", candidate, "--adapter-strength", "0", *given]) == 0
    found = json.loads((out / "results.json").read_text())
    assert all(row["ties"] == row["n"] == 3 for row in found["alignment"]["candidate"].values())
    assert found["run"]["Strength of the adapter"] == 0 and "adapter_strength=0" in found["command"]
    scores = [json.loads((out / "scores.json").read_text())]
    for strength in ("0.5", "1"):
        assert main([*words, "--candidate", candidate, "--adapter-strength", strength, "--fresh", *given]) == 0
        scores.append(json.loads((out / "scores.json").read_text()))
    none, half, whole = ([row["candidate"]["VQ"] for row in rows] for rows in scores)
    assert none != half != whole != none


def test_arms_of_other_seeds_are_not_compared(against_itself: tuple[Path, dict[str, Any]]) -> None:
    out, _ = against_itself
    arm = judge_dataset(Oracle(), Dataset.open(out / "base"), TEXTS)
    fewer = JudgedClips(dataset=arm.dataset, clips=arm.clips[1:], prompts=arm.prompts[1:], scores=arm.scores[1:])
    with pytest.raises(DataError, match="other prompts or seeds"):
        compare_arms(arm, fewer, Oracle())
    shown = shown_rows({"base": arm}, Oracle.dimensions, 2)
    assert [row.prompt for row in shown] == [TEXTS[0], TEXTS[1]]
    assert shown[1].scores["base"]["VQ"] == arm.scores[2, 0]


def test_the_command_prints_the_results_and_ends_mistakes_in_one_line(
    models: dict[str, Path], against_itself: tuple[Path, dict[str, Any]], tmp_path: Path, capsys: Any
) -> None:
    (out, results), model = against_itself, str(models["model"])
    common = ["evaluate", "--base", model, "--prompts", str(models["prompts.txt"]), "--judge", "oracle", "--candidate"]
    given = ["per_prompt=2", "num_steps=1", "num_shown=2", "seed=5"]
    assert main([*common, model, "--out", str(out), "--json", *given]) == 0
    assert json.loads(capsys.readouterr().out)["alignment"] == results["alignment"]
    for candidate, judge, says in (
        (f"{model}:{tmp_path / 'nowhere'}", "oracle", "holds no adapter"),
        (model, str(tmp_path / "nowhere"), "nowhere"),
        ("nowhere", "oracle", "nowhere"),
        (model, "oracle", "--adapter-strength: got 0.5, but there is no adapter"),
    ):
        half = ["--adapter-strength", "0.5"] if "0.5" in says else []
        code = main([*common, candidate, "--judge", judge, "--out", str(tmp_path / "out"), "--fresh", *given, *half])
        message = capsys.readouterr().err
        assert (code, message.count("\n")) == (2, 1)
        assert message.startswith("error: ")
        assert says in message
    assert not (tmp_path / "out").exists()


def test_a_teacher_as_judge_and_trained_prompts_are_refused_unless_allowed_and_then_said(
    models: dict[str, Path], tmp_path: Path, capsys: Any
) -> None:
    model, out = str(models["model"]), tmp_path / "out"
    adapter = tmp_path / "adapter"
    shutil.copytree(models["adapter"], adapter)
    teacher = Teacher(name="once", digest=Oracle().digest)
    write_lineage(adapter, "align dpo", [teacher], [prompt_hash(TEXTS[1].upper())])
    command = ["evaluate", "--base", model, "--candidate", f"{model}:{adapter}", "--prompts"]
    command += [str(models["prompts.txt"]), "--judge", "oracle", "--out", str(out), "per_prompt=1", "num_steps=1"]
    for flags, says in (
        ([], "--judge: judge 'oracle' labelled the data"),
        (["--allow-teacher-judge"], f"was trained on 1 of the 3 prompts, first '{TEXTS[1]}'"),
        (["--allow-trained-prompts"], "--judge: judge 'oracle' labelled the data"),
    ):
        assert main([*command, *flags]) == 2
        error = capsys.readouterr().err
        assert says in error and error.count("\n") == 1
        assert not out.exists()
    with pytest.raises(ConfigError, match="labelled the data"):
        evaluate(model, f"{model}:{adapter}", models["prompts.txt"], "oracle", out, CONFIG)
    with pytest.raises(ConfigError, match="labelled the data"):  # whichever arm it taught
        evaluate(f"{model}:{adapter}", model, models["prompts.txt"], "oracle", out, CONFIG)
    assert main([*command, "--allow-teacher-judge", "--allow-trained-prompts"]) == 0
    told = " ".join(capsys.readouterr().out.split())
    assert "is no independent judge" in told and "was trained on 1 of the 3 prompts" in told
    warnings = json.loads((out / "results.json").read_text())["warnings"]
    assert len(warnings) == 2
    assert "no independent judge" in (out / "report.html").read_text()


def test_what_is_known_of_an_adapter_stands_in_the_results(models: dict[str, Path], tmp_path: Path) -> None:
    adapter, model = tmp_path / "adapter", str(models["model"])
    shutil.copytree(models["adapter"], adapter)
    write_lineage(adapter, "align dpo", [Teacher(name="other", digest="0" * 16)], [prompt_hash("something else")])
    results = evaluate(model, f"{model}:{adapter}", models["prompts.txt"], "oracle", tmp_path / "out", CONFIG)
    assert results["warnings"] == []
    assert results["judge_note"] == f"It labelled nothing that {adapter} was trained on; the labels are by other."
    assert results["prompts_note"] == f"{adapter} was trained on none of these prompts."


def test_a_model_and_its_adapter_part_at_the_colon() -> None:
    assert split_model("sprites") == ("sprites", None)
    assert split_model("sprites:runs/a") == ("sprites", "runs/a")
    assert library_versions()["numpy"] == np.__version__
