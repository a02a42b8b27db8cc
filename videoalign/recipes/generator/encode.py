"""Clips and prompts to latents and conditions, once, beside the dataset."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from typing import Any, Literal

from pydantic import Field
from torch import Tensor

from videoalign.contracts.engine import IN_PROCESS, Engine, cut, raise_wrong
from videoalign.contracts.generator import Generator
from videoalign.contracts.output import fingerprint
from videoalign.contracts.progress import Advance, Progress, silent
from videoalign.contracts.records import Clip, Prompt, WinLosePair
from videoalign.data.clip_content import asked_keys, clip_keys, input_key
from videoalign.data.dataset import LATENTS_FOLDER, Dataset
from videoalign.data.latents import ConditionStore, LatentCache, Stored, TensorStore, read_stored
from videoalign.data.on_demand import OnDemand
from videoalign.data.pairs import better_on, require_numbers
from videoalign.data.rejected import Rejections, write_rejected
from videoalign.distributed import ALONE, Processes
from videoalign.errors import ConfigError, DataError, VideoAlignError
from videoalign.flow.condition import OF_PICTURES, Condition
from videoalign.models.attention import attention_of
from videoalign.models.generators.settings import ModelSettings
from videoalign.randomness import fold_in
from videoalign.recipes.generator.buckets import Buckets
from videoalign.recipes.generator.clip_fit import ClipSettings
from videoalign.recipes.generator.encode_work import EncodeClips, EncodePrompts, MakeReference, WaitingClip
from videoalign.recipes.generator.pictures import asked_of
from videoalign.training.objectives.dpo import fixed_draws
from videoalign.training.objectives.flow import PairExample, PairReference, TimeSettings
from videoalign.training.order import by_shape


class EncodeConfig(ClipSettings, ModelSettings):
    """How latents and reference errors are made."""

    reference_draws: int = Field(default=0, ge=0)
    """Fixed draws of time and noise per pair at which the reference's error is stored; 0 stores none."""
    times: TimeSettings = TimeSettings(shift="model")
    """How the times of those draws are spread; training must ask for the same."""


SHARD_CLIPS = 64
"""Clips of one shard; a run that stops encodes at most so many again."""


def encode(
    dataset: Dataset,
    generator: Generator,
    clip_ids: Iterable[str],
    settings: ClipSettings | None = None,
    *,
    together: Iterable[tuple[str, str]] = (),
    group: str = "",
    max_rejected: float = 0.0,
    engine: Engine = IN_PROCESS,
    progress: Progress = silent,
) -> LatentCache:
    """The latents of some clips and the conditions of their prompts; what is there is not made again.

    What is there is found by the content of a clip's file, or the text of a prompt, and by all of the model that
    decides the result; so a clip that was replaced, or an autoencoder that was corrected, is encoded again.

    Args:
        dataset: holds clips and prompts; what is made stands in its ``latents`` folder.
        generator: its text encoder and then its autoencoder are used, where something is missing, and let go of.
        clip_ids: of the clips, in any order; see `clips_of_pairs`.
        settings: see `ClipSettings`.
        together: two clips each that are compared, whose latents are to be of one shape.
        group: what the user's command has them in, as ``encode.``, for messages.
        max_rejected: largest share of clips that may be missing or damaged; those stand in ``rejected.parquet`` and
            have no latents.
        engine: runs text encoder and autoencoder; other machines must see the clips under the same path.
        progress: counts clips.

    Raises:
        DataError: no clips, an unknown one, or one of another rate, length or size than the generator's that
            ``settings`` do not say what to do with; or two that are compared and cannot be of one shape.
        ConfigError: a bucket that the model cannot work in, or any for a model that reads pictures.
        VideoError: a clip that is missing or damaged, where none may be.
        OutputError: the folder cannot be written.
    """
    settings = settings or ClipSettings()
    if isinstance(settings, ModelSettings):
        generator = generator.changed(settings.of_model())
    if settings.buckets and OF_PICTURES.intersection(generator.conditioner.names):
        raise ConfigError(f"{group}buckets: '{generator.name}' reads pictures in one size; leave it out.")
    clips, prompts = _asked(dataset, clip_ids)
    buckets = Buckets(generator, settings, group)
    fits = buckets.choose(clips, together)
    keys = clip_keys(dataset, clips)
    conditions, known = _encode_prompts(dataset, generator, prompts, settings, engine)
    generator.free("conditioner")
    sampled, of_files = sampler_store(dataset, generator), _FileStores(dataset, generator)
    stored, waiting = {}, []
    for clip, key in zip(clips, keys, strict=True):
        fit = fits[clip.clip_id]
        change = fit.changes(clip)
        by_sampler = settings.sampler_latents and not change and key in sampled
        stored[clip.clip_id] = (sampled if by_sampler else of_files.of(change)), key
        waiting.append(WaitingClip(clip, dataset.clip_source(clip), key, stored[clip.clip_id][0].group, fit))
    stores = {store.group: store for store, _ in stored.values()}
    rejections = Rejections("encoded", len(clips), max_rejected)
    alike = by_shape(waiting, [one.fit.shape for one in waiting])
    parts = [
        part for rows in alike for part in cut(rows, settings.batch_size, lambda one: one.key in stores[one.group])
    ]
    with progress("encode", len(clips)) as advance:
        advance(len(clips) - sum(map(len, parts)))
        _encode_clips(generator, parts, stores, rejections, engine, advance)
    generator.free("codec")
    write_rejected(dataset.path, f"encode {generator.name}", {key: str(why) for key, why in rejections.reasons.items()})
    places = {key: store.place(name) for key, (store, name) in stored.items() if key not in rejections.reasons}
    return LatentCache(dataset.path / LATENTS_FOLDER, places, known, conditions)


