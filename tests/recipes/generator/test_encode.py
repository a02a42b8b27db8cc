"""Latents and text states follow the content of what they were made of, and nothing is made twice."""

from __future__ import annotations

import json
import os
import shutil
import signal
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from tests.models.generators.small_pipelines import own_clips
from videoalign.contracts.records import Clip, WinLosePair
from videoalign.contracts.video import Video
from videoalign.data.clip_content import input_keys
from videoalign.data.dataset import Dataset
from videoalign.distributed import Processes
from videoalign.errors import DataError
from videoalign.flow.condition import Condition
from videoalign.models.generators.generator import PipelineGenerator
from videoalign.models.generators.wan import WanCodec, WanConditioner, WanNetwork
from videoalign.models.small_wan import TINY_SETTINGS, TINY_SIZES, small_wan_generator
from videoalign.recipes.generator import encode as encode_module
from videoalign.recipes.generator.encode import ClipSettings, clips_of_pairs, encode, encode_reference
from videoalign.recipes.generator.generate import GenerateConfig, generate
from videoalign.training.objectives.flow import PairReference, TimeSettings, stack_references
from videoalign.video.files import write_video

TEXTS = ["a red circle moves left", "a blue square moves right"]
FROM_FILES = ClipSettings(sampler_latents=False)


class Counted:
    """How much went through the parts of a generator: clips encoded, prompts by batch, clips through the network."""

    def __init__(self) -> None:
        self.encoded, self.texts, self.passes = 0, list[int](), 0


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> Counted:
    found = Counted()
    encode_clips, encode_prompts, forward = WanCodec.encode, WanConditioner.encode, WanNetwork.forward

    def clips(self: WanCodec, videos: list[Video]) -> Tensor:
        found.encoded += len(videos)
        return encode_clips(self, videos)

    def prompts(self: WanConditioner, texts: list[str]) -> Condition:
        found.texts.append(len(texts))
        return encode_prompts(self, texts)

    def passes(self: WanNetwork, x_t: Tensor, t: Tensor, condition: Condition) -> Tensor:
        found.passes += len(x_t)
        return forward(self, x_t, t, condition)

    monkeypatch.setattr(WanCodec, "encode", clips)
    monkeypatch.setattr(WanConditioner, "encode", prompts)
    monkeypatch.setattr(WanNetwork, "forward", passes)
    return found


@pytest.fixture
def generator() -> PipelineGenerator:
    return small_wan_generator(TEXTS, TINY_SIZES, settings=TINY_SETTINGS)


@pytest.fixture
def dataset(generator: PipelineGenerator, counted: Counted, tmp_path: Path) -> Dataset:
    """Three clips of each prompt."""
    made = generate(generator, TEXTS, tmp_path / "d", GenerateConfig(per_prompt=3, num_steps=2))
    counted.texts.clear()
    return made


def stored_errors(*args: object, **options: object) -> PairReference:
    """Of all pairs, stacked."""
    return stack_references(encode_reference(*args, **options))  # type: ignore[arg-type]


def pairs_of(dataset: Dataset) -> list[WinLosePair]:
    """Of each prompt its first clip against the second, and against the third."""
    by_prompt: dict[str, list[Clip]] = {}
    for clip in dataset.clips():
        by_prompt.setdefault(clip.prompt_id, []).append(clip)
    return [
        WinLosePair(prompt_id=key, clip_win=a.clip_id, clip_lose=other.clip_id, reward_win=1.0, reward_lose=0.0)
        for key, (a, b, c) in by_prompt.items()
        for other in (b, c)
    ]


def test_a_model_trains_on_the_latents_that_it_sampled_and_reads_no_file_of_its_own(
    dataset: Dataset, generator: PipelineGenerator, counted: Counted
) -> None:
    pairs, clips = pairs_of(dataset), {clip.clip_id: clip for clip in dataset.clips()}
    cache = encode(dataset, generator, clips_of_pairs(dataset, pairs))
    assert counted.encoded == 0
    latents = cache.clips(clips)
    texts = {prompt.prompt_id: prompt.text for prompt in dataset.prompts()}
    for clip_id, clip in clips.items():
        sampled = generator.sampler.latents([texts[clip.prompt_id]], [clip.seed], num_steps=2)[0]
        torch.testing.assert_close(latents[clip_id], sampled, atol=1e-4, rtol=1e-4)
    from_files = encode(dataset, generator, clips_of_pairs(dataset, pairs), FROM_FILES).clips(clips)
    assert counted.encoded == 6
    first = next(iter(clips.values()))
    torch.testing.assert_close(from_files[first.clip_id], generator.codec.encode([dataset.load(first)])[0])
    assert (from_files[first.clip_id] - latents[first.clip_id]).abs().max() > 0.01


