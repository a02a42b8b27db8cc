from __future__ import annotations

import copy
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil
from transformers.models.qwen3_vl.processing_qwen3_vl import Qwen3VLProcessor
from transformers.models.qwen3_vl.video_processing_qwen3_vl import Qwen3VLVideoProcessor

from videoalign.contracts.video import Video
from videoalign.errors import ModelError, VideoError
from videoalign.models.videoreward import VideoReward
from videoalign.models.videoreward.backbone import FRAME_ATTENTION, ModelInputs, hidden_states, position_ids
from videoalign.models.videoreward.families import FAMILIES, find_family
from videoalign.models.videoreward.processing import ReadingLimits, VideoProcessor, clip_timing, patchify
from videoalign.models.videoreward.tuning import Tuning, finish_tuning, part_of, prepare_tuning

LIMITS = ReadingLimits(fps=4.0, min_frame_pixels=48 * 48, max_frame_pixels=48 * 48)
PROMPTS = ["a red circle moves left", "one cross , blue , grows", "the yellow square moves up and stays there for long"]
NEW = ("qwen2_5_vl", "qwen3_vl")


def make(bases: dict[str, Path], kind: str, **options: object) -> VideoReward:
    return VideoReward.from_base(bases[kind], **{"limits": LIMITS, **options}).eval()  # type: ignore[arg-type]


def batch(reward: VideoReward, clips: list[Video]) -> ModelInputs:
    return reward.inputs([reward.processor.read(clip) for clip in clips], PROMPTS[: len(clips)])


def transformers_states(base: Path, reward: VideoReward, inputs: ModelInputs) -> torch.Tensor:
    """Last hidden states of the whole model of transformers on the same batch."""
    whole = reward.family.whole.from_pretrained(base).eval()
    ids = inputs.input_ids
    pace = {"second_per_grid_ts": inputs.seconds_per_patch} if reward.family.kind == "qwen2_5_vl" else {}
    plain = torch.arange(ids.shape[1]).expand(3, *ids.shape)
    with torch.no_grad():
        whole.resize_token_embeddings(len(reward.chat.tokenizer), mean_resizing=False)
        whole.get_input_embeddings().weight[reward.token_ids] = reward.tokens
        return whole.model(
            input_ids=ids,
            attention_mask=(torch.arange(ids.shape[1]) < inputs.lengths[:, None]).long(),
            position_ids=plain if reward.settings.positions == "plain" else None,
            pixel_values_videos=inputs.pixels,
            video_grid_thw=inputs.grids,
            mm_token_type_ids=2 * (ids == reward.chat.video_id).int(),
            **pace,
        ).last_hidden_state


@pytest.mark.parametrize("positions", ["plain", "mrope"])
@pytest.mark.parametrize("kind", FAMILIES)
def test_hidden_states_are_those_of_transformers(
    bases: dict[str, Path], clips: list[Video], kind: str, positions: str
) -> None:
    reward = make(bases, kind, positions=positions)
    inputs = batch(reward, clips)
    assert len(set(inputs.lengths.tolist())) == len(set(map(tuple, inputs.grids.tolist()))) == 3
    expected = transformers_states(bases[kind], reward, inputs)
    embeddings = reward.backbone.get_input_embeddings()(inputs.input_ids.where(inputs.input_ids < 400, 0))
    for token, row in zip(reward.token_ids, reward.tokens, strict=True):
        embeddings = embeddings.where((inputs.input_ids != token)[..., None], row)
    with torch.no_grad():
        states = hidden_states(reward.backbone, inputs, embeddings, positions)
    real = torch.arange(inputs.input_ids.shape[1]) < inputs.lengths[:, None]
    assert (states - expected)[real].abs().max() < 1e-5
    at_tokens = torch.stack([expected[inputs.input_ids == token] for token in reward.token_ids], dim=1)
    with torch.no_grad():
        assert (reward(inputs) - at_tokens @ reward.head.weight[0]).abs().max() < 1e-5


@pytest.mark.parametrize("kind", FAMILIES)
def test_a_clips_score_depends_neither_on_its_batch_nor_on_how_frames_run_together(
    bases: dict[str, Path], clips: list[Video], kind: str
) -> None:
    reward = make(bases, kind)
    together = reward.score_raw(clips, PROMPTS)
    alone = np.concatenate([reward.score_raw([clip], [prompt]) for clip, prompt in zip(clips, PROMPTS, strict=True)])
    assert np.abs(together - alone).max() < 1e-5
    assert np.ptp(together, axis=0).min() > 1e-3
    visual = reward.backbone.visual.config
    assert visual._attn_implementation == FRAME_ATTENTION
    visual._attn_implementation = "sdpa"
    one_by_one = np.concatenate(
        [reward.score_raw([clip], [prompt]) for clip, prompt in zip(clips, PROMPTS, strict=True)]
    )
    assert np.abs(alone - one_by_one).max() < 1e-5


