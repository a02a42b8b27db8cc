"""The model's settings, device and precision on the command line, for every command that opens a generator."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import huggingface_hub
import pytest

from videoalign.cli.main import main
from videoalign.contracts.records import WinLosePair
from videoalign.data.dataset import Dataset
from videoalign.models.small_wan import TINY_SETTINGS, TINY_SIZES, small_wan_generator

TEXTS = ["a red circle moves left", "a blue square moves right"]
SHAPE = ["num_frames=5", "height=16", "width=48", "fps=4"]
FIT = ["fit.num_steps=1", "fit.batch_size=1", "fit.warmup_steps=0"]


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """``model``, ``prompts.txt`` and ``d``, a dataset of other clips than the model makes unasked, with pairs ``p``."""
    folder = tmp_path_factory.mktemp("settings")
    small_wan_generator(TEXTS, TINY_SIZES, settings=TINY_SETTINGS).save_pretrained(folder / "model")
    (folder / "prompts.txt").write_text("\n".join(TEXTS))
    made = ["--model", str(folder / "model"), "--prompts", str(folder / "prompts.txt"), "--out", str(folder / "d")]
    assert main(["generate", *made, "--per-prompt", "2", "num_steps=1", "keep_latents=false", *SHAPE]) == 0
    dataset = Dataset.open(folder / "d")
    pairs = [
        WinLosePair(prompt_id=a.prompt_id, clip_win=a.clip_id, clip_lose=b.clip_id, reward_win=1.0, reward_lose=0.0)
        for a, b in zip(dataset.clips()[::2], dataset.clips()[1::2], strict=True)
    ]
    dataset.write_pairs("p", pairs)
    first, second = dataset.prompts()
    dataset.write_prompts([first, replace(second, split="val")])
    return folder


def model(root: Path) -> list[str]:
    return ["--model", str(root / "model")]


def test_generate_and_sample_make_what_was_asked_for(root: Path, tmp_path: Path) -> None:
    for clip in Dataset.open(root / "d").clips():
        assert (clip.num_frames, clip.height, clip.width, clip.fps) == (5, 16, 48, 4.0)
    more = ["num_steps=1", "guidance_scale=2", "negative_prompt=blue", "max_text_tokens=7", *SHAPE]
    assert main(["sample", *model(root), "--prompt", TEXTS[0], "--out", str(tmp_path / "s"), *more]) == 0
    told = json.loads((tmp_path / "s" / "run.json").read_text())["settings"]
    assert (told["num_steps"], told["guidance_scale"], told["negative_prompt"], told["fps"]) == (1, 2.0, "blue", 4.0)


@pytest.mark.parametrize("device", [[], ["--device", "cpu", "--dtype", "bfloat16"]], ids=["auto", "bfloat16"])
def test_encode_align_and_guide_train_work_in_the_size_asked_for(root: Path, tmp_path: Path, device: list[str]) -> None:
    data = [str(root / "d"), *model(root), *device]
    assert main(["encode", *data, "--pairs", "p", "--reference-draws", "1", *SHAPE]) == 0
    assert main(["align", "dpo", *data, "--pairs", "p", "--out", str(tmp_path / "a"), "lora.rank=2", *FIT, *SHAPE]) == 0
    dataset = Dataset.open(root / "d")
    scores = [
        {"clip_id": clip.clip_id, "raw": named, "normalised": named}
        for place, clip in enumerate(dataset.clips())
        for named in [dict.fromkeys(dataset.dimensions, float(place))]
    ]
    dataset.write_scores("r", scores)
    assert main(["guide", "train", *data, "--reward", "r", "--out", str(tmp_path / "g"), *FIT, *SHAPE]) == 0


def test_without_them_clips_of_another_size_are_refused(
    root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = [str(root / "d"), *model(root)]
    for command in (
        ["encode", *data, "--pairs", "p", "fps=4"],
        ["align", "sft", *data, "--pairs", "p", "--out", str(tmp_path / "a"), *FIT, "fps=4"],
    ):
        assert main(command) == 2
        error = capsys.readouterr().err
        assert "(5, 16, 48)" in error
        assert "(9, 32, 32)" in error
    assert not (tmp_path / "a").exists()


def test_what_the_model_cannot_make_leaves_nothing_behind(
    root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each command refuses one of the settings, and one command each of them: all read them in one place."""
    prompts, data, out = str(root / "prompts.txt"), [str(root / "d"), *model(root)], str(tmp_path / "out")
    both = ["--base", str(root / "model"), "--candidate", str(root / "model")]
    sampling = ["sample", *model(root), "--prompt", TEXTS[0], "--out", out]
    for command, wrong in (
        (["generate", *model(root), "--prompts", prompts, "--out", out], "num_frames=12"),
        (["align", "sft", *data, "--pairs", "p", "--out", out], "height=40"),
        (["guide", "train", *data, "--reward", "r", "--pairs", "p", "--out", out], "width=8"),
        (["evaluate", *both, "--prompts", prompts, "--judge", "oracle", "--out", out], "num_frames=12"),
        (["encode", *data, "--pairs", "p"], "height=40"),
        *((sampling, wrong) for wrong in ("num_frames=12", "height=40", "width=8", "fps=0", "max_text_tokens=0")),
    ):
        assert main([*command, wrong]) == 2, command
        error = capsys.readouterr().err
        assert wrong.partition("=")[0] in error
        assert error.count("\n") == 1
        assert not (tmp_path / "out").exists()


