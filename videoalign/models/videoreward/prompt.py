"""What a reward reads, in order: the clip, then per dimension its guideline and its token, the prompt before those that
need it.

One template string holds the whole chat turn, with ``{video}`` and ``{prompt}`` where the clip and the prompt go, so a
checkpoint that was trained on another wording carries that wording with it.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import torch
from transformers import PreTrainedTokenizerBase

from videoalign.contracts.records import Dimension
from videoalign.errors import ConfigError, DataError, ModelError
from videoalign.models.videoreward.backbone import ModelInputs
from videoalign.models.videoreward.families.family import VIDEO_TOKEN, VISION_END, VISION_START
from videoalign.models.videoreward.processing import Patches, VideoProcessor

SYSTEM = "You are a helpful assistant."
"""The system turn that Qwen2-VL and Qwen2.5-VL were tuned with."""
VIDEO, PROMPT, END_TOKEN = "{video}", "{prompt}", "<|im_end|>"
MARKED = f"{VISION_START}{VIDEO}{VISION_END}"
USER = f"<|im_start|>user\n{MARKED}"
ASSISTANT = "<|im_end|>\n<|im_start|>assistant\n"


def reward_token(dimension: str) -> str:
    """The special token at whose place a dimension is scored."""
    return f"<|{dimension}_reward|>"


def default_template(dimensions: Sequence[Dimension], *, system: str = SYSTEM, pooling: str = "special") -> str:
    """The whole turn for these dimensions: those that do not see the prompt, the prompt, those that do.

    Args:
        dimensions: in the order in which they are read.
        system: text of the system turn; empty for none.
        pooling: ``special`` puts a reward token after each guideline; ``last`` none, as scores are read after the turn.

    Raises:
        ConfigError: no dimensions, or two of one name.
    """
    names = [d.name for d in dimensions]
    if not names or len(set(names)) != len(names):
        raise ConfigError(f"dimensions: got {names}, wanted one or more different names; mend them in dataset.json.")
    blind = "".join(section(d, pooling) for d in dimensions if not d.sees_prompt)
    seeing = "".join(section(d, pooling) for d in dimensions if d.sees_prompt)
    prompt = f"Prompt: {PROMPT}\n" if seeing else ""
    opening = f"<|im_start|>system\n{system}<|im_end|>\n" if system else ""
    return f"{opening}{USER}Rate the clip.\n{blind}{prompt}{seeing}{ASSISTANT}"


def section(dimension: Dimension, pooling: str = "special") -> str:
    """What a template says on one dimension: its guideline, then its token where scores are read at tokens."""
    guideline = dimension.guideline.replace("{", "(").replace("}", ")")
    return f"{guideline}\n{reward_token(dimension.name)}\n" if pooling == "special" else f"{guideline}\n"


def check_template(template: str, dimensions: Sequence[Dimension], pooling: str = "special") -> None:
    """Checks that the template can score these dimensions.

    Raises:
        ConfigError: ``{video}``, the prompt or a token is missing, stands twice or stands on the wrong side of the
            prompt; or there are tokens where scores are read after the turn.
    """
    if template.count(VIDEO) != 1 or template.count(PROMPT) > 1:
        raise ConfigError("template: '{video}' must stand once and '{prompt}' at most once; mend the template.")
    where_prompt = template.find(PROMPT)
    if 0 <= where_prompt < template.find(VIDEO):
        raise ConfigError("template: '{prompt}' stands before '{video}'; put the clip first.")
    for dimension in dimensions:
        token = reward_token(dimension.name)
        if pooling == "last":
            if token in template:
                raise ConfigError(f"template: pooling=last reads no {token}; take it out, or use pooling=special.")
            continue
        if template.count(token) != 1:
            raise ConfigError(
                f"template: {token} stands {template.count(token)} times, wanted once; mend the template."
            )
        after = 0 <= where_prompt < template.find(token)
        if after != dimension.sees_prompt:
            side = "after" if dimension.sees_prompt else "before"
            raise ConfigError(f"template: {token} must stand {side} '{PROMPT}'; mend the template or dataset.json.")


class Chat:
    """Turns text and clips into token rows for one tokenizer."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase) -> None:
        """
        Raises:
            ModelError: the tokenizer has no place for a clip.
        """
        self.tokenizer = tokenizer
        self.video_id, self.end_id = self._id(VIDEO_TOKEN), self._id(END_TOKEN)
        pad = tokenizer.pad_token_id
        self.pad_id = self.end_id if pad is None else int(pad)

    def _id(self, token: str) -> int:
        if token not in self.tokenizer.get_vocab():
            raise ModelError(f"tokenizer: it has no token {token}; give a base with its own tokenizer.")
        return int(self.tokenizer.convert_tokens_to_ids(token))

    def add_reward_tokens(self, dimensions: Sequence[str]) -> list[int]:
        """Ids of the dimensions' tokens, added where the tokenizer has none."""
        tokens = [reward_token(name) for name in dimensions]
        self.tokenizer.add_tokens(tokens, special_tokens=True)
        return [self._id(token) for token in tokens]

    def check_prompt(self, prompt: str) -> None:
        """Checks that the prompt is plain text.

        Raises:
            DataError: it is no text or empty, or holds one of the tokenizer's special tokens, a reward token for one.
        """
        if not isinstance(prompt, str):
            raise DataError(
                f"prompt: it is {type(prompt).__name__}, wanted the text that the clip was made from; give it."
            )
        if re.search("[\ud800-\udfff]", prompt):
            raise DataError(f"prompt: {ascii(prompt)[:60]} holds half a character, wanted text; write it anew.")
        if not prompt.strip():
            raise DataError("prompt: it is empty, wanted the text that the clip was made from; give it.")
        special = (t.content for t in self.tokenizer.added_tokens_decoder.values() if t.special)
        held = next((token for token in special if token in prompt), None)
        if held is not None:
            raise DataError(f"prompt: '{prompt[:60]}' holds the special token {held}, wanted plain text; take it out.")

    def turn(self, question: str) -> str:
        """A template for a plain question about a clip, without a system turn."""
        return f"{USER}{question}{ASSISTANT}"

    def encode(self, text: str) -> list[int]:
        """Token ids, nothing added."""
        return list(self.tokenizer(text, add_special_tokens=False)["input_ids"])

    def tokens(
        self, template: str, num_video_tokens: int, prompt: str = "", *, clip_text: str = VIDEO_TOKEN
    ) -> list[int]:
        """Token ids of a template with a clip and a prompt.

        Args:
            template: holds ``{video}`` and maybe ``{prompt}``.
            num_video_tokens: how often the clip's token stands.
            prompt: for ``{prompt}``.
            clip_text: for ``{video}``, with a video token per run; one that brings its own marks also replaces those
                around ``{video}``.
        """
        before, after = template.split(MARKED if VISION_START in clip_text and MARKED in template else VIDEO)
        ids = self.encode(before + clip_text + after.replace(PROMPT, prompt))
        return [one for token in ids for one in [token] * (num_video_tokens if token == self.video_id else 1)]

    def batch(self, rows: Sequence[list[int]], clips: Sequence[Patches], processor: VideoProcessor) -> ModelInputs:
        """Pads token rows on the right and joins the clips' patches."""
        lengths = torch.tensor([len(row) for row in rows])
        input_ids = torch.full((len(rows), int(lengths.max())), self.pad_id)
        for number, row in enumerate(rows):
            input_ids[number, : len(row)] = torch.tensor(row)
        pixels = processor.normalise(torch.cat([clip.values for clip in clips]))
        timings = [clip.timing for clip in clips if clip.timing is not None]
        paces = torch.tensor([timing.seconds_per_patch for timing in timings]) if len(timings) == len(clips) else None
        return ModelInputs(input_ids, lengths, pixels, torch.tensor([clip.grid for clip in clips]), paces)
