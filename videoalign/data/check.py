"""What may be wrong in a dataset."""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

from videoalign.contracts.engine import IN_PROCESS, Done, Engine, cut
from videoalign.contracts.progress import Progress, silent
from videoalign.contracts.records import Clip, Judgement, Label, Prompt, Role
from videoalign.contracts.video import unreadable
from videoalign.data.additions import plain_text
from videoalign.data.clip_content import replaced_clips
from videoalign.data.dataset import Dataset, flip
from videoalign.data.formats.references import reference_at
from videoalign.data.known import wrong_word
from videoalign.data.prompts_file import near_text, read_prompts
from videoalign.errors import DataError, VideoAlignError, VideoError
from videoalign.video.files import VideoInfo, probe
from videoalign.video.playable import TO_MP4, unplayable

_LABELS = set(Label)
_SPECIAL = re.compile(r"<\|\w+\|>")
"""Special tokens of Qwen's tokenizers, and those that dimensions are scored at."""

PART = 16
"""Clips that are looked at together."""

REMEDIES = {
    "broken_clip": "Fetch the file again, or leave its rows out on import with --skip-broken.",
    "changed_clip": "Import again, or put back the file that was judged.",
    "replaced_clip": "Put back the file that was judged, give the new one its own id, or import the judgements again.",
    "broken_media": "Put the file back, or take it out of the prompt in the source and import again.",
    "same_clip": "Remove one of the two and its judgements, or fetch the one that is missing.",
    "shared_file": "Fetch the right file for one of the prompts, if it was not meant so.",
    "unplayable": f"Convert it, as with: {TO_MP4}",
    "unreadable": "Make a longer or wider clip, or leave it out of what a reward is trained on and scores.",
    "stretched": "Convert it, as with: ffmpeg -i IN -vf 'scale=iw*sar:ih,setsar=1' OUT.mp4",
    "variable_rate": "Convert it, as with: ffmpeg -i IN -vsync cfr -r RATE OUT.mp4",
    "special_token": "Take it out of the prompt in the source and import again.",
    "unknown": "Correct the name in the source and import again.",
    "crossed": "Correct the row in the source; both clips must be of the prompt that was shown.",
    "duplicate": "Remove one of the two rows.",
    "contradiction": "Ask who said it, or remove one of the two rows.",
    "leak": "Split again with 'videoalign data split', or take the prompt out of one split.",
    "benchmark": "Leave the prompt out of training, or do not report figures on this benchmark.",
}
"""What to do about each kind of problem."""


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong."""

    kind: str
    """A key of `REMEDIES`."""
    where: str
    """Clip, prompt or source row."""
    what: str
    """In words."""

    @property
    def remedy(self) -> str:
        """What to do about it."""
        return REMEDIES[self.kind]

    def as_dict(self) -> dict[str, str]:
        """For JSON."""
        return {"kind": self.kind, "where": self.where, "what": self.what, "remedy": self.remedy}


def check_dataset(
    dataset: Dataset,
    progress: Progress = silent,
    benchmark_prompts: Sequence[str | Path] = (),
    *,
    engine: Engine = IN_PROCESS,
) -> list[Problem]:
    """Every problem of a dataset; decodes every frame of every clip, as whoever scores or trains on them will.

    Kinds: ``broken_clip`` (missing, truncated, damaged in the middle, not a video), ``changed_clip`` (not the size,
    length or rate that the table says), ``replaced_clip`` (not the file that was judged), ``unplayable`` (see
    `videoalign.video.playable.unplayable`), ``unreadable`` (too short or too narrow for a reward), ``stretched``
    (pixels that are not square), ``variable_rate``, ``same_clip`` (two clips of one prompt are the same file),
    ``shared_file`` (one file under two prompts), ``broken_media`` (what a prompt was asked with is missing, damaged,
    or neither picture nor clip), ``special_token`` (a prompt holds a mark of language models, which a reward
    refuses), ``unknown`` (a dimension, word, clip or prompt that is not there), ``crossed`` (a judgement whose clips
    belong to another prompt), ``duplicate`` (a rater's verdict stands twice, whichever clip stands first),
    ``contradiction`` (a rater says two things of one pair, not counting second looks that were asked for, or a pair
    has two known answers), ``leak`` (a prompt or file stands in two splits), ``benchmark`` (a prompt stands, nearly so
    at least, in one of the files of ``benchmark_prompts``). ``engine`` reads the clips.

    Raises:
        DataError: a table of the dataset or a file of prompts cannot be read.
    """
    prompts, clips = dataset.prompts(), dataset.clips()
    return [
        *_of_prompts(prompts),
        *_of_media(dataset, prompts),
        *_of_benchmarks(prompts, benchmark_prompts),
        *_of_clips(dataset, prompts, clips, progress, engine),
        *_of_judgements(dataset, clips),
        *(
            Problem("replaced_clip", clip_id, "is not the file, or not of the prompt, that was judged under this id.")
            for clip_id in replaced_clips(dataset)
        ),
        *chain.from_iterable(map(_of_repetitions, dataset.judgements_by_pair(strangers=True))),
    ]


def raise_if_any(problems: list[Problem], where: Path) -> None:
    """Checks that there is no problem.

    Raises:
        DataError: there is; counts them by kind.
    """
    if problems:
        kinds = ", ".join(f"{kind} {number}" for kind, number in Counter(p.kind for p in problems).most_common())
        first = problems[0]
        raise DataError(f"{where}: {len(problems)} problem(s) ({kinds}); the first: {first.where}: {first.what}")


def _of_prompts(prompts: list[Prompt]) -> Iterator[Problem]:
    ids, splits = Counter(prompt.prompt_id for prompt in prompts), dict[str, Prompt]()
    for prompt_id, number in ids.items():
        if number > 1:
            yield Problem("duplicate", prompt_id, f"this prompt stands {number} times in prompts.parquet.")
    for prompt in prompts:
        if marks := _SPECIAL.findall(prompt.text):
            what = f"holds {', '.join(dict.fromkeys(marks))}, which language models take for a mark of their own."
            yield Problem("special_token", prompt.prompt_id, what)
        first = splits.setdefault(plain_text(prompt.text), prompt)
        if first.split != prompt.split:
            what = f"stands in split '{prompt.split}' and, as {first.prompt_id}, in '{first.split}'."
            yield Problem("leak", prompt.prompt_id, what)


def _of_benchmarks(prompts: list[Prompt], files: Sequence[str | Path]) -> Iterator[Problem]:
    known = {near_text(prompt.text): prompt for prompt in reversed(prompts)}
    for file in files:
        for text in read_prompts(file):
            prompt = known.get(near_text(text))
            if prompt is not None:
                yield Problem("benchmark", prompt.prompt_id, f"in split '{prompt.split}', stands in {file}: '{text}'.")


def _of_media(dataset: Dataset, prompts: list[Prompt]) -> Iterator[Problem]:
    for prompt in prompts:
        if prompt.media:
            try:
                reference_at(dataset.asked(prompt).media)
            except VideoError as error:
                yield Problem("broken_media", prompt.prompt_id, str(error))


def _of_clips(
    dataset: Dataset, prompts: list[Prompt], clips: list[Clip], progress: Progress, engine: Engine
) -> Iterator[Problem]:
    splits = {prompt.prompt_id: prompt.split for prompt in prompts}
    seen: dict[str, Clip] = {}
    for clip_id, number in Counter(clip.clip_id for clip in clips).items():
        if number > 1:
            yield Problem("duplicate", clip_id, f"this clip stands {number} times in clips.parquet.")
    sources = cut([dataset.clip_source(clip) for clip in clips], PART)
    with progress("checking clips", len(clips)) as step:
        done: Iterator[Done[list[Any]]] = engine.stream(sources, None, _look)
        looks = (look for part in done for look in part.made)
        for clip, look in zip(clips, looks, strict=True):
            step(rejected=int(isinstance(look, VideoAlignError)))
            if clip.prompt_id not in splits:
                yield Problem("unknown", clip.clip_id, f"its prompt '{clip.prompt_id}' is not in prompts.parquet.")
            if isinstance(look, VideoAlignError):
                yield Problem("broken_clip", clip.clip_id, str(look))
                continue
            info, digest = look
            yield from _of_file(clip, info)
            first = seen.setdefault(digest, clip)
            if splits.get(first.prompt_id) != splits.get(clip.prompt_id):
                yield Problem("leak", clip.clip_id, f"is the same file as {first.clip_id}, which is in another split.")
            elif first is not clip:
                one_prompt = first.prompt_id == clip.prompt_id
                more = "" if one_prompt else f", which is of prompt '{first.prompt_id}'"
                kind = "same_clip" if one_prompt else "shared_file"
                yield Problem(kind, clip.clip_id, f"is the same file as {first.clip_id}{more}.")


def _of_file(clip: Clip, info: VideoInfo) -> Iterator[Problem]:
    names = ("fps", "num_frames", "height", "width")
    differences = ", ".join(
        f"{name} ({getattr(info, name):g}, not {getattr(clip, name):g})"
        for name in names
        if not abs(getattr(info, name) - getattr(clip, name)) <= 1e-6  # nan too
    )
    if differences:
        yield Problem("changed_clip", clip.clip_id, f"differs from clips.parquet in {differences}.")
    if (trouble := unplayable(clip.path, info)) is not None:
        yield Problem("unplayable", clip.clip_id, trouble.what)
    if (reason := unreadable(info.num_frames, info.height, info.width)) is not None:
        yield Problem("unreadable", clip.clip_id, reason)
    if info.pixel_aspect != 1:
        what = f"its pixels are {info.pixel_aspect:.4g} times as wide as high; shown and read at {info.width}x"
        yield Problem("stretched", clip.clip_id, f"{what}{info.height}.")
    if not info.constant_rate:
        yield Problem("variable_rate", clip.clip_id, f"its frames are shown unevenly; {info.fps:g} fps is the rate.")


def _look(source: str | Path) -> tuple[VideoInfo, str]:
    """What a file is, every frame decoded, and a hash of it; of its address, where it is far away."""
    info = probe(source, every_frame=True)
    if isinstance(source, str):
        return info, source
    with source.open("rb") as file:
        return info, hashlib.file_digest(file, "sha256").hexdigest()


def _of_judgements(dataset: Dataset, clips: list[Clip]) -> Iterator[Problem]:
    prompt_of = {clip.clip_id: clip.prompt_id for clip in clips}
    for row in dataset.stream_judgements(strangers=True):
        where = row.source_row or f"{row.clip_a} / {row.clip_b}"
        if row.dimension not in dataset.dimensions:
            yield Problem("unknown", where, f"dimension '{row.dimension}' is not in dataset.json.")
        if wrong := wrong_word(row):
            yield Problem("unknown", where, wrong)
        if row.clip_a == row.clip_b:
            yield Problem("crossed", where, f"compares clip '{row.clip_a}' with itself.")
        for clip_id in (row.clip_a, row.clip_b):
            if clip_id not in prompt_of:
                yield Problem("unknown", where, f"clip '{clip_id}' is not in clips.parquet.")
            elif prompt_of[clip_id] != row.prompt_id:
                yield Problem("crossed", where, f"clip '{clip_id}' belongs to prompt '{prompt_of[clip_id]}'.")
    for rating in dataset.stream_ratings(strangers=True):
        where = rating.source_row or rating.clip_id
        if rating.dimension not in dataset.dimensions:
            yield Problem("unknown", where, f"dimension '{rating.dimension}' is not in dataset.json.")
        if rating.clip_id not in prompt_of:
            yield Problem("unknown", where, f"clip '{rating.clip_id}' is not in clips.parquet.")


def _of_repetitions(judgements: list[Judgement]) -> Iterator[Problem]:
    said: dict[tuple[str, str, str, str], tuple[str, str]] = {}
    answers: dict[tuple[str, str, str], tuple[str, str, str]] = {}
    for row in judgements:
        if row.label not in _LABELS or row.role == Role.REPEAT:
            continue
        turned = row.clip_a > row.clip_b
        pair = (row.clip_b, row.clip_a) if turned else (row.clip_a, row.clip_b)
        label = flip(row.label) if turned else Label(row.label)
        if row.role == Role.GOLD:
            first, where, rater = answers.setdefault((*pair, row.dimension), (label, row.source_row, row.rater))
            if first != label and rater != row.rater:
                what = f"the known answer of {pair[0]} and {pair[1]}, {row.dimension}, is '{first}' ({where}) and"
                yield Problem("contradiction", row.source_row, f"{what} '{label}'; the last one is the label.")
        first, where = said.setdefault((row.rater, *pair, row.dimension), (label, row.source_row))
        if where == row.source_row and first == label:
            continue
        kind = "duplicate" if first == label else "contradiction"
        verdicts = f"'{first}' ({where}) and '{label}'" if first != label else f"'{label}', as in {where}"
        yield Problem(
            kind, row.source_row, f"rater '{row.rater}' says of {pair[0]} and {pair[1]}, {row.dimension}: {verdicts}."
        )
