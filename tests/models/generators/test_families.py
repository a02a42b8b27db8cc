"""What holds of every family of generators: it is the stock pipeline, turned round to the convention of the package."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import DiffusionPipeline
from torch import Tensor

from tests.models.generators.small_pipelines import SMALL, TEXTS, Small, build, class_of, wan_image
from videoalign.contracts.records import Asked, WinLosePair
from videoalign.contracts.video import Video
from videoalign.errors import ConfigError, ModelError
from videoalign.flow.path import interpolate
from videoalign.models.generators import load_generator
from videoalign.models.generators.families import FAMILIES
from videoalign.models.generators.generator import PipelineGenerator
from videoalign.models.latent_reward import LatentRewardModel
from videoalign.models.lora import LoraSettings
from videoalign.models.network_adapters import add_adapters, drop_adapters, load_adapters, reference_of, save_adapters
from videoalign.models.small_wan import TINY_SETTINGS, TINY_SIZES, small_wan_pipeline
from videoalign.recipes.generator.align import align
from videoalign.recipes.generator.align_methods import DpoConfig
from videoalign.recipes.generator.generate import GenerateConfig, generate
from videoalign.sampling.guided import GuidedScheduler, RewardGuide
from videoalign.training.loop import FitConfig
from videoalign.training.objectives.flow import TimeSettings

SEEDS = [3, 4]


@dataclass(frozen=True)
class Opened:
    """A small model of a family, saved as its pipeline saves it and opened by us."""

    name: str
    small: Small
    folder: Path
    generator: PipelineGenerator

    def ask(self, *texts: str) -> list[Asked]:
        """What our generator is asked for."""
        return self.small.ask(self.folder, texts or TEXTS)

    def noise(self) -> Tensor:
        """Of `SEEDS`."""
        return torch.stack([self.generator.sampler.noise(seed) for seed in SEEDS])

    @cached_property
    def pipeline(self) -> Any:
        pipeline = DiffusionPipeline.from_pretrained(self.folder)
        pipeline.set_progress_bar_config(disable=True)
        return pipeline

    def stock(self, scale: float) -> Any:
        """The pipeline as diffusers opens it; the scale is that of its guider, where it has one."""
        if self.small.guidance is None:
            self.pipeline.guider = type(self.pipeline.guider)(guidance_scale=scale)
            self.pipeline.vae.enable_slicing()  # its attention fails on a batch
        return self.pipeline

    def inputs(self, scale: float, **own: Any) -> dict[str, Any]:
        """All that the stock pipeline's call is given for the clips of `TEXTS` and `SEEDS`."""
        settings = self.small.settings
        return {
            "prompt": TEXTS,
            "negative_prompt": ["", ""] if scale > 1 else None,
            "latents": self.small.laid(self.noise()),
            "num_inference_steps": settings.num_steps,
            "generator": self.small.generators(SEEDS),
            **self.small.shown(self.folder),
            **({self.small.guidance: scale} if self.small.guidance else {}),
            **(self.small.unguided if scale <= 1 else {}),
            **self.small.size(),
            **self.small.call,
            **own,
        }


def open_small(name: str, root: Path, pipeline: Any = None) -> Opened:
    folder = root / "tiny"
    made = PipelineGenerator(build(name) if pipeline is None else pipeline, SMALL[name].settings, "tiny")
    made.save_pretrained(folder)
    return Opened(name, SMALL[name], folder, load_generator(folder))


