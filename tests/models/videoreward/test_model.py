from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import Qwen2VLForConditionalGeneration

from videoalign.contracts.records import DEFAULT_DIMENSIONS, Dimension
from videoalign.contracts.reward import RewardModel
from videoalign.contracts.video import Video
from videoalign.errors import ConfigError, DataError, ModelError
from videoalign.models.videoreward import VideoReward
from videoalign.models.videoreward.backbone import FRAME_ATTENTION, hidden_states, video_features
from videoalign.models.videoreward.extend import extend_reward
from videoalign.models.videoreward.processing import ReadingLimits
from videoalign.models.videoreward.prompt import default_template
from videoalign.models.videoreward.settings import Ties
from videoalign.models.videoreward.tuning import PARTS, Tuning, part_of, prepare_tuning

LIMITS = ReadingLimits(fps=4.0, min_frame_pixels=32 * 32, max_frame_pixels=32 * 32)
PROMPTS = ["a red circle moves left", "one cross , blue , grows", "the yellow square moves up and stays there for long"]


def test_it_is_a_reward_model(reward: VideoReward) -> None:
    assert isinstance(reward, RewardModel)
    assert reward.dimensions == ("VQ", "MQ", "TA")


def test_changing_the_prompt_leaves_vq_and_mq_and_moves_ta(reward: VideoReward, clips: list[Video]) -> None:
    before = reward.score_raw(clips, PROMPTS)
    after = reward.score_raw(clips, PROMPTS[::-1])
    assert np.abs(after - before)[:, :2].max() < 1e-5
    assert np.abs(after - before)[[0, 2], 2].min() > 1e-4
    assert after[1] == pytest.approx(before[1], abs=1e-5)  # the middle prompt stayed


def test_a_clips_score_does_not_depend_on_its_batch(reward: VideoReward, clips: list[Video]) -> None:
    together = reward.score_raw(clips, PROMPTS)
    alone = np.concatenate([reward.score_raw([clip], [prompt]) for clip, prompt in zip(clips, PROMPTS, strict=True)])
    pairs = reward.score_raw(clips, PROMPTS, batch_size=2)
    assert np.abs(together - alone).max() < 1e-5
    assert np.abs(together - pairs).max() < 1e-5
    assert np.ptp(together, axis=0).min() > 1e-3  # clips that differ score differently


def test_a_saved_reward_scores_the_same(reward: VideoReward, clips: list[Video], tmp_path: Path) -> None:
    raw = reward.score_raw(clips, PROMPTS)
    reward.set_normalisation(raw)
    reward.save_pretrained(tmp_path / "r")
    again = VideoReward.from_pretrained(tmp_path / "r")
    assert again.name == "r"
    assert again.settings == reward.settings
    assert np.abs(again.score_raw(clips, PROMPTS) - raw).max() < 1e-6
    normalised = again.score_videos(clips, PROMPTS)
    assert normalised.mean(0) == pytest.approx(np.zeros(3), abs=1e-3)
    assert normalised.std(0) == pytest.approx(np.ones(3), abs=1e-3)


def test_without_normalisation_only_raw_scores_are_given(reward: VideoReward, clips: list[Video]) -> None:
    with pytest.raises(ModelError, match="no normalisation"):
        reward.score_videos(clips, PROMPTS)


def test_two_raw_scores_tell_how_likely_each_verdict_is(reward: VideoReward) -> None:
    equal, ahead = np.zeros((1, 3)), np.full((1, 3), np.log(2))
    with pytest.raises(ModelError, match="trained without ties"):
        reward.verdict_probabilities(equal, equal)
    ties = Ties(law="btt", width={"VQ": 5.0, "MQ": 5.0, "TA": 2.0})
    reward.settings = reward.settings.model_copy(update={"ties": ties})
    likely = reward.verdict_probabilities(ahead, equal)
    assert likely.shape == (1, 3, 3)
    assert likely[0, 0] == pytest.approx([2 / 7, 48 / 77, 1 / 11])
    assert likely[0, 2] == pytest.approx([1 / 2, 3 / 10, 1 / 5])  # e^d = 2 and theta = 2
    assert reward.verdict_probabilities(equal, ahead)[0] == pytest.approx(likely[0, :, ::-1])
    ties = Ties(law="davidson", width={"VQ": 4.0, "MQ": 1.0, "TA": 1.0})
    reward.settings = reward.settings.model_copy(update={"ties": ties})
    assert reward.verdict_probabilities(equal, equal)[0, :, 1] == pytest.approx([2 / 3, 1 / 3, 1 / 3])


