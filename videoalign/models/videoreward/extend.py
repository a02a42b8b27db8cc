"""A trained reward with further dimensions, to be trained on."""

from __future__ import annotations

import re
from collections.abc import Sequence

import torch

from videoalign.contracts.records import Dimension
from videoalign.errors import ConfigError
from videoalign.models.videoreward.model import VideoReward
from videoalign.models.videoreward.prompt import END_TOKEN, PROMPT, VIDEO, section
from videoalign.randomness import fold_in

TOKEN = re.compile(r"<\|\w+_reward\|>")


def extend_reward(parent: VideoReward, dimensions: Sequence[Dimension], *, seed: int = 0) -> VideoReward:
    """The reward on all its own dimensions and those given that it lacks, which are untrained; not normalised.

    New dimensions come last in the order of the scores. In the template they stand as `extended_template` puts them, so
    that a score whose token comes before all new ones stays what it was. Wording that the template has stays, whatever
    the guideline. Backbone and tokenizer are the parent's own, not copies.

    Args:
        parent: a trained reward.
        dimensions: those of the new judgements; of new names any number, also none.
        seed: decides the new tokens and the new rows of the head.

    Raises:
        ConfigError: a dimension that sees the prompt in one of the two and not in the other, or new ones
            for a parent that reads its scores at the last token.
    """
    known = {dimension.name: dimension for dimension in parent.settings.dimensions}
    for dimension in dimensions:
        if dimension.name in known and known[dimension.name].sees_prompt != dimension.sees_prompt:
            raise ConfigError(
                f"dimensions: {dimension.name} has sees_prompt={dimension.sees_prompt}, reward "
                f"'{parent.name}' was trained with {not dimension.sees_prompt}; mend dataset.json or rename it."
            )
    new = [dimension for dimension in dimensions if dimension.name not in known]
    if new and parent.settings.pooling == "last":
        raise ConfigError(
            f"dimensions: reward '{parent.name}' has pooling=last and cannot take on {new[0].name}; train anew."
        )
    settings = parent.settings.model_copy(
        update={
            "dimensions": (*parent.settings.dimensions, *new),
            "template": extended_template(parent.settings.template, new),
            "normalisation": None,
            "ties": None,
        }
    )
    generator = fold_in(seed, "extend")
    table = parent.backbone.get_input_embeddings().weight.detach()
    drawn = torch.randn(len(new), table.shape[1], generator=generator).to(table)
    tokens = torch.cat([parent.tokens.detach(), (table.mean(0) + table.std() * drawn).to(parent.tokens)])
    head = parent.head.weight.detach()
    if not settings.shared_head:
        rows = torch.randn(len(new), head.shape[1], generator=generator) * head.shape[1] ** -0.5
        head = torch.cat([head, rows.to(head)])
    return VideoReward(parent.backbone, parent.chat.tokenizer, settings, tokens=tokens, head=head, name=parent.name)


def extended_template(template: str, new: Sequence[Dimension]) -> str:
    """The template with the sections of new dimensions.

    One that does not see the prompt follows the last of its kind, before the prompt; one that does stands at the end of
    the turn, where the prompt is put before it if the template has none.
    """
    for dimension in new:
        text = section(dimension)
        if not dimension.sees_prompt:
            at = _end_of_blind(template)
        else:
            at = _end_of_turn(template)
            text = text if PROMPT in template else f"Prompt: {PROMPT}\n{text}"
        line_break = "" if template[:at].endswith("\n") else "\n"
        template = template[:at] + line_break + text + template[at:]
    return template


def _end_of_turn(template: str) -> int:
    read = max(template.rfind(part) for part in (VIDEO, PROMPT, *TOKEN.findall(template)))
    end = template.find(END_TOKEN, read)
    return len(template) if end < 0 else end


def _end_of_blind(template: str) -> int:
    """Where the paragraph, or else the line, of the last token before the prompt ends."""
    prompt = template.find(PROMPT)
    if prompt < 0:
        return _end_of_turn(template)
    tokens = list(TOKEN.finditer(template, 0, prompt))
    if not tokens:
        line = template.rfind("\n", 0, prompt) + 1
        return line if line > template.find(VIDEO) else prompt
    between = template[tokens[-1].end() : prompt]
    for end in ("\n\n", "\n"):
        if end in between:
            return tokens[-1].end() + between.index(end) + 1
    return prompt