@pytest.fixture(scope="module", params=SMALL)
def opened(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Opened:
    return open_small(request.param, tmp_path_factory.mktemp(request.param))


def test_every_family_has_a_small_pipeline() -> None:
    assert set(map(class_of, SMALL)) == FAMILIES.keys()


@pytest.mark.parametrize("scale", [1.0, 3.0])
def test_our_clip_is_that_of_the_stock_pipelines_own_call(opened: Opened, scale: float) -> None:
    stock = opened.stock(scale)
    inside = stock(**opened.inputs(scale, output_type="latent"))[0]
    ours = opened.generator.sampler.latents(opened.ask(), SEEDS, guidance_scale=scale)
    torch.testing.assert_close(opened.small.returned(stock, ours), inside.float(), rtol=0, atol=1e-4)
    frames = stock(**opened.inputs(scale, output_type="np"))[0]
    for theirs, clip in zip(frames, opened.generator.sample(opened.ask(), SEEDS, guidance_scale=scale), strict=True):
        assert np.abs((theirs * 255).round() - clip.frames.astype(int)).max() <= 1


def test_our_velocity_is_what_the_pipelines_own_call_hands_to_its_scheduler(
    opened: Opened, monkeypatch: pytest.MonkeyPatch
) -> None:
    stock = opened.stock(1.0)
    stepped, plain = [], type(stock.scheduler).step
    predict = stock.transformer.forward

    def step(scheduler: Any, output: Tensor, timestep: Tensor, sample: Tensor, **options: Any) -> Any:
        if scheduler is stock.scheduler:
            stepped.append((output, float(timestep), sample))
        return plain(scheduler, output, timestep, sample, **options)

    def forward(*inputs: Any, **named: Any) -> Any:
        return predict(*inputs, **{**named, **opened.small.trained})

    monkeypatch.setattr(type(stock.scheduler), "step", step)
    if opened.small.trained:
        monkeypatch.setattr(stock.transformer, "forward", forward)
    stock(**opened.inputs(1.0, output_type="latent"))
    condition, small = opened.generator.conditioner.encode(opened.ask()), opened.small
    ours, shape = [], opened.generator.codec.latent_shape
    for output, timestep, sample in stepped:
        t = timestep / 1000 if small.sign > 0 else 1 - timestep / 1000
        x = torch.zeros(len(SEEDS), *shape)
        x = _unlaid(small, sample, x)
        with torch.no_grad():
            ours.append(small.sign * small.laid(opened.generator.network(x, torch.full((2,), t), condition)))
        torch.testing.assert_close(ours[-1], output.float(), rtol=1e-4, atol=1e-5)
    assert len(ours) == small.settings.num_steps


def _unlaid(small: Small, sample: Tensor, like: Tensor) -> Tensor:
    """The latents that lie as this sample does, found by where each number goes."""
    places = small.laid(torch.arange(like.numel()).reshape(like.shape)).reshape(-1)
    return torch.empty(like.numel()).scatter_(0, places, sample.float().reshape(-1)).reshape(like.shape)


def test_a_network_that_knows_the_answer_has_no_error_and_the_pipeline_ends_at_the_data(
    opened: Opened, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = torch.randn(2, *opened.generator.codec.latent_shape, generator=torch.Generator().manual_seed(0))
    noise, small = opened.noise(), opened.small

    def knows(hidden_states: Tensor, *_: Any, **told: Any) -> tuple[Tensor, ...]:
        answer = small.sign * small.laid(noise - data)
        return answer.repeat(len(hidden_states) // 2, *[1] * (answer.ndim - 1)), *small.besides(told)

    monkeypatch.setattr(opened.generator.network.transformer, "forward", knows)
    t = torch.tensor([0.3, 0.9])
    condition = opened.generator.conditioner.encode(opened.ask())
    v = opened.generator.network(interpolate(data, noise, t), t, condition)
    torch.testing.assert_close(v, noise - data, rtol=1e-6, atol=1e-6)
    made = opened.generator.sampler.latents(opened.ask(), SEEDS, guidance_scale=1.0, num_steps=4)
    given = small.given_frames
    torch.testing.assert_close(made[:, :, given:], data[:, :, given:], rtol=0, atol=1e-2)
    if given:
        torch.testing.assert_close(made[:, :, :given], condition["beginning"], rtol=0, atol=1e-5)


def test_the_transformer_is_told_the_time_of_its_family(opened: Opened, monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[Tensor] = []
    transformer, plain = opened.generator.network.transformer, opened.generator.network.transformer.forward

    def forward(*inputs: Any, **named: Any) -> Any:
        told.append(named["timestep"] if "timestep" in named else inputs[1])
        return plain(*inputs, **named)

    monkeypatch.setattr(transformer, "forward", forward)
    t = torch.tensor([0.25, 0.5])
    with torch.no_grad():
        opened.generator.network(opened.noise(), t, opened.generator.conditioner.encode(opened.ask()))
    torch.testing.assert_close(told[0].float(), opened.small.told(t))


def test_a_row_does_not_depend_on_the_rows_beside_it(opened: Opened) -> None:
    generator, x, t = opened.generator, opened.noise(), torch.tensor([0.3, 0.8])
    texts = opened.ask(TEXTS[0], "a")
    with torch.no_grad():
        both = generator.network(x, t, generator.conditioner.encode(texts))
        for row in range(2):
            one = slice(row, row + 1)
            alone = generator.network(x[one], t[one], generator.conditioner.encode(texts[one]).split()[0])
            torch.testing.assert_close(alone, both[one], rtol=1e-4, atol=1e-5)
        other = generator.network(x, t, generator.conditioner.encode(opened.ask()))
    assert (other - both)[1].abs().max() > 1e-4, "the text counts"


def clip_of(opened: Opened) -> Video:
    shape = (*opened.generator.codec.clip_shape, 3)
    frames = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    return Video(frames=frames, fps=opened.small.settings.fps)


def test_latents_are_the_autoencoders_own_and_come_back_as_its_own_decoding(opened: Opened) -> None:
    """Latents of our codec, given to the pipeline as the noise of no step, decode as what our codec decodes."""
    codec, vae, clip = opened.generator.codec, opened.generator.pipeline.vae, clip_of(opened)
    latents = codec.encode([clip])
    assert latents.shape[1:] == codec.latent_shape
    pixels = torch.from_numpy(clip.frames).permute(3, 0, 1, 2)[None].float() / 127.5 - 1
    with torch.no_grad():
        still = opened.small.still
        raw = vae.encode(pixels[:, :, 0] if still else pixels).latent_dist.mode()
    raw = raw[:, :, None] - vae.config.shift_factor if still else raw
    mean, std = (torch.as_tensor(part) for part in _moments(vae, raw.shape[1]))
    scale = getattr(vae.config, "scaling_factor", 1.0)
    moved = (raw - mean.reshape(1, -1, 1, 1, 1)) * scale / std.reshape(1, -1, 1, 1, 1)
    torch.testing.assert_close(latents, moved, rtol=1e-5, atol=1e-5)
    again = codec.decode(latents, [3])[0]
    assert again.frames.shape == clip.frames.shape and again.fps == clip.fps
    [same], [other] = codec.decode(latents, [3]), codec.decode(latents, [4])
    assert np.array_equal(same.frames, again.frames)
    assert np.array_equal(other.frames, again.frames) != bool(opened.small.settings.decode_noise_scale)


def _moments(vae: Any, channels: int) -> tuple[Any, Any]:
    for holder in (vae.config, vae):
        if getattr(holder, "latents_mean", None) is not None:
            return holder.latents_mean, holder.latents_std
    return torch.zeros(channels), torch.ones(channels)


STOCK = """
import os, sys, torch
from diffusers import DiffusionPipeline
from PIL import Image
NAME = "pytorch_lora_weights.safetensors"
for folder in sys.argv[1:]:
    pipe = DiffusionPipeline.from_pretrained(f"{folder}/tiny")
    if hasattr(pipe, "load_lora_weights"):
        pipe.load_lora_weights(f"{folder}/a")
    else:
        pipe.transformer.load_lora_adapter(f"{folder}/a", prefix="transformer", weight_name=NAME)
    if os.path.isdir(f"{folder}/a/transformer_2"):
        pipe.load_lora_weights(f"{folder}/a/transformer_2", load_into_transformer_2=True)
    inputs = torch.load(f"{folder}/inputs.pt")
    if "image" in inputs:
        inputs["image"] = Image.open(inputs["image"])
    inputs["generator"] = [torch.Generator().manual_seed(seed) for seed in inputs["generator"]]
    torch.save(pipe(**inputs, output_type="latent")[0], f"{folder}/out.pt")
assert not any(module.startswith("videoalign") for module in sys.modules)
"""
"""A process of somebody who has diffusers alone."""


def test_stock_diffusers_samples_with_our_adapters_what_we_sample(tmp_path: Path) -> None:
    ours: dict[Path, Tensor] = {}
    two = small_wan_pipeline(TEXTS, TINY_SIZES.model_copy(update={"boundary": 0.6}), settings=TINY_SETTINGS, seed=1)
    experts = {"WanPipeline": two, "WanImageToVideoPipeline": wan_image(boundary=0.6)}
    for name, pipeline in [*((name, None) for name in SMALL), *experts.items()]:
        folder = tmp_path / f"{name}{'' if pipeline is None else '-2'}"
        opened = open_small(name, folder, pipeline)
        generator = opened.generator
        plain = generator.sampler.latents(opened.ask(), SEEDS)
        parameters = add_adapters(generator.network, LoraSettings(rank=3, alpha=5, targets="attention+ffn"))
        draws = torch.Generator().manual_seed(7)
        with torch.no_grad():
            for value in parameters.values():
                value.copy_(0.2 * torch.randn(value.shape, generator=draws))
        save_adapters(generator.network, folder / "a", generator.identity())
        made = generator.sampler.latents(opened.ask(), SEEDS)
        assert (made - plain).abs().max() > 0.01
        drop_adapters(generator.network)
        load_adapters(generator.network, folder / "a", base=generator.identity())
        torch.testing.assert_close(generator.sampler.latents(opened.ask(), SEEDS), made, rtol=0, atol=1e-4)
        inputs = opened.inputs(opened.small.settings.guidance_scale)
        inputs |= {"image": inputs["image"].filename} if "image" in inputs else {}
        inputs["generator"] = [draw.initial_seed() for draw in inputs["generator"]]
        torch.save(inputs, folder / "inputs.pt")
        ours[folder] = opened.small.returned(generator.pipeline, made)
    script = tmp_path / "stock.py"
    script.write_text(STOCK)
    done = subprocess.run([sys.executable, script, *map(str, ours)], capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0, done.stderr[-2000:]
    for folder, made in ours.items():
        torch.testing.assert_close(made, torch.load(folder / "out.pt").float(), rtol=0, atol=2e-4, msg=str(folder))


def test_flow_dpo_separates_a_few_pairs_and_leaves_the_reference_as_it_was(opened: Opened, tmp_path: Path) -> None:
    generator = opened.generator
    options = GenerateConfig(per_prompt=2, num_steps=2, guidance_scale=1.0, check_steps=False)
    dataset = generate(generator, opened.ask(), tmp_path / "d", options)
    by_prompt: dict[str, list[str]] = {}
    for clip in dataset.clips():
        by_prompt.setdefault(clip.prompt_id, []).append(clip.clip_id)
    pairs = [
        WinLosePair(prompt_id=key, clip_win=a, clip_lose=b, reward_win=1.0, reward_lose=0.0)
        for key, (a, b) in by_prompt.items()
    ]
    dataset.write_pairs("p", pairs)
    x, t, condition = opened.noise(), torch.tensor([0.3, 0.8]), generator.conditioner.encode(opened.ask())
    with torch.no_grad():
        before = generator.network(x, t, condition)
    fit = FitConfig(num_steps=35, batch_size=2, learning_rate=5e-3, warmup_steps=0)
    times, lora = TimeSettings(law="logit_normal"), LoraSettings(rank=8, targets="attention+ffn")
    config = DpoConfig(fit=fit, beta=500.0, lora=lora, times=times)
    run = align("dpo", dataset, generator, "p", tmp_path / "a", config)
    assert run.history[0]["loss"] == pytest.approx(np.log(2), abs=1e-3)
    assert np.mean([row["implicit_accuracy"] for row in run.history[-15:]]) > 0.95
    load_adapters(generator.network, run.adapter, base=generator.identity())
    try:
        with torch.no_grad():
            assert (generator.network(x, t, condition) - before).abs().max() > 1e-3
            with reference_of(generator.network):
                assert torch.equal(generator.network(x, t, condition), before)
    finally:
        drop_adapters(generator.network)


def test_a_reward_reads_the_generators_own_tokens_and_steers_it(opened: Opened, tmp_path: Path) -> None:
    generator, transformer = opened.generator, opened.generator.network.transformer
    made = LatentRewardModel.from_transformer(
        transformer, ["VQ"], num_blocks=1, seed=3, constants=generator.network.constants
    )
    made.save_pretrained(tmp_path)
    reward = LatentRewardModel.from_pretrained(tmp_path)
    x, t, condition = opened.noise(), torch.tensor([0.3, 0.8]), generator.conditioner.encode(opened.ask())
    seen: dict[str, Tensor] = {}
    trunk = FAMILIES[class_of(opened.name)].trunk
    assert trunk is not None
    first = getattr(transformer, trunk.blocks)[0]
    at = trunk.tokens_at
    handle = first.register_forward_hook(lambda *a: seen.update(theirs=a[2][at] if isinstance(a[2], tuple) else a[2]))
    reward.norm.register_forward_pre_hook(lambda _, inputs: seen.update(ours=inputs[0]))
    with torch.no_grad():
        generator.network(x, t, condition)
        handle.remove()
        reward.score(x, t, condition)
    torch.testing.assert_close(seen["ours"], seen["theirs"], rtol=1e-5, atol=1e-5)
    latents = {}
    for strength in (0.0, 30.0):
        guide = RewardGuide(reward, {"VQ": 1.0}, strength)
        latents[strength] = generator.sampler.latents(
            opened.ask(), SEEDS, wrap_scheduler=lambda scheduler, told, g=guide: GuidedScheduler(scheduler, g, told)
        )
    torch.testing.assert_close(latents[0.0], generator.sampler.latents(opened.ask(), SEEDS), rtol=0, atol=1e-5)
    with torch.no_grad():
        plain, steered = (reward.score(made, torch.full((2,), 0.05), condition)[:, 0] for made in latents.values())
    assert (steered > plain).all()


def test_sizes_that_the_model_cannot_make_are_refused_with_the_nearest(opened: Opened, tmp_path: Path) -> None:
    folder = shutil.copytree(opened.folder, tmp_path / "tiny")
    for file in folder.rglob("*.safetensors"):
        file.unlink()
    for setting, (value, nearest) in opened.small.wrong_sizes.items():
        for where in (opened.generator.changed, lambda changes: load_generator(folder, settings=changes)):
            with pytest.raises(ConfigError, match=rf"^{setting}: got {value}; 'tiny' wants .* Set {nearest}\.$"):
                where({setting: value})


def test_a_transformer_that_reads_something_else_is_refused_before_its_weights(opened: Opened, tmp_path: Path) -> None:
    assert opened.small.wrong_parts is not None
    changes, says = opened.small.wrong_parts
    folder = shutil.copytree(opened.folder, tmp_path / "tiny")
    for file in folder.rglob("*.safetensors"):
        file.unlink()
    config = folder / "transformer" / "config.json"
    config.write_text(json.dumps({**json.loads(config.read_text()), **changes}))
    with pytest.raises(ModelError, match=says):
        load_generator(folder)


def test_a_model_without_settings_of_ours_samples_what_its_pipeline_does(opened: Opened) -> None:
    found = FAMILIES[class_of(opened.name)].defaults
    assert {name: getattr(found, name) for name in opened.small.defaults} == opened.small.defaults


def test_identities_change_with_what_decides_them(opened: Opened) -> None:
    generator = opened.generator
    slower = generator.changed({"fps": 4.0})
    assert slower.network.identity() == generator.network.identity()
    assert slower.codec.identity() == generator.codec.identity()
    reads_fps = "fps" in generator.conditioner.names
    assert (slower.conditioner.identity() != generator.conditioner.identity()) == reads_fps
    assert slower.clip_identity() != generator.clip_identity()
    condition = generator.conditioner.encode(opened.ask())
    assert tuple(condition.tensors) == generator.conditioner.names
    assert dict(condition.lengths) == dict(generator.conditioner.lengths)