def clips_of_pairs(dataset: Dataset, pairs: Sequence[WinLosePair]) -> list[str]:
    """The clips of some pairs, each once, which are what the pairs say of them.

    Raises:
        DataError: no pairs, a pair of unknown clips, of two prompts or of one clip twice, numbers that say nothing
            (see `data.pairs.require_numbers`), or a clip that was replaced after it was scored.
    """
    if not pairs:
        raise DataError("pairs: got 0 pairs; wanted at least 1. Make some with: videoalign pairs")
    clips, texts = {c.clip_id: c for c in dataset.clips()}, {p.prompt_id: p.text for p in dataset.prompts()}
    for pair in pairs:
        for kind, key, known in (
            ("clip", pair.clip_win, clips.keys()),
            ("clip", pair.clip_lose, clips.keys()),
            ("prompt", pair.prompt_id, texts.keys()),
        ):
            if key not in known:
                raise DataError(f"pairs: {kind} '{key}' is not in {dataset.path}; make the pairs again.")
        if pair.clip_win == pair.clip_lose:
            raise DataError(f"pairs: clip '{pair.clip_win}' is compared with itself; make the pairs again.")
        require_numbers(pair)
        for clip in (clips[pair.clip_win], clips[pair.clip_lose]):
            if clip.prompt_id != pair.prompt_id:
                raise DataError(
                    f"pairs: clip '{clip.clip_id}' is of prompt '{clip.prompt_id}', its pair of '{pair.prompt_id}'; "
                    "both clips of a pair show its prompt. Make the pairs again."
                )
    clip_ids = list(dict.fromkeys(clip_id for pair in pairs for clip_id in (pair.clip_win, pair.clip_lose)))
    contents = dict(zip(clip_ids, clip_keys(dataset, [clips[key] for key in clip_ids]), strict=True))
    for pair in pairs:
        for clip_id, scored in ((pair.clip_win, pair.content_win), (pair.clip_lose, pair.content_lose)):
            if scored and input_key(contents[clip_id], texts[pair.prompt_id]) != scored:
                raise DataError(
                    f"pairs: clip '{clip_id}' of {dataset.path} was replaced after it was scored; score the dataset "
                    "and make the pairs again."
                )
    return clip_ids


def require_whole_layers(generator: Generator) -> None:
    """Raises `ConfigError` for a generator whose layers are kept off the graphics card, which cannot be trained so."""
    if generator.offload == "sequential":
        raise ConfigError(
            "--offload: got 'sequential'; a training keeps the transformer where it runs, so give model, which keeps "
            "text encoder and autoencoder off the graphics card."
        )


class _FileStores:
    """Stores of latents that the autoencoder read from files, one for each way in which the clips were changed."""

    def __init__(self, dataset: Dataset, generator: Generator) -> None:
        self.folder, self.about = dataset.path / LATENTS_FOLDER, _about_clips(generator, "file")
        self.known: dict[str, TensorStore] = {}

    def of(self, changes: Mapping[str, Any]) -> TensorStore:
        about = {**self.about, "changed_to": dict(changes)} if changes else self.about
        name = fingerprint(about)
        if name not in self.known:
            self.known[name] = TensorStore(self.folder, "clips", about)
        return self.known[name]


def sampler_store(dataset: Dataset, generator: Generator) -> TensorStore:
    """Where the latents that the generator's own clips came from are kept, by `clip_keys`."""
    return TensorStore(dataset.path / LATENTS_FOLDER, "clips", _about_clips(generator, "sampler"))