def test_a_clip_that_was_replaced_after_its_pairs_were_made_is_refused(
    dataset: Dataset, generator: PipelineGenerator
) -> None:
    clips = dataset.clips()
    keys = dict(zip((clip.clip_id for clip in clips), input_keys(dataset, clips), strict=True))
    pairs = [replace(p, content_win=keys[p.clip_win], content_lose=keys[p.clip_lose]) for p in pairs_of(dataset)]
    encode(dataset, generator, clips_of_pairs(dataset, pairs))
    lost = next(clip for clip in clips if clip.clip_id == pairs[-1].clip_lose)
    shutil.copy(dataset.clip_path(clips[0]), dataset.clip_path(lost))
    with pytest.raises(DataError, match=f"clip '{lost.clip_id}' of .* was replaced after it was scored; score the"):
        encode(dataset, generator, clips_of_pairs(dataset, pairs))
    untold = pairs_of(dataset)  # what was scored: the file as it is now
    encode(dataset, generator, clips_of_pairs(dataset, untold))


def test_without_kept_latents_the_files_are_read(
    generator: PipelineGenerator, counted: Counted, tmp_path: Path
) -> None:
    config = GenerateConfig(per_prompt=3, num_steps=1, keep_latents=False)
    dataset = generate(generator, TEXTS, tmp_path / "d", config)
    assert not (dataset.path / "latents").exists()
    encode(dataset, generator, clips_of_pairs(dataset, pairs_of(dataset)))
    assert counted.encoded == 6


