"""Alignment and the latent reward in two processes, by the variables that torchrun and accelerate set."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from videoalign.cli.main import main
from videoalign.contracts.records import WinLosePair
from videoalign.models.small_wan import TINY_SETTINGS, TINY_SIZES, small_wan_generator
from videoalign.recipes.generator.generate import GenerateConfig, generate
from videoalign.training.checkpoint import RunLog

TEXTS = ["a red circle moves left", "a blue square moves right", "a red square moves left"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """``model`` and ``data`` with pairs ``p`` and scores ``judge``; nothing is encoded yet."""
    root = tmp_path_factory.mktemp("together")
    generator = small_wan_generator(TEXTS, TINY_SIZES, settings=TINY_SETTINGS, name="tiny")
    generator.save_pretrained(root / "model")
    dataset = generate(generator, TEXTS, root / "data", GenerateConfig(per_prompt=4, num_steps=1, keep_latents=False))
    clips = [clip.clip_id for clip in dataset.clips()]
    prompts = [clip.prompt_id for clip in dataset.clips()]
    dataset.write_pairs(
        "p",
        [
            WinLosePair(
                prompt_id=prompts[k], clip_win=clips[k], clip_lose=clips[k + 1], reward_win=1.0, reward_lose=0.0
            )
            for k in range(0, len(clips), 2)
        ],
    )
    values = [{name: float((3 * k) % 7) for name in ("VQ", "MQ", "TA")} for k in range(len(clips))]
    dataset.write_scores(
        "judge", [{"clip_id": c, "raw": v, "normalised": v} for c, v in zip(clips, values, strict=True)]
    )
    return root


def variables(rank: int, count: int, port: int) -> dict[str, str]:
    told = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": count, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    return {name: str(value) for name, value in told.items()}


TOGETHER = "import json, sys; from videoalign.cli.main import main; sys.exit(sum(map(main, json.load(sys.stdin))))"


def run_two(*commands: list[str]) -> str:
    """Commands one after another in the same two processes, for these take long to start; what they printed."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    started = [
        subprocess.Popen(
            [sys.executable, "-c", TOGETHER],
            env={**os.environ, **variables(rank, 2, port), "CUDA_VISIBLE_DEVICES": ""},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(2)
    ]
    for process in started:
        process.stdin.write(json.dumps(commands))
        process.stdin.close()
        process.stdin = None
    told = [process.communicate(timeout=600) for process in started]
    assert [process.returncode for process in started] == [0, 0], "".join(err[-2000:] for _, err in told)
    return "".join(out for out, _ in told)


def run_one(words: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    """The same in this process."""
    assert main(words) == 0
    return capsys.readouterr().out


FIT = ["fit.num_steps=4", "fit.learning_rate=3e-3", "fit.warmup_steps=1", "fit.save_every_steps=2"]


def align(folder: Path, draws: int) -> list[str]:
    words = ["align", "dpo", str(folder / "data"), "--model", str(folder / "model"), "--pairs", "p", *FIT]
    return [*words, "lora.rank=4", "beta=50", f"reference_draws={draws}", "--out"]


def train_guide(folder: Path) -> list[str]:
    words = ["guide", "train", str(folder / "data"), "--model", str(folder / "model"), "--reward", "judge", *FIT]
    return [*words, "--out"]


@pytest.fixture(scope="module")
def told(folder: Path) -> str:
    """What two processes printed that made ``two-0``, ``two-2`` and ``guide-two``."""
    aligned = [[*align(folder, draws), str(folder / f"two-{draws}"), "fit.batch_size=2"] for draws in (0, 2)]
    return run_two(*aligned, [*train_guide(folder), str(folder / "guide-two"), "fit.batch_size=1"])


@pytest.mark.parametrize("draws", [0, 2])
def test_align_in_two_processes_is_align_in_one(
    folder: Path, told: str, draws: int, capsys: pytest.CaptureFixture[str]
) -> None:
    """Both in one folder, which nobody else writes into: one log, one checkpoint, one adapter."""
    words, one, two = align(folder, draws), folder / f"one-{draws}", folder / f"two-{draws}"
    assert told.count(f"{two}: 6 pairs, ") == 1, "the first process tells"
    assert run_one([*words, str(one), "fit.batch_size=4"], capsys).count("pairs, ") == 1
    rows, wanted = (RunLog(out / "log.jsonl").rows() for out in (two, one))
    assert [row["step"] for row in rows] == [1, 2, 3, 4]
    for row, other in zip(rows, wanted, strict=True):
        assert row | {"seconds": 0} == pytest.approx(other | {"seconds": 0}, rel=2e-3, abs=1e-5)
    mine, other = (load_file(out / "adapter_model.safetensors") for out in (two, one))
    for name, value in other.items():
        torch.testing.assert_close(mine[name], value, rtol=0, atol=3e-4)
    run_one([*words, str(two), "fit.batch_size=4", "fit.num_steps=6"], capsys)  # goes on in one process
    assert [row["step"] for row in RunLog(two / "log.jsonl").rows()] == [1, 2, 3, 4, 5, 6]


@pytest.mark.usefixtures("told")
def test_guide_train_in_two_processes_is_guide_train_in_one(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """By its log: weights whose gradient is nothing but rounding, as the bias of a difference, wander by the rate."""
    one, two = folder / "guide-one", folder / "guide-two"
    run_one([*train_guide(folder), str(one), "fit.batch_size=2"], capsys)
    assert all((out / "model.safetensors").is_file() for out in (one, two))
    rows, wanted = (RunLog(out / "log.jsonl").rows() for out in (two, one))
    assert [row["step"] for row in rows] == [1, 2, 3, 4]
    for row, other in zip(rows, wanted, strict=True):
        assert row | {"seconds": 0} == pytest.approx(other | {"seconds": 0}, rel=1e-3, abs=1e-4)


@pytest.mark.parametrize(
    "words",
    [
        ["encode", "{data}", "--model", "{model}", "--pairs", "p"],
        ["generate", "--model", "{model}", "--prompts", "{prompts}", "--out", "{out}"],
        ["sample", "--model", "{model}", "--prompt", "a red circle", "--out", "{out}"],
        ["reward", "score", "{out}", "--dataset", "{data}"],
        ["quickstart", "--out", "{out}"],
    ],
)
def test_commands_for_one_process_are_refused_in_one_line_before_anything_is_made(
    folder: Path,
    tmp_path: Path,
    words: list[str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    places = {name: str(folder / name) for name in ("data", "model", "prompts")} | {"out": str(tmp_path / "out")}
    before = sorted(folder.rglob("*"))
    command = [word.format(**places) for word in words]
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert main(command) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "runs in one process, but 2 were started" in line
    monkeypatch.setenv("RANK", "1")
    with pytest.raises(SystemExit) as ended:
        main(command)
    assert ended.value.code == 2 and capsys.readouterr().err == ""  # the first process has said it
    assert sorted(folder.rglob("*")) == before and not (tmp_path / "out").exists()
