"""Prompts to clips, over any generator, in an order and with seeds that a second run repeats."""

from __future__ import annotations

from collections.abc import Callable, Container, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import TYPE_CHECKING

from videoalign.contracts.generator import Generator, Steering
from videoalign.contracts.records import Asked, Prompt
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
    media: str = ""
    """Place of the picture that is asked with beside the text; empty where there is none."""

    @property
    def asked(self) -> Asked:
        """What the generator is asked for."""
        return Prompt(prompt_id=self.prompt_id, text=self.text, media=self.media) if self.media else self.text


def clip_seed(seed: int, text: str, number: int) -> int:
    """Seed of the ``number``-th clip of a prompt, in [0, 2^31): the same for every model, so that clips compare."""
    return fold_in(seed, "clip", text, number).initial_seed() % 2**31


def plan_clips(prompts: Sequence[Prompt], per_prompt: int, seed: int, maker: str) -> list[ClipPlan]:
    """``per_prompt`` clips of each prompt, prompt after prompt.

    Args:
        prompts: what to show; their pictures at places that can be read as they stand.
        per_prompt: clips of each.
        seed: of the run; see `clip_seed`.
        maker: names the model and its settings in the clip ids, so that other settings make other clips.
    """
    seeds = [(prompt, clip_seed(seed, prompt.text, number)) for prompt in prompts for number in range(per_prompt)]
    return [
        ClipPlan(
            clip_id=f"{prompt.prompt_id}-{maker}-{value}",
            prompt_id=prompt.prompt_id,
            text=prompt.text,
            seed=value,
            media=prompt.media,
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
        batch_size: clips in one call of the generator, which holds one picture at most.
        steering: how to come to latents; by default the sampler's own way.
        on_clip: called for every plan, the ones passed over included.
    """
    waiting = [plan for plan in plans if plan.clip_id not in done]
    for _ in range(len(plans) - len(waiting)):
        on_clip()
    alike = (list(group) for _, group in groupby(waiting, key=lambda plan: plan.media))  # a pipeline takes one picture
    for batch in (some[begin : begin + batch_size] for some in alike for begin in range(0, len(some), batch_size)):
        seeds = [plan.seed for plan in batch]
        asked = [plan.asked for plan in batch]
        if steering is None:
            latents = generator.sampler.latents(asked, seeds)
        else:
            latents = steering.latents(generator, asked, seeds)
        for plan, video, its_latents in zip(batch, generator.codec.decode(latents, seeds), latents, strict=True):
            yield plan, video, its_latents
            on_clip()