def test_normalisation_wants_clips_that_differ(reward: VideoReward) -> None:
    with pytest.raises(DataError, match="1 clips"):
        reward.set_normalisation(np.zeros((1, 3)))
    with pytest.raises(DataError, match="2 clips"):
        reward.set_normalisation(np.array([[0.0, 1.0, 2.0], [0.0, 2.0, 3.0]]))


def test_a_row_per_dimension_takes_the_diagonal(tiny_base: Path, clips: list[Video]) -> None:
    own = VideoReward.from_base(tiny_base, shared_head=False).eval()
    shared = VideoReward.from_base(tiny_base).eval()
    with torch.no_grad():
        shared.tokens.copy_(own.tokens)
    for k in range(3):
        with torch.no_grad():
            shared.head.weight.copy_(own.head.weight[k : k + 1])
        one, other = (model.score_raw(clips[:1], PROMPTS[:1])[0, k] for model in (own, shared))
        assert one == pytest.approx(other, abs=1e-6)


def test_any_number_of_dimensions_with_any_names(tiny_base: Path, clips: list[Video]) -> None:
    dimensions = [Dimension(name=f"d{k}", guideline=f"Aspect {k}.", sees_prompt=k % 2 == 0) for k in range(5)]
    model = VideoReward.from_base(tiny_base, dimensions=dimensions).eval()
    before, after = (model.score_raw(clips[:1], [prompt])[0] for prompt in PROMPTS[:2])
    moved = np.abs(after - before) > 1e-5
    assert moved.tolist() == [True, False, True, False, True]


@pytest.mark.parametrize("positions", ["plain", "mrope"])
def test_hidden_states_are_those_of_transformers(tiny_base: Path, clips: list[Video], positions: str) -> None:
    model = VideoReward.from_base(tiny_base, positions=positions).eval()
    whole = Qwen2VLForConditionalGeneration.from_pretrained(tiny_base).eval()
    inputs = model.inputs([model.processor.read(clip) for clip in clips], PROMPTS)
    with torch.no_grad():
        whole.resize_token_embeddings(len(model.chat.tokenizer), mean_resizing=False)
        whole.get_input_embeddings().weight[model.token_ids] = model.tokens
        ids = inputs.input_ids
        real = torch.arange(ids.shape[1]) < inputs.lengths[:, None]
        plain = torch.arange(ids.shape[1]).expand(3, *ids.shape)
        states = whole.model(
            input_ids=ids,
            attention_mask=real.long(),
            position_ids=plain if positions == "plain" else None,
            pixel_values_videos=inputs.pixels,
            video_grid_thw=inputs.grids,
            mm_token_type_ids=2 * (ids == model.chat.video_id).int(),
        ).last_hidden_state
        expected = torch.stack([(states @ model.head.weight[0])[ids == token] for token in model.token_ids], dim=1)
        assert torch.allclose(model(inputs), expected, atol=1e-5)


def test_the_two_kinds_of_positions_differ(tiny_base: Path, clips: list[Video]) -> None:
    plain, mrope = (VideoReward.from_base(tiny_base, positions=kind).eval() for kind in ("plain", "mrope"))
    assert np.abs(plain.score_raw(clips, PROMPTS) - mrope.score_raw(clips, PROMPTS)).max() > 1e-4
    with pytest.raises(ConfigError, match="positions"):
        VideoReward.from_base(tiny_base, positions="round")


def test_frames_run_together_as_they_do_alone(reward: VideoReward, clips: list[Video]) -> None:
    visual = reward.backbone.visual
    inputs = reward.inputs([reward.processor.read(clips[0])] * 2, PROMPTS[:2])
    assert visual.config._attn_implementation == FRAME_ATTENTION
    with torch.no_grad():
        together = video_features(visual, inputs.pixels, inputs.grids)
        visual.config._attn_implementation = "eager"
        alone = video_features(visual, inputs.pixels, inputs.grids)
        visual.config._attn_implementation = FRAME_ATTENTION
    assert torch.allclose(together, alone, atol=1e-5)


def test_gradients_reach_every_part(reward: VideoReward, clips: list[Video]) -> None:
    prepare_tuning(reward, Tuning())
    reward(reward.inputs([reward.processor.read(clips[0])], PROMPTS[:1])).sum().backward()
    reached = {part_of(name) for name, p in reward.named_parameters() if p.grad is not None and p.grad.abs().max() > 0}
    assert reached == set(PARTS)


