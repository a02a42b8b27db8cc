"""Latents and text states follow the content of what they were made of, and nothing is made twice."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from videoalign.contracts.records import Clip, WinLosePair
from videoalign.contracts.video import Video
from videoalign.data.clip_content import input_keys
from videoalign.data.dataset import Dataset
from videoalign.errors import DataError
from videoalign.models.generators.wan import WanGenerator
from videoalign.models.small_wan import TINY_SETTINGS, TINY_SIZES, small_wan_generator
from videoalign.recipes.generator.encode import ClipSettings, encode, encode_reference
from videoalign.recipes.generator.generate import GenerateConfig, generate
from videoalign.training.objectives.flow import TimeSettings
from videoalign.video.files import write_video

TEXTS = ["a red circle moves left", "a blue square moves right"]
FROM_FILES = ClipSettings(sampler_latents=False)


class Counting(WanGenerator):
    """Counts what goes through its parts."""

    def __init__(self, inner: WanGenerator) -> None:
        super().__init__(inner.pipeline, inner.settings, inner.name)
        self.encoded, self.texts, self.passes = 0, [], 0

    def encode(self, videos: list[Video]) -> Tensor:  # type: ignore[override]
        self.encoded += len(videos)
        return super().encode(videos)

    def encode_text(self, prompts: list[str]) -> Tensor:  # type: ignore[override]
        self.texts.append(len(prompts))
        return super().encode_text(prompts)

    def velocity(self, x_t: Tensor, t: Tensor, text: Tensor) -> Tensor:
        self.passes += len(x_t)
        return super().velocity(x_t, t, text)


@pytest.fixture
def generator() -> Counting:
    return Counting(small_wan_generator(TEXTS, TINY_SIZES, settings=TINY_SETTINGS))


@pytest.fixture
def dataset(generator: Counting, tmp_path: Path) -> Dataset:
    """Three clips of each prompt."""
    made = generate(generator, TEXTS, tmp_path / "d", GenerateConfig(per_prompt=3, num_steps=2))
    generator.texts.clear()
    return made


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
    dataset: Dataset, generator: Counting
) -> None:
    pairs, clips = pairs_of(dataset), {clip.clip_id: clip for clip in dataset.clips()}
    cache = encode(dataset, generator, pairs)
    assert generator.encoded == 0
    latents = cache.clips(clips)
    texts = {prompt.prompt_id: prompt.text for prompt in dataset.prompts()}
    for clip_id, clip in clips.items():
        sampled = generator.sample_latents([texts[clip.prompt_id]], [clip.seed], num_steps=2)[0]
        torch.testing.assert_close(latents[clip_id], sampled, atol=1e-4, rtol=1e-4)
    from_files = encode(dataset, generator, pairs, FROM_FILES).clips(clips)
    assert generator.encoded == 6
    first = next(iter(clips.values()))
    torch.testing.assert_close(from_files[first.clip_id], generator.encode([dataset.load(first)])[0])
    assert (from_files[first.clip_id] - latents[first.clip_id]).abs().max() > 0.01


def test_a_clip_that_was_replaced_after_its_pairs_were_made_is_refused(dataset: Dataset, generator: Counting) -> None:
    clips = dataset.clips()
    keys = dict(zip((clip.clip_id for clip in clips), input_keys(dataset, clips), strict=True))
    pairs = [replace(p, content_win=keys[p.clip_win], content_lose=keys[p.clip_lose]) for p in pairs_of(dataset)]
    encode(dataset, generator, pairs)
    lost = next(clip for clip in clips if clip.clip_id == pairs[-1].clip_lose)
    shutil.copy(dataset.clip_path(clips[0]), dataset.clip_path(lost))
    with pytest.raises(DataError, match=f"clip '{lost.clip_id}' of .* was replaced after it was scored; score the"):
        encode(dataset, generator, pairs)
    encode(dataset, generator, pairs_of(dataset))  # pairs that do not tell what was scored: the file as it is now


def test_without_kept_latents_the_files_are_read(generator: Counting, tmp_path: Path) -> None:
    config = GenerateConfig(per_prompt=3, num_steps=1, keep_latents=False)
    dataset = generate(generator, TEXTS, tmp_path / "d", config)
    assert not (dataset.path / "latents").exists()
    encode(dataset, generator, pairs_of(dataset))
    assert generator.encoded == 6


def test_a_run_that_stopped_has_the_latents_of_every_clip_in_its_table(generator: Counting, tmp_path: Path) -> None:
    class Stopping(Counting):
        def decode(self, latents: Tensor) -> list[Video]:
            if self.encoded == 2:
                raise KeyboardInterrupt
            self.encoded += 1
            return super().decode(latents)

    with pytest.raises(KeyboardInterrupt):
        generate(Stopping(generator), TEXTS, tmp_path / "d", GenerateConfig(per_prompt=3, num_steps=1, batch_size=2))
    dataset = Dataset.open(tmp_path / "d")
    assert len(dataset.clips()) == 4
    generate(generator, TEXTS, dataset, GenerateConfig(per_prompt=3, num_steps=1))
    encode(dataset, generator, pairs_of(dataset))
    assert generator.encoded == 0


@pytest.mark.parametrize("settings", [ClipSettings(), FROM_FILES], ids=["sampler", "files"])
def test_a_clip_that_was_replaced_is_encoded_again(
    dataset: Dataset, generator: Counting, settings: ClipSettings
) -> None:
    pairs = pairs_of(dataset)
    clips = {clip.clip_id: clip for clip in dataset.clips()}
    first, other = clips[pairs[0].clip_win], clips[pairs[-1].clip_win]
    before = encode(dataset, generator, pairs, settings)
    generator.encoded = 0
    write_video(dataset.clip_path(first), Video(dataset.load(first).frames[:, ::-1], 8.0))
    after = encode(dataset, generator, pairs, settings)
    assert generator.encoded == 1
    ids = [first.clip_id, other.clip_id]
    now, then = after.clips(ids), before.clips(ids)
    torch.testing.assert_close(now[first.clip_id], generator.encode([dataset.load(first)])[0])
    assert torch.equal(now[other.clip_id], then[other.clip_id])
    assert before.identity() != after.identity()
    shutil.copyfile(dataset.clip_path(other), dataset.clip_path(first))  # the content of another is known already
    generator.encoded = 0
    assert torch.equal(encode(dataset, generator, pairs, settings).clips(ids)[first.clip_id], then[other.clip_id])
    assert generator.encoded == 0


@pytest.mark.parametrize("change", ["mean", "weight", "text"])
def test_a_corrected_autoencoder_or_text_encoder_makes_its_tensors_again_and_no_others(
    dataset: Dataset, generator: Counting, change: str
) -> None:
    pairs, vae = pairs_of(dataset), generator.pipeline.vae
    encode(dataset, generator, pairs, FROM_FILES)
    generator.encoded = 0
    generator.texts.clear()
    if change == "mean":
        vae.register_to_config(latents_mean=[0.5] * 12)
    part = vae.encoder if change == "weight" else generator.pipeline.text_encoder
    with torch.no_grad():
        for value in part.parameters() if change != "mean" else ():
            value[..., -1] += 0.125
    cache = encode(dataset, generator, pairs, FROM_FILES)
    assert (generator.encoded, sum(generator.texts)) == ((0, 2) if change == "text" else (6, 0))
    clip = dataset.clips()[0]
    now = cache.clips([clip.clip_id])[clip.clip_id]
    torch.testing.assert_close(now, generator.encode([dataset.load(clip)])[0], atol=1e-5, rtol=1e-5)
    assert cache.identity() == encode(dataset, generator, pairs, FROM_FILES).identity()


def test_texts_go_through_the_encoder_in_batches(dataset: Dataset, generator: Counting) -> None:
    encode(dataset, generator, pairs_of(dataset), ClipSettings(batch_size=1))
    assert generator.texts == [1, 1]


def test_reference_errors_belong_to_their_pair_wherever_it_stands(dataset: Dataset, generator: Counting) -> None:
    pairs = pairs_of(dataset)
    cache = encode(dataset, generator, pairs)
    options = {"num_draws": 3, "times": TimeSettings()}
    few = encode_reference(generator, cache, pairs[1:], **options)  # type: ignore[arg-type]
    assert generator.passes == 3 * 3 * 2
    generator.passes = 0
    more = encode_reference(generator, cache, pairs, **options)  # type: ignore[arg-type]
    assert generator.passes == 3 * 1 * 2  # those of the pair in front alone
    for name, values in vars(few).items():
        assert torch.equal(getattr(more, name)[1:], values)
    assert len(more.noise_seeds.unique()) == 12
    generator.passes = 0
    assert all(
        torch.equal(a, b)
        for a, b in zip(
            vars(encode_reference(generator, cache, pairs, **options)).values(),  # type: ignore[arg-type]
            vars(more).values(),
            strict=True,
        )
    )
    assert generator.passes == 0


def test_reference_errors_are_made_again_when_anything_that_decides_them_changes(
    dataset: Dataset, generator: Counting
) -> None:
    pairs = pairs_of(dataset)[:1]
    cache = encode(dataset, generator, pairs)

    def errors(**changes: object) -> Tensor:
        options = {"num_draws": 2, "times": TimeSettings(), **changes}
        generator.passes = 0
        return encode_reference(generator, cache, pairs, **options).errors_win  # type: ignore[arg-type]

    first = errors()
    for change in ({"num_draws": 3}, {"times": TimeSettings(shift=2.0)}, {"dtype": "bfloat16"}):
        errors(**change)
        assert generator.passes > 0
    assert (errors() == first).all()
    assert generator.passes == 0
    clip = next(clip for clip in dataset.clips() if clip.clip_id == pairs[0].clip_win)
    write_video(dataset.clip_path(clip), Video(dataset.load(clip).frames[:, ::-1], 8.0))
    cache = encode(dataset, generator, pairs)
    assert not torch.equal(errors(), first)
    swapped = [replace(pairs[0], clip_win=pairs[0].clip_lose, clip_lose=pairs[0].clip_win)]
    generator.passes = 0
    encode_reference(generator, cache, swapped, num_draws=2, times=TimeSettings())
    assert generator.passes == 2 * 2


def test_a_pair_of_two_prompts_is_refused(dataset: Dataset, generator: Counting) -> None:
    first, *_, last = pairs_of(dataset)
    with pytest.raises(
        DataError, match=r"is of prompt 'p-.*', its pair of 'p-.*'; both clips of a pair show its prompt"
    ):
        encode(dataset, generator, [replace(first, clip_lose=last.clip_lose)])
    with pytest.raises(DataError, match="both clips of a pair show its prompt"):
        encode(dataset, generator, [first, replace(first, prompt_id=last.prompt_id)])


def test_sampling_and_decoding_give_the_frames_of_the_pipelines_own_call(generator: Counting) -> None:
    text, negative = generator.encode_text(TEXTS), generator.encode_text([""])
    stock = generator.pipeline(
        prompt_embeds=text,
        negative_prompt_embeds=negative.expand_as(text),
        latents=torch.stack([generator.noise(seed) for seed in (1, 2)]),
        num_frames=9,
        height=32,
        width=32,
        num_inference_steps=4,
        guidance_scale=3.0,
    ).frames
    for frames, video in zip(stock, generator.sample(TEXTS, [1, 2]), strict=True):
        assert np.array_equal((frames * 255).round().astype(np.uint8), video.frames)