def pair_examples(cache: LatentCache, pairs: Sequence[WinLosePair]) -> Sequence[PairExample]:
    """The pairs in latents, each read from its shards when it is asked for.

    Raises:
        DataError: a pair that is not in the cache, or whose clips were encoded in two shapes.
    """
    for pair, shape in zip(pairs, pair_shapes(cache, pairs), strict=True):
        if cache.shape(pair.clip_lose) != shape:
            raise DataError(
                f"pairs: latents of clip '{pair.clip_win}' have shape {shape}, those of '{pair.clip_lose}', which it "
                f"is compared with, {cache.shape(pair.clip_lose)}; encode both in one shape."
            )
    cache.require_prompts(pair.prompt_id for pair in pairs)

    def example(index: int) -> PairExample:
        pair = pairs[index]
        win, lose = cache.clip(pair.clip_win), cache.clip(pair.clip_lose)
        condition, better = cache.condition(pair.prompt_id), better_on(pair)
        return PairExample(win=win, lose=lose, condition=condition, preference=pair.preference, better=better)

    return OnDemand(len(pairs), example)


def pair_shapes(cache: LatentCache, pairs: Iterable[WinLosePair]) -> list[tuple[int, ...]]:
    """(C, F, H, W) of the latents of each pair."""
    return [cache.shape(pair.clip_win) for pair in pairs]


def encode_reference(
    generator: Generator,
    cache: LatentCache,
    pairs: Sequence[WinLosePair],
    *,
    num_draws: int,
    times: TimeSettings,
    dtype: Literal["float32", "bfloat16"] = "float32",
    start: str = "",
    batch_size: int = 16,
    processes: Processes = ALONE,
    engine: Engine = IN_PROCESS,
    progress: Progress = silent,
) -> list[PairReference]:
    """The generator's errors on ``num_draws`` fixed draws of every pair, one after another, kept beside the latents.

    The error of each latent frame, (K, F), is kept too, so that frames can be weighed without another pass. The draws
    of a pair follow from what the pair is (its latents, its condition) and from what decides the errors (the
    transformer, the law of times, the number of draws, the precision, how attention is computed), not from its place;
    so what was made for other tables of pairs serves here too, and only what is missing is made. It is written shard by
    shard: a run that is killed loses one of them. Several processes make a shard each.

    Args:
        generator: the reference.
        cache: holds the pairs, see `encode`.
        pairs: P of them.
        num_draws: K.
        times: law and shift of the times; they are spread evenly over the draws whatever ``stratified`` says.
        dtype: precision of the forward passes; the one that training uses.
        start: digest of the adapter that the generator carries, empty for none; it is part of what the reference is.
        batch_size: pairs in one forward pass.
        processes: those that make them together; all must call it.
        engine: runs the transformer; other machines must see the latents under the same path.
        progress: counts pairs, of several processes those of the first.

    Raises:
        DataError: a pair that is not in the cache.
        OutputError: the folder cannot be written.
    """
    times = times.of_model(lambda: generator.sampler.time_shift)
    drawn = _about_draws(generator, num_draws, times, dtype, start)
    about = {**drawn, "attention": attention_of(list(generator.network.transformers.values()))}
    store = TensorStore(cache.folder, "reference", about)
    keys = [_pair_key(cache, pair) for pair in pairs]
    seeds = {key: fold_in(0, fingerprint(["reference", drawn])[:12], key).initial_seed() for key in keys}
    asked = dict(zip(keys, pairs, strict=True))
    alike = by_shape(list(asked), pair_shapes(cache, asked.values()))
    parts = [part for some in alike for part in cut(some, min(batch_size, SHARD_CLIPS), store.__contains__)]
    pair_examples(cache, list(asked.values()))  # refuses what cannot be read before anything is made
    processes.wait()  # all have seen what is missing before any of it is made
    work, read = MakeReference(generator, num_draws, times, dtype), partial(_read_pair, cache)
    own = parts[processes.rank :: processes.count]
    waiting: dict[str, Tensor] = {}
    with progress("reference", len(asked)) as advance:
        advance(len(asked) - sum(map(len, parts)))
        given = ([(asked[key], seeds[key]) for key in part] for part in own)
        for part, done in zip(own, engine.stream(given, work, read), strict=True):
            waiting |= dict(zip(part, done.made, strict=True))
            advance(len(part), read_seconds=done.read_seconds, work_seconds=done.work_seconds)
            if len(waiting) >= SHARD_CLIPS:
                store.add(waiting)
                waiting = {}
        store.add(waiting)
    processes.wait()
    store = TensorStore(cache.folder, "reference", about)  # with what the other processes made
    errors = read_stored(store.place(key) for key in keys)
    found = []
    for key in keys:
        win, lose = errors[store.place(key)].unbind(1)
        t, noise_seeds = fixed_draws(seeds[key], num_draws, times)
        found.append(PairReference(t, noise_seeds, win[:, 0], lose[:, 0], win[:, 1:], lose[:, 1:]))
    return found