@pytest.mark.parametrize("kind", FAMILIES)
def test_changing_the_prompt_leaves_vq_and_mq_and_moves_ta(
    bases: dict[str, Path], clips: list[Video], kind: str
) -> None:
    reward = make(bases, kind)
    moved = np.abs(reward.score_raw(clips, PROMPTS) - reward.score_raw(clips, PROMPTS[::-1]))
    assert moved[:, :2].max() < 1e-5
    assert moved[[0, 2], 2].min() > 1e-4


@pytest.mark.parametrize("kind", FAMILIES)
def test_a_saved_reward_scores_the_same_and_lora_is_merged_into_it(
    bases: dict[str, Path], clips: list[Video], tmp_path: Path, kind: str
) -> None:
    reward = make(bases, kind)
    raw = reward.score_raw(clips, PROMPTS)
    reward.save_pretrained(tmp_path / "r")
    again = VideoReward.from_pretrained(tmp_path / "r")
    assert again.family is FAMILIES[kind]
    assert again.settings == reward.settings
    weights = again.state_dict()
    assert all(torch.equal(weight, weights[name]) for name, weight in reward.state_dict().items())
    assert np.abs(again.score_raw(clips, PROMPTS) - raw).max() < 1e-6
    prepare_tuning(again, Tuning(language="lora", vision="frozen", lora_rank=2, lora_alpha=4))
    trained = {name for name, p in again.named_parameters() if p.requires_grad}
    assert {part_of(name) for name in trained} == {"language", "tokens", "head"}
    assert all("lora_" in name for name in trained if part_of(name) == "language")
    assert np.abs(again.score_raw(clips, PROMPTS) - raw).max() < 1e-6  # new adapters change nothing
    with torch.no_grad():
        for name, parameter in again.named_parameters():
            if "lora_B" in name:
                parameter.normal_(0, 0.05, generator=torch.Generator().manual_seed(0))
    tuned = again.score_raw(clips, PROMPTS)
    assert np.abs(tuned - raw).max() > 1e-3
    finish_tuning(again)
    assert not any("lora" in name for name, _ in again.named_parameters())
    assert np.abs(again.score_raw(clips, PROMPTS) - tuned).max() < 1e-5
    again.save_pretrained(tmp_path / "tuned")
    assert np.abs(VideoReward.from_pretrained(tmp_path / "tuned").score_raw(clips, PROMPTS) - tuned).max() < 1e-5


@pytest.mark.parametrize("kind", FAMILIES)
def test_gradients_reach_every_weight_of_the_backbone(bases: dict[str, Path], clips: list[Video], kind: str) -> None:
    reward = make(bases, kind)
    prepare_tuning(reward, Tuning())
    reward(batch(reward, clips)).sum().backward()
    unreached = {name for name, p in reward.named_parameters() if p.grad is None or not p.grad.abs().max() > 0}
    assert unreached == set()


def test_patches_stand_in_the_order_of_the_published_processors() -> None:
    frames = torch.rand(6, 3, 64, 96)
    theirs, *grid = Qwen3VLVideoProcessor().patchify(frames[None], patch_size=16, merge_size=2, temporal_patch_size=2)
    ours, our_grid = patchify(frames, 16, 2, 2)
    assert torch.equal(ours, theirs[0])
    assert list(our_grid) == grid
    still = frames[:1].expand(2, -1, -1, -1)
    theirs, *grid = Qwen2VLImageProcessorPil().patchify(
        frames[0].numpy(), patch_size=16, merge_size=2, temporal_patch_size=2
    )
    ours, our_grid = patchify(still, 16, 2, 2)
    assert np.array_equal(ours.numpy(), theirs)
    assert list(our_grid) == [1, *grid]


@pytest.mark.parametrize(
    ("kind", "published"),
    [
        ("qwen2_vl", Qwen2VLImageProcessorPil),
        ("qwen2_5_vl", Qwen2VLImageProcessorPil),
        ("qwen3_vl", Qwen3VLVideoProcessor),
    ],
)
def test_grey_levels_are_scaled_as_the_published_processor_does(kind: str, published: type) -> None:
    family, theirs = find_family(kind), published()
    processor = VideoProcessor(LIMITS, patch=2, merge=1, temporal=2, mean=family.mean, std=family.std)
    levels = torch.tensor([0, 51, 255], dtype=torch.uint8).repeat_interleave(8)
    mean, std = (torch.tensor(values)[:, None] for values in (theirs.image_mean, theirs.image_std))
    expected = (levels.view(3, 8) / 255 - mean) / std
    assert torch.allclose(processor.normalise(levels[None])[0].view(3, 8), expected, atol=1e-6)


