"""Alignment and the latent reward in two processes, started by the variables that torchrun and accelerate set."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from videoalign.contracts.records import WinLosePair
from videoalign.models.small_wan import TINY_SETTINGS, TINY_SIZES, small_wan_generator
from videoalign.recipes.generate import GenerateConfig, generate
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


def run(count: int, words: list[str]) -> list[subprocess.CompletedProcess[str]]:
    """The command line in so many processes."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    started = []
    for rank in range(count):
        told = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": count, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
        variables = {**os.environ, **{k: str(v) for k, v in told.items()}, "CUDA_VISIBLE_DEVICES": ""}
        command = [sys.executable, "-m", "videoalign.cli.main", *words]
        started.append(
            subprocess.Popen(command, env=variables, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        )
    ended = []
    for process in started:
        out, err = process.communicate(timeout=300)
        ended.append(subprocess.CompletedProcess(process.args, process.returncode, out, err))
    return ended


FIT = ["fit.num_steps=4", "fit.learning_rate=3e-3", "fit.warmup_steps=1", "fit.save_every_steps=2"]


def trained(folder: Path, out: str, count: int, batch_size: int, more: list[str]) -> Path:
    words = ["align", "dpo", str(folder / "data"), "--model", str(folder / "model"), "--pairs", "p"]
    ended = run(count, [*words, "--out", str(folder / out), *FIT, f"fit.batch_size={batch_size}", *more])
    assert all(process.returncode == 0 for process in ended), ended[0].stderr[-2000:] + ended[-1].stderr[-2000:]
    assert sum("pairs, " in process.stdout for process in ended) == 1  # the first process tells
    return folder / out


@pytest.mark.parametrize("draws", [0, 2])
def test_align_in_two_processes_is_align_in_one(folder: Path, draws: int) -> None:
    """Both in one folder, which nobody else writes into: one log, one checkpoint, one adapter."""
    more = ["lora.rank=4", "beta=50", f"reference_draws={draws}"]
    two = trained(folder, f"two-{draws}", 2, 2, more)
    one = trained(folder, f"one-{draws}", 1, 4, more)
    rows, wanted = (RunLog(out / "log.jsonl").rows() for out in (two, one))
    assert [row["step"] for row in rows] == [1, 2, 3, 4]
    for row, other in zip(rows, wanted, strict=True):
        assert row | {"seconds": 0} == pytest.approx(other | {"seconds": 0}, rel=2e-3, abs=1e-5)
    mine, other = (load_file(out / "adapter_model.safetensors") for out in (two, one))
    for name, value in other.items():
        torch.testing.assert_close(mine[name], value, rtol=0, atol=3e-4)
    cut = trained(folder, f"two-{draws}", 1, 4, [*more, "fit.num_steps=6"])  # goes on in one process
    assert [row["step"] for row in RunLog(cut / "log.jsonl").rows()] == [1, 2, 3, 4, 5, 6]


def test_guide_train_in_two_processes_is_guide_train_in_one(folder: Path) -> None:
    """By its log: weights whose gradient is nothing but rounding, as the bias of a difference, wander by the rate."""
    logs = []
    for out, count, batch_size in (("guide-two", 2, 1), ("guide-one", 1, 2)):
        settings = [*FIT, f"fit.batch_size={batch_size}"]
        words = ["guide", "train", str(folder / "data"), "--model", str(folder / "model"), "--reward", "judge"]
        ended = run(count, [*words, "--out", str(folder / out), *settings])
        assert all(process.returncode == 0 for process in ended), ended[-1].stderr[-2000:]
        assert (folder / out / "model.safetensors").is_file()
        logs.append(RunLog(folder / out / "log.jsonl").rows())
    assert [row["step"] for row in logs[0]] == [1, 2, 3, 4]
    for row, wanted in zip(*logs, strict=True):
        assert row | {"seconds": 0} == pytest.approx(wanted | {"seconds": 0}, rel=1e-3, abs=1e-4)


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
    folder: Path, tmp_path: Path, words: list[str]
) -> None:
    places = {name: str(folder / name) for name in ("data", "model", "prompts")} | {"out": str(tmp_path / "out")}
    before = sorted(folder.rglob("*"))
    ended = run(2, [word.format(**places) for word in words])
    assert [process.returncode for process in ended] == [2, 2]
    lines = [line for process in ended for line in process.stderr.splitlines()]
    assert len(lines) == 1 and "runs in one process, but 2 were started" in lines[0]
    assert sorted(folder.rglob("*")) == before and not (tmp_path / "out").exists()
