"""Folders of models that somebody else wrote, moved or cut short: one line says what is wrong, and nothing is made."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import DDIMScheduler, UniPCMultistepScheduler
from safetensors.torch import load_file, save_file

from tests.models.generators.small_pipelines import TEXTS, build
from videoalign.cli.main import main
from videoalign.errors import ConfigError, DataError, ModelError
from videoalign.models.generators import load_generator
from videoalign.models.generators.generator import PipelineGenerator

WEIGHTS = "diffusion_pytorch_model.safetensors"


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("spoilt") / "tiny"
    PipelineGenerator(build("WanPipeline"), name="tiny").save_pretrained(folder)
    return folder


@pytest.fixture
def model(whole: Path, tmp_path: Path) -> Path:
    """A copy to be spoilt."""
    return Path(shutil.copytree(whole, tmp_path / "tiny"))


def no_tokenizer(model: Path) -> None:
    index = model / "model_index.json"
    index.write_text(json.dumps({**json.loads(index.read_text()), "tokenizer": [None, None]}))


def no_flow(model: Path) -> None:
    index = model / "model_index.json"
    index.write_text(json.dumps({**json.loads(index.read_text()), "scheduler": ["diffusers", "DDIMScheduler"]}))
    DDIMScheduler().save_pretrained(model / "scheduler")


def one_weight_less(model: Path) -> None:
    file = model / "transformer" / WEIGHTS
    kept = {name: value for name, value in load_file(file).items() if name != "proj_out.bias"}
    save_file(kept, file, metadata={"format": "pt"})


def one_word_less(model: Path) -> None:
    file = model / "text_encoder" / "model.safetensors"
    kept = {name: value for name, value in load_file(file).items() if "wo.weight" not in name}
    save_file(kept, file, metadata={"format": "pt"})


def cut_short(model: Path) -> None:
    file = model / "vae" / WEIGHTS
    file.write_bytes(file.read_bytes()[:200])


SPOILT: list[tuple[Callable[[Path], object], str]] = [
    (no_tokenizer, "lacks the tokenizer of its WanPipeline; wanted a whole model."),
    (lambda model: shutil.rmtree(model / "tokenizer"), "cannot be opened as a generator (tokenizer is missing)."),
    (no_flow, "the scheduler of 'tiny', a DDIMScheduler, follows no flow (prediction_type epsilon); wanted"),
    (
        lambda model: (model / "transformer" / WEIGHTS).rename(
            model / "transformer" / WEIGHTS.replace(".", ".fp16.", 1)
        ),
        "(transformer holds diffusion_pytorch_model.fp16.safetensors and no weights without a variant in their name).",
    ),
    (one_weight_less, "(transformer: 1 of its weights are in no file, such as proj_out.bias)."),
    (one_word_less, "(text_encoder: 1 of its weights are in no file, such as encoder.block.0.layer.1"),
    (cut_short, "(vae: "),
]


@pytest.mark.parametrize(("spoil", "says"), SPOILT)
def test_a_spoilt_folder_is_one_line_that_names_the_part(
    model: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str], spoil: Callable[[Path], object], says: str
) -> None:
    spoil(model)
    asked = ["sample", "--model", str(model), "--prompt", TEXTS[0], "--out", str(tmp_path / "o"), "num_steps=1"]
    assert main(asked) == 2
    error = capfd.readouterr().err
    assert says in error and error.startswith("error: --model: ") and error.count("\n") == 1
    assert not (tmp_path / "o").exists()


def test_weights_in_several_files_or_of_an_old_kind_are_the_same_model_and_read_in_silence(
    whole: Path, model: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    made = build("WanPipeline")
    for part, size in (("transformer", "20KB"), ("text_encoder", "2KB")):
        shutil.rmtree(model / part)
        getattr(made, part).save_pretrained(model / part, max_shard_size=size)
        assert len(list((model / part).glob("*.safetensors"))) > 1
    file = model / "vae" / WEIGHTS
    torch.save(load_file(file), file.with_suffix(".bin"))
    file.unlink()
    capfd.readouterr()
    found, want = (load_generator(folder).sample(TEXTS[:1], [1], num_steps=1)[0] for folder in (model, whole))
    assert np.array_equal(found.frames, want.frames)
    assert capfd.readouterr().err == ""


def test_a_scheduler_that_the_pipeline_cannot_call_is_refused() -> None:
    pipeline = build("LTXPipeline")
    pipeline.scheduler = UniPCMultistepScheduler(prediction_type="flow_prediction", use_flow_sigmas=True)
    PipelineGenerator(pipeline, name="tiny")
    pipeline.scheduler.set_timesteps = lambda num_inference_steps, device=None: None
    with pytest.raises(
        ModelError, match="a UniPCMultistepScheduler, takes no sigmas, which its pipeline gives; wanted"
    ):
        PipelineGenerator(pipeline, name="tiny")


def test_settings_that_would_change_nothing_or_cannot_be_met_are_refused_before_anything_is_made(
    whole: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    long = " ".join(TEXTS * 9)
    for words, says in (
        (["embedded_guidance=3"], "embedded_guidance: got 3, but 'tiny' is told no scale; leave it out, or set guid"),
        (
            ["negative_prompt=a blue square", "guidance_scale=1"],
            "negative_prompt: got 'a blue square', but 'tiny' samp",
        ),
        ([f"negative_prompt={long}"], "negative_prompt: 'a red circle moves left"),
        (["negative_prompt=a green hat"], "negative_prompt: 'a green hat' has words that 'tiny' does not know"),
        (["fps=inf"], "setting 'fps' got 'inf': Input should be a finite number."),
        (["--adapter", "a", "--adapter-strength", "nan"], "--adapter-strength: got nan; wanted a number, such as 0.7."),
    ):
        asked = ["sample", "--model", str(whole), "--prompt", TEXTS[0], "--out", str(tmp_path / "o"), *words]
        assert main(asked) == 2
        error = capfd.readouterr().err
        assert says in error and error.count("\n") == 1 and not (tmp_path / "o").exists()
    generator = load_generator(whole)
    with pytest.raises(ConfigError, match="embedded_guidance"):
        generator.changed({"embedded_guidance": 2.0})
    with pytest.raises(DataError, match="negative_prompt"):
        generator.changed({"negative_prompt": long})
    assert generator.changed({"negative_prompt": "", "guidance_scale": 1.0}).settings.guidance_scale == 1.0
