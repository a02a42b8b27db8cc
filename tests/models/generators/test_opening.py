"""What can be opened, what is refused before any weight is read, and what a model's settings may be."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import huggingface_hub
import pytest
import torch
from diffusers import WanPipeline, WanTransformer3DModel

from videoalign.cli.main import main
from videoalign.errors import ConfigError, ModelError
from videoalign.models.generators import load_generator
from videoalign.models.generators.generator import PipelineGenerator
from videoalign.models.small_wan import TINY_SETTINGS, TINY_SIZES, small_wan_generator

TEXTS = ["a red circle moves left"]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("opening") / "tiny"
    small_wan_generator(TEXTS, TINY_SIZES, settings=TINY_SETTINGS).save_pretrained(folder)
    return folder


@pytest.fixture
def model(whole: Path, tmp_path: Path) -> Path:
    """A copy to be spoilt."""
    return Path(shutil.copytree(whole, tmp_path / "tiny"))


def edit(file: Path, **changes: Any) -> None:
    file.write_text(json.dumps({**json.loads(file.read_text()), **changes}))


def without_weights(model: Path) -> None:
    for file in model.rglob("*.safetensors"):
        file.unlink()


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"_class_name": "LTXConditionPipeline"}, "is an LTXConditionPipeline; wanted a WanPipeline or LTXPipeline"),
        ({"_class_name": "WanVideoToVideoPipeline"}, "is a WanVideoToVideoPipeline; wanted a WanPipeline"),
        ({"_class_name": "WanVACEPipeline"}, "is a WanVACEPipeline; wanted a WanPipeline"),
        ({"_class_name": "CogVideoXPipeline"}, "is a CogVideoXPipeline; wanted a WanPipeline"),
        ({"_class_name": "AnimateDiffPipeline"}, "is an AnimateDiffPipeline; wanted a WanPipeline"),
        ({"transformer_2": ["diffusers", "WanTransformer3DModel"]}, "two transformers without boundary_ratio"),
        ({"transformer": [None, None]}, "lacks the transformer of its WanPipeline; wanted a whole model"),
        ({"_class_name": "LTXPipeline", "vae": [None, None]}, "lacks the vae of its LTXPipeline; wanted a whole model"),
        ({"_class_name": None}, "cannot be opened as a generator"),
    ],
)
def test_another_family_is_told_by_its_class_before_any_weight_is_read(
    model: Path, changes: dict[str, Any], says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    edit(model / "model_index.json", **changes)
    without_weights(model)
    out = model.parent / "out"
    assert main(["sample", "--model", str(model), "--prompt", TEXTS[0], "--out", str(out)]) == 2
    error = capsys.readouterr().err
    assert says in error, error
    assert error.count("\n") == 1
    assert not out.exists()


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"in_channels": 28}, "reads 28 channels where the autoencoder makes 12"),
        ({"image_dim": 16}, "reads an image"),
    ],
)
def test_a_transformer_that_wants_more_than_text_is_refused(model: Path, changes: dict[str, Any], says: str) -> None:
    edit(model / "transformer" / "config.json", **changes)
    without_weights(model)
    with pytest.raises(ModelError, match=says):
        load_generator(model)


def test_a_pipeline_in_memory_is_looked_at_likewise() -> None:
    pipeline: WanPipeline = small_wan_generator(TEXTS, TINY_SIZES, settings=TINY_SETTINGS).pipeline
    wide = WanTransformer3DModel.from_config({**pipeline.transformer.config, "in_channels": 28})
    parts = {**pipeline.components, "transformer": wide}
    with pytest.raises(ModelError, match="28 channels where the autoencoder makes 12"):
        PipelineGenerator(WanPipeline(**parts))
    two = {**pipeline.components, "transformer_2": pipeline.transformer}
    with pytest.raises(ModelError, match="two transformers without boundary_ratio, which says where one ends"):
        PipelineGenerator(WanPipeline(**two))
    with pytest.raises(ConfigError, match=r"num_frames: got 12; .* Set num_frames=9 or num_frames=13\."):
        PipelineGenerator(pipeline, TINY_SETTINGS.model_copy(update={"num_frames": 12}))


@pytest.mark.parametrize("name", ["model_index.json", "vae/config.json", "transformer/config.json"])
@pytest.mark.parametrize("content", [None, "", "[]", "{"])
def test_a_folder_without_a_part_cannot_be_opened(model: Path, name: str, content: str | None) -> None:
    (model / name).unlink()
    if content is not None:
        (model / name).write_text(content)
    with pytest.raises(ModelError, match="cannot be opened|holds no model_index.json"):
        load_generator(model)


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        (
            {"num_frames": 12},
            "num_frames: got 12; 'tiny' wants 1 more than a multiple of 4. Set num_frames=9 or num_frames=13.",
        ),
        ({"num_frames": 3}, "a clip of one frame is a picture, which no reward reads. Set num_frames=5."),
        ({"height": 40}, "height: got 40; 'tiny' wants a multiple of 16. Set height=32 or height=48."),
        ({"width": 8}, "width: got 8; 'tiny' wants a multiple of 16. Set width=16."),
    ],
)
@pytest.mark.parametrize("where", ["file", "argument"])
def test_frames_and_sizes_that_the_model_cannot_make_are_refused_with_the_nearest(
    model: Path, settings: dict[str, int], says: str, where: str
) -> None:
    without_weights(model)
    if where == "file":
        edit(model / "videoalign.json", **settings)
    with pytest.raises(ConfigError) as caught:
        load_generator(model, settings=settings if where == "argument" else None)
    assert says in str(caught.value)


def test_the_embedded_model_is_called_as_it_was_asked_for() -> None:
    with pytest.raises(ConfigError, match="num_frames: got 12; 'sprites' wants"):
        load_generator("sprites", settings={"num_frames": 12})


def test_the_temporal_factor_is_the_autoencoders_own() -> None:
    vae_multipliers = (1, 2)  # halves time once, quarters space
    sizes = TINY_SIZES.model_copy(update={"vae_multipliers": vae_multipliers})
    settings = TINY_SETTINGS.model_copy(update={"num_frames": 7, "height": 48, "width": 32})
    made = small_wan_generator(TEXTS, sizes, settings=settings)
    assert made.sample(TEXTS, [0], num_steps=1)[0].frames.shape == (7, 48, 32, 3)
    with pytest.raises(ConfigError, match="1 more than a multiple of 2"):
        made.changed({"num_frames": 8})
    with pytest.raises(ConfigError, match=r"wants a multiple of 16\. Set height=16 or height=32"):
        made.changed({"height": 24})


def test_settings_of_a_model_can_be_changed_for_one_run(model: Path) -> None:
    changes = {"num_frames": 5, "height": 16, "width": 48, "fps": 4.0, "num_steps": 1, "guidance_scale": None}
    opened = load_generator(model, settings=changes)
    assert opened.settings == TINY_SETTINGS.model_copy(update={k: v for k, v in changes.items() if v is not None})
    [clip] = opened.sample(TEXTS, [1])
    assert (clip.frames.shape, clip.fps) == ((5, 16, 48, 3), 4.0)
    other = opened.changed({"height": 32})
    assert (other.codec.clip_shape, opened.codec.clip_shape) == ((5, 32, 48), (5, 16, 48))
    assert other.pipeline is opened.pipeline
    with pytest.raises(ConfigError, match="unknown setting 'hight'. Did you mean 'height'"):
        load_generator(model, settings={"hight": 16})


Hub = Callable[[Path], str]


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Hub:
    """Puts a model into a hub cache without a network, and gives its id."""

    def put(model: Path) -> str:
        place = tmp_path / "hub" / "models--acme--wan-tiny"
        (place / "refs").mkdir(parents=True)
        (place / "refs" / "main").write_text("0" * 40)
        shutil.copytree(model, place / "snapshots" / ("0" * 40))
        for module in (huggingface_hub.constants, __import__("diffusers").utils.constants):
            for name in ("HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE"):
                if hasattr(module, name):
                    monkeypatch.setattr(module, name, str(tmp_path / "hub"))
        monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
        return "acme/wan-tiny"

    return put


def test_a_hub_id_is_the_same_model_as_its_folder_settings_included(model: Path, hub: Hub) -> None:
    edit(model / "videoalign.json", num_frames=5, fps=12.0)
    here, there = load_generator(model), load_generator(hub(model))
    assert there.settings == here.settings
    assert there.codec.clip_shape == (5, 32, 32)
    assert {**there.identity(), "name": ""} == {**here.identity(), "name": ""}
    assert load_generator("acme/wan-tiny", settings={"num_frames": 9}).codec.clip_shape == (9, 32, 32)


def test_a_hub_id_of_another_family_is_refused_by_its_index(model: Path, hub: Hub) -> None:
    edit(model / "model_index.json", _class_name="LTXConditionPipeline")
    without_weights(model)
    with pytest.raises(ModelError, match="acme/wan-tiny is an LTXConditionPipeline; wanted a WanPipeline"):
        load_generator(hub(model))
    with pytest.raises(ModelError, match="cannot be opened"):
        load_generator("acme/nothing")


def test_precision_and_device_are_chosen_by_name(model: Path) -> None:
    rough, exact = load_generator(model, dtype="bfloat16"), load_generator(model)
    assert (rough.network.transformer.dtype, rough.pipeline.vae.dtype) == (torch.bfloat16, torch.float32)
    assert rough.identity() == exact.identity()
    assert rough.clip_identity() != exact.clip_identity()
    assert load_generator(model, device="auto", dtype="auto").network.device.type in ("cpu", "cuda")
    with pytest.raises(ConfigError, match="--dtype: got 'float8'; wanted auto, float32 or bfloat16"):
        load_generator(model, dtype="float8")
    with pytest.raises(ConfigError, match="--device: cannot use 'gpu' here"):
        load_generator(model, device="gpu")
