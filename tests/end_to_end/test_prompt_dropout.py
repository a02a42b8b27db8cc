"""Pairs that are trained on without their prompt."""

from __future__ import annotations

import shutil
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from safetensors.torch import load_file

from videoalign.contracts.records import Prompt, WinLosePair
from videoalign.data.dataset import Dataset
from videoalign.data.lineage import read_lineage
from videoalign.models.generators.generator import PipelineGenerator
from videoalign.models.lora import LoraSettings
from videoalign.recipes.generator.align import align
from videoalign.recipes.generator.align_methods import AlignConfig, method_config
from videoalign.recipes.generator.prompt_dropout import MARK, drop_prompts, without_text
from videoalign.training.loop import FitConfig

NEGATIVE = "a blue square moves right"
FIT = FitConfig(num_steps=4, batch_size=4, learning_rate=3e-3, warmup_steps=1, seed=3)


def pair(number: int) -> WinLosePair:
    return WinLosePair(prompt_id="p", clip_win=f"a{number}", clip_lose=f"b{number}", reward_win=1.0, reward_lose=0.0)


def config(method: str, **more: object) -> AlignConfig:
    values = {"fit": FIT, "lora": LoraSettings(rank=4), "guidance_scale": 3.0, "negative_prompt": NEGATIVE, **more}
    return method_config(method)(**values)


def test_a_pair_alone_decides_whether_its_prompt_is_dropped() -> None:
    pairs = [pair(number) for number in range(2000)]
    dropped = [one.prompt_id == MARK + "p" for one in drop_prompts(pairs, 0.2)]
    assert sum(dropped) / 2000 == pytest.approx(0.2, abs=0.03)
    assert [one.prompt_id == MARK + "p" for one in drop_prompts(pairs[::-3], 0.2)] == dropped[::-3]
    more = [one.prompt_id == MARK + "p" for one in drop_prompts(pairs, 0.4)]
    assert all(now for now, before in zip(more, dropped, strict=True) if before)
    assert drop_prompts(pairs, 0.0) == pairs


def test_the_negative_prompt_stands_beside_the_picture() -> None:
    prompts = [Prompt(prompt_id="p", text="it moves", media="p.png"), Prompt(prompt_id="q", text="it stands")]
    found = without_text(drop_prompts([pair(0)], 0.9999), prompts, NEGATIVE)
    assert [(one.prompt_id, one.text, one.media) for one in found] == [(MARK + "p", NEGATIVE, "p.png")]


@pytest.mark.parametrize(("method", "more"), [("dpo", {"reference_draws": 2, "beta": 50.0}), ("rwr", {})])
def test_pairs_without_prompt_are_those_of_the_negative_prompt(
    dataset: Dataset, generator: PipelineGenerator, tmp_path: Path, method: str, more: dict[str, float]
) -> None:
    copy = shutil.copytree(dataset.path, tmp_path / "copy")
    rows = pq.read_table(copy / "prompts.parquet").to_pylist()
    pq.write_table(pa.Table.from_pylist([row | {"text": NEGATIVE} for row in rows]), copy / "prompts.parquet")
    align(method, dataset, generator, "p", tmp_path / "bare", config(method, prompt_dropout=0.9999, **more))
    align(method, Dataset.open(copy), generator, "p", tmp_path / "told", config(method, **more))
    made, wanted = (load_file(tmp_path / out / "adapter_model.safetensors") for out in ("bare", "told"))
    for name, value in wanted.items():
        torch.testing.assert_close(made[name], value, rtol=0, atol=1e-6)


def test_the_reference_is_asked_as_the_policy_is_and_the_prompts_are_recorded(
    dataset: Dataset, generator: PipelineGenerator, tmp_path: Path
) -> None:
    found = {
        share: align(
            "dpo",
            dataset,
            generator,
            "p",
            tmp_path / str(share),
            config("dpo", prompt_dropout=share, reference_draws=2, beta=500.0),
        )
        for share in (0.0, 0.9)
    }
    for result in found.values():
        assert result.history[0]["loss"] == pytest.approx(0.6931, abs=1e-4)
    assert found[0.0].history[-1]["loss"] != found[0.9].history[-1]["loss"]
    whole, less = (read_lineage(tmp_path / str(share)) for share in (0.0, 0.9))
    assert whole is not None and less is not None and whole.prompts == less.prompts and len(less.prompts) == 3