def test_a_run_that_stopped_has_the_latents_of_every_clip_in_its_table(
    generator: PipelineGenerator, counted: Counted, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    decoded, decode = [], WanCodec.decode

    def stopping(self: WanCodec, latents: Tensor, seeds: list[int]) -> list[Video]:
        if len(decoded) == 2:
            raise KeyboardInterrupt
        decoded.append(len(latents))
        return decode(self, latents, seeds)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(WanCodec, "decode", stopping)
        generate(generator, TEXTS, tmp_path / "d", GenerateConfig(per_prompt=3, num_steps=1, batch_size=2))
    dataset = Dataset.open(tmp_path / "d")
    assert len(dataset.clips()) == 4
    generate(generator, TEXTS, dataset, GenerateConfig(per_prompt=3, num_steps=1))
    encode(dataset, generator, clips_of_pairs(dataset, pairs_of(dataset)))
    assert counted.encoded == 0


@pytest.mark.parametrize("settings", [ClipSettings(), FROM_FILES], ids=["sampler", "files"])
def test_a_clip_that_was_replaced_is_encoded_again(
    dataset: Dataset, generator: PipelineGenerator, counted: Counted, settings: ClipSettings
) -> None:
    pairs = pairs_of(dataset)
    clips = {clip.clip_id: clip for clip in dataset.clips()}
    first, other = clips[pairs[0].clip_win], clips[pairs[-1].clip_win]
    before = encode(dataset, generator, clips_of_pairs(dataset, pairs), settings)
    counted.encoded = 0
    write_video(dataset.clip_path(first), Video(dataset.load(first).frames[:, ::-1], 8.0))
    after = encode(dataset, generator, clips_of_pairs(dataset, pairs), settings)
    assert counted.encoded == 1
    ids = [first.clip_id, other.clip_id]
    now, then = after.clips(ids), before.clips(ids)
    torch.testing.assert_close(now[first.clip_id], generator.codec.encode([dataset.load(first)])[0])
    assert torch.equal(now[other.clip_id], then[other.clip_id])
    assert before.identity() != after.identity()
    shutil.copyfile(dataset.clip_path(other), dataset.clip_path(first))  # the content of another is known already
    counted.encoded = 0
    assert torch.equal(
        encode(dataset, generator, clips_of_pairs(dataset, pairs), settings).clips(ids)[first.clip_id],
        then[other.clip_id],
    )
    assert counted.encoded == 0


@pytest.mark.parametrize("change", ["mean", "weight", "text"])
def test_a_corrected_autoencoder_or_text_encoder_makes_its_tensors_again_and_no_others(
    dataset: Dataset, generator: PipelineGenerator, counted: Counted, change: str
) -> None:
    pairs, vae = pairs_of(dataset), generator.pipeline.vae
    encode(dataset, generator, clips_of_pairs(dataset, pairs), FROM_FILES)
    counted.encoded = 0
    counted.texts.clear()
    if change == "mean":
        vae.register_to_config(latents_mean=[0.5] * 12)
    part = vae.encoder if change == "weight" else generator.pipeline.text_encoder
    with torch.no_grad():
        for value in part.parameters() if change != "mean" else ():
            value[..., -1] += 0.125
    cache = encode(dataset, generator, clips_of_pairs(dataset, pairs), FROM_FILES)
    assert (counted.encoded, sum(counted.texts)) == ((0, 2) if change == "text" else (6, 0))
    clip = dataset.clips()[0]
    now = cache.clips([clip.clip_id])[clip.clip_id]
    torch.testing.assert_close(now, generator.codec.encode([dataset.load(clip)])[0], atol=1e-5, rtol=1e-5)
    assert cache.identity() == encode(dataset, generator, clips_of_pairs(dataset, pairs), FROM_FILES).identity()


def test_texts_go_through_the_encoder_in_batches(
    dataset: Dataset, generator: PipelineGenerator, counted: Counted
) -> None:
    encode(dataset, generator, clips_of_pairs(dataset, pairs_of(dataset)), ClipSettings(batch_size=1))
    assert counted.texts == [1, 1]


def test_reference_errors_belong_to_their_pair_wherever_it_stands(
    dataset: Dataset, generator: PipelineGenerator, counted: Counted
) -> None:
    pairs = pairs_of(dataset)
    cache = encode(dataset, generator, clips_of_pairs(dataset, pairs))
    options = {"num_draws": 3, "times": TimeSettings()}
    few = stored_errors(generator, cache, pairs[1:], **options)
    assert counted.passes == 3 * 3 * 2
    counted.passes = 0
    more = stored_errors(generator, cache, pairs, **options)
    assert counted.passes == 3 * 1 * 2  # those of the pair in front alone
    for name, values in vars(few).items():
        assert torch.equal(getattr(more, name)[1:], values)
    assert len(more.noise_seeds.unique()) == 12
    counted.passes = 0
    assert all(
        torch.equal(a, b)
        for a, b in zip(
            vars(stored_errors(generator, cache, pairs, **options)).values(),
            vars(more).values(),
            strict=True,
        )
    )
    assert counted.passes == 0


def test_errors_of_latent_frames_are_kept_and_their_mean_is_the_clips(
    dataset: Dataset, generator: PipelineGenerator
) -> None:
    pairs = pairs_of(dataset)
    cache = encode(dataset, generator, clips_of_pairs(dataset, pairs))
    made = stored_errors(generator, cache, pairs, num_draws=2, times=TimeSettings())
    for side in ("win", "lose"):
        frames, whole = getattr(made, f"frames_{side}"), getattr(made, f"errors_{side}")
        assert frames.shape == (4, 2, generator.codec.latent_shape[1])
        assert frames.std(2).min() > 0
        torch.testing.assert_close(frames.mean(2), whole)


def test_a_run_that_was_killed_loses_one_shard_of_reference_errors(
    dataset: Dataset, generator: PipelineGenerator, counted: Counted, monkeypatch: pytest.MonkeyPatch
) -> None:
    pairs = pairs_of(dataset)
    cache = encode(dataset, generator, clips_of_pairs(dataset, pairs))
    options = {"num_draws": 2, "times": TimeSettings(shift=1.5)}
    monkeypatch.setattr(encode_module, "SHARD_CLIPS", 1)
    forward = WanNetwork.forward

    def killed(self: WanNetwork, x_t: Tensor, t: Tensor, condition: Condition) -> Tensor:
        if counted.passes >= 10:  # in the middle of the third pair
            raise KeyboardInterrupt
        return forward(self, x_t, t, condition)

    with monkeypatch.context() as patch:
        patch.setattr(WanNetwork, "forward", killed)
        with pytest.raises(KeyboardInterrupt):
            stored_errors(generator, cache, pairs, **options)
    counted.passes = 0
    stored_errors(generator, cache, pairs, **options)
    assert counted.passes == 2 * 2 * 2  # the third and the fourth


def test_processes_make_a_shard_of_reference_errors_each(
    dataset: Dataset, generator: PipelineGenerator, monkeypatch: pytest.MonkeyPatch
) -> None:
    pairs = pairs_of(dataset)
    cache = encode(dataset, generator, clips_of_pairs(dataset, pairs))
    together = threading.Barrier(2)

    class Thread(Processes):
        def wait(self) -> None:
            together.wait(timeout=60)

    monkeypatch.setattr(encode_module, "SHARD_CLIPS", 1)
    options = {"num_draws": 2, "times": TimeSettings()}
    with ThreadPoolExecutor(2) as pool:
        made = [
            pool.submit(stored_errors, generator, cache, pairs, processes=Thread(rank, 2), **options)
            for rank in range(2)
        ]
        one, other = (vars(each.result()) for each in made)
    assert len(list(cache.folder.glob("reference-*"))) == len(pairs)  # none was made twice
    alone = vars(stored_errors(generator, cache, pairs, **options))
    for name, values in alone.items():
        assert torch.equal(one[name], values) and torch.equal(other[name], values)


def test_another_attention_has_errors_of_its_own(
    dataset: Dataset, generator: PipelineGenerator, counted: Counted
) -> None:
    pairs = pairs_of(dataset)[:1]
    cache = encode(dataset, generator, clips_of_pairs(dataset, pairs))
    options = {"num_draws": 2, "times": TimeSettings()}
    stored_errors(generator, cache, pairs, **options)
    generator.network.transformer.set_attention_backend("_native_math")
    counted.passes = 0
    stored_errors(generator, cache, pairs, **options)
    assert counted.passes == 2 * 2
    told = json.loads((cache.folder / "latents.json").read_text())
    assert [about["attention"] for name, about in told.items() if name.startswith("reference")] == [
        "native",
        "_native_math",
    ]


def test_reference_errors_are_made_again_when_anything_that_decides_them_changes(
    dataset: Dataset, generator: PipelineGenerator, counted: Counted
) -> None:
    pairs = pairs_of(dataset)[:1]
    cache = encode(dataset, generator, clips_of_pairs(dataset, pairs))

    def errors(**changes: object) -> Tensor:
        options = {"num_draws": 2, "times": TimeSettings(), **changes}
        counted.passes = 0
        return stored_errors(generator, cache, pairs, **options).errors_win

    first = errors()
    for change in ({"num_draws": 3}, {"times": TimeSettings(shift=2.0)}, {"dtype": "bfloat16"}):
        errors(**change)
        assert counted.passes > 0
    assert (errors() == first).all()
    assert counted.passes == 0
    clip = next(clip for clip in dataset.clips() if clip.clip_id == pairs[0].clip_win)
    write_video(dataset.clip_path(clip), Video(dataset.load(clip).frames[:, ::-1], 8.0))
    cache = encode(dataset, generator, clips_of_pairs(dataset, pairs))
    assert not torch.equal(errors(), first)
    swapped = [replace(pairs[0], clip_win=pairs[0].clip_lose, clip_lose=pairs[0].clip_win)]
    counted.passes = 0
    stored_errors(generator, cache, swapped, num_draws=2, times=TimeSettings())
    assert counted.passes == 2 * 2


def test_a_pair_of_two_prompts_is_refused(dataset: Dataset, generator: PipelineGenerator) -> None:
    first, *_, last = pairs_of(dataset)
    with pytest.raises(
        DataError, match=r"is of prompt 'p-.*', its pair of 'p-.*'; both clips of a pair show its prompt"
    ):
        encode(dataset, generator, clips_of_pairs(dataset, [replace(first, clip_lose=last.clip_lose)]))
    with pytest.raises(DataError, match="both clips of a pair show its prompt"):
        encode(dataset, generator, clips_of_pairs(dataset, [first, replace(first, prompt_id=last.prompt_id)]))


def test_sampling_and_decoding_give_the_frames_of_the_pipelines_own_call(generator: PipelineGenerator) -> None:
    made = [video.frames for video in generator.sample(TEXTS, [1, 2])]
    assert np.array_equal(own_clips(generator, TEXTS, [1, 2]), made)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="of systems that can copy a process")
def test_a_run_that_is_killed_loses_a_shard_at_most(
    dataset: Dataset, generator: PipelineGenerator, counted: Counted, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("videoalign.recipes.generator.encode.SHARD_CLIPS", 2)
    settings, ids = ClipSettings(sampler_latents=False, batch_size=1), [clip.clip_id for clip in dataset.clips()]
    child = os.fork()
    if child == 0:
        encode_clips = WanCodec.encode

        def killed(self: WanCodec, videos: list[Video]) -> Tensor:
            if counted.encoded == 5:
                os.kill(os.getpid(), signal.SIGKILL)
            return encode_clips(self, videos)

        WanCodec.encode = killed  # type: ignore[method-assign]
        try:
            encode(dataset, generator, ids, settings)
        finally:
            os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL
    encode(dataset, generator, ids, settings)
    assert counted.encoded == 6 - 4, "of six clips the first four stood in whole shards"
