"""Clips and prompts to latents and text states, once, beside the dataset."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from pathlib import Path

from pydantic import Field
from torch import Tensor

from videoalign.config import Config
from videoalign.contracts.progress import Progress, silent
from videoalign.contracts.protocols import Generator
from videoalign.contracts.records import Clip, WinLosePair
from videoalign.data.dataset import Dataset
from videoalign.data.latents import LatentCache, ReferenceErrors
from videoalign.errors import DataError
from videoalign.training.objectives.dpo import reference_errors
from videoalign.training.objectives.flow import PairExample, TimeSettings


class EncodeConfig(Config):
    """How latents and reference errors are made."""

    batch_size: int = Field(default=8, gt=0)
    """Clips that go through the autoencoder at once."""
    reference_draws: int = Field(default=0, ge=0)
    """Fixed draws of time and noise per pair at which the reference's error is stored; 0 stores none."""
    times: TimeSettings = TimeSettings()
    """How the times of those draws are spread; training must ask for the same."""


SHARD_CLIPS = 64
"""Clips of one shard; a run that stops encodes at most so many again."""

REFERENCE_SEED = 0
"""Decides the fixed draws of the reference errors."""


def encode(
    dataset: Dataset,
    generator: Generator,
    pairs: Sequence[WinLosePair],
    *,
    batch_size: int = 8,
    progress: Progress = silent,
) -> LatentCache:
    """The latents of all clips in ``pairs`` and the text states of their prompts; what is there is not made again.

    Args:
        dataset: holds clips and prompts; the cache is its ``latents/<model>`` folder.
        generator: its autoencoder and text encoder are used.
        pairs: what is to be trained on.
        batch_size: clips in one pass.
        progress: counts clips.

    Raises:
        DataError: no pairs, a pair of unknown clips, or a clip of another size than the generator's.
        VideoError: a clip that is missing or damaged.
        OutputError: the folder holds latents of another model, or cannot be written.
    """
    if not pairs:
        raise DataError("pairs: got 0 pairs; wanted at least 1. Make some with: videoalign pairs")
    cache = LatentCache.open(latents_folder(dataset, generator), codec_identity(generator))
    clips, prompts = ({clip.clip_id: clip for clip in dataset.clips()}, {p.prompt_id: p for p in dataset.prompts()})
    clip_ids = list(dict.fromkeys(clip_id for pair in pairs for clip_id in (pair.clip_win, pair.clip_lose)))
    prompt_ids = list(dict.fromkeys(pair.prompt_id for pair in pairs))
    for wanted, known, kind in ((clip_ids, clips.keys(), "clip"), (prompt_ids, prompts.keys(), "prompt")):
        strangers = [key for key in wanted if key not in known]
        if strangers:
            raise DataError(f"pairs: {kind} '{strangers[0]}' is not in {dataset.path}; make the pairs again.")
    missing = [key for key in prompt_ids if key not in cache.prompt_ids]
    for begin in range(0, len(missing), SHARD_CLIPS):
        some = missing[begin : begin + SHARD_CLIPS]
        cache.add_texts(dict(zip(some, generator.encode_text([prompts[key].text for key in some]), strict=True)))
    waiting = [clips[key] for key in clip_ids if key not in cache.clip_ids]
    for clip in waiting:
        _check_size(clip, generator)
    with progress("encode", len(clip_ids)) as advance:
        for _ in range(len(clip_ids) - len(waiting)):
            advance()
        _encode_clips(dataset, generator, cache, waiting, batch_size, advance)
    return cache


def pair_examples(cache: LatentCache, pairs: Sequence[WinLosePair]) -> list[PairExample]:
    """The pairs in latents; a clip that stands in several pairs is held once."""
    latents = cache.clips(clip_id for pair in pairs for clip_id in (pair.clip_win, pair.clip_lose))
    texts = cache.texts(pair.prompt_id for pair in pairs)
    return [
        PairExample(win=latents[pair.clip_win], lose=latents[pair.clip_lose], text=texts[pair.prompt_id])
        for pair in pairs
    ]


def encode_reference(
    generator: Generator,
    cache: LatentCache,
    pairs: Sequence[WinLosePair],
    *,
    num_draws: int,
    times: TimeSettings,
    batch_size: int = 16,
    progress: Progress = silent,
) -> ReferenceErrors:
    """The generator's errors on ``num_draws`` fixed draws of every pair, made once and stored beside the latents.

    The generator must carry no adapter. Times are spread evenly over the draws whatever ``times.stratified`` says.
    """
    settings = {
        "transformer": generator.identity()["transformer"],
        "num_draws": num_draws,
        "seed": REFERENCE_SEED,
        **times.model_dump(exclude={"stratified"}),
    }
    file = cache.reference_file(pairs, settings)
    stored = cache.read_reference(file)
    if stored is not None:
        return stored
    examples = pair_examples(cache, pairs)
    with progress("reference", num_draws * -(-len(examples) // batch_size)) as advance:
        errors = reference_errors(
            generator.velocity,
            examples,
            num_draws=num_draws,
            times=times,
            seed=REFERENCE_SEED,
            batch_size=batch_size,
            device=next(generator.transformer.parameters()).device,
            on_batch=advance,
        )
    made = ReferenceErrors(**vars(errors))
    cache.write_reference(file, made)
    return made


def latents_folder(dataset: Dataset, generator: Generator) -> Path:
    """Where the latents of this model stand."""
    return dataset.path / "latents" / re.sub(r"[^A-Za-z0-9_.-]+", "-", generator.name)


def codec_identity(generator: Generator) -> dict[str, str]:
    """What latents and text states depend on; the transformer is no part of it."""
    return {name: value for name, value in generator.identity().items() if name != "transformer"}


def _check_size(clip: Clip, generator: Generator) -> None:
    size = (clip.num_frames, clip.height, clip.width)
    if size != generator.clip_shape:
        raise DataError(
            f"clip '{clip.clip_id}' has (frames, height, width) {size}; '{generator.name}' works in "
            f"{generator.clip_shape}. Give clips of that size, or set num_frames, height and width of the model."
        )


def _encode_clips(
    dataset: Dataset,
    generator: Generator,
    cache: LatentCache,
    clips: list[Clip],
    batch_size: int,
    advance: Callable[[], None],
) -> None:
    shard: dict[str, Tensor] = {}
    for begin in range(0, len(clips), batch_size):
        batch = clips[begin : begin + batch_size]
        latents = generator.encode([dataset.load(clip) for clip in batch])
        shard |= {clip.clip_id: value for clip, value in zip(batch, latents, strict=True)}
        if len(shard) >= SHARD_CLIPS or begin + batch_size >= len(clips):
            cache.add_clips(shard)
            shard = {}
        for _ in batch:
            advance()
