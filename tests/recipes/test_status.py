"""What a folder holds, what runs in it and what it waits for is told from its files alone."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest
import torch

from videoalign.contracts.holding import hold_folder
from videoalign.contracts.output import claim_folder
from videoalign.contracts.records import Clip, DatasetInfo, Prompt
from videoalign.data.dataset import Dataset
from videoalign.data.latents import TensorStore
from videoalign.data.rejected import write_rejected
from videoalign.data.tables import GrowingTable
from videoalign.errors import DataError
from videoalign.recipes.status import folder_status


def test_a_dataset_tells_what_is_missing_and_what_runs(tmp_path: Path) -> None:
    dataset = Dataset.create(tmp_path / "d", DatasetInfo())
    about = {"prompt_id": "p", "fps": 8.0, "num_frames": 5, "height": 16, "width": 16}
    clips = [Clip(clip_id=name, path=f"{name}.mp4", **about) for name in ("a", "b", "c")]
    dataset.add(prompts=[Prompt(prompt_id="p", text="a dog")], clips=clips)
    (dataset.path / "a.mp4").touch()
    dataset.write_scores("r", [{"clip_id": "a", "raw": {"VQ": 1.0}, "normalised": {"VQ": 1.0}}])
    write_rejected(dataset.path, "score r", {"b": "damaged"})
    store = TensorStore(dataset.path / "latents", "clips", {})
    store.add({"x": torch.zeros(1), "y": torch.zeros(1)})
    TensorStore(dataset.path / "latents", "texts", {}).add({"p.one": torch.zeros(1), "p.two": torch.zeros(1)})
    kept = GrowingTable(dataset.path / "scores" / "s.part" / "0123", ["VQ"], part=1)
    kept.add({"x": np.array([0.5]), "y": np.array([0.25])})
    with hold_folder(dataset.path / "scores" / "s.part"):
        found = folder_status(dataset.path)
    encoded = {"latents of clips": 2, "conditions of prompts": 1}
    assert found.done == {"prompts": 1, "clips": 3, "scores r": 1, **encoded, "rejected by score r": 1}
    assert found.running["scores/s.part"].process == os.getpid()
    assert [text.split(";")[0] for text in found.waits_for] == [
        "2 clips whose files are missing", "scores r of 1 clips", "scores s: 2 of 3 are kept",
    ]  # fmt: skip
    assert folder_status(dataset.path).running == {}


def test_a_run_tells_its_steps_and_whether_it_came_to_its_end(tmp_path: Path) -> None:
    out = claim_folder(tmp_path / "out", {"command": "align dpo", "fit": {"num_steps": 8}})
    (out / "log.jsonl").write_text("".join(json.dumps({"step": step}) + "\n" for step in (1, 2, 3)))
    found = folder_status(out)
    assert (found.what, found.done["steps"], len(found.waits_for)) == ("align dpo", "3 of 8", 1)
    with hold_folder(out):
        assert folder_status(out).waits_for == [] and "this folder" in folder_status(out).running
    (out / "adapter_model.safetensors").touch()
    found = folder_status(out)
    assert (found.waits_for, found.ended) == ([], "adapter_model.safetensors")
    with pytest.raises(DataError, match="neither a dataset .* give one of its folders: out"):
        folder_status(tmp_path)


def test_a_model_that_was_trained_whole_and_clips_to_look_at_come_to_their_end(tmp_path: Path) -> None:
    whole = claim_folder(tmp_path / "whole", {"command": "align sft", "train": "full"})
    assert folder_status(whole).waits_for
    (whole / "model_index.json").touch()
    assert (folder_status(whole).ended, folder_status(whole).waits_for) == ("model_index.json", [])
    asked = {"command": "sample", "prompts": ["a dog", "a cat", "a dog"], "settings": {"per_prompt": 2, "seed": 0}}
    clips = claim_folder(tmp_path / "clips", asked)
    for number in range(4):
        assert folder_status(clips).done["clips"] == f"{number} of 4"
        assert not folder_status(clips).ended and folder_status(clips).waits_for
        (clips / f"{number}.mp4").touch()
    assert (folder_status(clips).ended, folder_status(clips).waits_for) == ("3.mp4", [])
