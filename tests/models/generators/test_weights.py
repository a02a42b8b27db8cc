"""Weights are read when a part is used, stand where it runs, and are let go of; clips and identities do not notice."""

from __future__ import annotations

import gc
import shutil
import weakref
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import AutoencoderKLWan, WanPipeline, WanTransformer3DModel
from transformers import UMT5EncoderModel

from tests.models.generators.small_pipelines import SMALL, build
from videoalign.cli.main import main
from videoalign.contracts.records import WinLosePair
from videoalign.contracts.video import Video
from videoalign.data.dataset import Dataset
from videoalign.errors import ConfigError, ModelError
from videoalign.models.generators import load_generator
from videoalign.models.generators.generator import PipelineGenerator
from videoalign.models.generators.opening import open_pipeline
from videoalign.models.generators.weights import placed, weights_of
from videoalign.models.lora import LoraSettings
from videoalign.models.network_adapters import load_adapters
from videoalign.models.small_wan import TINY_SETTINGS, TINY_SIZES, small_wan_generator
from videoalign.recipes.generator.align import align
from videoalign.recipes.generator.align_methods import method_config
from videoalign.recipes.generator.encode import clips_of_pairs, encode
from videoalign.recipes.generator.generate import GenerateConfig, generate
from videoalign.recipes.generator.guide import train_guide
from videoalign.recipes.generator.guide_settings import GuideTrainConfig
from videoalign.training.loop import FitConfig

