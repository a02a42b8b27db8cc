"""Latents, conditions and reference errors on disk, made once and read by every training run."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from videoalign.contracts.output import fingerprint, plain_errors, whole_file, write_json
from videoalign.data.additions import alone
from videoalign.errors import DataError
from videoalign.flow.condition import Condition

MANIFEST = "latents.json"
"""Says of every group of shards how its tensors were made."""


class TensorStore:
    """Tensors by key that were all made in one way, in a folder of safetensors shards.

    Shards are named ``<kind>-<group>-<number>.safetensors``, the group being a hash of how the tensors were made, which
    the folder's ``latents.json`` tells in full; so stores of other models and settings stand side by side. Each shard
    is written whole: a run that stopped keeps what it had. Tensors keep the type they were given in.

    Args:
        folder: usually ``latents`` of a dataset; made when the first tensors are added.
        kind: ``clips``, ``texts`` or ``reference``.
        about: all that decides the tensors besides their key.

    Raises:
        DataError: a shard is damaged.
    """

    def __init__(self, folder: str | Path, kind: str, about: Mapping[str, Any]) -> None:
        self.folder, self.kind, self.about = Path(folder), kind, dict(about)
        self.group = fingerprint([kind, self.about])[:12]
        self._where: dict[str, Stored] = {}
        for shard in sorted(self.folder.glob(f"{self._stem}-*.safetensors")):
            self._where.update(_held(shard))

    def __contains__(self, key: str) -> bool:
        return key in self._where

    def add(self, tensors: Mapping[str, Tensor]) -> None:
        """Adds tensors as one shard; a key that is there gets the new tensor. One writer waits for another.

        Raises:
            OutputError: the disk is full or the place cannot be written.
        """
        if not tensors:
            return
        with plain_errors(self.folder):
            self.folder.mkdir(parents=True, exist_ok=True)
        with alone(self.folder):
            self._tell()
            number = 1 + max((int(file.stem[-5:]) for file in self.folder.glob(f"{self._stem}-*")), default=-1)
            shard = self.folder / f"{self._stem}-{number:05d}.safetensors"
            with whole_file(shard) as aside:
                save_file({key: value.detach().cpu().contiguous() for key, value in tensors.items()}, aside)
        self._where.update({key: Stored(shard, key, tuple(value.shape)) for key, value in tensors.items()})

    def place(self, key: str) -> Stored:
        """Where the tensor of a key that is there stands."""
        return self._where[key]

    @property
    def _stem(self) -> str:
        return f"{self.kind}-{self.group}"

    def _tell(self) -> None:
        file = self.folder / MANIFEST
        told = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
        if self._stem not in told:
            write_json(file, {**told, self._stem: self.about})


@dataclass(frozen=True)
class Stored:
    """Place of a tensor."""

    shard: Path
    key: str
    shape: tuple[int, ...] = ()
    """Of the tensor."""

    @property
    def name(self) -> str:
        """What the tensor is: how it was made and of what, whichever shard holds it."""
        return f"{self.shard.stem.rpartition('-')[0]}/{self.key}"


class ConditionStore:
    """Conditions by key, a row each: every tensor of a row stands in one shard of a `TensorStore`, under its own name.

    Args:
        folder: see `TensorStore`.
        about: all that decides the conditions besides their key.
        names: of the tensors in a row.
        lengths: see `Condition.lengths`.
    """

    def __init__(
        self, folder: str | Path, about: Mapping[str, Any], names: Sequence[str], lengths: Mapping[str, int]
    ) -> None:
        self.tensors, self.names, self.lengths = TensorStore(folder, "texts", about), tuple(names), dict(lengths)

    def __contains__(self, key: str) -> bool:
        return all(f"{key}.{name}" in self.tensors for name in self.names)

    def add(self, rows: Mapping[str, Condition]) -> None:
        """Adds rows as one shard; see `TensorStore.add`."""
        self.tensors.add({f"{key}.{name}": row.tensors[name] for key, row in rows.items() for name in self.names})

    def place(self, key: str) -> Stored:
        """Where the row of a key that is there stands."""
        return Stored(self.tensors.place(f"{key}.{self.names[0]}").shard, key)

    def read(self, places: Iterable[Stored]) -> dict[Stored, Condition]:
        """The rows at these places, in the types that they were made in.

        Raises:
            DataError: a shard is missing or damaged.
        """
        parts = {place: {name: Stored(place.shard, f"{place.key}.{name}") for name in self.names} for place in places}
        found = read_stored((part for some in parts.values() for part in some.values()), dtype=None)
        return {
            place: Condition({name: found[part] for name, part in some.items()}, self.lengths)
            for place, some in parts.items()
        }


@dataclass(frozen=True)
class LatentCache:
    """Where the latents of some clips and the conditions of some prompts stand; `clips` and `conditions` read them."""

    folder: Path
    """For messages."""
    stored_clips: Mapping[str, Stored]
    """By clip id."""
    stored_prompts: Mapping[str, Stored]
    """By prompt id."""
    prompts: ConditionStore
    """What ``stored_prompts`` are places in."""

    @property
    def clip_ids(self) -> set[str]:
        """Clips whose latents are there."""
        return set(self.stored_clips)

    @property
    def prompt_ids(self) -> set[str]:
        """Prompts whose conditions are there."""
        return set(self.stored_prompts)

    def identity(self) -> str:
        """Stands for all that is here: which clip and prompt, and how their tensors were made."""
        places = (self.stored_clips, self.stored_prompts)
        return fingerprint([{key: place.name for key, place in some.items()} for some in places])

    def shape(self, clip_id: str) -> tuple[int, ...]:
        """(C, F, H, W) of the latents of a clip, which are not read.

        Raises:
            DataError: a clip that was not encoded.
        """
        return self._wanted("clips", self.stored_clips, [clip_id])[clip_id].shape

    def clip(self, clip_id: str) -> Tensor:
        """Latents float32 (C, F, H, W) of a clip, in memory of their own.

        Raises:
            DataError: a clip that was not encoded.
        """
        return self.clips([clip_id])[clip_id].clone()

    def condition(self, prompt_id: str) -> Condition:
        """The condition of a prompt, one row, in memory of its own.

        Raises:
            DataError: a prompt that was not encoded.
        """
        return self.conditions([prompt_id])[prompt_id].detach()

    def clips(self, ids: Iterable[str]) -> dict[str, Tensor]:
        """Latents float32 (C, F, H, W) of these clips, mapped from their shards; see `read_stored`.

        Raises:
            DataError: a clip that was not encoded.
        """
        wanted = self._wanted("clips", self.stored_clips, ids)
        found = read_stored(wanted.values())
        return {key: found[place] for key, place in wanted.items()}

    def conditions(self, ids: Iterable[str]) -> dict[str, Condition]:
        """Conditions of these prompts, one row each.

        Raises:
            DataError: a prompt that was not encoded.
        """
        wanted = self._wanted("prompts", self.stored_prompts, ids)
        found = self.prompts.read(wanted.values())
        return {key: found[place] for key, place in wanted.items()}

    def require_prompts(self, ids: Iterable[str]) -> None:
        """Raises `DataError` for a prompt that was not encoded."""
        self._wanted("prompts", self.stored_prompts, ids)

    def _wanted(self, kind: str, stored: Mapping[str, Stored], ids: Iterable[str]) -> dict[str, Stored]:
        wanted = list(dict.fromkeys(ids))
        missing = [key for key in wanted if key not in stored]
        if missing:
            raise DataError(
                f"{self.folder}: {len(missing)} of {len(wanted)} {kind} are not encoded, such as '{missing[0]}'. "
                "Encode them with: videoalign encode"
            )
        return {key: stored[key] for key in wanted}


def read_stored(places: Iterable[Stored], *, dtype: torch.dtype | None = torch.float32) -> dict[Stored, Tensor]:
    """The tensors at these places, in a type, or in that which they are stored in.

    Those that are stored so are not read yet but mapped from their shards: what is never used takes no memory, and the
    system may take back what is, so that a training may be of more than fits. Others are converted at once.

    Raises:
        DataError: a shard is missing or damaged.
    """
    by_shard: dict[Path, list[Stored]] = {}
    for place in places:
        by_shard.setdefault(place.shard, []).append(place)
    found: dict[Stored, Tensor] = {}
    for shard, some in by_shard.items():
        try:
            with safe_open(shard, framework="pt") as reader:
                read = {place: reader.get_tensor(place.key) for place in some}
                found |= {place: tensor.to(dtype or tensor.dtype) for place, tensor in read.items()}
        except (SafetensorError, OSError) as error:
            raise _damaged(shard, error) from None
    return found


def _held(shard: Path) -> dict[str, Stored]:
    """The places of all tensors of a shard, by key."""
    try:
        with safe_open(shard, framework="pt") as reader:
            return {key: Stored(shard, key, tuple(reader.get_slice(key).get_shape())) for key in reader.keys()}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise _damaged(shard, error) from None


def _damaged(file: Path, error: Exception) -> DataError:
    return DataError(f"{file} is damaged ({' '.join(str(error).split())}). Delete it and encode again.")
