"""What labels the pairs of a noisy-latent reward, and which models and figures it may be used for afterwards."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch

from tests.recipes.generator import test_guide as guides
from videoalign.data.dataset import Dataset
from videoalign.data.rejected import write_rejected
from videoalign.errors import DataError, ModelError, OutputError
from videoalign.models.generators.generator import PipelineGenerator
from videoalign.recipes.generator.guide import train_guide
from videoalign.recipes.generator.guide_pairs import labelled_pairs
from videoalign.recipes.generator.steering import guide_wrapper

CONFIG = guides.CONFIG
dataset, generator = guides.dataset, guides.generator
"""Fixtures."""


def test_clips_that_were_rejected_when_they_were_scored_label_nothing(dataset: Dataset, tmp_path: Path) -> None:
    copy = Dataset.open(shutil.copytree(dataset.path, tmp_path / "d"))
    gone, *whole = copy.scores("light")
    copy.write_scores("light", whole)
    with pytest.raises(DataError, match=f"clip '{gone['clip_id']}' is not scored"):
        labelled_pairs(copy, CONFIG, scores="light")
    write_rejected(copy.path, "score light", {gone["clip_id"]: "damaged"})
    found = labelled_pairs(copy, CONFIG, scores="light")
    assert len(found) == 15 and all(gone["clip_id"] not in (pair.clip_a, pair.clip_b) for pair in found)


def test_a_guide_steers_no_model_of_another_autoencoder(
    dataset: Dataset, generator: PipelineGenerator, tmp_path: Path
) -> None:
    train_guide(dataset, generator, tmp_path / "guide", CONFIG, scores="light")
    with torch.no_grad():
        generator.pipeline.transformer.patch_embedding.bias += 1  # another training of the same base
    for settings in ({}, {"vae_tiling": True}):
        guide_wrapper(generator.changed(settings), tmp_path / "guide", {"bright": 1.0}, 1.0)
    with torch.no_grad():
        next(generator.pipeline.vae.encoder.parameters()).add_(1)
    with pytest.raises(ModelError, match="made for latents of another autoencoder, that of"):
        guide_wrapper(generator, tmp_path / "guide", {"bright": 1.0}, 1.0)
    file = tmp_path / "guide" / "latent_reward.json"
    told = json.loads(file.read_text())
    del told["autoencoder"]  # as of earlier versions
    file.write_text(json.dumps(told))
    guide_wrapper(generator, tmp_path / "guide", {"bright": 1.0}, 1.0)


def test_an_accuracy_on_other_labels_is_not_told_of_a_run_that_was_done_before(
    dataset: Dataset, generator: PipelineGenerator, tmp_path: Path
) -> None:
    copy = Dataset.open(shutil.copytree(dataset.path, tmp_path / "d"))
    train_guide(copy, generator, tmp_path / "guide", CONFIG, scores="light")
    turned = [
        {**row, "normalised": {name: -value for name, value in row["normalised"].items()}}
        if row["clip_id"].startswith("p2-")
        else row
        for row in copy.scores("light")
    ]
    copy.write_scores("light", turned)
    with pytest.raises(OutputError, match="differs in held_out"):
        train_guide(copy, generator, tmp_path / "guide", CONFIG, scores="light")