TEXTS = ["a red circle moves left", "a blue square moves right"]
FIT = FitConfig(num_steps=1, batch_size=1, warmup_steps=0)
KINDS = {AutoencoderKLWan: "vae", UMT5EncoderModel: "text", WanTransformer3DModel: "transformer"}


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("weights") / "tiny"
    small_wan_generator(TEXTS, TINY_SIZES, settings=TINY_SETTINGS).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def dataset(model: Path) -> Dataset:
    """Two clips of each prompt, of which nothing was kept but the files, with pairs ``p`` and scores ``r``."""
    config = GenerateConfig(per_prompt=2, num_steps=1, keep_latents=False, check_steps=False)
    made = generate(load_generator(model), TEXTS, model.parent / "d", config)
    pairs = [
        WinLosePair(prompt_id=a.prompt_id, clip_win=a.clip_id, clip_lose=b.clip_id, reward_win=1.0, reward_lose=0.0)
        for a, b in zip(made.clips()[::2], made.clips()[1::2], strict=True)
    ]
    made.write_pairs("p", pairs)
    scored = [dict.fromkeys(made.dimensions, float(place)) for place in range(4)]
    made.write_scores(
        "r",
        [{"clip_id": c.clip_id, "raw": s, "normalised": s} for c, s in zip(made.clips(), scored, strict=True)],
    )
    return made


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The parts whose weights are read, in order."""
    found: list[str] = []
    for kind, name in KINDS.items():

        def spy(*args: Any, kind: Any = kind, name: str = name, plain: Any = kind.from_pretrained, **more: Any) -> Any:
            found.append(name)
            return plain(*args, **more)

        monkeypatch.setattr(kind, "from_pretrained", spy)
    return found


def opened(generator: PipelineGenerator) -> set[str]:
    weights = weights_of(generator.pipeline)
    assert weights is not None
    return {KINDS[type(part)] for part in weights.opened(generator.pipeline)}  # type: ignore[index]


def test_encode_reads_one_part_after_the_other_and_a_training_on_its_latents_the_transformer_alone(
    model: Path, dataset: Dataset, read: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    generator, beside = load_generator(model), list[set[str]]()
    plain = AutoencoderKLWan.from_pretrained

    def looking(*args: Any, **more: Any) -> Any:
        beside.append(opened(generator))
        return plain(*args, **more)

    monkeypatch.setattr(AutoencoderKLWan, "from_pretrained", looking)
    encode(dataset, generator, clips_of_pairs(dataset, dataset.pairs("p")))
    assert read == ["text", "vae"]
    assert beside == [set()], "the text encoder was let go of before the autoencoder was read"
    assert opened(generator) == set()
    read.clear()
    for method, more in (("sft", {}), ("dpo", {"reference_draws": 1})):
        config = method_config(method)(fit=FIT, lora=LoraSettings(rank=2), **more)
        align(method, dataset, load_generator(model), "p", tmp_path / method, config)
        assert read == ["transformer"]
        read.clear()
    train_guide(dataset, load_generator(model), tmp_path / "g", GuideTrainConfig(fit=FIT), scores="r")
    assert read == ["transformer"]


def test_a_model_that_is_let_go_of_is_gone(model: Path) -> None:
    def open_one() -> list[weakref.ref[Any]]:
        generator = load_generator(model)
        generator.identity()
        outlines = list(generator.pipeline.components.values())
        with placed(generator.pipeline):
            parts = [*outlines, *generator.pipeline.components.values()]
        return [weakref.ref(part) for part in parts if isinstance(part, torch.nn.Module)]

    parts = open_one()
    gc.collect()
    assert len(parts) == 6 and [part for part in parts if part() is not None] == []


def test_what_a_model_is_can_be_told_without_its_weights(model: Path, read: list[str], tmp_path: Path) -> None:
    generator = load_generator(model)
    told = generator.identity()
    assert (generator.codec.latent_shape, generator.codec.fps) == ((12, 3, 4, 4), 8.0)
    generator.conditioner.check(TEXTS)
    assert {name: tuple(p.shape) for name, p in generator.outline.transformers["transformer"].named_parameters()}
    assert read == []
    whole = PipelineGenerator(WanPipeline.from_pretrained(model), generator.settings, "tiny")
    assert told == whole.identity() == {**load_generator(model, dtype="bfloat16").identity()}
    whole.pipeline.save_pretrained(tmp_path / "old", safe_serialization=False)
    (tmp_path / "old" / "videoalign.json").write_text((model / "videoalign.json").read_text())
    assert {**load_generator(tmp_path / "old").identity(), "name": "tiny"} == told, "weights of an old kind"


def test_clips_are_those_of_the_pipeline_opened_whole_also_after_parts_were_let_go_of(model: Path) -> None:
    generator = load_generator(model)
    whole = PipelineGenerator(WanPipeline.from_pretrained(model), generator.settings, "tiny")
    first = generator.sample(TEXTS, [1, 2], num_steps=2)
    identity = generator.clip_identity()
    network = generator.network
    assert network is generator.network
    generator.free("codec", "conditioner", "network")
    assert opened(generator) == set()
    for clips in (first, generator.sample(TEXTS, [1, 2], num_steps=2)):
        for clip, other in zip(clips, whole.sample(TEXTS, [1, 2], num_steps=2), strict=True):
            far = np.abs(clip.frames.astype(int) - other.frames.astype(int)).max()
            assert far <= 1, "a grey level: weights that are mapped lie elsewhere than those that are copied"
    assert generator.clip_identity() == identity == whole.clip_identity()
    assert generator.network.transformers["transformer"] is generator.pipeline.transformer
    with torch.no_grad():
        next(generator.pipeline.transformer.parameters()).add_(0.5)
    generator.free("network")
    assert opened(generator) >= {"transformer"}, "what was changed would be lost"
    assert generator.identity() != whole.identity()


@pytest.fixture(params=["model", "sequential"])
def offloaded(request: pytest.FixtureRequest, model: Path) -> PipelineGenerator:
    """As on a graphics card, but that parts are brought to the processor, where they are."""
    pipeline, settings = open_pipeline(model, {}, dtype=torch.float32, device="cpu", offload=request.param)
    return PipelineGenerator(pipeline, settings, "tiny")


def test_parts_that_are_kept_off_make_the_same_latents_conditions_and_clips(
    model: Path, dataset: Dataset, offloaded: PipelineGenerator, tmp_path: Path
) -> None:
    plain = load_generator(model)
    adapter = align(
        "sft", dataset, plain, "p", tmp_path / "a", method_config("sft")(fit=FIT, lora=LoraSettings(rank=2))
    ).adapter
    videos = [dataset.load(clip) for clip in dataset.clips()[:2]]
    both = plain, offloaded
    one, other = (generator.conditioner.encode(TEXTS)["text"] for generator in both)
    torch.testing.assert_close(one, other)
    one, other = (generator.codec.encode(videos) for generator in both)
    torch.testing.assert_close(one, other)
    for with_adapter in (False, True):
        if with_adapter:
            for generator in both:
                load_adapters(generator.network, adapter, base=generator.identity())
        one, other = (generator.sampler.latents(TEXTS, [1, 2], num_steps=2) for generator in both)
        torch.testing.assert_close(one, other)
        assert plain.clip_identity() == offloaded.clip_identity()
        parts = [getattr(offloaded.pipeline, name) for name in ("vae", "text_encoder", "transformer")]
        assert {value.device.type for part in parts for value in part.parameters()} == {"cpu"}
        assert not any(hasattr(module, "_hf_hook") for part in parts for module in part.modules())


@pytest.mark.parametrize("name", SMALL)
def test_of_every_family_one_part_works_without_the_others_and_all_make_the_same(name: str, tmp_path: Path) -> None:
    whole = PipelineGenerator(build(name), name="tiny")
    whole.save_pretrained(tmp_path / "tiny")
    asked = SMALL[name].ask(tmp_path)
    frames = np.random.default_rng(0).integers(0, 255, (2, *whole.codec.clip_shape, 3), dtype=np.uint8)
    videos = [Video(each, whole.codec.fps) for each in frames]
    want, encoded = whole.conditioner.encode(asked).tensors, whole.codec.encode(videos)
    latents = whole.sampler.latents(asked, [1, 2], num_steps=2)
    clips = whole.codec.decode(latents)
    for offload in ("none", "sequential"):
        pipeline, settings = open_pipeline(tmp_path / "tiny", {}, dtype=torch.float32, device="cpu", offload=offload)
        parts = PipelineGenerator(pipeline, settings, "tiny")
        weights = weights_of(pipeline)
        assert weights is not None
        got = parts.conditioner.encode(asked).tensors
        for key, value in want.items():
            torch.testing.assert_close(got[key], value, atol=1e-5, rtol=1e-4)
        opened = {name for name in weights.outlines if getattr(pipeline, name) in weights.opened(pipeline)}
        assert all(name.startswith(("text_encoder", "image_encoder", "connectors", "vae")) for name in opened)
        assert SMALL[name].picture == (pipeline.vae in weights.opened(pipeline))
        parts.free("conditioner")
        torch.testing.assert_close(parts.codec.encode(videos), encoded, atol=1e-4, rtol=1e-3)
        assert weights.opened(pipeline) == [pipeline.vae]
        parts.free("codec")
        made = parts.sampler.latents(asked, [1, 2], num_steps=2)
        torch.testing.assert_close(made, latents, atol=1e-4, rtol=1e-3)
        for clip, same in zip(parts.codec.decode(latents), clips, strict=True):
            assert np.abs(clip.frames.astype(int) - same.frames).max() <= 1


def test_a_training_wants_its_layers_where_they_run(dataset: Dataset, model: Path, tmp_path: Path) -> None:
    pipeline, settings = open_pipeline(model, {}, dtype=torch.float32, device="cpu", offload="sequential")
    generator = PipelineGenerator(pipeline, settings, "tiny")
    with pytest.raises(ConfigError, match="--offload: got 'sequential'; a training keeps the transformer"):
        align("sft", dataset, generator, "p", tmp_path / "a")
    with pytest.raises(ConfigError, match="--offload: got 'sequential'; a training keeps the transformer"):
        train_guide(dataset, generator, tmp_path / "a", scores="r")
    assert not (tmp_path / "a").exists()


@pytest.mark.parametrize(
    ("offload", "says"),
    [
        ("model", "--offload: 'model' keeps what does not run off the graphics card, but the model runs on cpu"),
        ("sequential", "--offload: 'sequential' keeps"),
        ("disk", "--offload: got 'disk'; wanted none, model or sequential"),
    ],
)
def test_every_command_refuses_an_offload_that_does_nothing_here(
    model: Path, dataset: Dataset, tmp_path: Path, offload: str, says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "prompts.txt").write_text("\n".join(TEXTS))
    one, data, out = ["--model", str(model)], [str(dataset.path), "--model", str(model)], ["--out", str(tmp_path / "o")]
    file = ["--prompts", str(tmp_path / "prompts.txt")]
    for command in (
        ["generate", *one, *file, *out],
        ["sample", *one, "--prompt", TEXTS[0], *out],
        ["encode", *data, "--pairs", "p"],
        ["align", "sft", *data, "--pairs", "p", *out],
        ["guide", "train", *data, "--reward", "r", *out],
        ["evaluate", "--base", str(model), "--candidate", str(model), *file, "--judge", "oracle", *out],
    ):
        assert main([*command, "--device", "cpu", "--offload", offload]) == 2
        error = capsys.readouterr().err
        assert says in error and error.count("\n") == 1
        assert not (tmp_path / "o").exists()


def test_weights_that_cannot_be_read_are_one_line_and_leave_nothing(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    copy = Path(shutil.copytree(model, tmp_path / "tiny"))
    (tmp_path / "prompts.txt").write_text(TEXTS[0])
    (file,) = (copy / "transformer").glob("*.safetensors")
    whole = file.read_bytes()
    for content in (whole[: len(whole) // 2], b"", None):
        if content is None:
            file.unlink()
        else:
            file.write_bytes(content)
        with pytest.raises(ModelError, match="cannot be opened as a generator"):
            load_generator(copy).network  # noqa: B018
        made = [
            "generate",
            "--model",
            str(copy),
            "--prompts",
            str(tmp_path / "prompts.txt"),
            "--out",
            str(tmp_path / "o"),
        ]
        assert main(made) == 2
        assert capsys.readouterr().err.count("\n") == 1
        assert not (tmp_path / "o").exists()


def test_tiles_are_part_of_what_latents_are_and_slices_are_not(model: Path, dataset: Dataset) -> None:
    plain = load_generator(model)
    tiled, sliced = plain.changed({"vae_tiling": True}), plain.changed({"vae_slicing": True})
    assert plain.codec.identity() == sliced.codec.identity() != tiled.codec.identity()
    assert plain.clip_identity() == sliced.clip_identity() != tiled.clip_identity()
    large = {"height": 64, "width": 64, "num_frames": 5}
    video = [Video(np.random.default_rng(0).integers(0, 255, (5, 64, 64, 3), dtype=np.uint8), 8.0)]
    whole = plain.changed({**large, "vae_tiling": False}).codec.encode(video)
    vae = plain.pipeline.vae
    vae.tile_sample_min_height = vae.tile_sample_min_width = 32
    vae.tile_sample_stride_height = vae.tile_sample_stride_width = 16
    parts = plain.changed({**large, "vae_tiling": True}).codec.encode(video)
    assert parts.shape == whole.shape and (parts - whole).abs().max() > 1e-4
    one = plain.changed({"vae_tiling": False, "vae_slicing": True}).codec.encode([dataset.load(dataset.clips()[0])] * 2)
    torch.testing.assert_close(one[0], one[1])
