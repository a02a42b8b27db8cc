"""Clips come into the dataset that is there, or into a new one."""

from __future__ import annotations

from pathlib import Path

import pytest

from videoalign.contracts.records import DatasetInfo, Dimension
from videoalign.data.dataset import Dataset
from videoalign.errors import ConfigError, OutputError
from videoalign.models.small_wan import TINY_SETTINGS, TINY_SIZES, small_wan_generator
from videoalign.recipes.generator.clip_fit import ClipSettings
from videoalign.recipes.generator.encode import encode
from videoalign.recipes.generator.generate import GenerateConfig, SampleConfig, generate, sample


def test_clips_come_into_a_dataset_whatever_it_judges_unless_other_dimensions_are_asked_for(tmp_path: Path) -> None:
    Dataset.create(tmp_path, DatasetInfo(dimensions=(Dimension(name="Look", guideline=""),)))
    generator = small_wan_generator(["a"], TINY_SIZES, settings=TINY_SETTINGS.model_copy(update={"num_steps": 1}))
    config = GenerateConfig(per_prompt=1, check_steps=False)
    grown = generate(generator, ["a"], tmp_path, config)
    assert grown.dimensions == ("Look",) and len(grown.clips()) == 1
    with pytest.raises(OutputError, match="holds a dataset with dimensions Look; wanted VQ, MQ, TA"):
        generate(generator, ["a"], tmp_path, config, info=DatasetInfo())


@pytest.mark.parametrize(
    ("size", "says"), [(4, "set batch_size=2."), (1, "lower num_frames, height, width or max_text")]
)
def test_memory_that_runs_out_says_what_to_lower(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: int, says: str
) -> None:
    generator = small_wan_generator(["a"], TINY_SIZES, settings=TINY_SETTINGS.model_copy(update={"num_steps": 1}))
    config = GenerateConfig(per_prompt=4, batch_size=size)
    dataset = generate(generator, ["a"], tmp_path / "there", config.model_copy(update={"keep_latents": False}))

    def full(*_: object, **__: object) -> None:
        raise RuntimeError("[enforce fail at alloc_cpu.cpp:127] err == 0. DefaultCPUAllocator: can't allocate memory")

    monkeypatch.setattr(generator.pipeline.vae, "encode", full)
    monkeypatch.setattr(generator.pipeline.transformer, "forward", full)
    for run in (
        lambda: generate(generator, ["a"], tmp_path / "d", config),
        lambda: sample(generator, ["a"], tmp_path / "s", SampleConfig(per_prompt=4, batch_size=size)),
        lambda: encode(dataset, generator, [clip.clip_id for clip in dataset.clips()], ClipSettings(batch_size=size)),
    ):
        with pytest.raises(ConfigError, match=f"^batch_size: memory ran out with {size} at once; {says}"):
            run()
    assert not (tmp_path / "s").exists()
