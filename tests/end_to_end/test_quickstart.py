"""The whole path, small, through the command line: everything that a run promises is there, and it resumes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from videoalign.cli.main import main
from videoalign.data.dataset import Dataset
from videoalign.recipes.quickstart_settings import QuickstartConfig

FIT = {"fit": {"num_steps": 2, "batch_size": 2}}
SETTINGS: dict[str, Any] = {
    "num_prompts": 4,
    "num_held_out": 2,
    "per_prompt": 2,
    "judged_per_prompt": 1,
    **dict.fromkeys(("reward", "sft", "rwr", "dpo", "guide"), FIT),
    "strength": 5,
    "weightings": [{"VQ": 1.0}, {"VQ": 0.5, "TA": 0.5}],
    "num_shown": 1,
}


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("quickstart")
    (folder / "small.yaml").write_text(yaml.safe_dump(SETTINGS), encoding="utf-8")
    assert _quickstart(folder) == 0
    return folder


def _quickstart(folder: Path, *more: str) -> int:
    return main(["quickstart", "--out", str(folder / "run"), "--config", str(folder / "small.yaml"), *more])


def test_results_hold_every_promised_number(finished: Path) -> None:
    results = json.loads((finished / "run" / "results.json").read_text(encoding="utf-8"))
    for name in ("VQ", "MQ", "TA"):
        assert {"with_ties", "without_ties", "random", "always_tie"} <= results["reward"][name].keys()
    for method in ("sft", "rwr", "dpo", "dpo_t"):
        for name in ("VQ", "MQ", "TA", "overall"):
            row = results["alignment"][method][name]
            assert 0 <= row["low"] <= row["win_rate"] <= row["high"] <= 1
            assert row["wins"] + row["ties"] + row["losses"] == row["n"] == 2
    assert [row["weights"] for row in results["guidance"]] == [
        {"VQ": 1.0, "MQ": 0.0, "TA": 0.0},
        {"VQ": 0.5, "MQ": 0.0, "TA": 0.5},
    ]
    assert all(0 <= row[name] <= 1 for row in results["guidance"] for name in ("VQ", "MQ", "TA"))
    assert results["seed"] == 0
    assert {"generate_1", "reward", "align_dpo", "guide", "sample_base", "sample_guided_0"} <= results["seconds"].keys()
    assert {"torch", "diffusers", "transformers"} <= results["versions"].keys()


def test_arms_share_prompts_and_seeds(finished: Path) -> None:
    arms = sorted((finished / "run" / "arms").iterdir())
    drawn = [sorted((clip.prompt_id, clip.seed) for clip in Dataset.open(arm).clips()) for arm in arms]
    assert len(arms) == 7
    assert all(row == drawn[0] for row in drawn)


def test_no_alignment_prompt_is_judged(finished: Path) -> None:
    trained = {prompt.text for prompt in Dataset.open(finished / "run" / "dataset").prompts()}
    judged = {prompt.text for prompt in Dataset.open(finished / "run" / "arms" / "base").prompts()}
    assert trained and judged and not trained & judged


def test_a_second_run_reuses_every_stage(finished: Path) -> None:
    run = finished / "run"
    before = {file: file.stat().st_mtime_ns for file in [*run.glob("stages/*.json"), *run.rglob("*.mp4")]}
    results = json.loads((run / "results.json").read_text(encoding="utf-8"))
    assert _quickstart(finished) == 0
    assert {file: file.stat().st_mtime_ns for file in before} == before
    assert json.loads((run / "results.json").read_text(encoding="utf-8")) == results


def test_another_process_folder_and_memory_give_the_same_results(
    finished: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Everything but the seconds, and the command, which names the folder; the process is that of the stages."""
    threads = max(1, torch.get_num_threads() // QuickstartConfig().num_workers)  # as many as each process had
    out = finished / "again"
    monkeypatch.setenv("MALLOC_PERTURB_", "85")
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        assert main(["quickstart", "--out", str(out), "--config", str(finished / "small.yaml"), "num_workers=1"]) == 0
    finally:
        torch.set_num_threads(before)
    first, second = (json.loads((run / "results.json").read_text("utf-8")) for run in (finished / "run", out))
    assert first.keys() == second.keys()
    assert [name for name in first if name not in ("seconds", "command") and first[name] != second[name]] == []
    clips = [Dataset.open(run / "dataset").clips() for run in (finished / "run", out)]
    assert clips[0] == clips[1]


def test_another_seed_does_not_enter_the_folder(finished: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert _quickstart(finished, "--seed", "7") == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert "another run" in error and "seed" in error and "--fresh" not in error


def test_a_misspelt_setting_is_answered_with_the_right_one(finished: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["quickstart", "--out", str(finished / "other"), "per_promt=3"]) == 2
    assert "Did you mean 'per_prompt'?" in capsys.readouterr().err
    assert not (finished / "other").exists()