def test_a_reward_without_its_head_or_backbone_never_scores(reward: VideoReward, tmp_path: Path) -> None:
    reward.save_pretrained(tmp_path / "r")
    (tmp_path / "r" / "reward.safetensors").write_bytes(b"cut off")
    with pytest.raises(ModelError, match="never scores"):
        VideoReward.from_pretrained(tmp_path / "r")
    with pytest.raises(ModelError, match="no reward here"):
        VideoReward.from_pretrained(tmp_path)


def test_a_base_of_another_kind_is_refused(tiny_base: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"no config\.json"):
        VideoReward.from_base(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "llama"}))
    with pytest.raises(ModelError, match="'llama'"):
        VideoReward.from_base(tmp_path)


def test_a_base_that_lacks_weights_is_refused(tiny_base: Path, tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    for file in tiny_base.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    tensors = load_file(tmp_path / "model.safetensors")
    tensors.pop(next(name for name in tensors if "merger" in name))
    save_file(tensors, tmp_path / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ModelError, match="missing"):
        VideoReward.from_base(tmp_path)


def test_new_weights_depend_on_the_seed_alone(tiny_base: Path) -> None:
    torch.manual_seed(1)
    one = VideoReward.from_base(tiny_base, seed=3)
    torch.manual_seed(2)
    same, other = VideoReward.from_base(tiny_base, seed=3), VideoReward.from_base(tiny_base, seed=4)
    assert torch.equal(one.tokens, same.tokens)
    assert torch.equal(one.head.weight, same.head.weight)
    assert not torch.equal(one.tokens, other.tokens)


def test_prompts_and_clips_must_be_as_many(reward: VideoReward, clips: list[Video]) -> None:
    with pytest.raises(DataError, match="2 for 3 clips"):
        reward.score_raw(clips, PROMPTS[:2])


def test_the_default_dimensions_are_three() -> None:
    assert [d.sees_prompt for d in DEFAULT_DIMENSIONS] == [False, False, True]


def test_with_pooling_last_all_scores_are_read_at_the_last_token(tiny_base: Path, clips: list[Video]) -> None:
    model = VideoReward.from_base(tiny_base, limits=LIMITS, pooling="last").eval()
    assert model.tokens.shape[0] == 0 and model.head.weight.shape[0] == 3
    assert "_reward|>" not in model.settings.template
    inputs = model.inputs([model.processor.read(clip) for clip in clips], PROMPTS)
    with torch.no_grad():
        states = hidden_states(model.backbone, inputs, model.backbone.get_input_embeddings()(inputs.input_ids), "plain")
        expected = states[torch.arange(3), inputs.lengths - 1] @ model.head.weight.T
        assert torch.allclose(model(inputs), expected, atol=1e-6)
    assert len(set(inputs.lengths.tolist())) == 3
    moved = np.abs(model.score_raw(clips, PROMPTS) - model.score_raw(clips, PROMPTS[::-1]))
    assert moved[[0, 2]].min() > 1e-5  # every dimension sees the prompt


def test_pooling_last_is_saved_and_trained(tiny_base: Path, clips: list[Video], tmp_path: Path) -> None:
    model = VideoReward.from_base(tiny_base, limits=LIMITS, pooling="last").eval()
    model.save_pretrained(tmp_path / "r")
    again = VideoReward.from_pretrained(tmp_path / "r")
    assert again.settings == model.settings and again.settings.pooling == "last"
    assert np.abs(again.score_raw(clips, PROMPTS) - model.score_raw(clips, PROMPTS)).max() < 1e-6
    prepare_tuning(again, Tuning())
    optimizer = torch.optim.AdamW(again.parameters(), lr=1e-3)
    again(again.inputs([again.processor.read(clips[0])], PROMPTS[:1])).sum().backward()
    torch.nn.utils.clip_grad_norm_(again.parameters(), 1.0)
    optimizer.step()
    assert again.score_raw(clips, PROMPTS).sum() < model.score_raw(clips, PROMPTS).sum()


def test_pooling_last_wants_a_row_for_each_dimension_and_no_tokens(tiny_base: Path) -> None:
    with pytest.raises(ConfigError, match="shared_head"):
        VideoReward.from_base(tiny_base, pooling="last", shared_head=True)
    with pytest.raises(ConfigError, match="pooling=last reads no .*VQ_reward"):
        VideoReward.from_base(tiny_base, pooling="last", template=default_template(DEFAULT_DIMENSIONS))
    with pytest.raises(ConfigError, match="pooling: got 'mean', wanted one of special, last"):
        VideoReward.from_base(tiny_base, pooling="mean")
    model = VideoReward.from_base(tiny_base, pooling="last")
    with pytest.raises(ConfigError, match="cannot take on colour"):
        extend_reward(model, [Dimension(name="colour", guideline="Colours.", sees_prompt=False)])
