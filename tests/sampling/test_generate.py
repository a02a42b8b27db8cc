"""Laws of making clips from prompts, with a small random WanPipeline."""

from __future__ import annotations

import numpy as np
import pytest

from videoalign.contracts.records import Prompt
from videoalign.models.generators.generator import PipelineGenerator
from videoalign.models.small_wan import TINY_SETTINGS, TINY_SIZES, small_wan_generator
from videoalign.sampling.generate import clip_seed, make_clips, plan_clips

PROMPTS = [Prompt(prompt_id="p1", text="a red circle"), Prompt(prompt_id="p2", text="a blue circle")]


@pytest.fixture
def generator() -> PipelineGenerator:
    return small_wan_generator(
        [p.text for p in PROMPTS], TINY_SIZES, settings=TINY_SETTINGS.model_copy(update={"num_steps": 1})
    )


def test_a_clips_seed_depends_on_run_prompt_and_number_and_on_nothing_else() -> None:
    one, other = plan_clips(PROMPTS, 3, 7, "base"), plan_clips(PROMPTS[::-1], 4, 7, "adapted")
    seeds = {(plan.prompt_id, plan.seed) for plan in one}
    assert len(seeds) == 6
    assert seeds < {(plan.prompt_id, plan.seed) for plan in other}
    assert {plan.clip_id for plan in one}.isdisjoint(plan.clip_id for plan in other)
    assert clip_seed(8, "a red circle", 0) != clip_seed(7, "a red circle", 0)
    assert 0 <= clip_seed(7, "a red circle", 0) < 2**31


def test_clips_come_in_order_and_those_done_are_passed_over(generator: PipelineGenerator) -> None:
    plans = plan_clips(PROMPTS, 2, 0, "m")
    counted: list[int] = []
    whole = list(make_clips(generator, plans, batch_size=3, on_clip=lambda: counted.append(1)))
    assert [plan for plan, *_ in whole] == plans
    assert len(counted) == 4
    done = {plans[0].clip_id, plans[2].clip_id}
    rest = list(make_clips(generator, plans, done=done, on_clip=lambda: counted.append(1)))
    assert [plan for plan, *_ in rest] == [plans[1], plans[3]]
    assert len(counted) == 8
    assert np.abs(rest[0][1].frames.astype(int) - whole[1][1].frames).max() <= 1


def test_names_of_files_have_words_of_any_script_and_no_dash_before_them() -> None:
    from videoalign.recipes.generator.generate import _slug

    assert [_slug(text) for text in ("a red_circle!", "- x", "\u8d64\u3044 \u5186", "!?", "")] == [
        "a-red-circle", "x", "\u8d64\u3044-\u5186", "clip", "clip",
    ]  # fmt: skip
    assert len(_slug("\u5186" * 99).encode()) <= 120
