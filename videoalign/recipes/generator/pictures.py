"""Pictures that clips begin from, in the datasets that the clips go into."""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Sequence
from dataclasses import replace

from videoalign.contracts.digests import FileDigests, file_digest
from videoalign.contracts.generator import Generator
from videoalign.contracts.output import whole_file
from videoalign.contracts.records import Asked, Prompt
from videoalign.data.clip_content import content_key
from videoalign.data.dataset import CLIP_FOLDER, Dataset
from videoalign.flow.condition import OF_PICTURES
from videoalign.video.addresses import is_address, path_of


def asked_of(generator: Generator, dataset: Dataset, prompts: Iterable[Prompt]) -> list[Asked]:
    """What a generator is asked for by prompts of a dataset: their texts, with their pictures where it reads those."""
    if OF_PICTURES.intersection(generator.conditioner.names):
        return list(map(dataset.asked, prompts))
    return [prompt.text for prompt in prompts]


def own_pictures(dataset: Dataset, prompts: Sequence[Prompt]) -> list[Prompt]:
    """The prompts with their pictures in the dataset's folder, where import puts them too; addresses stay.

    A prompt that is there with this very picture is taken as it is there; one that is there with another is left for
    `Dataset.add` to refuse.

    Args:
        dataset: gets the files.
        prompts: whose pictures are at places that can be read as they stand.

    Raises:
        OutputError: the place cannot be written.
    """
    have = {prompt.prompt_id: prompt for prompt in dataset.prompts()}
    return [_own(dataset, prompt, have.get(prompt.prompt_id)) for prompt in prompts]


def _own(dataset: Dataset, prompt: Prompt, known: Prompt | None) -> Prompt:
    if not prompt.media or is_address(prompt.media):
        return prompt
    if known is not None:
        there = dataset.asked(known).media
        same = bool(there) and content_key(there, FileDigests()) == file_digest(prompt.media)
        return known if same else prompt
    name = f"{CLIP_FOLDER}/{prompt.prompt_id}{path_of(prompt.media).suffix.lower()}"
    with whole_file(dataset.path / name) as aside:
        shutil.copyfile(prompt.media, aside)
    return replace(prompt, media=name)


def prompt_names(prompts: Sequence[Asked]) -> list[str]:
    """What tells the prompts of a run from those of another: texts, and ids where a picture stands beside a text."""
    return [one if isinstance(one, str) else one.prompt_id if one.media else one.text for one in prompts]
