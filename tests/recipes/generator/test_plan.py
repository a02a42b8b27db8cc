"""A plan multiplies what one clip takes; what was measured and what was computed stand apart."""

from __future__ import annotations

import json
from math import prod
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from tests.models.generators.small_pipelines import TEXTS, build
from tests.training.test_cost import ATTENTION
from videoalign.cli.main import main
from videoalign.contracts.records import DatasetInfo, Prompt
from videoalign.data.dataset import Dataset
from videoalign.errors import ConfigError, DataError
from videoalign.models.generators import load_generator
from videoalign.models.generators.generator import PipelineGenerator
from videoalign.models.small_wan import TINY_SETTINGS, TINY_SIZES, small_wan_generator
from videoalign.recipes.generator.plan import PlanConfig, forward_operations, measured_seconds, plan_dataset

TEXT = "a red circle moves left"


def test_hours_bytes_and_money_follow_from_units(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    dataset = Dataset.create(tmp_path / "d", DatasetInfo())
    generator = small_wan_generator([TEXT], TINY_SIZES, settings=TINY_SETTINGS, name="tiny")
    with pytest.raises(DataError, match="holds no prompts"):
        plan_dataset(dataset, generator)
    dataset.add(prompts=[Prompt(prompt_id=f"p{n}", text=f"{TEXT}{' ' * n}") for n in range(3)])
    sampling = {"guidance_scale": 4.0, "num_steps": 10}
    options = {"per_prompt": 4, "pairs_per_prompt": 2, "tflops": 1e-6, "utilisation": 0.5, "price": 2.0, **sampling}
    config = PlanConfig.model_validate({**options, "epochs": 2, "reference_draws": 3, "clip_megabytes": 1})
    rows = {row.work: row for row in plan_dataset(dataset, generator, config, measured={"score": 3600.0})}
    assert rows["reference"].operations is not None
    forward = rows["reference"].operations / 6
    assert forward > 0
    assert rows["generate"].operations == forward * 10 * 2 and rows["align"].operations == 6 * forward
    assert [rows[name].units for name in ("generate", "reference", "align")] == [12, 6, 12]
    for row in rows.values():
        if row.operations is not None:
            assert row.computed_hours == pytest.approx(row.units * row.operations / (1e6 * 0.5 * 3600))
    assert rows["score"].computed_hours is None and rows["score"].measured_hours == 12 and rows["score"].money == 24
    assert rows["encode"].computed_hours is rows["encode"].measured_hours is rows["encode"].money is None
    assert rows["generate"].bytes == 12 * (1e6 + 4 * prod(generator.codec.latent_shape))
    condition = generator.conditioner.encode([TEXT])
    assert rows["encode"].bytes == 3 * sum(value.numel() * value.element_size() for value in condition.tensors.values())
    generator.save_pretrained(tmp_path / "model")
    assert main(["plan", str(dataset.path), "--model", str(tmp_path / "model"), "clip_megabytes=1"]) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "24 clips" in said and "seconds," in said
    assert "together: 24.1 MB" in said and "without score, encode:" in said
    without = config.model_copy(update={"reference_draws": 0})
    live = {row.work: row for row in plan_dataset(dataset, generator, without)}
    assert live["align"].operations == 8 * forward and live["reference"].operations == 0
    with pytest.raises(ConfigError, match="there is no stage 'clips'"):
        plan_dataset(dataset, generator, config, measured={"clips": 1.0})


def test_a_forward_pass_is_counted_as_torch_counts_it_where_the_model_looks_at_its_masks(tmp_path: Path) -> None:
    made = PipelineGenerator(build("HunyuanVideo15Pipeline"), name="tiny")
    made.save_pretrained(tmp_path / "model")
    condition = made.conditioner.encode(TEXTS[:1])
    with torch.no_grad(), FlopCounterMode(display=False, custom_mapping=ATTENTION) as counter:
        made.network(torch.zeros(1, *made.codec.latent_shape), torch.zeros(1), condition)
    opened = load_generator(tmp_path / "model")
    assert forward_operations(made, condition) == forward_operations(opened, condition) == counter.get_total_flops()
    assert next(opened.outline.parameters()).is_meta, "no weight was read"


def test_a_step_of_a_clip_is_as_many_passes_as_its_pipeline_takes() -> None:
    generator = PipelineGenerator(build("LTX2Pipeline"), name="tiny")
    scales = ({"guidance_scale": 1.0}, {"guidance_scale": 3.0})
    assert [generator.changed(scale).sampler.passes for scale in scales] == [1, 4]
    generator.pipeline.transformer.register_to_config(perturbed_attn=False)
    assert generator.changed(scales[1]).sampler.passes == 3
    wan = small_wan_generator([TEXT], TINY_SIZES, settings=TINY_SETTINGS)
    assert [wan.changed(scale).sampler.passes for scale in scales] == [1, 2]


def test_a_sampled_pass_of_ltx2_is_counted_with_its_sound_as_its_own_call_takes_it() -> None:
    generator = PipelineGenerator(build("LTX2Pipeline"), name="tiny").changed({"guidance_scale": 1.0})
    counter = FlopCounterMode(display=False, custom_mapping=ATTENTION)
    plain = generator.pipeline.transformer.forward

    def forward(**told: Any) -> Any:
        with counter:
            return plain(**told)

    generator.pipeline.transformer.forward = forward
    generator.sampler.latents([TEXT], [3], num_steps=2)
    generator.pipeline.transformer.forward = plain
    condition = generator.conditioner.encode([TEXT])
    sampled, trained = (forward_operations(generator, condition, sampling=kind) for kind in (True, False))
    assert counter.get_total_flops() == sampled > trained, "of the last pass"


def test_seconds_are_those_that_a_log_tells(tmp_path: Path) -> None:
    log = tmp_path / "log"
    end = {"event": "end", "work": "generate", "made": 4, "work_seconds": 20.0}
    lines = [{"event": "begin", "work": "generate"}, end, {**end, "made": 1, "work_seconds": 10.0}]
    log.write_text("words of others\n" + "\n".join(map(json.dumps, lines)))
    assert measured_seconds(log) == {"generate": 6.0}
    log.write_text(json.dumps({**end, "made": 0}))
    with pytest.raises(DataError, match="no work came to an end"):
        measured_seconds(log)