def test_one_file_of_settings_serves_every_command_and_a_hub_id_without_a_file_of_ours(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    place = tmp_path / "hub" / "models--acme--tiny"
    (place / "refs").mkdir(parents=True)
    (place / "refs" / "main").write_text("0" * 40)
    copy = Path(shutil.copytree(root / "model", place / "snapshots" / ("0" * 40)))
    (copy / "videoalign.json").unlink()
    for name in ("HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE"):
        if hasattr(huggingface_hub.constants, name):
            monkeypatch.setattr(huggingface_hub.constants, name, str(tmp_path / "hub"))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    asked = {"num_frames": 17, "height": 64, "width": 64, "fps": 8, "num_steps": 1, "guidance_scale": 2}
    asked |= {"negative_prompt": "blue", "max_text_tokens": 7}
    (tmp_path / "model.yaml").write_text("\n".join(f"{name}: {value}" for name, value in asked.items()))
    hub, file = ["--model", "acme/tiny"], ["--config", str(tmp_path / "model.yaml")]
    prompts, data = ["--prompts", str(root / "prompts.txt")], str(tmp_path / "d")
    assert main(["generate", *hub, *prompts, "--out", data, "--per-prompt", "2", *file, "check_steps=false"]) == 0
    dataset = Dataset.open(tmp_path / "d")
    assert {(c.num_frames, c.height, c.width, c.fps) for c in dataset.clips()} == {(17, 64, 64, 8.0)}
    a, b, *_ = dataset.clips()
    pair = {"prompt_id": a.prompt_id, "clip_win": a.clip_id, "clip_lose": b.clip_id}
    dataset.write_pairs("p", [WinLosePair(**pair, reward_win=1.0, reward_lose=0.0)])
    named = [dict.fromkeys(dataset.dimensions, float(place)) for place in range(4)]
    scores = zip(dataset.clips(), named, strict=True)
    dataset.write_scores("r", [{"clip_id": c.clip_id, "raw": s, "normalised": s} for c, s in scores])
    out = str(tmp_path / "out")
    both = ["--base", "acme/tiny", "--candidate", f"acme/tiny:{out}-a", *prompts, "--judge", "oracle"]
    for command in (
        ["sample", *hub, "--prompt", TEXTS[0], "--out", f"{out}-s"],
        ["encode", data, *hub, "--pairs", "p"],
        ["align", "sft", data, *hub, "--pairs", "p", "--out", f"{out}-a", "lora.rank=2", *FIT],
        ["guide", "train", data, *hub, "--reward", "r", "--out", f"{out}-g", *FIT],
        ["evaluate", *both, "--out", f"{out}-e", "per_prompt=1", "num_shown=0", "allow_trained_prompts=true"],
    ):
        assert main([*command, *file]) == 0, (command, capsys.readouterr().err)
    told = json.loads((tmp_path / "out-s" / "run.json").read_text())["settings"]
    assert (told["num_steps"], told["guidance_scale"], told["negative_prompt"]) == (1, 2.0, "blue")


def test_a_setting_that_is_none_is_told(root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = [str(root / "d"), *model(root)]
    assert main(["align", "sft", *data, "--pairs", "p", "--out", str(tmp_path / "a"), "hight=3"]) == 2
    assert "unknown setting 'hight'" in capsys.readouterr().err


def test_a_device_that_is_not_there_is_one_line(root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    made = ["sample", *model(root), "--prompt", TEXTS[0], "--out", str(tmp_path / "s")]
    for wrong, says in (
        (["--device", "gpu"], "--device: cannot use 'gpu'"),
        (["--dtype", "int8"], "--dtype: got 'int8'"),
    ):
        assert main([*made, *wrong]) == 2
        assert says in capsys.readouterr().err
    assert not (tmp_path / "s").exists()
