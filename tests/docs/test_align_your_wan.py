"""The commands of the guide to one's own Wan, one after the other, on a small random one."""

from __future__ import annotations

import re
import runpy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from videoalign.cli.main import main
from videoalign.models.small_wan import TINY_SETTINGS, TINY_SIZES, small_wan_generator
from videoalign.recipes.judges import JUDGES
from videoalign.video.judge import FrameJudge

REPOSITORY = Path(__file__).resolve().parents[2]
PAGE = REPOSITORY / "docs" / "guides" / "align_your_wan.md"
HUB_ID = "Wan-AI/Wan2.1-T2V-1.3B-Diffusers"
PROMPTS = [f"a {colour} dog runs {place}" for colour in ("red", "black") for place in ("left", "right", "home")]
HELD_OUT = ["a white dog runs left", "a white dog runs right"]

FIT = "fit.num_steps=2 fit.accumulate_steps=1 fit.batch_size=2 fit.warmup_steps=0 fit.dtype=float32"
SHORT = {
    "generate": "num_steps=1 check_steps=false per_prompt=3",
    "align": f"{FIT} lora.rank=2 reference_draws=1",
    "evaluate": "num_steps=1 per_prompt=2 num_shown=0",
    "sample": "num_steps=1",
    "rounds": "num_rounds=1 num_steps=1 per_prompt=2 judged_per_prompt=2 num_shown=0 dpo.fit.num_steps=1",
}
"""What makes a command small, by its name; nothing of it changes what is asked for."""


class Labels(FrameJudge):
    """Likes light clips."""

    name, dimensions = "reward", ("VQ", "MQ", "TA")

    def score_videos(self, videos: Any, prompts: Any) -> np.ndarray:
        return np.array([[v.frames.mean(), v.frames.std(), v.frames[..., 0].mean()] for v in videos])


class Judges(Labels):
    """Another one."""

    name = "other_reward"


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    made = small_wan_generator([*PROMPTS, *HELD_OUT, "a dog runs on the beach"], TINY_SIZES, settings=TINY_SETTINGS)
    with torch.no_grad():
        for value in made.pipeline.vae.decoder.parameters():
            value *= 1.5
    made.save_pretrained(tmp_path / "tiny")
    (tmp_path / "prompts.txt").write_text("\n".join(PROMPTS))
    (tmp_path / "held_out.txt").write_text("\n".join(HELD_OUT))
    (tmp_path / "dpo.yaml").write_text(re.findall(r"^```yaml\n(.*?)^```", PAGE.read_text(), re.M | re.S)[0])
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(JUDGES, "runs/reward", Labels)
    monkeypatch.setitem(JUDGES, "runs/other_reward", Judges)
    return tmp_path


def test_every_command_of_the_guide_runs_and_leaves_what_the_next_one_takes(place: Path, capsys: Any) -> None:
    lines = runpy.run_path(str(REPOSITORY / "tests" / "docs" / "test_docs.py"))["shell_lines"](PAGE)
    assert len(lines) == 12
    for words in lines:
        given = [word.replace(HUB_ID, "tiny") for word in words[1:]]
        code = main([*given, *SHORT.get(given[0], "").split()])
        assert code == 0, f"{' '.join(words)}: {capsys.readouterr().err}"
    assert "| TA |" in (place / "runs" / "dpo" / "README.md").read_text()
    for left in ("clips", "dpo_comfyui.safetensors", "models/wan_dpo/model_index.json", "runs/rounds/report.html"):
        assert (place / left).exists(), left