def test_default_limits_are_counted_in_places_of_the_language_model() -> None:
    class Vision:
        patch_size, spatial_merge_size, temporal_patch_size = 14, 2, 2

    assert find_family("qwen2_vl").processor(Vision).limits == ReadingLimits()
    Vision.patch_size = 16
    limits = find_family("qwen3_vl").processor(Vision).limits
    assert (limits.min_frame_pixels, limits.max_frame_pixels) == (128 * 32 * 32, 512 * 512)


def test_patches_know_when_they_are_shown() -> None:
    indices = [0, 2, 5, 7]
    timing = clip_timing(indices, 8, 4.0, 2)
    assert timing.middles == (0.25, 1.5)
    assert list(timing.middles) == Qwen3VLProcessor._calculate_timestamps(None, indices, 4.0, 2)
    assert timing.seconds_per_patch == 1.0  # two seconds in two patches


def test_qwen3_reads_each_patch_after_its_time(bases: dict[str, Path]) -> None:
    reward = make(bases, "qwen3_vl", limits=ReadingLimits(fps=2.0, min_frame_pixels=1024, max_frame_pixels=1024))
    clip = reward.processor.read(Video(np.zeros((8, 32, 32, 3), dtype=np.uint8), 4.0))
    assert clip.grid == (2, 4, 4)
    text = reward.chat.tokenizer.decode(reward._row(clip, "a red circle"))
    places = "<|video_pad|>" * 4
    assert text.startswith(
        f"<|im_start|>user\n<0.2 seconds><|vision_start|>{places}<|vision_end|>"
        f"<1.5 seconds><|vision_start|>{places}<|vision_end|>Rate the clip.\n"
    )
    assert (text.count("<|vision_start|>"), text.count("<|vision_end|>")) == (2, 2)


def test_the_time_axis_of_qwen2_5_runs_with_the_seconds_of_the_clip(bases: dict[str, Path]) -> None:
    reward = make(bases, "qwen2_5_vl", limits=ReadingLimits(fps=1.0, min_frame_pixels=1024, max_frame_pixels=1024))
    frames = np.random.default_rng(0).integers(0, 256, (8, 32, 32, 3), dtype=np.uint8)
    inputs = batch(reward, [Video(frames, 4.0), Video(frames, 1.0)])
    assert inputs.grids[:, 0].tolist() == [2, 4]
    assert inputs.seconds_per_patch.tolist() == [1.0, 2.0]
    rows = position_ids(reward.backbone, inputs)
    for number, step in enumerate((2, 4)):  # two positions a second
        times = rows[0, number][inputs.input_ids[number] == reward.chat.video_id]
        assert times.unique().diff().tolist() == [step] * (len(times.unique()) - 1)


@pytest.mark.parametrize("kind", NEW)
def test_frames_of_unknown_time_are_refused_where_time_is_read(bases: dict[str, Path], kind: str) -> None:
    reward = make(bases, kind)
    clip = reward.processor.read_frames(np.zeros((4, 48, 48, 3), dtype=np.uint8))
    with pytest.raises(VideoError, match="not known"):
        reward.score_patches([clip], PROMPTS[:1])


def test_new_families_start_with_the_positions_they_were_trained_with(bases: dict[str, Path]) -> None:
    assert {kind: make(bases, kind).settings.positions for kind in FAMILIES} == {
        "qwen2_vl": "plain",
        "qwen2_5_vl": "mrope",
        "qwen3_vl": "mrope",
    }
    assert "system" not in make(bases, "qwen3_vl").settings.template
    assert "You are a helpful assistant." in make(bases, "qwen2_5_vl").settings.template


def test_an_unknown_kind_is_refused_with_those_that_are_known(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "llava"}))
    with pytest.raises(ModelError, match="it is a 'llava' model; wanted one of qwen2_vl, qwen2_5_vl, qwen3_vl"):
        VideoReward.from_base(tmp_path)


@pytest.mark.parametrize("kind", FAMILIES)
def test_patches_taken_in_as_a_product_are_those_of_the_convolution(
    bases: dict[str, Path], kind: str, clips: list[Video]
) -> None:
    reward = make(bases, kind)
    pixels = batch(reward, clips[:2]).pixels
    embed = copy.deepcopy(reward).backbone.visual.patch_embed
    convolved = embed(pixels)
    assert convolved.requires_grad
    with torch.no_grad():
        product = embed(pixels)
        torch.testing.assert_close(product, convolved.detach(), rtol=1e-5, atol=1e-6)
        embed.proj.weight.mul_(2)
        assert (embed(pixels) - product).abs().max() > 0.01
        torch.testing.assert_close(reward.backbone.visual.patch_embed(pixels), product, rtol=1e-5, atol=1e-6)
