"""Clips come into the dataset that is there, or into a new one."""

from __future__ import annotations

from pathlib import Path

import pytest

from videoalign.contracts.records import DatasetInfo, Dimension
from videoalign.data.dataset import Dataset
from videoalign.errors import OutputError
from videoalign.models.small_wan import TINY_SETTINGS, TINY_SIZES, small_wan_generator
from videoalign.recipes.generator.generate import GenerateConfig, generate


def test_clips_come_into_a_dataset_whatever_it_judges_unless_other_dimensions_are_asked_for(tmp_path: Path) -> None:
    Dataset.create(tmp_path, DatasetInfo(dimensions=(Dimension(name="Look", guideline=""),)))
    generator = small_wan_generator(["a"], TINY_SIZES, settings=TINY_SETTINGS.model_copy(update={"num_steps": 1}))
    config = GenerateConfig(per_prompt=1, check_steps=False)
    grown = generate(generator, ["a"], tmp_path, config)
    assert grown.dimensions == ("Look",) and len(grown.clips()) == 1
    with pytest.raises(OutputError, match="holds a dataset with dimensions Look; wanted VQ, MQ, TA"):
        generate(generator, ["a"], tmp_path, config, info=DatasetInfo())
