"""Prompts to clips, over any generator, in an order and with seeds that a second run repeats."""

from __future__ import annotations

from collections.abc import Callable, Container, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from videoalign.contracts.generator import Generator, Steering
from videoalign.contracts.records import Prompt
from videoalign.contracts.video import Video
from videoalign.randomness import fold_in

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class ClipPlan:
    """A clip to be made."""

    clip_id: str
    prompt_id: str
    text: str
    """The prompt."""
    seed: int
    """Decides its noise."""


def clip_seed(seed: int, text: str, number: int) -> int:
    """Seed of the ``number``-th clip of a prompt, in [0, 2^31): the same for every model, so that clips compare."""
    return fold_in(seed, "clip", text, number).initial_seed() % 2**31


def plan_clips(prompts: Sequence[Prompt], per_prompt: int, seed: int, maker: str) -> list[ClipPlan]:
    """``per_prompt`` clips of each prompt, prompt after prompt.

    Args:
        prompts: what to show.
        per_prompt: clips of each.
        seed: of the run; see `clip_seed`.
        maker: names the model and its settings in the clip ids, so that other settings make other clips.
    """
    seeds = [(prompt, clip_seed(seed, prompt.text, number)) for prompt in prompts for number in range(per_prompt)]
    return [
        ClipPlan(
            clip_id=f"{prompt.prompt_id}-{maker}-{value}", prompt_id=prompt.prompt_id, text=prompt.text, seed=value
        )
        for prompt, value in seeds
    ]


def make_clips(
    generator: Generator,
    plans: Sequence[ClipPlan],
    *,
    done: Container[str] = (),
    batch_size: int = 8,
    steering: Steering | None = None,
    on_clip: Callable[[], object] = lambda: None,
) -> Iterator[tuple[ClipPlan, Video, Tensor]]:
    """The planned clips that are not done yet, as they come, each with the latents (C, F, H, W) that it came from.

    Args:
        generator: makes them.
        plans: see `plan_clips`.
        done: clip ids that are passed over.
        batch_size: clips in one call of the generator.
        steering: how to come to latents; by default the sampler's own way.
        on_clip: called for every plan, the ones passed over included.
    """
    waiting = [plan for plan in plans if plan.clip_id not in done]
    for _ in range(len(plans) - len(waiting)):
        on_clip()
    for begin in range(0, len(waiting), batch_size):
        batch = waiting[begin : begin + batch_size]
        seeds = [plan.seed for plan in batch]
        texts = [plan.text for plan in batch]
        if steering is None:
            latents = generator.sampler.latents(texts, seeds)
        else:
            latents = steering.latents(generator, texts, seeds)
        for plan, video, its_latents in zip(batch, generator.codec.decode(latents, seeds), latents, strict=True):
            yield plan, video, its_latents
            on_clip()