def _read_pair(cache: LatentCache, given: tuple[WinLosePair, int]) -> tuple[PairExample, int]:
    pair, seed = given
    return pair_examples(cache, [pair])[0], seed


def _about_draws(generator: Generator, num_draws: int, times: TimeSettings, dtype: str, start: str) -> dict[str, Any]:
    """What decides the draws of a pair besides itself; the errors there also depend on how attention is computed."""
    return {
        "transformer": generator.network.identity(),
        "weights": str(next(generator.network.parameters()).dtype),
        "start": start,
        "num_draws": num_draws,
        "dtype": dtype,
        **times.model_dump(exclude={"stratified"}),
    }


def _pair_key(cache: LatentCache, pair: WinLosePair) -> str:
    clips = [cache.stored_clips.get(clip_id) for clip_id in (pair.clip_win, pair.clip_lose)]
    places = [*clips, cache.stored_prompts.get(pair.prompt_id)]
    return fingerprint([None if place is None else place.name for place in places])


def _asked(dataset: Dataset, clip_ids: Iterable[str]) -> tuple[list[Clip], list[Prompt]]:
    """Clips and their prompts, each once."""
    wanted = list(dict.fromkeys(clip_ids))
    if not wanted:
        raise DataError("encode: got 0 clips; wanted at least 1.")
    clips, prompts = {clip.clip_id: clip for clip in dataset.clips()}, {p.prompt_id: p for p in dataset.prompts()}
    unknown = [key for key in wanted if key not in clips]
    if unknown:
        raise DataError(f"encode: clip '{unknown[0]}' is not in {dataset.path}; make the pairs again.")
    chosen = [clips[key] for key in wanted]
    return chosen, [prompts[key] for key in dict.fromkeys(clip.prompt_id for clip in chosen)]


def _about_clips(generator: Generator, source: str) -> dict[str, str]:
    return {"autoencoder": generator.codec.identity(), "latents_of": source}


def _encode_prompts(
    dataset: Dataset, generator: Generator, prompts: Sequence[Prompt], settings: ClipSettings, engine: Engine
) -> tuple[ConditionStore, dict[str, Stored]]:
    """The store of the generator's conditions, and where those of the prompts stand in it."""
    conditioner = generator.conditioner
    about = {"text_encoder": conditioner.identity()}
    store = ConditionStore(dataset.path / LATENTS_FOLDER, about, conditioner.names, conditioner.lengths)
    asked = asked_of(generator, dataset, prompts)
    keys = asked_keys(dataset, asked)
    conditioner.check(asked)
    by_key = dict(zip(keys, asked, strict=True))
    parts = cut(list(by_key), settings.batch_size, store.__contains__)
    told = [[by_key[key] for key in part] for part in parts]
    made: dict[str, Condition] = {}
    for part, done in zip(parts, engine.stream(told, EncodePrompts(generator)), strict=True):
        made |= dict(zip(part, done.made, strict=True))
        if len(made) >= SHARD_CLIPS:
            store.add(made)
            made = {}
    store.add(made)
    return store, {prompt.prompt_id: store.place(key) for prompt, key in zip(prompts, keys, strict=True)}


def _encode_clips(
    generator: Generator,
    parts: Sequence[Sequence[WaitingClip]],
    stores: Mapping[str, TensorStore],
    rejections: Rejections,
    engine: Engine,
    advance: Advance,
) -> None:
    """Encodes and stores; what is wrong with a clip is raised, or kept where some may be rejected."""
    made: dict[str, dict[str, Tensor]] = {group: {} for group in stores}
    for part, done in zip(parts, engine.stream(parts, EncodeClips(generator), WaitingClip.read), strict=True):
        wrong: dict[str, VideoAlignError] = {}
        for waiting, value in zip(part, done.made, strict=True):
            if isinstance(value, VideoAlignError):
                wrong[waiting.clip.clip_id] = value if rejections.most else raise_wrong(value)
            else:
                made[waiting.group][waiting.key] = value
        advance(len(part), rejected=len(wrong), read_seconds=done.read_seconds, work_seconds=done.work_seconds)
        rejections.add(wrong)
        if sum(map(len, made.values())) >= SHARD_CLIPS:
            _store(stores, made)
    _store(stores, made)


def _store(stores: Mapping[str, TensorStore], made: Mapping[str, dict[str, Tensor]]) -> None:
    for group, tensors in made.items():
        stores[group].add(tensors)
        tensors.clear()
